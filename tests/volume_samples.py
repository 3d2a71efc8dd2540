"""Small Ophthalmic Tomography instances, right in everything but for what a test breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder

OPT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
FRAMES, ROWS, COLUMNS = 32, 100, 40  # the smallest that is still a volume of an eye
SIDE_MM, DEPTH_MM = 6.0, 1.15


def painted(frames: int = FRAMES, rows: int = ROWS, columns: int = COLUMNS) -> npt.NDArray[np.uint8]:
    """A volume in which every end is told from the other; smooth, so that lossy codecs keep it."""
    frame, row, column = np.meshgrid(np.arange(frames), np.arange(rows), np.arange(columns), indexing="ij")
    return (3 * frame + row + column // 2).astype(np.uint8)


def item(**elements: object) -> Dataset:
    """A sequence's item."""
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def opt(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None, *, eye: str = "R") -> FileDataset:
    """An instance whose frames lie from superior to inferior, without pixel data yet (see `written`)."""
    pixels = painted() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.UID(OPT), uid.UID("2.25.1")
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = OPT, "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.2", "2.25.3", "2.25.4"
    ds.Modality, ds.PatientID, ds.ImageLaterality = "OPT", "1", eye
    ds.Manufacturer, ds.ManufacturerModelName = "Topcon", "3DOCT-1Maestro2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    frames, rows, columns = pixels.shape
    pixel_mm, step_mm = [round(DEPTH_MM / rows, 6), round(SIDE_MM / columns, 6)], round(SIDE_MM / frames, 6)
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=pixel_mm, SliceThickness=step_mm)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[-3.0, 0.0, round(3.0 - step_mm * number, 6)])])
        for number in range(len(pixels))
    ]
    return ds


def drawn(ds: Dataset, ends: Callable[[int], Sequence[float]]) -> None:
    """Say where each frame is drawn on the photograph: row and column of its two ends."""
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        group.OphthalmicFrameLocationSequence = [item(ReferenceCoordinates=list(ends(number)))]


def written(
    ds: FileDataset,
    path: Path,
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None,
    syntax: str = uid.ExplicitVRLittleEndian,
) -> Path:
    """The instance with its pixels in a transfer syntax, in a file."""
    pixels = painted() if pixels is None else pixels
    ds.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if uid.UID(syntax).is_encapsulated:
        ds.PixelData = encapsulate([coded(frame, syntax) for frame in pixels])
        ds["PixelData"].is_undefined_length = True
    elif syntax == uid.ExplicitVRBigEndian:
        ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    else:
        ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB" if pixels.dtype == np.uint8 else "OW"
    ds.set_original_encoding(uid.UID(syntax).is_implicit_VR, uid.UID(syntax).is_little_endian)
    ds.save_as(
        path,
        enforce_file_format=True,
        implicit_vr=uid.UID(syntax).is_implicit_VR,
        little_endian=uid.UID(syntax).is_little_endian,
    )
    return path


def coded(frame: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], syntax: str) -> bytes:
    """One frame as a codestream."""
    options = {
        "rows": frame.shape[0],
        "columns": frame.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 8 * frame.dtype.itemsize,
        "bits_stored": 8 * frame.dtype.itemsize,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    if syntax == uid.JPEG2000:
        options["j2k_cr"] = [5]
    if syntax == uid.JPEGLSNearLossless:
        options["jls_error"] = 2
    return get_encoder(syntax).encode(frame.tobytes(), index=0, **options)
