"""The decoder of the program, but for files with telling names, which do to it what no decoder should do."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oculard_models import decoder
from oculard_models.dicom_pixels import read_header, read_rgb

POISONS = ("dies", "dies-once", "hangs", "eats", "lies", "fails")


def poison_of(path: Path) -> str:
    """Which poison a file is: what its header comments."""
    return str(read_header(path).get("ImageComments", ""))


def rgb(path: str, pixels_max: int) -> decoder.Answer:
    """Do what the file says."""
    match poison_of(Path(path)):
        case "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "dies-once":
            mark = Path(path).with_suffix(".seen")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGSEGV)
        case "hangs":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            while True:
                pass
        case "eats":
            return np.ones(3 << 30, np.uint8), {}
        case "lies":
            return np.zeros((4, 4), np.complex128), {}
        case "fails":
            raise KeyError("a bug")
    return read_rgb(Path(path), pixels_max=pixels_max), {}


def topcon(file: int, made: list[int], folder: str, sha256: str) -> Mapping[str, Any]:
    """Die of a file that has a telling chunk."""
    if b"@POISON" in os.pread(file, 1 << 24, 0):
        os.kill(os.getpid(), signal.SIGSEGV)
    return decoder._topcon(file, made, folder, sha256)


if __name__ == "__main__":
    questions: dict[str, Any] = decoder.QUESTIONS
    questions["rgb"] = rgb
    file_questions: dict[str, Any] = decoder.FILE_QUESTIONS
    file_questions["topcon"] = topcon
    decoder.main()
