"""Geometry of an OCT volume as its header says it: frame order, spacing, what it is centred on. Nothing is guessed.

Which frame is the uppermost says the photograph on which the device drew them (Ophthalmic Frame Location, PS3.3
C.8.17.11), else their position in the patient (PS3.3 C.7.6.16.2.3: the z axis runs to the head). Protocol names are
not looked at: they are not reliable, and the frames' distance is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from oculard_models.dicom_header import header_items, header_numbers, header_text
from oculard_models.volumes.volume import Scan, Spacing

ONE_FRAME, TOO_FEW_FRAMES, FRAMES_MISSING = "one-frame", "too-few-frames", "frames-missing"
FRAMES_UNORDERED, NOT_A_RASTER = "frames-unordered", "not-a-raster"
SPACING_MISSING, SPACING_IMPLAUSIBLE = "spacing-missing", "spacing-implausible"
FRAMES_MIN, FRAMES_MAX = 32, 2048  # fewer are lines; devices write up to 512
FIELD_MM = (2.0, 25.0)  # a side seen from above
DEPTH_MM = (1.0, 6.0)  # of a B-scan: devices write 1.9 to 3
STEP_UM = (1.0, 12.0)  # of depth
AGREE = 0.1  # two statements of one length may differ by so much
GAP = 1.6  # times the usual step between frames: one is missing
STRAIGHT = 0.97  # cosine of what a horizontal scan may be turned by: 14 degrees
WIDE_MM = 8.0  # of a disc or macula scan a side is 6 mm, of a wide one 9 to 12
REGIONS = {  # PS3.16 CID 4209, and the retired codes that devices still write
    ("SCT", "81016008"): Scan.DISC,
    ("SRT", "T-AA630"): Scan.DISC,
    ("SNM3", "T-AA630"): Scan.DISC,
    ("SCT", "82859000"): Scan.MACULA,
    ("SCT", "67046006"): Scan.MACULA,
    ("SRT", "T-AA621"): Scan.MACULA,
    ("SNM3", "T-AA621"): Scan.MACULA,
}
Numbers = npt.NDArray[np.float64]


class Unfit(ValueError):
    """A volume that cannot be used as it came. `reason` is a stable slug; the message has no patient data."""

    def __init__(self, reason: str, message: str = "") -> None:
        self.reason = reason
        super().__init__(message or reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How the frames of an instance make a volume.

    `order` names the stored frames from superior to inferior; with `mirrored` their columns run from right to left.
    `corner_mm` is where the first A-scan of the uppermost frame begins in the patient; None when nothing says it.
    """

    rows: int
    columns: int
    order: tuple[int, ...]
    mirrored: bool
    spacing: Spacing
    scan: Scan
    corner_mm: tuple[float, float, float] | None = None


def read_geometry(header: Dataset) -> Geometry:
    """Read the geometry of an Ophthalmic Tomography instance. Raises Unfit."""
    rows, columns, frames = (_count(header, name) for name in ("Rows", "Columns", "NumberOfFrames"))
    if frames <= 1:
        raise Unfit(ONE_FRAME)
    if not FRAMES_MIN <= frames <= FRAMES_MAX:
        raise Unfit(TOO_FEW_FRAMES if frames < FRAMES_MIN else FRAMES_UNORDERED, f"{frames} frames")
    groups = header_items(header, "PerFrameFunctionalGroupsSequence")
    if len(groups) != frames or _count(header, "InConcatenationTotalNumber") > 1:
        raise Unfit(FRAMES_MISSING, f"{len(groups)} of {frames} frames are described")
    places = _positions(groups)
    drawn = _drawn(groups)
    if drawn is not None:
        order, mirrored = _by_photograph(drawn)
    elif places is not None:
        order, mirrored = _by_position(header, groups, places)
    else:
        raise Unfit(FRAMES_UNORDERED, "nothing says where the frames lie")
    spacing = _spacing(header, groups, None if places is None else places[list(order)], (rows, columns, frames))
    corner = None if places is None else tuple(float(at) for at in places[order[0]])
    return Geometry(
        rows=rows,
        columns=columns,
        order=order,
        mirrored=mirrored,
        spacing=spacing,
        scan=_scan(header, spacing, frames, columns),
        corner_mm=corner if corner is None else (corner[0], corner[1], corner[2]),
    )


def _count(header: Dataset, keyword: str) -> int:
    numbers = header_numbers(header, keyword) or (0.0,)
    return int(numbers[0]) if 0 <= numbers[0] < 1e9 else 0


def _of_group(groups: Sequence[Dataset], sequence: str, keyword: str, count: int) -> Numbers | None:
    """So many numbers of each frame; None unless every frame has them."""
    said = []
    for group in groups:
        items = header_items(group, sequence)
        numbers = header_numbers(items[0], keyword) if items else None
        if numbers is None or len(numbers) != count or not np.all(np.isfinite(numbers)):
            return None
        said.append(numbers)
    return np.array(said, dtype=np.float64)


def _positions(groups: Sequence[Dataset]) -> Numbers | None:
    return _of_group(groups, "PlanePositionSequence", "ImagePositionPatient", 3)


def _drawn(groups: Sequence[Dataset]) -> Numbers | None:
    """Row and column of each frame's two ends in the photograph."""
    drawn = _of_group(groups, "OphthalmicFrameLocationSequence", "ReferenceCoordinates", 4)
    return None if drawn is None or not np.any(drawn) else drawn  # some devices fill them with zeros


def _by_photograph(drawn: Numbers) -> tuple[tuple[int, ...], bool]:
    """The order by where the frames are drawn on the photograph, and whether they run from right to left."""
    down, right = drawn[:, 2] - drawn[:, 0], drawn[:, 3] - drawn[:, 1]
    length = np.hypot(down, right)
    if not np.all(np.abs(right) > STRAIGHT * length) or np.unique(np.sign(right)).size != 1:
        raise Unfit(NOT_A_RASTER, "the frames are not horizontal in the photograph")
    middle = (drawn[:, 1] + drawn[:, 3]) / 2
    if np.ptp(middle) > 0.25 * length.max():
        raise Unfit(NOT_A_RASTER, "the frames do not lie below each other in the photograph")
    return _ordered((drawn[:, 0] + drawn[:, 2]) / 2, coarse=1.0), bool(right[0] < 0)


def _by_position(header: Dataset, groups: Sequence[Dataset], places: Numbers) -> tuple[tuple[int, ...], bool]:
    """The order by the frames' positions in the patient, and whether they run from the patient's left to the right."""
    turned = _orientation(header, groups)
    if turned is None:
        raise Unfit(FRAMES_UNORDERED, "nothing says how the frames are turned")
    along, deep = turned[:3], turned[3:]
    way = places[int(np.argmax(places[:, 2]))] - places[int(np.argmin(places[:, 2]))]
    if abs(along[0]) < STRAIGHT or deep[1] < STRAIGHT or way[2] < STRAIGHT * float(np.linalg.norm(way)):
        raise Unfit(NOT_A_RASTER, "the frames are not horizontal B-scans below each other")
    return _ordered(-places[:, 2], coarse=0.0), bool(along[0] < 0)


def _orientation(header: Dataset, groups: Sequence[Dataset]) -> Numbers | None:
    """The direction cosines that all frames share; None unless something says them."""
    shared = header_items(header, "SharedFunctionalGroupsSequence")
    said = _of_group(shared[:1], "PlaneOrientationSequence", "ImageOrientationPatient", 6) if shared else None
    said = _of_group(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6) if said is None else said
    if said is None or np.ptp(said, axis=0).max() > 0.01:
        return None
    return np.asarray(said[0], dtype=np.float64)


def _ordered(depths: Numbers, *, coarse: float) -> tuple[int, ...]:
    """The frames from the least to the largest `depths`, which must be even steps but for `coarse`. Raises Unfit."""
    steps = np.diff(depths)
    if np.all(steps >= 0) and np.any(steps > 0):
        order = np.arange(depths.size)
    elif np.all(steps <= 0) and np.any(steps < 0):
        order = np.arange(depths.size)[::-1]
    else:
        order = np.argsort(depths, kind="stable")
    steps = np.diff(depths[order])
    usual = float(np.median(steps))
    if usual <= 0 and not coarse:
        raise Unfit(FRAMES_UNORDERED, "frames lie at the same place")
    if steps.min() < (2 - GAP) * usual - coarse:
        raise Unfit(FRAMES_UNORDERED, "frames lie at the same place")
    if steps.max() > GAP * usual + coarse:
        raise Unfit(FRAMES_MISSING, "there is a gap between the frames")
    return tuple(int(frame) for frame in order)


def _spacing(
    header: Dataset, groups: Sequence[Dataset], places: Numbers | None, shape: tuple[int, int, int]
) -> Spacing:
    """Pixel Spacing and the frames' distance, where all that speaks of them agrees and is an eye's. Raises Unfit."""
    rows, columns, frames = shape
    measures = [
        item
        for holder in (*header_items(header, "SharedFunctionalGroupsSequence"), *groups)
        for item in header_items(holder, "PixelMeasuresSequence")
    ]
    pixel = {header_numbers(item, "PixelSpacing") for item in (header, *measures)} - {None}
    if not pixel:
        raise Unfit(SPACING_MISSING)
    one = pixel.pop()
    if pixel or one is None or len(one) != 2:
        raise Unfit(SPACING_IMPLAUSIBLE, "two places contradict each other")
    step_mm = _step_mm([header, *measures], places)
    depth_mm, column_mm = one
    in_range = (
        (depth_mm * rows, DEPTH_MM),
        (1000.0 * depth_mm, STEP_UM),
        (column_mm * columns, FIELD_MM),
        (step_mm * frames, FIELD_MM),
    )
    if not all(low <= size <= high for size, (low, high) in in_range):  # NaN is in no range
        raise Unfit(SPACING_IMPLAUSIBLE, "no eye is scanned so")
    return Spacing(frame_um=1000.0 * step_mm, depth_um=1000.0 * depth_mm, column_um=1000.0 * column_mm)


def _step_mm(holders: Sequence[Dataset], places: Numbers | None) -> float:
    """From frame to frame: their positions, and Spacing Between Slices or Slice Thickness, which must agree."""
    steps = []
    if places is not None:
        step = float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1)))
        steps += [step] if step > 0 else []  # all at one place: a device that leaves them out
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        said = {numbers for holder in holders if (numbers := header_numbers(holder, keyword)) is not None}
        steps += [numbers[0] for numbers in said]
        if said:
            break  # the thickness is that of the beam where both are said
    if not steps:
        raise Unfit(SPACING_MISSING)
    if not max(steps) <= (1 + AGREE) * min(steps):
        raise Unfit(SPACING_IMPLAUSIBLE, "two places contradict each other")
    return steps[0]


def _scan(header: Dataset, spacing: Spacing, frames: int, columns: int) -> Scan:
    """Wide by its size; else by the coded region; else unknown, for 6 mm are scanned of the disc and of the macula."""
    if min(spacing.frame_um * frames, spacing.column_um * columns) >= 1000.0 * WIDE_MM:
        return Scan.WIDE
    shared = header_items(header, "SharedFunctionalGroupsSequence")
    anatomy = [item for group in shared for item in header_items(group, "FrameAnatomySequence")]
    regions = [code for holder in (header, *anatomy) for code in header_items(holder, "AnatomicRegionSequence")]
    said = {
        REGIONS.get((header_text(code, "CodingSchemeDesignator"), header_text(code, "CodeValue")), Scan.UNKNOWN)
        for code in regions
    } - {Scan.UNKNOWN}
    return said.pop() if len(said) == 1 else Scan.UNKNOWN
