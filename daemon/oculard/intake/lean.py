"""What an intake never uses is not loaded: it takes half of its memory, and of its time to start.

pydicom loads numpy, GDCM and a client for the web wherever it finds them, to decode pixels and to fetch examples.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("numpy", "gdcm", "pylibjpeg", "openjpeg", "jpeg_ls", "PIL", "requests")


@contextmanager
def nothing_for_pixels() -> Iterator[None]:
    """Whatever is imported for the first time in this block finds none of these; afterwards all is as it was."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "there is no such module"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def load_dicom() -> None:
    """Load pydicom and pynetdicom without what decodes pixels. Where they are loaded already, nothing happens."""
    with nothing_for_pixels():
        importlib.import_module("pynetdicom")
