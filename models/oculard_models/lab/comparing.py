"""`oculard-lab compare`: the sixteen networks of JOIR's release of 2023 for sex, on photographs of one's own."""

from __future__ import annotations

import typer

from oculard_models.lab.console import fail, print_rows
from oculard_models.lab.training import PACKAGES, answered


def compare(context: typer.Context) -> None:
    """Train and measure the sixteen networks for sex on one split, like the release; --help lists the settings."""
    try:
        from oculard_models.compare import run as compare_run
    except ModuleNotFoundError as why:
        fail(f"comparing needs `{why.name}`; {PACKAGES}")
    print_rows(*answered(compare_run.main, context.args))
