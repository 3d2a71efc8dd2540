"""`oculard night plan`, as an administrator gives it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oculard.clock import SystemClock
from oculard.store.database import Database
from shelf import Shelf

Ask = Callable[..., str]
CONFIG = """
[site]
time_zone = "Asia/Tokyo"
[store]
folder = "{folder}"
[night]
start = "20:00"
end = "20:00"
quotas = {{ systemic = 3 }}
"""


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """A database in which five jobs wait for a night that is always open, and the command."""
    config = tmp_path / "oculard.toml"
    config.write_text(CONFIG.format(folder=tmp_path / "vault"), encoding="utf-8")
    (tmp_path / "vault").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'vault' / 'oculard.db'}")
    database.upgrade()
    shelf = Shelf(database, SystemClock(), tmp_path / "vault")
    for number in range(5):
        shelf.receive(f"1.{number}", str(number).encode(), study_instance_uid=f"1.2.{number}")
        shelf.settle(window="night")
    database.close()
    command = [sys.executable, "-m", "oculard", "--config", str(config), "night", "plan"]
    return lambda *words: subprocess.run([*command, *words], capture_output=True, text=True, check=True).stdout


def test_the_plan_as_json(ask: Ask) -> None:
    """Numbers for a program: window, workers, and each family's share."""
    told = json.loads(ask("--json"))

    assert (told["time_zone"], told["open"], told["workers"]) == ("Asia/Tokyo", True, 0)
    assert told["start"] < told["ends_at"] < told["end"]
    (family,) = told["families"]
    assert family.pop("ends_at") == told["ends_at"]
    assert family == {
        "family": "systemic",
        "estimator": "painted@1.0.0",
        "waiting": 5,
        "quota_left": 3,
        "job_s": 60.0,
        "job_s_p90": 60.0,
        "measured_on": 0,
        "all_s": 300.0,
        "reached": 3,
        "beyond_quota": 2,
        "beyond_time": 0,
    }


def test_the_plan_as_a_table(ask: Ask) -> None:
    """Words for a person: that the speed is assumed, and that no worker is alive."""
    told = ask()

    assert "Workers: none is alive, reckoned with one" in told
    row = told.splitlines()[-1].split("\t")
    assert row[:9] == [
        "systemic",
        "painted@1.0.0",
        "5",
        "3 of 3",
        "60 s (assumed)",
        "0 h 05 min",
        "3",
        "2",
        "0",
    ]
