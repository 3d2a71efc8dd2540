"""Makes valid DICOM out of angiographies: OCT en face instances, and studies like those a Topcon exports.

Any grey picture can be wrapped (`wrap_en_face`); `octa_study` paints the scans of an invented person first. The volume
that the slabs come from and the surfaces between which they lie are named, and do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, OphthalmicOpticalCoherenceTomographyEnFaceImageStorage

from oculard_models.data.paint_octa import PLEXUSES, PaintedOcta, paint_octa
from oculard_models.data.painted_study import (
    IMPLEMENTATION_UID,
    MORNING,
    Visit,
    code,
    painted_uid,
    patient_and_study,
)

IMAGE_TYPES = {  # PS3.16 CID 4271
    "superficial": ("128265", "Superficial retina vasculature flow"),
    "deep": ("128269", "Deep retina vasculature flow"),
}
ILM = ("280677004", "SCT", "ILM - Internal limiting membrane")
SURFACES = {  # above and below each slab, PS3.16 CID 4273
    "superficial": (ILM, ("128291", "DCM", "Outer surface of IPL")),
    "deep": (("128291", "DCM", "Outer surface of IPL"), ("128293", "DCM", "Outer surface of OPL")),
}
VOLUME_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.5.8"  # Ophthalmic OCT B-scan Volume Analysis Storage
SURFACE_CLASS = "1.2.840.10008.5.1.4.1.1.68.1"  # Surface Scan Mesh Storage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaintedScan:
    """One en face instance of an invented eye, and what was painted into it."""

    ds: FileDataset
    eye: str  # "R" or "L"
    octa: PaintedOcta


def octa_study(seed: int, *, size_px: int = 512, plexuses: tuple[str, ...] = PLEXUSES) -> list[PaintedScan]:
    """Paint a study of both eyes, right before left, one instance for each of `plexuses`."""
    visit = Visit(
        study_uid=painted_uid("octa-study", seed),
        series_uid=painted_uid("octa-series", seed),
        patient_id=f"{seed % 10**7:07d}",
        accession_number=f"F{seed % 10**9:09d}",
        birth_date=f"{MORNING.year - 30 - seed % 50}0102",
        sex="MF"[seed % 2],
        description="OCT angiography",
    )
    study: list[PaintedScan] = []
    for side, eye in enumerate("RL"):
        for plexus in plexuses:
            octa = paint_octa(2 * seed + side, size_px, plexus=plexus)
            uid = painted_uid("octa-instance", seed, size_px, eye, plexus)
            ds = wrap_en_face(
                octa.pixels, visit, eye=eye, uid=uid, plexus=plexus, side_mm=octa.side_mm, number=len(study) + 1
            )
            study.append(PaintedScan(ds=ds, eye=eye, octa=octa))
    return study


def wrap_en_face(
    pixels: npt.NDArray[np.uint8],
    visit: Visit,
    *,
    eye: str,
    uid: str,
    plexus: str,
    side_mm: float | None,
    number: int = 1,
) -> FileDataset:
    """Wrap one grey picture (rows x columns, uint8) as an Ophthalmic OCT En Face Image of PS3.3.

    `eye` is "R", "L" or "" for a device that does not say. `side_mm` is the width of the field; None leaves Pixel
    Spacing out, which no valid instance does. Raises ValueError for other pixels and KeyError for another plexus.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"expected rows x columns of uint8, got {pixels.shape} of {pixels.dtype}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = OphthalmicOpticalCoherenceTomographyEnFaceImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = list(visit.character_set)
    ds.SOPClassUID, ds.SOPInstanceUID = OphthalmicOpticalCoherenceTomographyEnFaceImageStorage, uid
    patient_and_study(ds, visit, modality="OPTENF", series_number=2)
    _image(ds, visit, number)
    _slab(ds, visit, plexus, eye)
    _eye(ds, visit, eye)
    _pixels(ds, pixels, side_mm)
    return ds


def _image(ds: Dataset, visit: Visit, number: int) -> None:
    """General Image and Ophthalmic OCT En Face Image modules, but for what depends on the slab."""
    ds.InstanceNumber = number
    ds.ContentDate = ds.InstanceCreationDate = visit.taken.strftime("%Y%m%d")
    ds.ContentTime = ds.InstanceCreationTime = visit.taken.strftime("%H%M%S")
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.PatientOrientation = ["L", "F"]
    ds.BurnedInAnnotation, ds.RecognizableVisualFeatures, ds.LossyImageCompression = "NO", "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 128, 256


def _slab(ds: Dataset, visit: Visit, plexus: str, eye: str) -> None:
    """Say which slab it is, of which volume, between which surfaces, by which algorithm."""
    ds.OphthalmicImageTypeCodeSequence = [code(IMAGE_TYPES[plexus][0], "DCM", IMAGE_TYPES[plexus][1])]
    volume = Dataset()
    volume.ReferencedSOPClassUID = VOLUME_CLASS
    volume.ReferencedSOPInstanceUID = painted_uid("octa-volume", visit.study_uid, eye)
    volume.PurposeOfReferenceCodeSequence = [code("128250", "DCM", "Structural image for image processing")]
    ds.SourceImageSequence = [volume]
    ds.ReferencedSurfaceMeshIdentificationSequence = []
    for number, surface in enumerate(SURFACES[plexus], start=1):
        mesh = Dataset()
        mesh.ReferencedSOPClassUID = SURFACE_CLASS
        mesh.ReferencedSOPInstanceUID = painted_uid("octa-surfaces", visit.study_uid, eye)
        mesh.ReferencedSurfaceNumber, mesh.SurfaceMeshZPixelOffset = number, 0
        mesh.SegmentedPropertyTypeCodeSequence = [code(*surface)]
        ds.ReferencedSurfaceMeshIdentificationSequence.append(mesh)
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [code("128252", "DCM", "OCT-A amplitude decorrelation")]
    algorithm.AlgorithmName, algorithm.AlgorithmVersion = "painted", "1"
    ds.DerivationAlgorithmSequence = [algorithm]


def _eye(ds: Dataset, visit: Visit, eye: str) -> None:
    """Ocular Region Imaged and Frame of Reference modules."""
    ds.ImageLaterality = eye
    ds.AnatomicRegionSequence = [code("5665001", "SCT", "Retina")]
    ds.RelativeImagePositionCodeSequence = [code("111900", "DCM", "Macula centered")]
    ds.FrameOfReferenceUID = painted_uid("octa-frame", visit.study_uid, eye)
    ds.PositionReferenceIndicator = ""


def _pixels(ds: Dataset, pixels: npt.NDArray[np.uint8], side_mm: float | None) -> None:
    """Image Pixel module, the spacing, and the pixel data itself."""
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    if side_mm is not None:
        ds.PixelSpacing = [round(side_mm / pixels.shape[1], 9)] * 2
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"
