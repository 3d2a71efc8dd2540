"""`oculard-lab export`: a bundle from a checkpoint, and smaller variants of a bundle with what they lose."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard_models.lab.console import fail, misuse, print_rows
from oculard_models.lab.pictures import People, Pictures, read_people, read_pictures
from oculard_models.manifest import SLUG, BundleRefused
from oculard_models.registry import Bundle, read_bundle

if TYPE_CHECKING:
    from oculard_models.export import Drift
    from oculard_models.export.variants import Kind

CALIBRATED, HELD_OUT = 128, 256  # photographs at most, in the table's order: for the ranges of int8, for the drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command was asked for; the last four name a checkpoint's bundle."""

    source: Path
    out: Path
    kinds: tuple[Kind, ...]
    table: Path | None
    images: Path | None
    split: Path | None
    seed: int
    force: bool
    replace: bool
    name: str
    version: str
    title: str
    licence: str


def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint (best.ckpt) or a bundle's folder.", exists=True)],
    out: Annotated[Path, typer.Option(help="The folder in which the new bundles get their folders.", file_okay=False)],
    int8: Annotated[bool, typer.Option("--int8", help="Write the variant in bytes; needs --table.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Write the variant in half precision; needs --table.")] = False,
    table: Annotated[
        Path | None, typer.Option(help="Photographs or en face pictures to calibrate and measure with.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Where they are; else beside the table.")] = None,
    split: Annotated[Path | None, typer.Option(help="The split that the network was trained with.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a split where none is given, and of the check.")] = 1,
    name: Annotated[str, typer.Option(help="Of a checkpoint's bundle.")] = "systemic",
    version: Annotated[str, typer.Option(help="Of a checkpoint's bundle.")] = "1.0.0",
    title: Annotated[
        str, typer.Option(help="Of a checkpoint's bundle, for reports.")
    ] = "Systemic attributes (research)",
    licence: Annotated[str, typer.Option(help="Of a checkpoint's bundle.")] = "not stated: ask those who trained it",
    force: Annotated[bool, typer.Option("--force", help="Write a variant however far it drifts.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace bundles of the same name in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write bundles: of a checkpoint, and int8 and fp16 variants. Prints sizes, difference and drift."""
    asked = Asked(
        source=source,
        out=out,
        kinds=_kinds(int8, fp16),
        table=table,
        images=images,
        split=split,
        seed=seed,
        force=force,
        replace=replace,
        name=name,
        version=version,
        title=title,
        licence=licence,
    )
    _must_agree(asked)
    try:
        rows = _written(asked)
    except ModuleNotFoundError as why:
        fail(f"exporting needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    print_rows(rows, as_json)


def _kinds(int8: bool, fp16: bool) -> tuple[Kind, ...]:
    """Name the variants that are wanted."""
    return (*(("int8",) if int8 else ()), *(("fp16",) if fp16 else ()))


def _must_agree(asked: Asked) -> None:
    """Refuse options that ask for nothing, or for what cannot be measured."""
    if asked.kinds and asked.table is None:
        misuse("a variant needs photographs to measure its drift on; hint: give them with --table")
    if asked.source.is_dir() and not asked.kinds:
        misuse(f"{asked.source} is a bundle already; hint: ask for a variant with --int8 or --fp16")
    if asked.table is None and (asked.split is not None or asked.images is not None):
        misuse("a split and photographs are of a table; hint: give it with --table")
    if re.fullmatch(SLUG, asked.name) is None:
        misuse(f"`{asked.name}` is no name of a bundle; hint: small letters, digits, single hyphens")


def _written(asked: Asked) -> list[dict[str, object]]:
    """Write what was asked for; one row a bundle, or an output of a variant."""
    from oculard_models.data.photographs import Unreadable
    from oculard_models.data.split import SplitWrong
    from oculard_models.data.table import TableWrong
    from oculard_models.export import ExportWrong

    try:
        rows: list[dict[str, object]] = []
        shown: People | Pictures | None
        if asked.source.is_dir():
            bundle = read_bundle(asked.source)
            shown = _shown(asked, bundle)
        else:
            people = shown = None if asked.table is None else _people(asked)
            bundle, rows = _from_checkpoint(asked, people)
        for kind in asked.kinds:
            assert shown is not None  # _must_agree has seen to it
            rows += _variant(bundle, kind, asked, shown)
    except (TableWrong, SplitWrong) as why:
        misuse(str(why))
    except (BundleRefused, ExportWrong, Unreadable) as why:
        fail(str(why))
    return rows


def _shown(asked: Asked, bundle: Bundle) -> People | Pictures:
    """Read what the variants of a bundle are calibrated and measured with."""
    if bundle.manifest.input.views:
        misuse(f"{asked.source} reads views of OCT volumes: it has no smaller variants")
    if bundle.manifest.mask is None:
        return _people(asked)
    assert asked.table is not None  # _must_agree has seen to it
    if asked.split is not None:
        misuse("the pictures of a bundle that segments have no split of persons; hint: leave out --split")
    return read_pictures(asked.table, asked.images, asked.seed)


def _people(asked: Asked) -> People:
    """Read the table; say what is odd about it."""
    assert asked.table is not None
    people = read_people(asked.table, asked.images, asked.split, asked.seed)
    for warning in people.table.warnings:
        typer.echo(warning, err=True)
    return people


def _provenance(asked: Asked) -> dict[str, object]:
    """Say what makes the same again, without the places of one machine."""
    words = ["oculard-lab", "export", asked.source.name, *(f"--{kind}" for kind in asked.kinds)]
    words += ["--table", asked.table.name] if asked.table is not None else []
    words += ["--split", asked.split.name] if asked.split is not None else []
    words += ["--force"] if asked.force else []
    return {
        "command": shlex.join([*words, "--seed", str(asked.seed)]),
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"images of {asked.table.name}" if asked.table is not None else "not said in the checkpoint",
        "seed": asked.seed,
    }


def _from_checkpoint(asked: Asked, people: People | None) -> tuple[Bundle, list[dict[str, object]]]:
    """Write the checkpoint's bundle and describe it in a row."""
    from oculard_models.export import write_bundle
    from oculard_models.export.trained import Naming, check_batch, draft_of
    from oculard_models.train.checkpoint import MASK, CheckpointWrong, read_checkpoint

    try:
        trained = read_checkpoint(asked.source)
    except CheckpointWrong as why:
        misuse(str(why))
    if trained.heads == (MASK,):
        misuse(f"{asked.source} is of a network that segments; hint: its training writes the bundle")
    naming = Naming(name=asked.name, version=asked.version, title=asked.title, licence=asked.licence)
    known = (people.table, people.split) if people is not None and people.of_training else None
    draft = draft_of(trained, naming, _provenance(asked), known)
    check = check_batch(draft, asked.seed)
    exported = write_bundle(asked.out / draft.name, trained.net, draft, check=check, replace=asked.replace)
    size = (exported.bundle.folder / exported.bundle.manifest.weights.file).stat().st_size
    difference = f"{exported.largest_difference:.1e}"
    return exported.bundle, [{"bundle": exported.bundle.identity, "MB": _mb(size), "torch - onnx": difference}]


def _variant(bundle: Bundle, kind: Kind, asked: Asked, shown: People | Pictures) -> list[dict[str, object]]:
    """Write one variant; one row an output, or one of its mask."""
    import numpy as np

    from oculard_models.export import write_variant

    spec, name = bundle.manifest.input, f"{bundle.manifest.name}-{kind}"
    typer.echo(f"{name}: calibrating and measuring", err=True)
    drift = write_variant(
        bundle,
        kind,
        asked.out / name,
        calibration=[np.stack(shown.photographs(spec, "calibration", CALIBRATED))] if kind == "int8" else [],
        held_out=np.stack(shown.photographs(spec, "test", HELD_OUT)),
        provenance=_provenance(asked),
        force=asked.force,
        replace=asked.replace,
    )
    return _drift_rows(f"{name} {bundle.manifest.version}", drift)


def _drift_rows(identity: str, drift: Drift) -> list[dict[str, object]]:
    """Describe a variant."""
    about: dict[str, object] = {"bundle": identity, "MB": _mb(drift.variant_bytes), "images": drift.images}
    if drift.mask is not None:
        return [
            about
            | {
                "mean drift": drift.mask.mean,
                "largest": drift.mask.largest,
                "mean Dice": drift.mask.dice_mean,
                "smallest Dice": drift.mask.dice_smallest,
            }
        ]
    return [
        about
        | {
            "output": output.name,
            "unit": output.unit,
            "mean drift": output.mean,
            "largest": output.largest,
            "share of interval": "" if output.share is None else output.share,
        }
        for output in drift.outputs
    ]


def _mb(size: int) -> float:
    """Return megabytes."""
    return round(size / 1e6, 2)
