"""`oculard-lab evaluate`: how good a bundle is on photographs of people whose values are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard_models.lab.console import fail, misuse, print_rows
from oculard_models.lab.measuring import Asked, PartName, RunnerName, measure

if TYPE_CHECKING:
    from oculard_models.evaluate.report import Part


def evaluate(
    out: Annotated[
        Path, typer.Option(help="The folder for metrics.json, predictions.csv and page.html.", file_okay=False)
    ],
    bundle: Annotated[Path | None, typer.Argument(help="The bundle's folder.", exists=True, file_okay=False)] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: a row a photograph.", exists=True, dir_okay=False)
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Where the photographs are; else beside the table.", exists=True, file_okay=False),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="The split that the network was trained with.", exists=True, dir_okay=False)
    ] = None,
    part: Annotated[PartName, typer.Option(help="Whom of the split to measure on.")] = PartName.TEST,
    saved: Annotated[
        Path | None,
        typer.Option("--from", help="Read predictions.csv instead of running a bundle.", exists=True, dir_okay=False),
    ] = None,
    runner: Annotated[RunnerName, typer.Option(help="What executes the network.")] = RunnerName.ONNX,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Of the processor, for the network.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of bootstrap and folds; the same seed gives the same numbers.")] = 1,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out photographs that cannot be read, and name them.")
    ] = False,
    allow_training: Annotated[
        bool, typer.Option("--allow-training", help="Measure on people that trained the network, and say so.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """Measure a bundle on photographs with known values: errors with intervals and baselines, pictures, one page."""
    asked = Asked(
        bundle=bundle,
        table=table,
        images=images,
        split=split,
        part=part,
        saved=saved,
        out=out,
        runner=runner,
        threads=threads,
        seed=seed,
        skip_unreadable=skip_unreadable,
        allow_training=allow_training,
    )
    _must_agree(asked)
    try:
        metrics, parts = measure(asked)
    except ModuleNotFoundError as why:
        fail(f"evaluating needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    if as_json:
        typer.echo(json.dumps(metrics, indent=1, ensure_ascii=False))
        return
    _print(parts)
    typer.echo(f"{out}: metrics.json, predictions.csv, page.html", err=True)


def _must_agree(asked: Asked) -> None:
    """Refuse options that contradict each other."""
    if (asked.saved is None) == (asked.bundle is None):
        misuse("give either a bundle's folder or --from; hint: oculard-lab evaluate BUNDLE --table TABLE --out OUT")
    if asked.bundle is not None and asked.table is None:
        misuse("a bundle needs --table: a row a photograph, with its person, its eye and what is known")
    if asked.saved is not None and (asked.table or asked.images or asked.split):
        misuse("--from reads predictions that are already made; hint: leave --table, --images and --split out")
    if asked.split is not None and asked.part is PartName.TRAINING and not asked.allow_training:
        misuse("--part training measures on people that trained the network; hint: --part test, or --allow-training")


def _print(parts: tuple[Part, ...]) -> None:
    """Print the figures that most readers want, values apart from classes."""
    from oculard_models.evaluate.wording import figure_cell

    columns = {
        "sex": ("auc", "accuracy", "accuracy_of_share", "sensitivity", "specificity", "brier"),
        "": ("mae", "mae_of_median", "mae_of_line", "rmse", "r2", "pearson", "coverage"),
    }
    for kind, names in columns.items():
        rows = [
            {"target": part.target, "per": part.per, "persons": str(part.persons), "cases": str(part.rows)}
            | {name: figure_cell(part.figures[name], name, part.target) for name in names}
            for part in parts
            if (part.target == "sex") == (kind == "sex")
        ]
        if rows:
            print_rows(rows, as_json=False)
