"""The real fundus photographs beside the project, for tests that want them. None of them is copied."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def fundus_folder() -> Path:
    """Return the folder of the photographs, or skip the test with the reason."""
    folder = Path(os.environ.get("OCULARD_DATA") or ROOT.parent / "shared" / "data") / "fundus"
    if not folder.is_dir():
        pytest.skip(f"no real photographs at {folder}; set OCULARD_DATA to the folder that holds fundus/")
    return folder


def pixels_of(path: Path) -> npt.NDArray[np.uint8]:
    """Decode one photograph to rows x columns x 3."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def sharp_photographs() -> list[Path]:
    """Return those that nobody would call ungradable: HRF, IDRiD and the one of skimage."""
    folder = fundus_folder()
    paths = [*folder.glob("hrf/*.jpg"), *folder.glob("idrid/*.jpg"), folder / "skimage_retina.jpg"]
    assert len(paths) == 15
    return sorted(paths)


def csdi_labels() -> list[dict[str, str]]:
    """Return the rows of the CSDI table: haze score and boxes, one a photograph."""
    with (fundus_folder() / "csdi" / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
