"""Layers of the retina as a device found them: Surface and Height Map Segmentation objects as `Layers` of a volume.

A Height Map (PS3.3 C.8.20.5) has one frame a surface, one row a B-scan as stored, one column an A-scan, and values in
pixels from the top of the B-scan. A Surface Segmentation as Topcon's devices write it has points in millimetres: along
the B-scan, into the depth, and from B-scan to B-scan, the uppermost with the largest coordinate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from oculard_models.dicom_geometry import Geometry, Unfit
from oculard_models.dicom_header import UNREADABLE, header_items, header_numbers, header_text, must_be_the_files
from oculard_models.dicom_pixels import DECODER_ERRORS, Undecodable
from oculard_models.volumes.volume import Layers

SURFACES, HEIGHT_MAP = "1.2.840.10008.5.1.4.1.1.66.5", "1.2.840.10008.5.1.4.1.1.66.8"
OPHTHALMIC_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
NAMES = ("ilm", "rnfl_gcl", "ipl_inl", "bm")
CODES = {  # PS3.16 CID 4273
    ("SCT", "280677004"): "ilm",
    ("SRT", "T-AA624"): "ilm",
    ("DCM", "128289"): "rnfl_gcl",  # outer surface of the RNFL
    ("DCM", "128291"): "ipl_inl",  # outer surface of the IPL
    ("DCM", "128300"): "bm",  # outer surface of Bruch's membrane
}
LABELS = {  # where a device gives no standard code: its own words, without blanks, strokes and case
    "ilm": "ilm",
    "rnflgcl": "rnfl_gcl",
    "nflgcl": "rnfl_gcl",
    "rnfl": "rnfl_gcl",
    "iplinl": "ipl_inl",
    "ipl": "ipl_inl",
    "bm": "bm",
}
NOT_OF_VOLUME, INCOMPLETE, IMPLAUSIBLE = "layers-of-another", "layers-incomplete", "layers-implausible"
OBJECT_BYTES_MAX = 256 << 20  # ten surfaces of 512 x 512 points are 31 MB
SEGMENTS_MAX = 64
COVERED = 0.5  # of the A-scans, at least, must have all four
CROSSED = 0.05  # of them, at most, may have two in the wrong order
REFERENCES_DEEP = 6
HUGE = 1e6  # pixels: what is larger is outside in any volume
Heights = npt.NDArray[np.float32]


def read_layers(path: Path, geometry: Geometry, *, volume_uid: str, frame_of_reference_uid: str = "") -> Layers:
    """Read the layers that a device found in a volume, oriented as its frames are by the geometry.

    Raises Unfit where they are not this volume's or not whole, Undecodable for what cannot be read, OSError.
    """
    if path.stat().st_size > OBJECT_BYTES_MAX:
        raise Undecodable("size-implausible", f"layers of more than {OBJECT_BYTES_MAX} bytes are not read")
    try:
        ds = dcmread(path)
        kind = header_text(ds, "SOPClassUID")
        if not _is_of(ds, volume_uid, frame_of_reference_uid):
            raise Unfit(NOT_OF_VOLUME)
        if kind == HEIGHT_MAP:
            found = _height_maps(ds, geometry)
        elif kind == SURFACES:
            found = _surfaces(ds, geometry)
        else:
            raise Undecodable("pixels-unsupported", "neither surfaces nor height maps")
    except (Unfit, Undecodable):
        raise
    except DECODER_ERRORS as why:
        must_be_the_files(why)
        raise Undecodable("pixels-undecodable", f"the layers cannot be read: {type(why).__name__}") from why
    return _checked(found, geometry)


def _is_of(ds: Dataset, volume_uid: str, frame_of_reference_uid: str) -> bool:
    """Whether the object refers to the volume; where it refers to no volume at all, whether it lies in its space."""
    referred = _volumes(ds, REFERENCES_DEEP)
    if referred:
        return volume_uid in referred
    return bool(frame_of_reference_uid) and header_text(ds, "FrameOfReferenceUID") == frame_of_reference_uid


def _volumes(ds: Dataset, deep: int) -> set[str]:
    """The OCT volumes that an object refers to, wherever in it."""
    found = set()
    if header_text(ds, "ReferencedSOPClassUID") == OPHTHALMIC_TOMOGRAPHY:
        found.add(header_text(ds, "ReferencedSOPInstanceUID"))
    for tag in list(ds.keys()) if deep else ():
        try:
            element = ds[tag]
        except UNREADABLE:
            continue
        for item in element.value if element.VR == "SQ" else ():
            found |= _volumes(item, deep - 1)
    return found


def _name(segment: Dataset) -> str | None:
    """Which of our four a segment is, by its code, else by its label."""
    for code in header_items(segment, "SegmentedPropertyTypeCodeSequence"):
        name = CODES.get((header_text(code, "CodingSchemeDesignator"), header_text(code, "CodeValue")))
        if name is not None:
            return name
    for keyword in ("SegmentLabel", "SurfaceComments"):
        words = header_text(segment, keyword).rpartition(":")[2].lower()
        name = LABELS.get("".join(letter for letter in words if letter.isalnum()))
        if name is not None:
            return name
    return None


def _segments(ds: Dataset) -> list[Dataset]:
    segments = header_items(ds, "SegmentSequence")
    if len(segments) > SEGMENTS_MAX:
        raise Undecodable("pixels-unsupported", f"layers of {len(segments)} segments are not read")
    return segments


def _height_maps(ds: Dataset, geometry: Geometry) -> dict[str, Heights]:
    """The surfaces of a Height Map Segmentation."""
    frames, rows, columns = (
        int((header_numbers(ds, name) or (0,))[0]) for name in ("NumberOfFrames", "Rows", "Columns")
    )
    segments = _segments(ds)
    if (rows, columns) != (len(geometry.order), geometry.columns) or not 0 < frames <= SEGMENTS_MAX:
        raise Unfit(NOT_OF_VOLUME, f"a height map of {frames} x {rows} x {columns}")
    content = ds.FloatPixelData
    if len(content) != 4 * frames * rows * columns:
        raise Undecodable("pixels-inconsistent", f"{len(content)} bytes of {frames} x {rows} x {columns} heights")
    order = "<" if ds.file_meta.TransferSyntaxUID.is_little_endian else ">"
    heights = np.frombuffer(content, dtype=f"{order}f4").reshape(frames, rows, columns).astype(np.float32)
    padding = header_numbers(ds, "FloatPixelPaddingValue")
    if padding is not None:
        heights[heights == np.float32(padding[0])] = np.nan
    names = {int((header_numbers(item, "SegmentNumber") or (0,))[0]): _name(item) for item in segments}
    found: dict[str, Heights] = {}
    for frame, number in enumerate(_numbers(ds, frames)):
        name = names.get(number)
        if name is not None and name not in found:
            heights_here = heights[frame][list(geometry.order)]
            found[name] = heights_here[:, ::-1] if geometry.mirrored else heights_here
    return found


def _numbers(ds: Dataset, frames: int) -> list[int]:
    """The segment of each frame; in the order of the segments where the frames do not say it."""
    said = [
        int((header_numbers(item, "ReferencedSegmentNumber") or (0,))[0])
        for group in header_items(ds, "PerFrameFunctionalGroupsSequence")
        for item in header_items(group, "SegmentIdentificationSequence")[:1]
    ]
    return said if len(said) == frames else list(range(1, frames + 1))


def _surfaces(ds: Dataset, geometry: Geometry) -> dict[str, Heights]:
    """The surfaces of a Surface Segmentation."""
    of_surface: dict[int, Dataset] = {}
    for segment in _segments(ds):
        for reference in header_items(segment, "ReferencedSurfaceSequence"):
            of_surface[int((header_numbers(reference, "ReferencedSurfaceNumber") or (0,))[0])] = segment
    found: dict[str, Heights] = {}
    for surface in header_items(ds, "SurfaceSequence")[:SEGMENTS_MAX]:
        number = int((header_numbers(surface, "SurfaceNumber") or (0,))[0])
        name = _name(of_surface[number]) if number in of_surface else None
        name = _name(surface) if name is None else name
        if name is not None and name not in found:
            found[name] = _rastered(_points(surface), geometry)
    return found


def _points(surface: Dataset) -> npt.NDArray[np.float64]:
    """The points of a surface, in millimetres."""
    (points,) = header_items(surface, "SurfacePointsSequence")
    value = points.PointCoordinatesData
    flat = np.frombuffer(value, dtype="<f4") if isinstance(value, bytes) else np.asarray(value, dtype=np.float32)
    if flat.size % 3:
        raise Undecodable("pixels-inconsistent", f"{flat.size} coordinates are no points")
    return flat.reshape(-1, 3).astype(np.float64)


def _rastered(points: npt.NDArray[np.float64], geometry: Geometry) -> Heights:
    """Points as heights by frame and column; the corner of the volume says where the first lies, else their own."""
    frames, columns = len(geometry.order), geometry.columns
    heights = np.full((frames, columns), np.nan, dtype=np.float32)
    points = points[np.all(np.isfinite(points), axis=1)]
    if not points.size:
        return heights
    frame_mm, depth_mm, column_mm = (
        step / 1000.0 for step in (geometry.spacing.frame_um, geometry.spacing.depth_um, geometry.spacing.column_um)
    )
    left, top, upper = _corner(points, geometry, (frames * frame_mm, columns * column_mm))
    frame = np.rint((upper - points[:, 2]) / frame_mm)
    column = np.rint((points[:, 0] - left) / column_mm)
    inside = (frame >= 0) & (frame < frames) & (column >= 0) & (column < columns)
    if np.count_nonzero(inside) < COVERED * len(points):
        raise Unfit(NOT_OF_VOLUME, "the surfaces lie beside the volume")
    where = frame[inside].astype(np.int64), column[inside].astype(np.int64)
    heights[where] = np.clip((points[inside, 1] - top) / depth_mm, -HUGE, HUGE)
    return heights


def _corner(
    points: npt.NDArray[np.float64], geometry: Geometry, field_mm: tuple[float, float]
) -> tuple[float, float, float]:
    """Left, top and uppermost coordinate of the volume in the space of the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    width = geometry.columns * geometry.spacing.column_um / 1000.0
    if geometry.corner_mm is not None:
        x, y, z = geometry.corner_mm
        left = x - width + width / geometry.columns if geometry.mirrored else x
        height, slack = field_mm[0], 0.5 * geometry.spacing.frame_um / 1000.0
        if low[2] >= z - height - slack and high[2] <= z + slack:
            return left, y, z
    return float(low[0]), 0.0, float(high[2])


def _checked(found: dict[str, Heights], geometry: Geometry) -> Layers:
    """The layers, where all four are there, lie in the volume and do not cross. Raises Unfit."""
    if set(found) != set(NAMES):
        raise Unfit(INCOMPLETE, f"only {', '.join(sorted(found)) or 'nothing'}")
    stack = np.stack([found[name] for name in NAMES])
    outside = np.isfinite(stack) & ((stack < -0.5) | (stack > geometry.rows))
    if np.count_nonzero(outside) > CROSSED * stack.size:
        raise Unfit(IMPLAUSIBLE, "outside of the volume")
    stack[outside] = np.nan
    whole = np.all(np.isfinite(stack), axis=0)
    if np.count_nonzero(whole) < COVERED * whole.size:
        raise Unfit(INCOMPLETE, "in too few A-scans")
    with np.errstate(invalid="ignore"):
        crossed = whole & np.any(np.diff(stack, axis=0) < -1.0, axis=0)
    if np.count_nonzero(crossed) > CROSSED * np.count_nonzero(whole):
        raise Unfit(IMPLAUSIBLE, "they cross")
    stack[:, crossed] = np.nan
    stack = np.maximum.accumulate(stack, axis=0)  # by less than a pixel they may
    return Layers(**{name: np.ascontiguousarray(heights) for name, heights in zip(NAMES, stack, strict=True)})
