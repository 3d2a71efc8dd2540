"""Prints what importing each of the sixteen costs and how far it is from Keras.

    python tests/models/keras_import_table.py [NAME ...]

Columns: name, pixels, parameters, MB of the .h5, largest difference, seconds to read, largest output.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from keras_samples import SIXTEEN, application

from oculard_models.importers.keras_file import KerasFile
from oculard_models.importers.keras_net import read_net


def main(names: list[str]) -> None:
    """One row an architecture."""
    torch.set_num_threads(1)
    for name in names or SIXTEEN:
        with tempfile.TemporaryDirectory() as folder:
            sample = application(Path(folder), name, size_px=SIXTEEN[name])
            start = time.perf_counter()
            with KerasFile(sample.path) as file:
                net = read_net(file, None)
            took = time.perf_counter() - start
            with torch.inference_mode():
                said = net(torch.from_numpy(sample.pictures).permute(0, 3, 1, 2)).numpy()
            row = (name, SIXTEEN[name], sample.parameters, sample.path.stat().st_size / 1e6)
            far, large = np.abs(said - sample.said).max(), np.abs(sample.said).max()
            sys.stdout.write("{:18} {:4} {:>11,} {:7.1f} {:.1e} {:5.2f} {:6.2f}\n".format(*row, far, took, large))


if __name__ == "__main__":
    main(sys.argv[1:])
