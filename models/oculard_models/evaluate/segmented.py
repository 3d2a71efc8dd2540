"""What a bundle that segments measures of the pictures of a table, cleaned and measured as in service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from oculard_models.contract import ImageInput, Shape
from oculard_models.data.dataset import NO_UID
from oculard_models.data.masked import Mask, Masked, read_mask, read_picture, read_table
from oculard_models.evaluate.masks import dice
from oculard_models.manifest import BundleRefused
from oculard_models.preprocess import seen_box
from oculard_models.registry import Bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers
from oculard_models.structures import MEASURES, measure

DECIMALS = 4


def rows_of(
    bundle: Bundle, table: Path, follow: Callable[[Sequence[Masked]], Iterable[Masked]]
) -> Iterator[dict[str, object]]:
    """Return a row a picture: id, plexus, Dice, the reason why nothing was measured, and the measures.

    `follow` sees the pictures pass. Raises BundleRefused, MaskedWrong, Unreadable.
    """
    mask = bundle.manifest.mask
    if mask is None:
        raise BundleRefused(f"bundle `{bundle.manifest.name}` has no mask; hint: it estimates values, see `evaluate`")
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=0)
    estimator.self_test()
    for row in follow(read_table(table)):
        pixels = read_picture(row.image)
        seen = ImageInput(sop_instance_uid=NO_UID, eye="R", pixels=pixels)
        (probability,) = estimator.segment(estimator.prepare(seen)[None])
        rows, columns = pixels.shape[:2]
        found = measure(
            probability,
            mask=mask,
            box=seen_box(pixels, bundle.manifest.input),
            image_size=(rows, columns),
            spacing_mm=None if row.side_mm is None else (row.side_mm / rows, row.side_mm / columns),
        )
        about: dict[str, object] = {
            "id": row.name,
            "plexus": row.stratum,
            "dice": "" if row.mask is None else _overlap(read_mask(row.mask), found.shape),
            "reason": found.reason,
        }
        yield about | {name: _cell(found.values.get(name)) for name in MEASURES[mask.structure]}


def _overlap(truth: Mask, shape: Shape | None) -> float:
    """Compare with what a person drew; what was not found overlaps nothing."""
    return 0.0 if shape is None else round(dice(truth, shape.mask), DECIMALS)


def _cell(value: float | None) -> float | str:
    """Write a measure; nothing where there is none."""
    return "" if value is None else round(value, DECIMALS)
