"""Smaller variants of a bundle, each a bundle of its own that says how far it drifts from its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from oculard_models.export.bundle import (
    WEIGHTS,
    Draft,
    ExportWrong,
    must_be_free,
    put_in_place,
    write_files,
    write_text,
)
from oculard_models.export.drift import LARGEST_POINTS, SMALLEST_DICE, Drift, MaskDrift, NotMeasured, measure_drift
from oculard_models.export.smaller import write_fp16, write_int8
from oculard_models.registry import Bundle, read_bundle
from oculard_models.runners.golden import golden_pixels
from oculard_models.runners.guards import checked_content

Kind = Literal["int8", "fp16"]

TOLERANCES: Mapping[Kind, float] = {  # of the self-test: processors without the instructions for it add otherwise
    "int8": 0.05,
    "fp16": 0.02,
}
MASK_TOLERANCES: Mapping[Kind, float] = {"int8": 0.005, "fp16": 0.002}  # of a mask's figures, which are small shares
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError)  # of the two converters

CARD_HEAD = """\
# {name}

**The {kind} variant of `{source}`, whose card follows below. It is {smaller:.1f} times smaller and drifts from it.**
**`{source}` の {kind} 版です。元のモデルとの差は下表のとおりです。**

Drift on {images} held-out images ({data}); all figures are in `metrics.json`.
較正に使っていない {images} 枚での差です。

{table}

---

"""
OUTPUTS_SAID = """

A share is the largest drift over the half width of the output's interval. The intervals below are the source's and do
not include the drift."""
MASK_SAID = """

Drift is of the probabilities, over all pixels; Dice is between the masks of the source and of this variant. The figures
below are the source's."""


def write_variant(
    source: Bundle,
    kind: Kind,
    folder: Path,
    *,
    calibration: Sequence[npt.NDArray[np.float32]],
    held_out: npt.NDArray[np.float32],
    provenance: Mapping[str, object],
    force: bool = False,
    replace: bool = False,
) -> Drift:
    """Write the bundle `<name>-<kind>` into `folder`, with its drift on held-out images. Raises ExportWrong.

    `calibration` are batches for the ranges of int8 (fp16 needs none), `held_out` is a batch that is in none of them.
    `provenance` says command, date, data and seed. A drift beyond half an interval, or masks with a mean Dice below
    SMALLEST_DICE, are refused unless `force`.
    """
    draft = _draft(source, kind, provenance)
    must_be_free(folder, draft.name, replace)
    _must_have_images(kind, calibration, held_out)
    measured: list[Drift] = []

    def fill(inside: Path) -> None:
        original = inside / "source.onnx"
        original.write_bytes(checked_content(source))
        _convert(original, kind, inside / WEIGHTS, draft.input.tensor, calibration)
        original.unlink()
        write_files(inside, draft, draft.metrics)
        try:
            measured.append(measure_drift(source, read_bundle(inside), held_out))
        except NotMeasured as why:
            raise ExportWrong(str(why)) from why
        if not force:
            _must_be_small(draft.name, measured[0])
        write_text(inside, _card(draft, kind, source, measured[0]), {**draft.metrics, "drift": asdict(measured[0])})

    put_in_place(folder, fill)
    return measured[0]


def _draft(source: Bundle, kind: Kind, provenance: Mapping[str, object]) -> Draft:
    """Take over everything from the source but its name, its figures and its tolerance."""
    manifest = source.manifest
    tolerances = TOLERANCES if manifest.mask is None else MASK_TOLERANCES
    about = {"name": manifest.name, "version": manifest.version, "sha256": manifest.weights.sha256}
    return Draft(
        name=f"{manifest.name}-{kind}",
        family=manifest.family,
        version=manifest.version,
        title=manifest.title,
        manufacturer=manifest.manufacturer,
        licence=manifest.licence,
        demonstration=manifest.demonstration,
        input=manifest.input,
        outputs=manifest.output,
        card=source.card,
        metrics={**provenance, "source": about},
        golden=golden_pixels(source),
        citation=manifest.citation,
        combine=manifest.combine,
        interval=manifest.interval,
        golden_tolerance=max(tolerances[kind], manifest.golden.tolerance),
        mask=manifest.mask,
    )


def _must_have_images(
    kind: Kind, calibration: Sequence[npt.NDArray[np.float32]], held_out: npt.NDArray[np.float32]
) -> None:
    """See that there is something to calibrate and to measure with."""
    if kind == "int8" and not sum(map(len, calibration)):
        raise ExportWrong("int8 needs photographs for its ranges; hint: give a table with --table")
    if not len(held_out):
        raise ExportWrong(f"{kind} needs held-out photographs to measure its drift; hint: give a table with --table")


def _convert(
    source: Path, kind: Kind, target: Path, tensor: str, calibration: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Write the smaller file."""
    try:
        if kind == "int8":
            write_int8(source, target, tensor, calibration)
        else:
            write_fp16(source, target)
    except FAILURES as why:
        raise ExportWrong(f"this network cannot become {kind}: {type(why).__name__}: {why}") from why


def _must_be_small(name: str, drift: Drift) -> None:
    """Refuse a variant whose values or outlines could not stand beside the source's."""
    far = [f"`{o.name}` by up to {o.largest:g} {o.unit}" for o in drift.outputs if o.too_much]
    if far:
        raise ExportWrong(
            f"{name} drifts too far on {drift.images} images: {', '.join(far)}; half an interval"
            f" ({LARGEST_POINTS:g} points of a probability) is allowed; hint: more photographs to calibrate, or --force"
        )
    if drift.mask is not None and drift.mask.too_much:
        raise ExportWrong(
            f"{name} drifts too far on {drift.images} images: the mean Dice between its masks and the source's is"
            f" {drift.mask.dice_mean:g}, {SMALLEST_DICE:g} is asked; hint: more images to calibrate, or --force"
        )


def _card(draft: Draft, kind: Kind, source: Bundle, drift: Drift) -> str:
    """Put the drift before the card of the source."""
    filled = CARD_HEAD.format(
        name=draft.name,
        kind=kind,
        source=source.identity,
        smaller=drift.source_bytes / drift.variant_bytes,
        images=drift.images,
        data=draft.metrics["data"],
        table=_outputs_table(drift) if drift.mask is None else _mask_table(drift.mask),
    )
    return filled + source.card


def _outputs_table(drift: Drift) -> str:
    """Write the drift of every output."""
    head = ("output", "mean drift", "largest drift", "share of the interval")
    rows = [
        (f"{o.name} ({o.unit})", f"{o.mean:.3g}", f"{o.largest:.3g}", "-" if o.share is None else f"{o.share:.2f}")
        for o in drift.outputs
    ]
    return _table(head, *rows) + OUTPUTS_SAID


def _mask_table(drift: MaskDrift) -> str:
    """Write the drift of the masks."""
    head = ("mean drift", "largest drift", "mean Dice", "smallest Dice")
    row = (f"{drift.mean:.2g}", f"{drift.largest:.2g}", f"{drift.dice_mean:.4f}", f"{drift.dice_smallest:.4f}")
    return _table(head, row) + MASK_SAID


def _table(head: Sequence[str], *rows: Sequence[str]) -> str:
    """Write a table as Markdown has it."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
