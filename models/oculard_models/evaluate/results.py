"""The files of an evaluation: metrics.json, predictions.csv, page.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from oculard_models.evaluate.about import About
from oculard_models.evaluate.page import page_of
from oculard_models.evaluate.prediction_table import write_csv
from oculard_models.evaluate.predictions import Predictions
from oculard_models.evaluate.report import Part, metrics_of

METRICS, PREDICTIONS, PAGE = "metrics.json", "predictions.csv", "page.html"


def write_results(folder: Path, about: About, predictions: Predictions, parts: Sequence[Part]) -> dict[str, object]:
    """Write the three files, replacing those of an earlier evaluation; return what metrics.json holds."""
    metrics: dict[str, object] = {**about.to_json(), "results": metrics_of(parts)}
    page = page_of(about, parts)  # before anything is written: what fails leaves no half results
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(predictions, folder / PREDICTIONS)
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / METRICS).write_text(text + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page, encoding="utf-8")
    return metrics
