"""Compare networks for sex on one split of one table.

How to run (needs the extra `lab`):

    oculard-lab compare --table T.csv --images DIR --out comparison                     # all sixteen, at their own size
    oculard-lab compare --table T.csv --nets mobilenet,oculard-small --size-px 96 --epochs 5 --out short    # to try

The table goes to stdout, progress to stderr; in the folder are compare.csv, compare.png, compare.html, split.json and
a folder for each network. Called again with the same settings it goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import typer

from oculard_models.compare.networks import HEADS, Row, Settings, compare, write_table
from oculard_models.compare.page import cells, page, picture
from oculard_models.nets.sixteen import architecture
from oculard_models.train.material import Material, gather, keep_split
from oculard_models.train.settings import as_options, asked
from oculard_models.train.systemic import input_spec

PLACES = ("table", "images", "split", "out", "initial", "json")  # of one machine: not in the command we note
WORDS = "Train and measure networks for sex on one split, as in figure 1 of JOIR's release of 2023."


def main(arguments: Sequence[str]) -> tuple[list[dict[str, object]], bool]:
    """Compare and draw; return the rows to print, and whether as JSON."""
    settings = asked(Settings, arguments, "oculard-lab compare", WORDS)
    for name in settings.names:  # all of them before the first is trained
        input_spec(architecture(name), size_px=settings.size_px, crop=settings.crop, left="mirrored")
    out = Path(settings.out)
    images = Path(settings.images) if settings.images else None
    split = Path(settings.split) if settings.split else None
    material = gather(Path(settings.table), images, split, settings.seed, HEADS)
    for warning in material.table.warnings:
        typer.echo(warning, err=True)
    keep_split(material, out)
    rows: list[Row] = []
    for row in compare(settings, material):
        rows.append(row)
        typer.echo(f"{len(rows)}/{len(settings.names)} {row.title}: done", err=True)
        _write(rows, made(settings, material), out)
    return [asdict(row) if settings.json else dict(cells(row)) for row in rows], settings.json


def made(settings: Settings, material: Material) -> dict[str, str]:
    """Say how the comparison was made."""
    return {
        "command": "oculard-lab compare " + as_options(settings, without=PLACES),
        "date": datetime.now(UTC).date().isoformat(),
        "table": f"{material.table.name}, SHA-256 {material.table.sha256}",
        "split": f"by person, seed {material.split.seed}, SHA-256 {material.digest()}",
        "people": ", ".join(f"{name} {count}" for name, count in material.people().items()),
        "photographs": f"training {len(material.training)}, test {len(material.test)}",
    }


def _write(rows: Sequence[Row], how: dict[str, str], out: Path) -> None:
    """Write what is known so far."""
    write_table(rows, out / "compare.csv")
    (out / "compare.png").write_bytes(picture(rows))
    (out / "compare.html").write_text(page(rows, how), encoding="utf-8")
    (out / "compare.json").write_text(
        json.dumps({"made": how, "rows": [asdict(row) for row in rows]}, indent=1) + "\n", encoding="utf-8"
    )
