"""What accompanies a report, small: a segmentation, a picture in RLE, a PDF. Real files of their classes, no more."""

from __future__ import annotations

import functools
from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from report.report_samples import STUDY, photograph

SIZE_PX = 8
UIDS = {
    role: f"2.25.{10**digits}" for role, digits in (("seg", 26), ("sc", 27), ("pdf", 28))
}  # `renamed` keeps lengths


@functools.cache
def seg() -> bytes:
    """A binary segmentation of one frame, in Explicit VR Little Endian."""
    ds = _envelope("seg", SegmentationStorage, modality="SEG")
    ds.SegmentationType = "BINARY"
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "FAZ", "AUTOMATIC"
    segment.SegmentAlgorithmName = "sample"
    ds.SegmentSequence = [segment]
    ds.SharedFunctionalGroupsSequence = [Dataset()]
    ds.PerFrameFunctionalGroupsSequence = [Dataset()]
    ds.NumberOfFrames = 1
    _describe_pixels(ds, samples=1, bits=1)
    ds.PixelData = np.packbits(np.eye(SIZE_PX, dtype=np.uint8), axis=None, bitorder="little").tobytes()
    return _file(ds)


@functools.cache
def sc() -> bytes:
    """A picture in RLE Lossless."""
    ds = _envelope("sc", SecondaryCaptureImageStorage, modality="OT")
    ds.ConversionType = "WSD"
    _describe_pixels(ds, samples=3, bits=8)
    ds.PixelData = np.arange(SIZE_PX * SIZE_PX * 3, dtype=np.uint8).tobytes()
    ds.compress(RLELossless, generate_instance_uid=False)
    return _file(ds)


@functools.cache
def pdf() -> bytes:
    """A document without a page."""
    ds = _envelope("pdf", EncapsulatedPDFStorage, modality="DOC")
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = b"%PDF-1.4\n%%EOF "
    return _file(ds)


MAKERS = {"seg": seg, "sc": sc, "pdf": pdf}


def _envelope(role: str, sop_class_uid: str, *, modality: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class_uid, UIDS[role], modality
    ds.PatientID = photograph().PatientID
    ds.PatientName = ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, f"{STUDY}.{sorted(UIDS).index(role) + 7}"
    ds.StudyDate = ds.StudyTime = ds.StudyID = ds.AccessionNumber = ""
    ds.SeriesNumber, ds.InstanceNumber = "9001", "1"
    return ds


def _describe_pixels(ds: Dataset, *, samples: int, bits: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.Rows = ds.Columns = SIZE_PX
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0


def _file(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
