"""`oculard-lab train`: one command a task; their settings are the scripts' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TypeVar

import typer

from oculard_models.lab.console import fail, misuse

T = TypeVar("T")

PACKAGES = "hint: install the extra with  pip install 'oculard[lab]'"


def train_systemic(context: typer.Context) -> None:
    """Train sex, age, blood pressure, glucose, waist, BMI on a table of photographs; --help lists the settings."""
    _run("systemic", context)


def train_systemic_demo(context: typer.Context) -> None:
    """Train the demonstration bundle on painted eyes; --help lists its settings."""
    _run("systemic_demo", context)


def train_faz(context: typer.Context) -> None:
    """Train the foveal avascular zone on angiographies with masks; --help lists its settings."""
    _run("faz", context)


def train_faz_compare(context: typer.Context) -> None:
    """Cross-validate the segmentation networks side by side; --help lists the settings."""
    _run("faz_compare", context)


def train_disc(context: typer.Context) -> None:
    """Train the demonstration of the optic disc on outlined photographs; --help lists its settings."""
    _run("disc", context)


def train_layers(context: typer.Context) -> None:
    """Train a light network for the layers of OCT volumes on painted ones; --help lists its settings."""
    _run("layers", context)


def train_disc_gate(context: typer.Context) -> None:
    """Compare the disc's network with the quality gate's "no disc"; --help lists the settings."""
    _run("disc_gate", context)


def _run(script: str, context: typer.Context) -> None:
    """Run one of the trainings, each a script of its own."""
    try:
        module = import_module(f"oculard_models.train.{script}")
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(module.main, context.args)


def answered(main: Callable[[Sequence[str]], T], arguments: Sequence[str]) -> T:
    """Run a script; leave with 2 for what was asked wrongly, with 1 for what then failed, and say which."""
    from oculard_models.data.masked import MaskedWrong
    from oculard_models.data.photographs import Unreadable
    from oculard_models.data.scaling import ScalingWrong
    from oculard_models.data.split import SplitWrong
    from oculard_models.data.table import TableWrong
    from oculard_models.export import ExportWrong
    from oculard_models.nets.sixteen import NetWrong
    from oculard_models.train.checkpoint import CheckpointWrong
    from oculard_models.train.settings import TrainingWrong

    try:
        return main(arguments)
    except (CheckpointWrong, MaskedWrong, NetWrong, ScalingWrong, SplitWrong, TableWrong, TrainingWrong) as why:
        misuse(str(why))
    except (ExportWrong, Unreadable) as why:
        fail(str(why))
