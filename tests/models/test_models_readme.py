"""models/README.md names everything that a reader may meet."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from oculard_models.lab import app
from oculard_models.manifest import Golden, InputSpec, Manifest, Output, Weights
from oculard_models.quality import REASONS

README = (Path(__file__).parents[2] / "models" / "README.md").read_text(encoding="utf-8")
TABLES = {"weights": Weights, "input": InputSpec, "output": Output, "golden": Golden}
KEYS = [name for name in Manifest.model_fields if name not in TABLES]
KEYS += [f"{table}.{name}" for table, model in TABLES.items() for name in model.model_fields]


@pytest.mark.parametrize("key", KEYS)
def test_every_manifest_key_is_documented(key: str):
    """Each key of manifest.toml has its row."""
    assert f"`{key}`" in README


@pytest.mark.parametrize("reason", REASONS)
def test_every_quality_reason_is_documented(reason: str):
    """Each slug of the quality gate is listed."""
    assert f"`{reason}`" in README


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_documented(command: str):
    """Each command of oculard-lab is shown in use."""
    assert f"oculard-lab {command}" in README
