"""Smaller variants of a bundle, each a bundle of its own that says how far it drifts from its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from oculard_models.contract import EstimateFailed
from oculard_models.export.bundle import (
    WEIGHTS,
    Draft,
    ExportWrong,
    must_be_free,
    put_in_place,
    write_files,
    write_text,
)
from oculard_models.export.smaller import write_fp16, write_int8
from oculard_models.manifest import Output, OutputKind
from oculard_models.registry import Bundle, read_bundle
from oculard_models.runners.golden import golden_pixels
from oculard_models.runners.guards import checked_content
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

Kind = Literal["int8", "fp16"]

LARGEST_SHARE = 0.5  # of an output's interval that a variant may drift by before it is refused
LARGEST_POINTS = 10.0  # the same for the probability of a classification, in percent: it has no interval
TOLERANCES: Mapping[Kind, float] = {  # of the self-test: processors without the instructions for it add otherwise
    "int8": 0.05,
    "fp16": 0.02,
}
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, OSError)  # of the two converters

CARD_HEAD = """\
# {name}

**The {kind} variant of `{source}`, whose card follows below. It is {smaller:.1f} times smaller and drifts from it.**
**`{source}` の {kind} 版です。元のモデルとの差は下表のとおりです。**

Drift on {images} held-out images ({data}); all figures are in `metrics.json`.
較正に使っていない {images} 枚での差です。

{table}

A share is the largest drift over the half width of the output's interval. The intervals below are the source's and do
not include the drift.

---

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDrift:
    """How far one output moves, in its unit (a classification: points of its probability in percent)."""

    name: str
    unit: str
    mean: float
    largest: float
    share: float | None  # largest / half width of the interval, where there is one

    @property
    def too_much(self) -> bool:
        """Whether it moves more than a reader of the value would forgive."""
        if self.share is None:
            return self.unit == "%" and self.largest > LARGEST_POINTS
        return self.share > LARGEST_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was measured on a variant, over how many held-out images, and the bytes of both files of weights."""

    images: int
    outputs: tuple[OutputDrift, ...]
    source_bytes: int
    variant_bytes: int


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
    `provenance` says command, date, data and seed. A drift beyond half an interval is refused unless `force`.
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
        measured.append(_measured(source, read_bundle(inside), held_out))
        if not force:
            _must_be_small(draft.name, measured[0])
        write_text(inside, _card(draft, kind, source, measured[0]), {**draft.metrics, "drift": asdict(measured[0])})

    put_in_place(folder, fill)
    return measured[0]


def _draft(source: Bundle, kind: Kind, provenance: Mapping[str, object]) -> Draft:
    """Take over everything from the source but its name, its figures and its tolerance."""
    manifest = source.manifest
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
        golden_tolerance=max(TOLERANCES[kind], manifest.golden.tolerance),
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


def _measured(source: Bundle, variant: Bundle, held_out: npt.NDArray[np.float32]) -> Drift:
    """Run both on the held-out images, one by one as the daemon does on a processor."""
    try:
        rows = [_rows(source, held_out), _rows(variant, held_out)]
    except EstimateFailed as why:
        raise ExportWrong(f"the drift cannot be measured: {why}") from why
    outputs = source.manifest.output
    sizes = [(bundle.folder / bundle.manifest.weights.file).stat().st_size for bundle in (source, variant)]
    return Drift(
        images=len(held_out),
        outputs=tuple(_output_drift(o, *(np.array([row[o.name] for row in side]) for side in rows)) for o in outputs),
        source_bytes=sizes[0],
        variant_bytes=sizes[1],
    )


def _rows(bundle: Bundle, images: npt.NDArray[np.float32]) -> list[dict[str, float]]:
    """Run a bundle on prepared images."""
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    return [row for image in images for row in estimator.estimate(image[None])]


def _output_drift(output: Output, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> OutputDrift:
    """Measure one output in its unit."""
    moved = np.abs(_in_unit(output, after) - _in_unit(output, before))
    if not np.isfinite(moved).all():
        raise ExportWrong(
            f"`{output.name}` is not finite for a held-out image; hint: does the network overflow in fp16?"
        )
    largest = float(moved.max())
    share = None if output.uncertainty is None else round(largest / output.uncertainty, 4)
    return OutputDrift(
        name=output.name, unit=output.unit, mean=round(float(moved.mean()), 4), largest=round(largest, 4), share=share
    )


def _in_unit(output: Output, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn raw outputs into what is reported: the value, or the probability of the second class in percent."""
    if output.kind is OutputKind.BINARY:
        return np.asarray(100.0 / (1.0 + np.exp(-np.clip(raw, -60.0, 60.0))))
    return np.asarray(raw * output.scale + output.offset)


def _must_be_small(name: str, drift: Drift) -> None:
    """Refuse a variant whose values could not stand beside the source's."""
    far = [f"`{o.name}` by up to {o.largest:g} {o.unit}" for o in drift.outputs if o.too_much]
    if far:
        raise ExportWrong(
            f"{name} drifts too far on {drift.images} images: {', '.join(far)}; half an interval"
            f" ({LARGEST_POINTS:g} points of a probability) is allowed; hint: more photographs to calibrate, or --force"
        )


def _card(draft: Draft, kind: Kind, source: Bundle, drift: Drift) -> str:
    """Put the drift before the card of the source."""
    head = "| output | mean drift | largest drift | share of the interval |"
    rows = [
        f"| {o.name} ({o.unit}) | {o.mean:.3g} | {o.largest:.3g} | {'-' if o.share is None else f'{o.share:.2f}'} |"
        for o in drift.outputs
    ]
    filled = CARD_HEAD.format(
        name=draft.name,
        kind=kind,
        source=source.identity,
        smaller=drift.source_bytes / drift.variant_bytes,
        images=drift.images,
        data=draft.metrics["data"],
        table="\n".join([head, "|" + "---|" * 4, *rows]),
    )
    return filled + source.card
