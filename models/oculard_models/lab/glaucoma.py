"""`oculard-lab train faz-glaucoma`: what the avascular zone tells about glaucoma, as figures and as a bundle."""

from __future__ import annotations

import typer

from oculard_models.lab.console import fail
from oculard_models.lab.training import PACKAGES, answered
from oculard_models.manifest import BundleRefused


def train_faz_glaucoma(context: typer.Context) -> None:
    """Study glaucoma and the foveal avascular zone in a table of eyes; --help lists the settings."""
    try:
        from oculard_models.train import faz_glaucoma
    except ModuleNotFoundError as why:
        fail(f"the study needs `{why.name}`; {PACKAGES}")
    try:
        answered(faz_glaucoma.main, context.args)
    except BundleRefused as why:
        fail(str(why))
