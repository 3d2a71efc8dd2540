"""The command `oculard-lab`: paint eyes, look at bundles and photographs, train."""

from __future__ import annotations

import typer

from oculard_models.lab import painting, shelf, training

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="oculard-lab",
    help="The laboratory of oculard: paint, train, check.",
    no_args_is_help=True,
    add_completion=False,
)
train = typer.Typer(help="Train a bundle; needs the extra `lab`.", no_args_is_help=True)
app.add_typer(train, name="train")

app.command("paint")(painting.paint)
app.command("list")(shelf.list_bundles)
app.command("quality")(shelf.quality)
train.command("systemic-demo", context_settings=PASS_ON)(training.train_systemic_demo)


def main() -> None:
    """Start the command."""
    app()
