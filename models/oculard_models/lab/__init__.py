"""The command `oculard-lab`: paint eyes, look at tables and bundles, train, compare, evaluate, import, export."""

from __future__ import annotations

import typer

from oculard_models.lab import (
    comparing,
    evaluating,
    exporting,
    glaucoma,
    glaucoma_types,
    importing,
    layers,
    painting,
    quality,
    segments,
    shelf,
    tables,
    training,
    views,
)

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="oculard-lab",
    help="The laboratory of oculard: paint, train, compare, evaluate, import, export.",
    no_args_is_help=True,
    add_completion=False,
)
train = typer.Typer(help="Train a bundle; needs the extra `lab`.", no_args_is_help=True)
app.add_typer(train, name="train")

app.command("paint")(painting.paint)
app.command("list")(shelf.list_bundles)
app.command("quality")(quality.quality)
app.command("table")(tables.table_check)
app.command("compare", context_settings=PASS_ON)(comparing.compare)
app.command("evaluate")(evaluating.evaluate)
app.command("measure")(segments.measure)
app.command("layers")(layers.layers)
app.command("normative")(layers.normative)
app.command("views")(views.views)
app.command("import-keras")(importing.import_keras)
app.command("export")(exporting.export)
train.command("systemic", context_settings=PASS_ON)(training.train_systemic)
train.command("systemic-demo", context_settings=PASS_ON)(training.train_systemic_demo)
train.command("glaucoma", context_settings=PASS_ON)(glaucoma_types.train_glaucoma)
train.command("faz-glaucoma", context_settings=PASS_ON)(glaucoma.train_faz_glaucoma)
train.command("faz", context_settings=PASS_ON)(training.train_faz)
train.command("faz-compare", context_settings=PASS_ON)(training.train_faz_compare)
train.command("disc", context_settings=PASS_ON)(training.train_disc)
train.command("layers", context_settings=PASS_ON)(training.train_layers)
train.command("disc-gate", context_settings=PASS_ON)(training.train_disc_gate)
train.command("quality", context_settings=PASS_ON)(quality.train_quality)


def main() -> None:
    """Start the command."""
    app()
