"""`oculard-lab measure`: what a bundle that segments measures of pictures."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from oculard_models.lab.console import fail, followed, misuse, print_rows
from oculard_models.manifest import BundleRefused


def measure(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a mask.", exists=True, file_okay=False)],
    data: Annotated[Path, typer.Option(help="CSV with `image`, and where known `mask`, `id`, `side_mm`.")],
    written: Annotated[Path | None, typer.Option("--csv", help="Also write the rows here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what the daemon would measure of every picture, and its Dice with the table's masks."""
    try:
        from oculard_models.data.masked import MaskedWrong
        from oculard_models.data.photographs import Unreadable
        from oculard_models.evaluate.segmented import rows_of
        from oculard_models.registry import read_bundle
    except ModuleNotFoundError as why:
        fail(f"measuring needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    try:
        rows = list(rows_of(read_bundle(bundle), data, lambda items: followed(items, "measuring")))
    except MaskedWrong as why:
        misuse(str(why))
    except (BundleRefused, Unreadable) as why:
        fail(str(why))
    print_rows(rows, as_json)
    if written is not None:
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        try:
            written.write_text(lines.getvalue(), encoding="utf-8")
        except OSError as why:
            fail(f"{written} cannot be written: {why.strerror}; hint: the rows stand on stdout, choose another --csv")
