"""One HTML page about the study of disc types. It needs nothing beside itself and runs no script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from oculard_models.evaluate.about import DISCLAIMER, DISCLAIMER_JAPANESE
from oculard_models.evaluate.page import TEMPLATES as STYLES
from oculard_models.train import glaucoma_plots as plots
from oculard_models.train.glaucoma_cell import GLAUCOMA, TAUGHT
from oculard_models.train.glaucoma_judge import Asked, Question, judge, shipped
from oculard_models.train.glaucoma_probe import UNTRAINED
from oculard_models.train.glaucoma_words import (
    ARMS,
    MEASURES,
    PAINTED,
    PAINTED_JAPANESE,
    PUBLISHED,
    data_words,
    design_words,
    figure_cell,
    verdicts,
)
from oculard_models.volumes.types import DISC_TYPES


def page_of(asked: Asked, figures: Mapping[str, Any], net: str) -> str:
    """Write the page."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, STYLES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shares = list(figures["arms"]["flat"])
    return environment.get_template("glaucoma.html").render(
        painted=(PAINTED, PAINTED_JAPANESE) if figures["painted"] else None,
        data=data_words(figures),
        shares=shares,
        rows=[
            (ARMS[arm], [figure_cell(of[share]["kappa"]) for share in shares]) for arm, of in figures["arms"].items()
        ],
        differences=[
            (pair, [figure_cell(of[share], sign="+") for share in shares])
            for pair, of in figures["differences"].items()
        ],
        published=[words for words, _, _ in PUBLISHED],
        verdicts=verdicts(figures),
        probes=[
            (name, [figure_cell(one[model]) for model in (UNTRAINED, GLAUCOMA, TAUGHT)])
            for name, one in figures["probes"].items()
        ],
        measures=[
            (words, japanese, [figure_cell(figures["arms"]["transfer"][share][name]) for share in shares])
            for name, (words, japanese) in MEASURES.items()
        ],
        bars=_source(plots.kappa_bars(figures, PUBLISHED)),
        confusions=[
            (arm, _source(plots.confusion_map(of[shares[0]]["confusion"], plots.CALLED[arm])))
            for arm, of in figures["arms"].items()
        ],
        ablation=[
            (name, figure_cell(one["alone"]), figure_cell(one["without"]) if "without" in one else "-")
            for name, one in figures["ablation"]["transfer"].items()
        ],
        ablation_picture=_source(plots.ablation_bars(figures, "transfer")),
        forest=[(name, figure_cell(one)) for name, one in figures["second"]["forest"].items()],
        nine=None if "nine" not in figures["second"] else figure_cell(figures["second"]["nine"]["kappa"]),
        eyes=_source(_eyes(asked, net)),
        design=design_words(figures),
        origin=[("Command", figures["command"]), ("Seed", str(figures["seed"])), ("Date", figures["date"])],
        disclaimer=DISCLAIMER,
        disclaimer_japanese=DISCLAIMER_JAPANESE,
    )


def _eyes(asked: Asked, net: str) -> bytes:
    """Draw a test eye of each class that was called rightly and one that was not, where there are such."""
    judged = judge(
        asked.run,
        asked.eyes,
        Question(arm="transfer", share=asked.shares[0], split=0, views=asked.views),
        seed=asked.seed,
    )
    said, labels = judged.probability.argmax(1), asked.eyes.labels[judged.test]
    chosen: list[int] = []
    for number in range(len(DISC_TYPES)):
        for is_right in (True, False):
            fits = np.flatnonzero((labels == number) & ((said == number) == is_right))
            chosen += [int(at) for at in fits[:1]]
    rows = judged.test[chosen]
    views = asked.eyes.views[rows]
    with torch.inference_mode():
        _, _, maps = shipped(asked, net)(torch.from_numpy(views.astype(np.float32) / np.float32(255.0)))
    words = [
        f"label {DISC_TYPES[labels[at]]}\nsaid {DISC_TYPES[said[at]]}\n{100.0 * judged.probability[at].max():.0f} %"
        for at in chosen
    ]
    return plots.eye_rows(views, maps.numpy(), words, asked.eyes.names)


def _source(png: bytes) -> str:
    """A picture inside the page."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")
