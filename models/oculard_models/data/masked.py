"""Pictures with the outlines that people drew in them: a table of images and masks, checked and kept in memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from oculard_models.contract import ImageInput
from oculard_models.data.dataset import NO_UID, normalised, prepared_bytes
from oculard_models.data.mask_variation import MaskVariation, varied
from oculard_models.data.photographs import PICTURE_ERRORS, PIXELS_MAX, Unreadable
from oculard_models.manifest import InputSpec
from oculard_models.preprocess import Box, Pixels, seen_box

STREAM = 106  # of random numbers: see data/paint.py
ROWS_MAX = 100_000
INSIDE = 128  # a mask's pixel from here on belongs to the structure
Mask = npt.NDArray[np.bool_]  # rows x columns


class MaskedWrong(ValueError):
    """A table of pictures and masks that cannot be used. The message names the row and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """One picture and its mask. `group` must not be divided between training and test; `stratum` may be "".

    `side_mm` is the side of the picture where the table knows it.
    """

    name: str
    image: Path
    mask: Path | None  # None: nobody has outlined anything
    group: str
    stratum: str = ""
    side_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A picture in memory: as the network sees it (bytes), the mask as it sees that (0..1), and where that lies."""

    about: Masked
    plane: npt.NDArray[np.uint8]  # 3 x height x width
    target: npt.NDArray[np.float32]  # height x width, share of each pixel that is inside
    truth: Mask  # of the picture as it was
    box: Box


def read_table(path: Path, *, mask: str = "mask") -> tuple[Masked, ...]:
    """Read a CSV with `image` (a path beside it), and where known `mask`, `id`, `plexus`, `same_scan_as`, `side_mm`.

    `mask` is how the table calls that column. Rows that name each other in `same_scan_as` are one group. Raises
    MaskedWrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise MaskedWrong(f"{path} cannot be read as a table: {why}") from why
    if not rows or len(rows) > ROWS_MAX or "image" not in rows[0]:
        raise MaskedWrong(f"{path}: expected 1 to {ROWS_MAX} rows with a column `image`")
    found = tuple(_row(path.parent, number, row, mask) for number, row in enumerate(rows, start=1))
    if len({one.name for one in found}) != len(found):
        raise MaskedWrong(f"{path}: two rows have the same id")
    groups = groups_of([one.name for one in found], [row.get("same_scan_as") or "" for row in rows])
    return tuple(replace(one, group=group) for one, group in zip(found, groups, strict=True))


def groups_of(names: Sequence[str], fellows: Sequence[str]) -> list[str]:
    """Give each name its group: the name at the end of the chain of those that belong together.

    `fellows` are the names that each of them names; "" for none.
    """
    towards: dict[str, str] = {}

    def end(name: str) -> str:
        while towards.get(name, name) != name:
            name = towards[name]
        return name

    for name, fellow in zip(names, fellows, strict=True):
        towards[end(name)] = end(fellow or name)
    return [end(name) for name in names]


def read_kept(rows: Iterable[Masked], spec: InputSpec) -> tuple[Kept, ...]:
    """Read and prepare pictures exactly as the daemon does. Raises Unreadable, MaskedWrong."""
    return tuple(_kept(row, spec) for row in rows)


def as_kept(about: Masked, pixels: Pixels, truth: Mask, spec: InputSpec) -> Kept:
    """Prepare a picture (rows x columns x 3) and its mask that are in memory already."""
    if pixels.shape[:2] != truth.shape:
        raise MaskedWrong(f"`{about.name}`: the picture has {pixels.shape[:2]} pixels, its mask {truth.shape}")
    if not truth.any():
        raise MaskedWrong(f"`{about.name}`: the mask is empty")
    plane = prepared_bytes(ImageInput(sop_instance_uid=NO_UID, eye="R", pixels=pixels), spec)
    box = seen_box(pixels, spec)
    return Kept(about=about, plane=plane, target=_seen(truth, box, spec.size_px), truth=truth, box=box)


def read_mask(path: Path) -> Mask:
    """Read a mask, rows x columns: inside where it is bright. Raises Unreadable."""
    return np.asarray(_open(path, "L")) >= INSIDE


def read_picture(path: Path) -> Pixels:
    """Read a picture, grey or colour, as rows x columns x 3 of uint8. Raises Unreadable."""
    return np.asarray(_open(path, "RGB"))


class MaskedSet(Dataset[dict[str, Tensor]]):  # type: ignore[misc, unused-ignore]  # torch may be untyped
    """Items: `image` (float32, 3 x height x width) and `target` (float32, 1 x height x width, 0..1).

    With a variation the items are patches of it, drawn by seed, epoch and index alone; without one they are whole.
    `repeats` lets a small set fill an epoch.
    """

    def __init__(
        self, kept: Sequence[Kept], spec: InputSpec, *, variation: MaskVariation | None, seed: int, repeats: int = 1
    ) -> None:
        self._planes = [torch.from_numpy(one.plane) for one in kept]
        self._targets = [torch.from_numpy(one.target)[None] for one in kept]
        self._spec, self._variation, self._seed, self._repeats = spec, variation, seed, repeats
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._planes) * self._repeats

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one item."""
        plane, target = self._planes[index % len(self._planes)], self._targets[index % len(self._planes)]
        if self._variation is not None:
            rng = np.random.default_rng([STREAM, self._seed, self._epoch, index])
            picture, target = varied(plane.float().div(255.0), target, self._variation, rng)
            plane = picture.mul(255.0)
        return {"image": torch.from_numpy(normalised(plane.numpy(), self._spec)), "target": target}

    def set_epoch(self, epoch: int) -> None:
        """Draw anew; call it before a loader starts on the epoch."""
        self._epoch = epoch


def _row(folder: Path, number: int, row: dict[str, str | None], mask: str) -> Masked:
    """Check one row."""
    image, outlined = row.get("image") or "", row.get(mask) or ""
    if not image:
        raise MaskedWrong(f"row {number} names no image")
    name = row.get("id") or Path(image).stem
    side = row.get("side_mm") or ""
    try:
        side_mm = float(side) if side else None
    except ValueError:
        raise MaskedWrong(f"row {number}: side_mm `{side}` is no number") from None
    return Masked(
        name=name,
        image=folder / image,
        mask=folder / outlined if outlined else None,
        group=name,
        stratum=row.get("plexus") or "",
        side_mm=side_mm,
    )


def _kept(row: Masked, spec: InputSpec) -> Kept:
    """Read one row's files."""
    if row.mask is None:
        raise MaskedWrong(f"`{row.name}` has no mask; hint: only pictures with one can be learnt from")
    return as_kept(row, read_picture(row.image), read_mask(row.mask), spec)


def _open(path: Path, mode: str) -> Image.Image:
    """Read a picture file; what is larger than any camera's is refused before it is decoded."""
    try:
        with Image.open(path, formats=["PNG", "JPEG", "TIFF"]) as picture:
            if picture.size[0] * picture.size[1] > PIXELS_MAX:
                raise Unreadable(f"{path} has {picture.size} pixels")
            return picture.convert(mode)
    except PICTURE_ERRORS as why:
        raise Unreadable(f"{path} cannot be read as a picture: {why}") from why


def _seen(truth: Mask, box: Box, size_px: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize a mask to what the network sees: the share of each of its pixels that is inside."""
    left, top, right, bottom = box
    rows, columns = truth.shape
    pad = max(0, -int(np.floor(min(left, top))), int(np.ceil(max(right - columns, bottom - rows))))
    whole = Image.fromarray(np.pad(truth, pad).astype(np.float32))
    shifted = (left + pad, top + pad, right + pad, bottom + pad)
    small = whole.resize((size_px[1], size_px[0]), Image.Resampling.BOX, box=shifted)
    return np.clip(np.asarray(small, dtype=np.float32), 0.0, 1.0)
