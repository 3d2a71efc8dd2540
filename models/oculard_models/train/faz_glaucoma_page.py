"""One HTML page about the study of glaucoma, in the look of an evaluation. It runs no script."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from oculard_models.evaluate import plots
from oculard_models.evaluate.about import DISCLAIMER, DISCLAIMER_JAPANESE
from oculard_models.evaluate.page import TEMPLATES as STYLES
from oculard_models.manifest import Manifest
from oculard_models.train.faz_glaucoma_study import MODEL, Study
from oculard_models.train.faz_glaucoma_words import (
    CAUTIONS,
    CURVES,
    compared_words,
    curve_cells,
    figure_rows,
    model_words,
    people_words,
)


def page_of(study: Study, manifest: Manifest, command: str, date: str) -> str:
    """Write the page about the study behind a bundle."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, STYLES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("faz_glaucoma.html").render(
        name=f"{manifest.name} {manifest.version}",
        demonstration=manifest.demonstration,
        people=people_words(study),
        curves=[(CURVES[key], *curve_cells(curve)) for key, curve in study.curves.items()],
        compared=[compared_words(pair) for pair in study.compared],
        figures=figure_rows(study.figures),
        model=model_words(study),
        plot="data:image/png;base64," + b64encode(_plot(study)).decode("ascii"),
        cautions=CAUTIONS,
        origin=[
            ("Table", f"{study.eyes.name}, SHA-256 {study.eyes.sha256}"),
            ("Columns that nobody reads", ", ".join(study.eyes.ignored) or "none"),
            ("Folds by person", str(study.folds)),
            ("Command", command),
            ("Seed", str(study.seed)),
            ("Date", date),
        ],
        disclaimer=DISCLAIMER,
        disclaimer_japanese=DISCLAIMER_JAPANESE,
    )


def _plot(study: Study) -> bytes:
    """Draw the ROC curves, the model's last."""
    names = [*(name for name in study.scores if name != MODEL), MODEL]
    scores = {CURVES[name].english: study.scores[name] for name in names}
    return plots.roc_curves(
        study.eyes.truth, scores, "others called glaucoma (1 - specificity)", "glaucoma called so (sensitivity)"
    )
