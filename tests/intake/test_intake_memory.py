"""What an intake loads and holds: no more than it uses, however many call and however large what they send is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.intake import MEMORY_GOAL_MIB, peak_mib_with_all_open
from bench.loads import VOLUMES, write_load
from bench.receivers import oculard

LOADED = """
import sys
import oculard.roles
from oculard.intake.lean import load_dicom
load_dicom()
import oculard.intake.role, oculard.intake.answering
print([name for name in ("numpy", "gdcm", "PIL", "requests", "alembic", "onnxruntime", "scipy") if name in sys.modules])
import numpy, PIL.Image, requests
from pydicom import dcmread
from pydicom.data import get_testdata_file
"""


def test_an_intake_loads_nothing_that_decodes_pixels() -> None:
    """Half of the memory would go into libraries that it never calls; whoever needs them later still finds them."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_many_volumes_at_once_cost_little_memory(tmp_path: Path) -> None:
    """25 associations are open, and over eight of them come volumes of 58 MB at once."""
    write_load(VOLUMES, tmp_path / "load", 1)

    with oculard(tmp_path) as receiver:
        peak_mib = peak_mib_with_all_open(receiver, list((tmp_path / "load").iterdir()), at_once=8, sends=8)

    assert peak_mib < MEMORY_GOAL_MIB
