"""`oculard-lab layers` and `oculard-lab normative`: the layers of OCT volumes, measured, drawn, and averaged."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard_models.lab.console import fail, followed, misuse, print_rows
from oculard_models.lab.finders import NamedNetwork, bare_file, finder, finders
from oculard_models.layer_manifest import SEARCH, SHIPPED

if TYPE_CHECKING:
    from oculard_models.evaluate.layer_study import Finder
    from oculard_models.volumes.volume import Map

TABLE, PICTURE = "layers.csv", "layers.png"
SAME_PAINTER = (
    "the network learnt from the painter that judges it here, and knows its layers, greys and noise as it would know "
    "no device's; the search was made by looking at it. Only the `foreign` ones are painted otherwise."
)
HEALTHY = ("normal", "0", "healthy")


def layers(
    volumes: Annotated[
        list[Path] | None, typer.Argument(help="DICOM volumes, or folders with some, to draw.", exists=True)
    ] = None,
    painted: Annotated[int, typer.Option(min=0, max=1000, help="Measure on so many painted volumes instead.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=999, help="The same seed paints the same eyes.")] = 1,
    frames: Annotated[int, typer.Option(min=32, max=512, help="B-scans of a painted volume.")] = 128,
    network: NamedNetwork = SHIPPED,
    out: Annotated[Path | None, typer.Option(help="Folder for the table and the pictures; made if missing.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Also write --network's file with its card and these figures: what the daemon serves."),
    ] = None,
    version: Annotated[str, typer.Option(help="Of the bundle.")] = "1.0.0",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the layers of OCT volumes: draw them, or measure on painted volumes how far they are off."""
    if bool(volumes) == bool(painted):
        misuse("give volumes to draw, or --painted N to measure; hint: oculard-lab layers --painted 10 --out layers")
    if volumes and out is None:
        misuse("--out is where the pictures go; hint: oculard-lab layers FOLDER --out pictures")
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            misuse(f"{out} cannot be made: {why.strerror}")
    if bundle is not None and (not painted or bare_file(network) is None or bundle.exists()):
        misuse("--bundle wants --painted, a file of `oculard-lab train layers` as --network, and a folder that is new")
    if volumes and out is not None:
        _draw(volumes, out, finder(network))
        return
    rows = list(_measured(painted, seed, frames, out, finders(network)))
    print_rows(rows, as_json)
    if network != SEARCH:
        typer.echo(SAME_PAINTER, err=True)
    if bundle is not None:
        _write_bundle(bundle, Path(network), rows, version, f"layers --painted {painted} --seed {seed}")
    if out is not None:
        with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def normative(
    volumes: Annotated[list[Path], typer.Argument(help="DICOM volumes of healthy discs, or folders.", exists=True)],
    out: Annotated[Path, typer.Option(help="The file to write: NAME.npz.")],
    table: Annotated[
        Path | None, typer.Option(help="CSV with `image` and `label`: only eyes whose label is `normal` are taken.")
    ] = None,
    network: NamedNetwork = SHIPPED,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the normative set of the deviation maps from healthy eyes' volumes; prints its sha256."""
    from oculard_models.data.volumes import VolumeUnusable, find_volumes, read_volume_file
    from oculard_models.volumes.centres import find_centres
    from oculard_models.volumes.normative import NORMATIVE_MAPS, NORMATIVE_PX, NormativeWrong, make_normative, to_bytes
    from oculard_models.volumes.views import ViewMissing, thickness_maps

    find = finder(network)
    wanted = None if table is None else _healthy(table)
    paths = [path for path in find_volumes(volumes) if wanted is None or path.resolve() in wanted]
    eyes: list[Mapping[str, Map]] = []
    for path in followed(paths, "segmenting"):
        try:
            volume = read_volume_file(path)
            found = find(volume)
            eyes.append(thickness_maps(volume, found, find_centres(volume, found), NORMATIVE_MAPS, NORMATIVE_PX))
        except (VolumeUnusable, ViewMissing) as why:
            typer.echo(f"left out: {path}: {why}", err=True)
    try:
        made = make_normative(eyes)
        content = to_bytes(made)
        out.write_bytes(content)
    except NormativeWrong as why:
        fail(str(why))
    except OSError as why:
        fail(f"{out} cannot be written: {why.strerror}")
    print_rows([{"file": str(out), "eyes": str(made.eyes), "of": str(len(paths)), "sha256": made.digest}], as_json)


def _healthy(table: Path) -> set[Path]:
    """The files of a table whose eyes are healthy."""
    from oculard_models.data.table_file import TableWrong, read_cells

    try:
        cells = read_cells(table, ("image", "label"))
    except TableWrong as why:
        misuse(str(why))
    if not {"image", "label"} <= set(cells.columns):
        misuse(f"{table} has no `image` or no `label`; hint: a row an eye")
    rows = zip(cells.columns["image"], cells.columns["label"], strict=True)
    return {(table.parent / image).resolve() for image, label in rows if label in HEALTHY}


def _write_bundle(folder: Path, network: Path, rows: list[dict[str, object]], version: str, measured: str) -> None:
    """Write the folder that the daemon serves."""
    from datetime import UTC, datetime

    from pydantic import ValidationError

    from oculard_models.export.layer_folder import write_layer_folder
    from oculard_models.runners.layer_network import NetworkWrong

    date = datetime.now(UTC).date().isoformat()
    try:
        write_layer_folder(folder, network, rows, version=version, measured=f"oculard-lab {measured}", date=date)
    except (NetworkWrong, OSError, ValidationError) as why:
        fail(f"{folder} is not written: {why}")
    typer.echo(str(folder), err=True)


def _draw(volumes: Sequence[Path], out: Path, find: Finder) -> None:
    """Draw the layers of DICOM volumes; those that cannot be used are named."""
    from PIL import Image

    from oculard_models.data.drawn_layers import drawn_volume
    from oculard_models.data.volumes import VolumeUnusable, find_volumes, read_volume_file
    from oculard_models.volumes.centres import find_centres

    unusable = 0
    for number, path in enumerate(followed(list(find_volumes(volumes)), "segmenting")):
        try:
            volume = read_volume_file(path)
        except VolumeUnusable as why:
            typer.echo(str(why), err=True)
            unusable += 1
            continue
        found = find(volume)
        picture = out / f"{number:03d}_{path.stem[:60]}.png"
        Image.fromarray(drawn_volume(volume, found, find_centres(volume, found))).save(picture)
        typer.echo(picture)
    if unusable:
        fail(f"{unusable} volumes could not be used")


def _measured(
    count: int, seed: int, frames: int, out: Path | None, finders: Mapping[str, Finder]
) -> Iterator[dict[str, object]]:
    """The error table of painted volumes of all types; the first volumes are drawn as well."""
    from PIL import Image

    from oculard_models.data.drawn_layers import stacked
    from oculard_models.evaluate.layer_study import Study

    study = Study(finders=finders)
    for number in followed(range(count), "segmenting"):
        study.measure(number, seed * 1000 + number, frames)
    if out is not None:
        Image.fromarray(stacked(study.pictures)).save(out / PICTURE)
    for row in study.rows():
        error = {key: f"{value:.3f}" if isinstance(value, float) else value for key, value in asdict(row.error).items()}
        yield {"volumes": row.volumes, "found by": row.finder, "where": row.where, "eyes": count, **error}
    for name, took_s in study.took_s().items():
        typer.echo(f"{name}: {took_s:.1f} s of processor time a volume", err=True)
