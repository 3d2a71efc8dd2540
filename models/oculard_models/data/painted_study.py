"""Makes valid DICOM out of pixels: Ophthalmic Photography 8 Bit instances, and studies like those a Topcon sends.

Any photograph can be wrapped (`wrap_fundus`); `topcon_like_study` paints the eyes of an invented person first. The
same arguments give the same bytes, UIDs included, so that a demonstration can be sent twice.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, OphthalmicPhotography8BitImageStorage

from oculard_models.data.paint import paint
from oculard_models.data.person import Person

Compression = Literal["raw", "jpeg"]

NAMESPACE = uuid.UUID("5f0d0c39-6f4c-5f5e-9d3c-0f0c1a7f0d19")  # ours alone: UIDs of painted data
IMPLEMENTATION_UID = f"2.25.{uuid.uuid5(NAMESPACE, 'implementation').int}"
JPEG_QUALITY = 92
FIELD_MM = 13.4  # what 45 degrees measure on the retina of an average eye
MORNING = datetime(2026, 11, 20, 9, 5, 10, tzinfo=timezone(timedelta(hours=9)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What all instances of one study share. The defaults are an invented patient in front of a Topcon Maestro2."""

    study_uid: str
    series_uid: str
    patient_name: str = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    patient_id: str = "0001234"
    birth_date: str = "19600102"
    sex: str = "M"
    accession_number: str = "A0001"
    taken: datetime = MORNING  # aware: its offset is the device's
    manufacturer: str = "Topcon"
    model: str = "3DOCT-1Maestro2"
    institution: str = "眼科クリニック"
    description: str = "眼底検査"
    character_set: tuple[str, ...] = ("", "ISO 2022 IR 87")


def painted_uid(*parts: object) -> str:
    """Return a UID under 2.25 that is a function of its parts (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(map(str, parts))).int}"


def topcon_like_study(
    person: Person, *, seed: int, size_px: int = 1024, shots: int = 1, compression: Compression = "jpeg"
) -> list[FileDataset]:
    """Paint a study of both eyes, right before left, `shots` macula-centred photographs of each."""
    visit = Visit(
        study_uid=painted_uid("study", seed),
        series_uid=painted_uid("series", seed),
        patient_id=f"{seed % 10**7:07d}",
        accession_number=f"A{seed % 10**9:09d}",
        birth_date=f"{MORNING.year - int(person.age) - 1}1231",  # has not had this year's birthday yet
        sex=person.sex,
    )
    study = []
    for number, (eye, shot) in enumerate(((eye, shot) for eye in "RL" for shot in range(shots)), start=1):
        pixels = paint(person, eye, seed, size_px, shot=shot)
        uid = painted_uid("instance", seed, size_px, eye, shot, compression)
        study.append(wrap_fundus(pixels, visit, eye=eye, uid=uid, number=number, compression=compression))
    return study


def write_study(folder: Path, study: Sequence[FileDataset]) -> list[Path]:
    """Write instances as `<SOP Instance UID>.dcm` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{ds.SOPInstanceUID}.dcm" for ds in study]
    for ds, path in zip(study, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths


def wrap_fundus(
    pixels: npt.NDArray[np.uint8],
    visit: Visit,
    *,
    eye: str,
    uid: str,
    number: int = 1,
    compression: Compression = "jpeg",
) -> FileDataset:
    """Wrap one colour photograph (rows x columns x 3, uint8, RGB) as Ophthalmic Photography 8 Bit (PS3.3 A.41).

    `eye` is "R", "L" or "" for a device that does not say; an eye that is not said leaves Image Laterality empty.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected rows x columns x 3 of uint8, got {pixels.shape} of {pixels.dtype}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = OphthalmicPhotography8BitImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = JPEGBaseline8Bit if compression == "jpeg" else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = list(visit.character_set)
    ds.SOPClassUID, ds.SOPInstanceUID = OphthalmicPhotography8BitImageStorage, uid
    patient_and_study(ds, visit, modality="OP", series_number=1)
    _acquisition(ds, visit, number)
    _eye(ds, eye)
    _pixels(ds, pixels, compression)
    return ds


def patient_and_study(ds: Dataset, visit: Visit, *, modality: str, series_number: int) -> None:
    """Patient, General Study, General Series and General Equipment modules."""
    ds.PatientName, ds.PatientID = visit.patient_name, visit.patient_id
    ds.PatientBirthDate, ds.PatientSex = visit.birth_date, visit.sex
    ds.StudyInstanceUID, ds.SeriesInstanceUID = visit.study_uid, visit.series_uid
    ds.StudyDate = ds.SeriesDate = visit.taken.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = visit.taken.strftime("%H%M%S")
    ds.TimezoneOffsetFromUTC = visit.taken.strftime("%z")
    ds.AccessionNumber, ds.ReferringPhysicianName = visit.accession_number, ""
    ds.StudyID, ds.StudyDescription = "1", visit.description
    ds.SeriesNumber, ds.Modality = series_number, modality
    ds.Manufacturer, ds.ManufacturerModelName = visit.manufacturer, visit.model
    ds.InstitutionName = visit.institution
    ds.DeviceSerialNumber, ds.SoftwareVersions = "000001", "1.0"


def _acquisition(ds: Dataset, visit: Visit, number: int) -> None:
    """Image, Synchronization and Ophthalmic Photography parameter modules (PS3.3 C.8.17.2 to C.8.17.4)."""
    taken = visit.taken + timedelta(seconds=20 * (number - 1))
    ds.InstanceNumber = number
    ds.ContentDate = ds.InstanceCreationDate = taken.strftime("%Y%m%d")
    ds.ContentTime = ds.InstanceCreationTime = taken.strftime("%H%M%S")
    ds.AcquisitionDateTime = taken.strftime("%Y%m%d%H%M%S")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    ds.SynchronizationFrameOfReferenceUID = painted_uid("clock", visit.study_uid)
    ds.SynchronizationTrigger, ds.AcquisitionTimeSynchronized = "NO TRIGGER", "N"
    ds.PatientOrientation, ds.BurnedInAnnotation = ["L", "F"], "NO"
    ds.AcquisitionDeviceTypeCodeSequence = [code("409898007", "SCT", "Fundus Camera")]
    ds.LightPathFilterTypeStackCodeSequence = []
    ds.ImagePathFilterTypeStackCodeSequence = []
    ds.IlluminationTypeCodeSequence = []
    ds.LensesCodeSequence = []
    ds.DetectorType = "CMOS"
    ds.PatientEyeMovementCommanded, ds.PupilDilated = "", ""
    ds.HorizontalFieldOfView = 45.0
    ds.RefractiveStateSequence = []
    ds.EmmetropicMagnification = ds.IntraOcularPressure = None
    ds.AcquisitionContextSequence = []


def _eye(ds: Dataset, eye: str) -> None:
    """Ocular Region Imaged module (PS3.3 C.8.17.5)."""
    ds.ImageLaterality = eye
    ds.AnatomicRegionSequence = [code("5665001", "SCT", "Retina")]
    ds.RelativeImagePositionCodeSequence = [code("111900", "DCM", "Macula centered")]


def _pixels(ds: Dataset, pixels: npt.NDArray[np.uint8], compression: Compression) -> None:
    """Image Pixel, Multi-frame, Cine and ICC Profile modules, and the pixel data itself."""
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PixelRepresentation = 3, 0, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.NumberOfFrames, ds.FrameIncrementPointer, ds.FrameTime = 1, 0x00181063, "0"
    ds.PixelSpacing = [round(FIELD_MM / pixels.shape[1], 6)] * 2
    ds.ICCProfile = _srgb()
    if compression == "raw":
        ds.PhotometricInterpretation, ds.LossyImageCompression = "RGB", "00"
        content = pixels.tobytes()
        ds.PixelData = content + b"\0" * (len(content) % 2)
    else:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
        ds.PhotometricInterpretation, ds.LossyImageCompression = "YBR_FULL_422", "01"
        ds.LossyImageCompressionRatio = round(pixels.nbytes / len(file.getvalue()), 2)
        ds.LossyImageCompressionMethod = "ISO_10918_1"
        ds.PixelData = encapsulate([file.getvalue()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = compression == "jpeg"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Build one item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@cache
def _srgb() -> bytes:
    """Return an sRGB profile whose creation time (bytes 24 to 36 of its header) is always the same."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = b"".join(n.to_bytes(2, "big") for n in (2026, 1, 1, 0, 0, 0))
    return bytes(profile)
