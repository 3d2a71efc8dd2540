"""Reads a Keras file in a child process first: HDF5's library can loop or crash on a damaged file (measured, 2.0).

    python -m oculard_models.importers.keras_trial FILE

What the child has read to its end without harm is read again by its parent, which then says what is wrong with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from oculard_models.importers.keras_file import KerasFile, KerasRefused

LIMIT_S = 300.0  # the largest of the sixteen takes 2 s


def survive(path: Path) -> None:
    """See that reading a file comes to an end. Raises KerasRefused where it does not."""
    command = [sys.executable, "-m", "oculard_models.importers.keras_trial", str(path.resolve())]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False)  # noqa: S603  # our own module
    except subprocess.TimeoutExpired:
        raise KerasRefused(
            f"`{path.name}` cannot be read: it took more than {LIMIT_S:g} s; hint: is the download complete?"
        ) from None
    if done.returncode != 0:
        raise KerasRefused(
            f"`{path.name}` cannot be read: the HDF5 library ended with {done.returncode};"
            " hint: is the download complete?"
        )


def main() -> None:
    """Read everything; a refusal is an end as good as any."""
    try:
        with KerasFile(Path(sys.argv[1])) as file:
            file.read_everything()
    except KerasRefused:
        return


if __name__ == "__main__":
    main()
