"""`oculard-lab train glaucoma`: the disc types on OCT volumes, as a study and as bundles."""

from __future__ import annotations

import typer

from oculard_models.lab.console import fail, misuse
from oculard_models.lab.training import PACKAGES, answered
from oculard_models.manifest import BundleRefused


def train_glaucoma(context: typer.Context) -> None:
    """Train and compare three ways to tell Nicolela's disc types; --help lists the settings."""
    try:
        from oculard_models.data.disc_eyes import EyesWrong
        from oculard_models.train import glaucoma
    except ModuleNotFoundError as why:
        fail(f"the study needs `{why.name}`; {PACKAGES}")
    try:
        answered(glaucoma.main, context.args)
    except EyesWrong as why:
        misuse(str(why))
    except BundleRefused as why:
        fail(str(why))
