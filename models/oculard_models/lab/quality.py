"""`oculard-lab quality`: what the quality gate says of photographs; `oculard-lab train quality`: how it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oculard_models.lab.console import fail, followed, print_rows
from oculard_models.manifest import BundleRefused
from oculard_models.quality import SHIPPED_GATE, Gate, Quality, load_gate
from oculard_models.registry import BUNDLES, read_bundle


def quality(
    folder: Annotated[Path, typer.Argument(help="A folder with photographs.", exists=True, file_okay=False)],
    pattern: Annotated[str, typer.Option(help="Which files, below the folder too.")] = "*.jpg",
    gate: Annotated[Path, typer.Option(help="The gate's bundle.", exists=True, file_okay=False)] = BUNDLES
    / SHIPPED_GATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print grade, reasons, suggested eye and measures of every photograph. Exit 1 if one cannot be read."""
    from oculard_models.data.photographs import Unreadable, read_pixels

    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not paths:
        fail(f"no file like {pattern} below {folder}; hint: name others with --pattern")
    loaded = _load(gate)
    rows: list[dict[str, object]] = []
    for path in followed(paths, "looking"):
        try:
            rows.append(_row(str(path.relative_to(folder)), loaded.assess(read_pixels(path))))
        except Unreadable as why:
            fail(str(why))
    print_rows(rows, as_json)


def train_quality(context: typer.Context) -> None:
    """Train the quality gate on real photographs; --help lists its settings."""
    try:
        from oculard_models.train import quality_gate
    except ModuleNotFoundError as why:
        fail(f"training needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    quality_gate.main(context.args)


def _load(folder: Path) -> Gate:
    """Load a gate on the processor."""
    from oculard_models.runners.onnx import choose_providers

    try:
        return load_gate(read_bundle(folder), choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    except BundleRefused as why:
        fail(str(why))


def _row(file: str, found: Quality) -> dict[str, object]:
    """Tell one photograph's quality in a row."""
    sure = found.suggested_eye_probability
    return {
        "file": file,
        "grade": found.grade.value,
        "reasons": " ".join(found.reasons),
        "eye": f"{found.suggested_eye} {100.0 * sure:.1f} %" if sure is not None else "",
        "centred": found.centred or "",
    } | dict(found.measures)
