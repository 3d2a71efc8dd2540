"""`oculard-lab views`: the views of OCT volumes as pictures, and the table that `train glaucoma` reads."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from oculard_models.lab.console import fail, followed, misuse
from oculard_models.lab.finders import NamedNetwork, finder
from oculard_models.layer_manifest import SHIPPED

TABLE = "eyes.csv"
COLUMNS = ("image", "person", "label", "eye")
DEFAULT = "rnfl-thickness,gcc-thickness,en-face,bscan-disc"


def views(
    volumes: Annotated[list[Path], typer.Argument(help="DICOM volumes of discs, or folders with some.", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for the pictures and eyes.csv; made if missing.")],
    table: Annotated[
        Path | None, typer.Option(help="CSV with `image` (a volume, beside it), `person`, `label`; else left empty.")
    ] = None,
    names: Annotated[str, typer.Option("--views", help="Which views, with commas.")] = DEFAULT,
    size_px: Annotated[int, typer.Option(min=16, max=1024, help="Height and width of a view.")] = 64,
    normative: Annotated[
        Path | None, typer.Option(help="What `oculard-lab normative` made; deviation maps need it.")
    ] = None,
    network: NamedNetwork = SHIPPED,
) -> None:
    """Find layers and disc of every volume and write its views side by side, as right eyes."""
    from PIL import Image

    from oculard_models.data.disc_eyes import as_bytes, as_strip
    from oculard_models.data.table_file import TableWrong
    from oculard_models.data.volumes import VolumeUnusable, find_volumes, read_volume_file
    from oculard_models.volumes.centres import find_centres
    from oculard_models.volumes.normative import NormativeWrong, read_normative
    from oculard_models.volumes.view_specs import VIEWS
    from oculard_models.volumes.views import ViewMissing, make_views

    wanted = tuple(name for name in names.split(",") if name)
    if not wanted or not set(wanted) <= set(VIEWS):
        misuse(f"--views: expected some of {', '.join(VIEWS)}")
    find = finder(network)
    try:
        known = {} if table is None else _rows(table)
        healthy = None if normative is None else read_normative(normative)
        out.mkdir(parents=True, exist_ok=True)
    except (NormativeWrong, TableWrong) as why:
        misuse(str(why))
    except OSError as why:
        misuse(f"{out} cannot be made: {why.strerror}")
    rows: list[dict[str, str]] = []
    for path in followed(list(find_volumes(volumes)), "segmenting"):
        try:
            volume = read_volume_file(path)
            layers = find(volume)
            seen = make_views(volume, layers, find_centres(volume, layers), wanted, size_px, healthy)
        except (VolumeUnusable, ViewMissing) as why:
            typer.echo(f"{path}: left out: {why}", err=True)
            continue
        name = f"eye-{len(rows) + 1:05d}.png"
        Image.fromarray(as_strip(as_bytes(np.stack([seen[one] for one in wanted])))).save(out / name, optimize=True)
        about = known.get(path.resolve(), {})
        rows.append(
            {"image": name, "eye": volume.eye, "person": about.get("person", ""), "label": about.get("label", "")}
        )
    if not rows:
        fail("no volume could be used")
    with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    typer.echo(f"{out / TABLE}: {len(rows)} eyes", err=True)


def _rows(table: Path) -> dict[Path, dict[str, str]]:
    """Read who and what the volumes are, by their files. Raises TableWrong."""
    from oculard_models.data.table_file import TableWrong, read_cells

    columns = read_cells(table, ("image", "person", "label")).columns
    if missing := [name for name in ("image", "person", "label") if name not in columns]:
        raise TableWrong(table.name, f"has no column {', '.join(missing)}", hint="a row a volume")
    rows = zip(columns["image"], columns["person"], columns["label"], strict=True)
    return {(table.parent / image).resolve(): {"person": person, "label": label} for image, person, label in rows}
