"""The bundle `fundus-quality` around its trained weights: outputs with their limits, card, golden picture, figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models.data.paint import paint
from oculard_models.data.person import sample_person
from oculard_models.export import Draft, Exported, write_bundle
from oculard_models.manifest import Limits, Output, OutputKind
from oculard_models.nets.gate import GateNet
from oculard_models.train.quality_card import card
from oculard_models.train.quality_sources import SPEC

NAME = "fundus-quality"
GOLDEN_SEED = 20_000_003  # below every training's seeds
GOLDEN_PX = 256
LICENCE = "Apache-2.0"
CITATION = (
    "Photographs: HRF (Budai et al. 2013), IDRiD (Porwal et al. 2018), CSDI (Peking University Third Hospital),"
    " all CC BY 4.0; scikit-image's retina (CC0)"
)


def _binary(name: str, first: str, second: str, limits: Limits | None = None) -> Output:
    """Describe a logit; its measure is the probability of the second choice in %."""
    return Output(
        name=name,
        concept=f"GATE-{name.upper()}",
        tensor=name,
        kind=OutputKind.BINARY,
        choices=(first, second),
        limits=limits,
    )


def _severity(name: str, reason: str) -> Output:
    """Describe a severity: 0 nothing, 1 where limited begins, 2 where ungradable does in what was learnt.

    Twice the error of the readings (about 0.15) is left before a photograph is turned away or passed wrongly.
    """
    return _value(name, "1", Limits(reason=reason, limited=1.15, ungradable=1.85))


def _value(name: str, unit: str, limits: Limits) -> Output:
    """Describe a number that is read as it is."""
    return Output(
        name=name, concept=f"GATE-{name.upper()}", tensor=name, kind=OutputKind.VALUE, unit=unit, limits=limits
    )


OUTPUTS = (  # in the order of nets.gate.HEADS
    _binary("fundus", "other", "fundus", Limits(reason="not-fundus", limited=80.0, ungradable=50.0)),
    _severity("dark", "too-dark"),
    _severity("bright", "too-bright"),
    _severity("blur", "blurred"),
    _severity("cut", "field-cut"),
    _value("haze", "{score}", Limits(reason="hazy", limited=4.75, ungradable=7.75)),
    _binary("disc", "absent", "visible", Limits(reason="no-disc", limited=50.0, ungradable=1.0)),
    _binary("eye", "L", "R"),
    _binary("centred", "macula", "disc"),
)


def write_gate(folder: Path, net: GateNet, figures: Mapping[str, Any], check: npt.NDArray[np.float32]) -> Exported:
    """Write the bundle, in place of an older one."""
    draft = Draft(
        name=NAME,
        family="quality",
        version="1.0.0",
        title="Quality of fundus photographs",
        manufacturer="oculard",
        licence=LICENCE,
        citation=CITATION,
        demonstration=False,
        input=SPEC,
        outputs=OUTPUTS,
        card=card(figures),
        metrics=figures,
        golden=paint(sample_person(np.random.default_rng(GOLDEN_SEED)), "R", GOLDEN_SEED, GOLDEN_PX),
    )
    return write_bundle(folder, net, draft, check=check, replace=True)
