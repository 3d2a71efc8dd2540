"""The command `oculard-lab`: paint eyes, look at bundles and photographs, train."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import numpy as np
import typer
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from oculard_models.data.paint import paint as paint_eye
from oculard_models.data.person import Person, sample_people
from oculard_models.manifest import BundleRefused
from oculard_models.quality import assess
from oculard_models.registry import Bundle, find_bundles

app = typer.Typer(
    name="oculard-lab",
    help="The laboratory of oculard: paint, train, check.",
    no_args_is_help=True,
    add_completion=False,
)
train = typer.Typer(help="Train a bundle; needs the extra `lab`.", no_args_is_help=True)
app.add_typer(train, name="train")

T = TypeVar("T")

STDERR = Console(stderr=True)
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
PEOPLE_MAX = 1_000_000  # of one seed; with 1,000 seeds that stays below what trainings paint (train/systemic_demo.py)


@app.command()
def paint(
    folder: Annotated[Path, typer.Argument(help="Where the pictures go; made if it is missing.")],
    count: Annotated[int, typer.Option(min=1, max=PEOPLE_MAX, help="How many invented people, two eyes each.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=999, help="The same seed paints the same people.")] = 1,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Height and width in pixels.")] = 1024,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM studies instead of PNG files.")] = False,
    table: Annotated[Path | None, typer.Option("--csv", help="Write the planted attributes to this file.")] = None,
) -> None:
    """Paint the eyes of people who do not exist. Prints the path of every file."""
    people = sample_people(count, seed)
    seeds = [seed * PEOPLE_MAX + index for index in range(count)]
    write = _write_studies if dicom else _write_pictures
    for path in write(folder, _followed(list(zip(seeds, people, strict=True)), "painting"), size):
        typer.echo(path)
    if table is not None:
        _write_attributes(table, seeds, people)


@app.command("list")
def list_bundles(
    folders: Annotated[list[Path] | None, typer.Argument(help="More folders with bundles.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every bundle with its status: its weights are loaded and its self-test is run. Exit 1 if one is refused."""
    bundles, refusals = find_bundles(folders or ())
    rows = [(str(r.folder), "", "refused", r.reason) for r in refusals]
    for bundle in _followed(bundles, "self-test"):
        wrong = _self_test(bundle)
        rows.append((str(bundle.folder), bundle.identity, "refused" if wrong else "ready", wrong))
    keys = ("folder", "bundle", "status", "reason")
    _print_rows([dict(zip(keys, row, strict=True)) for row in rows], as_json)
    if any(row[2] == "refused" for row in rows):
        raise typer.Exit(1)


@app.command()
def quality(
    folder: Annotated[Path, typer.Argument(help="A folder with photographs.", exists=True, file_okay=False)],
    pattern: Annotated[str, typer.Option(help="Which files, below the folder too.")] = "*.jpg",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print grade, reasons and measures of every photograph. Exit 1 if a file is no picture or there is none."""
    paths = sorted(folder.rglob(pattern))
    if not paths:
        _fail(f"no file like {pattern} below {folder}; hint: name others with --pattern")
    rows: list[dict[str, object]] = []
    for path in _followed(paths, "measuring"):
        try:
            with Image.open(path) as picture:
                found = assess(np.asarray(picture.convert("RGB")))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as why:
            _fail(f"{path} cannot be read as a picture: {why}")
        rows.append(
            {"file": str(path.relative_to(folder)), "grade": found.grade.value, "reasons": " ".join(found.reasons)}
            | dict(found.measures)
        )
    _print_rows(rows, as_json)


@train.command("systemic-demo", context_settings=PASS_ON)
def train_systemic_demo(context: typer.Context) -> None:
    """Train the demonstration bundle on painted eyes; --help lists its settings."""
    try:
        from oculard_models.train import systemic_demo
    except ModuleNotFoundError as why:
        _fail(f"training needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    systemic_demo.main(context.args)


def main() -> None:
    """Start the command."""
    app()


def _write_pictures(folder: Path, people: Iterable[tuple[int, Person]], size_px: int) -> Iterator[Path]:
    """Write one PNG file an eye."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, person in people:
        for eye in "RL":
            path = folder / f"{seed}_{eye}.png"
            Image.fromarray(paint_eye(person, eye, seed, size_px)).save(path)
            yield path


def _write_studies(folder: Path, people: Iterable[tuple[int, Person]], size_px: int) -> Iterator[Path]:
    """Write one folder a person with a study of both eyes."""
    from oculard_models.data.painted_study import topcon_like_study, write_study

    for seed, person in people:
        yield from write_study(folder / str(seed), topcon_like_study(person, seed=seed, size_px=size_px))


def _write_attributes(path: Path, seeds: Sequence[int], people: Sequence[Person]) -> None:
    """Write what is planted: one row a person."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["seed", *asdict(people[0])])
        writer.writeheader()
        writer.writerows({"seed": seed} | asdict(person) for seed, person in zip(seeds, people, strict=True))


def _self_test(bundle: Bundle) -> str:
    """Load a bundle and run its self-test; return what is wrong with it, or nothing."""
    from oculard_models.runners.onnx import OnnxEstimator, choose_providers

    try:
        OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()
    except BundleRefused as why:
        return str(why)
    return ""


def _print_rows(rows: Sequence[dict[str, object]] | Sequence[dict[str, str]], as_json: bool) -> None:
    """Print rows as JSON, or as columns that line up; an empty cell is a dash."""
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, *([str(row.get(key, "")) or "-" for key in keys] for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(keys))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _followed(things: Sequence[T], words: str) -> Iterable[T]:
    """Show a progress bar on a terminal's stderr while things are worked through."""
    return track(things, description=words, console=STDERR, disable=not STDERR.is_terminal, transient=True)


def _fail(words: str) -> NoReturn:
    """Say what is wrong on stderr and leave with 1."""
    typer.echo(words, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
