"""Where the real photographs, scans and awkward DICOM files are; none of them is in this repository."""

import os
from pathlib import Path

DATA = Path(os.environ.get("OCULARD_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
