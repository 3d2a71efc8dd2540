"""`oculard-lab table`: what is in a table of photographs, and who of its persons trains, tunes and tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from oculard_models.data.photographs import Unreadable, read_pixels
from oculard_models.data.split import PARTS, Split, SplitWrong, read_split, split_persons, write_split
from oculard_models.data.table import TARGETS, UNITS, Photograph, Table, TableWrong, read_table
from oculard_models.lab.console import fail, followed, misuse, print_rows


def table_check(
    file: Annotated[Path, typer.Argument(help="The table, CSV or Parquet.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the photographs; else the table's own.")] = None,
    split: Annotated[
        Path | None, typer.Option(help="Split the persons into this file; check it if it is there.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a new split: the same seed gives the same split.")] = 1,
    read: Annotated[bool, typer.Option("--read", help="Read every photograph, too, and name those that fail.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a table knows, and split its persons. Exit 1 for an unreadable photograph, 2 for a wrong table."""
    try:
        table = read_table(file, images=images)
        parts = _split(table, split, seed) if split is not None else None
    except (TableWrong, SplitWrong) as why:
        misuse(str(why))
    except ModuleNotFoundError as why:
        fail(f"tables need `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    known = [_known(table.photographs, name) for name in TARGETS]
    for warning in table.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        typer.echo(json.dumps(_counts(table) | {"known": known, "split": _sizes(table, parts)}, indent=1))
    else:
        counts = _counts(table)
        typer.echo(
            "{table}: {photographs} photographs of {persons} persons, {right} right and {left} left".format(**counts)
        )
        typer.echo(f"sha256 {table.sha256}\n")
        print_rows(known, as_json=False)
        if parts is not None:
            typer.echo("")
            print_rows(_sizes(table, parts), as_json=False)
    if read:
        _read_all(table.photographs)


def _split(table: Table, path: Path, seed: int) -> Split:
    """Read the split of the file, or make it and write it there. Raises SplitWrong."""
    if path.exists():
        split = read_split(path, table)
        typer.echo(f"split read from {path}, seed {split.seed}", err=True)
        return split
    split = split_persons(table.persons, seed)
    try:
        write_split(split, table, path)
    except OSError as why:
        fail(f"{path} cannot be written: {why.strerror}")
    typer.echo(f"split written to {path}, seed {seed}", err=True)
    return split


def _counts(table: Table) -> dict[str, object]:
    """Count photographs, persons and eyes."""
    right = sum(photograph.eye == "R" for photograph in table.photographs)
    return {
        "table": table.name,
        "sha256": table.sha256,
        "photographs": len(table.photographs),
        "persons": len(table.persons),
        "right": right,
        "left": len(table.photographs) - right,
    }


def _known(photographs: Sequence[Photograph], name: str) -> dict[str, object]:
    """Describe what is known of one target; of sex, the share of men."""
    known = [photograph for photograph in photographs if name in photograph.values]
    row: dict[str, object] = {
        "target": name,
        "unit": UNITS[name],
        "photographs": len(known),
        "persons": len({photograph.person for photograph in known}),
    }
    if not known:
        return row
    values = np.array([photograph.values[name] for photograph in known])
    if name == "sex":
        return row | {"female": int(np.sum(values == 0.0)), "male": int(np.sum(values == 1.0))}
    described = {
        "mean": values.mean(),
        "sd": values.std(),
        "median": np.median(values),
        "lowest": values.min(),
        "highest": values.max(),
    }
    return row | {key: round(float(value), 2) for key, value in described.items()}


def _sizes(table: Table, split: Split | None) -> list[dict[str, object]]:
    """Count persons and photographs of every part."""
    if split is None:
        return []
    return [{"part": p, "persons": len(split.of(p)), "photographs": len(table.of(split.of(p)))} for p in PARTS]


def _read_all(photographs: Sequence[Photograph]) -> None:
    """Read every photograph; name all that cannot be read and leave with 1 if there are any."""
    wrong = 0
    for photograph in followed(photographs, "reading"):
        try:
            read_pixels(photograph.path)
        except Unreadable as why:
            wrong += 1
            typer.echo(str(why), err=True)
    if wrong:
        fail(f"{wrong} of {len(photographs)} photographs cannot be read")
    typer.echo(f"all {len(photographs)} photographs can be read", err=True)
