"""`oculard-lab list`: look at bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oculard_models.lab.console import followed, print_rows
from oculard_models.manifest import BundleRefused
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


def _self_test(bundle: Bundle) -> str:
    """Load a bundle and run its self-test; return what is wrong with it, or nothing."""
    from oculard_models.runners.onnx import OnnxEstimator, choose_providers

    try:
        OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()
    except BundleRefused as why:
        return str(why)
    return ""
