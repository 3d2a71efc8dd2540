"""`oculard-lab train`: one command a task; their settings are the scripts' own."""

from __future__ import annotations

import typer

from oculard_models.lab.console import fail


def train_systemic_demo(context: typer.Context) -> None:
    """Train the demonstration bundle on painted eyes; --help lists its settings."""
    try:
        from oculard_models.train import systemic_demo
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    systemic_demo.main(context.args)
