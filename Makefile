# oculard: every target sets up what it needs. Only python3 (3.11 or newer), its venv module and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TORCH := torch==2.13.0 torchvision==0.28.0

.PHONY: setup setup-dev peers demo test test-slow check sim bench sweep fuzz soak unit licences audit clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.run  ## the daemon, without torch
setup-dev: $(VENV)/.dev  ## and what tests and the laboratory need

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "oculard needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	$(PIP) --require-hashes --requirement requirements.lock
	$(PIP) --no-deps --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) $(TORCH)
	$(PIP) --no-deps --require-hashes --requirement requirements-dev.lock
	touch $@

peers: setup-dev  ## the real peers of the tests, from the system's packages
	tests/install-peers

demo: setup  ## the whole path on painted eyes, against a built-in PACS
	$(BIN)/oculard demo

test: setup-dev peers  ## everything; says at its end what was skipped and why
	$(BIN)/python -m pytest

test-slow: setup-dev peers  ## and what takes minutes: all sixteen networks, end to end
	$(BIN)/python -m pytest --slow

sim: setup-dev  ## the seeded simulation, long form
	$(BIN)/python -m pytest tests/simulation --simulate 1000

bench: setup-dev  ## what is fast and what is not, side by side; `make bench ARGS="worker --json FILE"`
	PYTHONPATH=tests:tests/delivery $(BIN)/python -m bench $(ARGS)

sweep: setup-dev peers  ## kills, long form: every process at every step; `make sweep ARGS="--shots 50"`
	PYTHONPATH=tests $(BIN)/python -m sweep $(ARGS)

fuzz: setup-dev  ## hostile bytes for everything that reads bytes; `make fuzz ARGS="--seconds 60 rgb"`
	PYTHONPATH=tests:tests/intake:tests/models $(BIN)/python -m fuzz $(ARGS)

unit: setup-dev peers  ## oculard.service as it ships, under a systemd of its own; needs root: `make unit PYTHON=/usr/bin/python3`
	PYTHON=$(PYTHON) tests/systemd/run

licences: setup  ## what the daemon needs, with versions and licences; fails where one needs a look
	$(BIN)/oculard licences

audit:  ## the locked packages against the vulnerabilities that are known today; needs the network
	deploy/audit

soak: setup-dev  ## ten thousand associations, good and bad: what the intake holds
	PYTHONPATH=tests:tests/network $(BIN)/python -m soak $(ARGS)

check: setup-dev  ## style, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)
