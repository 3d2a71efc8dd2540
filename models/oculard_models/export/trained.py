"""From a checkpoint to the draft of a bundle; what a checkpoint does not say of its people is not said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.contract import ImageInput
from oculard_models.data.split import Split
from oculard_models.data.table import Table
from oculard_models.export.bundle import Draft
from oculard_models.preprocess import prepare
from oculard_models.train.checkpoint import Trained
from oculard_models.train.estimating import estimate
from oculard_models.train.intervals import LEVEL, Width, half_widths
from oculard_models.train.outputs import outputs_of
from oculard_models.train.systemic_card import golden_eye

CHECKED = 3  # pictures of noise on which torch and onnxruntime must agree, beside the golden one
BATCH = 8
CARD = """\
# {name}

**Research. Estimates, no measurements. / 研究用。推定値であり、測定値ではありません。**

Exported from a checkpoint of the network {net} for {heads}, input {height} x {width} pixels.

    {command}

What the checkpoint was trained on: {data}. {intervals}

**Nothing here was measured on people.** Run `oculard-lab evaluate` on people who did not train, and write down here
what it says, before anybody reads a value. / このモデルの性能はまだ測定されていません。

Licence: {licence}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How the bundle is called."""

    name: str
    version: str
    title: str
    licence: str


def draft_of(
    trained: Trained, naming: Naming, provenance: Mapping[str, object], people: tuple[Table, Split] | None
) -> Draft:
    """Describe a checkpoint's bundle; `people`, with the split of its training, give intervals and ranges."""
    widths = {name: Width(one=None, both=None) for name in trained.heads}
    valid: dict[str, tuple[float, float]] = {}
    if people is not None:
        table, split = people
        calibration = table.of(split.calibration)
        widths.update(half_widths(estimate(trained.net, calibration, trained.spec, trained.scaling, batch=BATCH)))
        valid = _seen(table, split, trained.heads)
    height, width = trained.spec.size_px
    return Draft(
        name=naming.name,
        family="systemic",
        version=naming.version,
        title=naming.title,
        manufacturer="own training",
        licence=naming.licence,
        demonstration=False,
        interval=LEVEL,
        input=trained.spec,
        outputs=outputs_of(trained.scaling, widths, valid),
        card=CARD.format(
            name=naming.name,
            net=trained.architecture,
            heads=", ".join(trained.heads),
            height=height,
            width=width,
            command=provenance["command"],
            data=provenance["data"],
            intervals="Its intervals are conformal, from the calibration people of its split."
            if people is not None
            else "It has no intervals: no split said who may calibrate them.",
            licence=naming.licence,
        ),
        metrics={**provenance, "checkpoint": dict(trained.settings)},
        golden=golden_eye(),
    )


def check_batch(draft: Draft, seed: int) -> npt.NDArray[np.float32]:
    """Return the golden picture as the network sees it, and pictures of noise."""
    golden = prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=draft.golden), draft.input)
    noise = np.random.default_rng(seed).normal(size=(CHECKED, *golden.shape)).astype(np.float32)
    return np.concatenate([golden[None], noise])


def _seen(table: Table, split: Split, heads: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Return the range of every value among those who trained."""
    training = table.of(split.training)
    known = {name: [p.values[name] for p in training if name in p.values] for name in heads if name != "sex"}
    return {name: (min(values), max(values)) for name, values in known.items() if len(set(values)) > 1}
