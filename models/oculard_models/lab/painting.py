"""`oculard-lab paint`: eyes of people who do not exist."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from oculard_models.data.paint import paint as paint_eye
from oculard_models.data.person import Person, sample_people
from oculard_models.lab.console import followed, misuse

PEOPLE_MAX = 1_000_000  # of one seed; with 1,000 seeds that stays below what trainings paint (train/systemic_demo.py)

SIZE_PX, VIEW_PX = 1024, 64


def paint(
    folder: Annotated[Path, typer.Argument(help="Where the pictures go; made if it is missing.")],
    count: Annotated[int, typer.Option(min=1, max=PEOPLE_MAX, help="How many invented people, two eyes each.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=999, help="The same seed paints the same people.")] = 1,
    size: Annotated[
        int | None, typer.Option(min=32, max=4096, help="Height and width in pixels: 1024, with --oct 64.")
    ] = None,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM studies instead of PNG files.")] = False,
    table: Annotated[Path | None, typer.Option("--csv", help="Write the table of what is planted.")] = None,
    octa: Annotated[
        bool, typer.Option("--octa", help="OCT angiographies instead of photographs, with masks and labels.csv.")
    ] = False,
    glaucoma: Annotated[
        bool, typer.Option("--glaucoma", help="With --octa: half of the people have glaucoma, as in glaucoma.csv.")
    ] = False,
    oct_views: Annotated[
        bool,
        typer.Option("--oct", help="OCT: the four views of `count` eyes and labels.csv; with --dicom whole volumes."),
    ] = False,
    syntax: Annotated[str, typer.Option(help="With --oct --dicom: raw, deflated, rle, jpeg-ls or jpeg2000.")] = "raw",
) -> None:
    """Paint the eyes of people who do not exist. Prints the path of every file; the table is one to train with."""
    if glaucoma and (dicom or not octa):
        misuse("--glaucoma paints pictures with --octa; hint: oculard-lab paint FOLDER --octa --glaucoma")
    if oct_views:
        if octa or glaucoma:
            misuse("--oct and --octa are two kinds of scan; hint: oculard-lab paint FOLDER --oct")
        for path in _volumes(folder, seed, count, size or VIEW_PX, table, syntax if dicom else ""):
            typer.echo(path)
        return
    seeds = [seed * PEOPLE_MAX + index for index in range(count)]
    if octa:
        for path in _angiographies(folder, seeds, size or SIZE_PX, table, dicom, glaucoma):
            typer.echo(path)
        return
    people = sample_people(count, seed)
    write = _write_studies if dicom else _write_pictures
    paths = []
    for path in write(folder, followed(list(zip(seeds, people, strict=True)), "painting"), size or SIZE_PX):
        typer.echo(path)
        paths.append(path.relative_to(folder))
    if table is not None:
        _write_table(table, paths, seeds, people)


def _angiographies(
    folder: Path, seeds: Sequence[int], size_px: int, table: Path | None, dicom: bool, glaucoma: bool
) -> Iterator[Path]:
    """Choose what is painted of angiographies."""
    from oculard_models.lab import painting_octa

    if glaucoma:
        return painting_octa.write_cohort(folder, seeds[0] // PEOPLE_MAX, len(seeds), size_px, table)
    write = painting_octa.write_studies if dicom else painting_octa.write_scans
    return write(folder, seeds, size_px, table)


def _volumes(folder: Path, seed: int, eyes: int, size_px: int, table: Path | None, syntax: str) -> Iterator[Path]:
    """Choose what is painted of OCT: views, or volumes if a `syntax` is given."""
    from oculard_models.lab import painting_oct

    if not syntax:
        return painting_oct.write_views(folder, seed, eyes, size_px, table)
    return painting_oct.write_volumes(folder, seed, eyes, table, syntax)


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


def _write_table(table: Path, paths: Sequence[Path], seeds: Sequence[int], people: Sequence[Person]) -> None:
    """Write what is planted: one row a photograph, two a person, right before left (see data/table.py)."""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "person", "eye", *asdict(people[0])])
        writer.writeheader()
        for index, path in enumerate(paths):
            person, eye = index // 2, "RL"[index % 2]
            writer.writerow({"path": path, "person": f"painted-{seeds[person]}", "eye": eye} | asdict(people[person]))
