"""`oculard-lab list` and `oculard-lab quality`: look at bundles and at photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, UnidentifiedImageError

from oculard_models.lab.console import fail, followed, print_rows
from oculard_models.manifest import BundleRefused
from oculard_models.quality import assess
from oculard_models.registry import Bundle, find_bundles


def list_bundles(
    folders: Annotated[list[Path] | None, typer.Argument(help="More folders with bundles.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every bundle with its status: its weights are loaded and its self-test is run. Exit 1 if one is refused."""
    bundles, refusals = find_bundles(folders or ())
    rows = [(str(r.folder), "", "refused", r.reason) for r in refusals]
    for bundle in followed(bundles, "self-test"):
        wrong = _self_test(bundle)
        rows.append((str(bundle.folder), bundle.identity, "refused" if wrong else "ready", wrong))
    keys = ("folder", "bundle", "status", "reason")
    print_rows([dict(zip(keys, row, strict=True)) for row in rows], as_json)
    if any(row[2] == "refused" for row in rows):
        raise typer.Exit(1)


def quality(
    folder: Annotated[Path, typer.Argument(help="A folder with photographs.", exists=True, file_okay=False)],
    pattern: Annotated[str, typer.Option(help="Which files, below the folder too.")] = "*.jpg",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print grade, reasons and measures of every photograph. Exit 1 if a file is no picture or there is none."""
    paths = sorted(folder.rglob(pattern))
    if not paths:
        fail(f"no file like {pattern} below {folder}; hint: name others with --pattern")
    rows: list[dict[str, object]] = []
    for path in followed(paths, "measuring"):
        try:
            with Image.open(path) as picture:
                found = assess(np.asarray(picture.convert("RGB")))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as why:
            fail(f"{path} cannot be read as a picture: {why}")
        rows.append(
            {"file": str(path.relative_to(folder)), "grade": found.grade.value, "reasons": " ".join(found.reasons)}
            | dict(found.measures)
        )
    print_rows(rows, as_json)


def _self_test(bundle: Bundle) -> str:
    """Load a bundle and run its self-test; return what is wrong with it, or nothing."""
    from oculard_models.runners.onnx import OnnxEstimator, choose_providers

    try:
        OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()
    except BundleRefused as why:
        return str(why)
    return ""
