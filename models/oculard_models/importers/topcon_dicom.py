"""DICOM out of a Topcon file: the OCT volume, its photograph and the device's layers. The same file, the same UIDs."""

from __future__ import annotations

import uuid

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    OphthalmicPhotography8BitImageStorage,
    OphthalmicTomographyImageStorage,
)

from oculard_models.importers.topcon_file import TopconScan

NAMESPACE = uuid.UUID("6f0f3a52-5a35-4a0e-9a65-0d2d3b6f7a11")
HEIGHT_MAP = UID("1.2.840.10008.5.1.4.1.1.66.8")
NO_HEIGHT = -1.0
SURFACES = {  # PS3.16 CID 4273
    "ilm": ("280677004", "SCT", "ILM - Internal limiting membrane"),
    "rnfl_gcl": ("128289", "DCM", "Outer surface of RNFL"),
    "ipl_inl": ("128291", "DCM", "Outer surface of IPL"),
    "bm": ("128300", "DCM", "Outer surface of the BM"),
}
RETINA = ("5665001", "SCT", "Retina")


def topcon_instances(scan: TopconScan, sha256: str) -> list[FileDataset]:
    """The instances of an acquisition; `sha256` is that of the file it came from, and its identity."""
    photograph = None if scan.photograph is None else _photograph(scan, scan.photograph, sha256)
    volume = _volume(scan, photograph, sha256)
    found = [volume] if photograph is None else [volume, photograph]
    return [*found, _layers(scan, volume, sha256)] if set(scan.contours) == set(SURFACES) else found


def _uid(*parts: object) -> str:
    """A UID under 2.25 that is a function of its parts (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(map(str, parts))).int}"


def _base(scan: TopconScan, kind: UID, sha256: str, *, modality: str, series: int) -> FileDataset:
    """Patient, study, series, equipment; a study is what one device took of one patient on one day."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = kind, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID(_uid(sha256, kind))
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID = f"{scan.family_name}^{scan.given_name}".strip("^"), scan.patient_id
    ds.PatientBirthDate = "" if scan.birth_date is None else scan.birth_date.strftime("%Y%m%d")
    ds.PatientSex, ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "", "", "", ""
    day = scan.taken.strftime("%Y%m%d")
    ds.StudyInstanceUID = _uid("study", scan.patient_id, scan.model, scan.serial, day)
    ds.SeriesInstanceUID = _uid("series", sha256, modality)
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = day
    ds.StudyTime, ds.SeriesTime = "", scan.taken.strftime("%H%M%S")
    ds.ContentTime, ds.AcquisitionDateTime = ds.SeriesTime, scan.taken.strftime("%Y%m%d%H%M%S")
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, series, 1
    ds.Manufacturer, ds.ManufacturerModelName = "Topcon", scan.model
    ds.DeviceSerialNumber, ds.SoftwareVersions = scan.serial, ""
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid("frame", sha256), ""
    ds.BurnedInAnnotation = "NO"
    return ds


def _volume(scan: TopconScan, photograph: Dataset | None, sha256: str) -> FileDataset:
    """Ophthalmic Tomography (PS3.3 A.48), as far as the file says what it asks for."""
    ds = _base(scan, OphthalmicTomographyImageStorage, sha256, modality="OPT", series=1)
    frames, _, columns = scan.pixels.shape
    ds.ImageType, ds.AcquisitionNumber, ds.ImageLaterality = ["DERIVED", "PRIMARY"], 1, scan.eye
    ds.AnatomicRegionSequence = [_code(*RETINA)]
    ds.LossyImageCompression = "00" if scan.lossy_ratio is None else "01"
    if scan.lossy_ratio is not None:
        ds.LossyImageCompressionRatio = round(scan.lossy_ratio, 2)
        ds.LossyImageCompressionMethod = "ISO_15444_1"
    _grey(ds, scan.pixels)
    x_mm, y_mm = scan.size_mm
    step_mm, column_mm = y_mm / frames, x_mm / columns
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [round(scan.depth_um / 1000.0, 8), round(column_mm, 8)]
    measures.SliceThickness, plane.ImageOrientationPatient = round(step_mm, 8), [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for frame in range(frames):
        group, content, position = Dataset(), Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber = "1", frame + 1
        position.ImagePositionPatient = [
            round(-column_mm * (columns - 1) / 2, 6),
            0,
            round(step_mm * ((frames - 1) / 2 - frame), 6),
        ]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
        if photograph is not None and scan.box_px is not None:
            group.OphthalmicFrameLocationSequence = [_drawn(scan.box_px, (frame + 0.5) / frames, photograph)]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    return ds


def _drawn(box_px: tuple[int, int, int, int], share: float, photograph: Dataset) -> Dataset:
    """Where a frame lies in the photograph: row and column of both ends."""
    left, top, right, bottom = box_px
    where, row = _reference(photograph), round(top + share * (bottom - top), 3)
    where.ReferenceCoordinates, where.OphthalmicImageOrientation = [row, left, row, right], "LINEAR"
    where.PurposeOfReferenceCodeSequence = [_code("121311", "DCM", "Localizer")]
    return where


def _photograph(scan: TopconScan, pixels: npt.NDArray[np.uint8], sha256: str) -> FileDataset:
    """Ophthalmic Photography 8 Bit (PS3.3 A.41), uncompressed."""
    ds = _base(scan, OphthalmicPhotography8BitImageStorage, sha256, modality="OP", series=2)
    ds.ImageType, ds.ImageLaterality = ["DERIVED", "PRIMARY", "", "COLOR"], scan.eye
    ds.AnatomicRegionSequence, ds.PatientOrientation = [_code(*RETINA)], ["L", "F"]
    ds.NumberOfFrames, ds.LossyImageCompression = 1, "01"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "RGB"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    _fill(ds, pixels.tobytes(), "OB")
    return ds


def _layers(scan: TopconScan, volume: Dataset, sha256: str) -> FileDataset:
    """Height Map Segmentation: a frame a boundary, a row a frame of the volume, values in its pixels."""
    ds = _base(scan, HEIGHT_MAP, sha256, modality="SEG", series=3)
    ds.ImageType, ds.SegmentationType, ds.Laterality = ["DERIVED", "PRIMARY"], "HEIGHTMAP", scan.eye
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "LAYERS", "Retinal layers of the device", ""
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(SURFACES), volume.NumberOfFrames, volume.Columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.BitsAllocated = 1, "MONOCHROME2", 32
    ds.FloatPixelPaddingValue = NO_HEIGHT
    source, derivation, shared = _reference(volume), Dataset(), Dataset()
    derivation.SourceImageSequence, derivation.DerivationCodeSequence = (
        [source],
        [_code("113076", "DCM", "Segmentation")],
    )
    shared.DerivationImageSequence = [derivation]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence, ds.SegmentSequence = [shared], [], []
    for number, (name, concept) in enumerate(SURFACES.items(), start=1):
        segment, group, identified = Dataset(), Dataset(), Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name.upper()
        segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "AUTOMATIC", "Topcon"
        segment.SegmentedPropertyCategoryCodeSequence = [_code("91723000", "SCT", "Anatomical structure")]
        segment.SegmentedPropertyTypeCodeSequence = [_code(*concept)]
        identified.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = [identified]
        ds.SegmentSequence.append(segment)
        ds.PerFrameFunctionalGroupsSequence.append(group)
    heights = np.stack([scan.contours[name] for name in SURFACES])
    ds.FloatPixelData = np.where(np.isfinite(heights), heights, NO_HEIGHT).astype("<f4").tobytes()
    return ds


def _grey(ds: Dataset, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Image Pixel and Multi-frame modules."""
    bits = 8 * pixels.dtype.itemsize
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    _fill(ds, pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes(), "OB" if bits == 8 else "OW")


def _fill(ds: Dataset, content: bytes, vr: str) -> None:
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = vr


def _reference(ds: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
