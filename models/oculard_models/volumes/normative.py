"""A normative set: how thick healthy eyes' layers are, place by place, made by the site from its own healthy eyes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from oculard_models.volumes.volume import Map

NORMATIVE_PX: Final = 64  # 6 x 6 mm around the disc
NORMATIVE_MAPS: Final = ("rnfl-thickness", "gcc-thickness")
FEWEST_EYES: Final = 20
MOST_BYTES: Final = 4 * 2**20
SD_FLOOR_UM = 3.0  # what a measurement cannot repeat is no deviation
FORMAT = 1


class NormativeWrong(ValueError):
    """A normative set that cannot be made, read or trusted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normative:
    """Mean and standard deviation by thickness map, in micrometres, as a right eye; NaN where too few eyes had one."""

    mean: Mapping[str, Map]
    sd: Mapping[str, Map]
    eyes: int
    digest: str

    def __post_init__(self) -> None:
        square = (NORMATIVE_PX, NORMATIVE_PX)
        for name in NORMATIVE_MAPS:
            if name not in self.mean or name not in self.sd:
                raise NormativeWrong(f"the normative set has no `{name}`")
            if self.mean[name].shape != square or self.sd[name].shape != square:
                raise NormativeWrong(f"`{name}` of the normative set is not {NORMATIVE_PX} x {NORMATIVE_PX}")
            if np.isinf(self.mean[name]).any() or np.isinf(self.sd[name]).any():
                raise NormativeWrong(f"`{name}` of the normative set is infinite")
            if (self.sd[name] <= 0).any():
                raise NormativeWrong(f"`{name}` of the normative set has a deviation that is not above 0")

    def deviation(self, name: str, thickness: Map) -> Map:
        """How many standard deviations a thickness map (NORMATIVE_PX square) is from the healthy eyes' mean."""
        return np.asarray((thickness - self.mean[name]) / self.sd[name], dtype=np.float32)


def make_normative(eyes: Sequence[Mapping[str, Map]]) -> Normative:
    """Make a set from the thickness maps (NORMATIVE_PX square, as right eyes, micrometres) of healthy eyes."""
    if len(eyes) < FEWEST_EYES:
        raise NormativeWrong(f"{len(eyes)} healthy eyes are too few; hint: {FEWEST_EYES} at least")
    mean, sd = {}, {}
    for name in NORMATIVE_MAPS:
        stack = np.stack([eye[name] for eye in eyes]).astype(np.float64)
        known = np.isfinite(stack)
        count = np.maximum(known.sum(axis=0), 1)
        middle = np.where(known, stack, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, stack - middle, 0.0) ** 2).sum(axis=0) / np.maximum(count - 1, 1))
        enough = known.sum(axis=0) >= FEWEST_EYES / 2
        mean[name] = np.where(enough, middle, np.nan).astype(np.float32)
        sd[name] = np.where(enough, np.maximum(spread, SD_FLOOR_UM), np.nan).astype(np.float32)
    return read_bytes(_written(mean, sd, len(eyes)))


def to_bytes(normative: Normative) -> bytes:
    """The file of a set; the same set gives the same bytes."""
    return _written(normative.mean, normative.sd, normative.eyes)


def read_normative(path: Path, digest: str = "") -> Normative:
    """Read a set; refuse one that is not what `digest` (sha256 of the file) says, where it is given."""
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MOST_BYTES else b""
    except OSError as why:
        raise NormativeWrong(f"the normative set cannot be read: {why.strerror}") from why
    if size > MOST_BYTES:
        raise NormativeWrong(f"the normative set has {size} bytes; more than {MOST_BYTES} are not read")
    found = read_bytes(content)
    if digest and found.digest != digest:
        raise NormativeWrong(f"the normative set has the sha256 {found.digest}, not {digest}; hint: was it exchanged?")
    return found


def read_bytes(content: bytes) -> Normative:
    """Read the file of a set."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
        if unpacked > MOST_BYTES:
            raise NormativeWrong(f"the normative set unpacks to {unpacked} bytes; more than {MOST_BYTES} are not read")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise NormativeWrong(f"the normative set has format {int(file['format'])}, not {FORMAT}")
            mean, sd = (
                {name: np.asarray(file[f"{kind}/{name}"], dtype=np.float32) for name in NORMATIVE_MAPS}
                for kind in ("mean", "sd")
            )
            eyes = int(file["eyes"])
    except NormativeWrong:
        raise
    except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as why:
        raise NormativeWrong("the normative set is not a file that `oculard-lab normative` wrote") from why
    return Normative(mean=mean, sd=sd, eyes=eyes, digest=sha256(content).hexdigest())


def _written(mean: Mapping[str, Map], sd: Mapping[str, Map], eyes: int) -> bytes:
    """The bytes of a set's file (numpy writes no time of day into it)."""
    arrays = {f"{kind}/{name}": maps[name] for kind, maps in (("mean", mean), ("sd", sd)) for name in NORMATIVE_MAPS}
    file = io.BytesIO()
    np.savez_compressed(file, format=np.int64(FORMAT), eyes=np.int64(eyes), **arrays)  # type: ignore[arg-type]
    return file.getvalue()
