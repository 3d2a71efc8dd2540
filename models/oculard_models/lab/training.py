"""`oculard-lab train`: one command a task; their settings are the scripts' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import typer

from oculard_models.lab.console import fail, misuse

T = TypeVar("T")

PACKAGES = "hint: install the extra with  pip install 'oculard[lab]'"


def train_systemic(context: typer.Context) -> None:
    """Train sex, age, blood pressure, glucose, waist, BMI on a table of photographs; --help lists the settings."""
    try:
        from oculard_models.train import systemic
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(systemic.main, context.args)


def train_systemic_demo(context: typer.Context) -> None:
    """Train the demonstration bundle on painted eyes; --help lists its settings."""
    try:
        from oculard_models.train import systemic_demo
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(systemic_demo.main, context.args)


def train_faz(context: typer.Context) -> None:
    """Train the foveal avascular zone on angiographies with masks; --help lists its settings."""
    try:
        from oculard_models.train import faz
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(faz.main, context.args)


def train_faz_compare(context: typer.Context) -> None:
    """Cross-validate the segmentation networks side by side; --help lists the settings."""
    try:
        from oculard_models.train import faz_compare
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(faz_compare.main, context.args)


def train_disc(context: typer.Context) -> None:
    """Train the demonstration of the optic disc on outlined photographs; --help lists its settings."""
    try:
        from oculard_models.train import disc
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(disc.main, context.args)


def train_disc_gate(context: typer.Context) -> None:
    """Compare the disc's network with the quality gate's "no disc"; --help lists the settings."""
    try:
        from oculard_models.train import disc_gate
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; {PACKAGES}")
    answered(disc_gate.main, context.args)


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
