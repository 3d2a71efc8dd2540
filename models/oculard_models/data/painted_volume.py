"""Makes valid DICOM out of painted volumes: Ophthalmic Tomography instances, and studies like those a Topcon exports.

The same arguments give the same bytes, UIDs included. `as_topcon` makes a valid instance what devices really send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    OphthalmicTomographyImageStorage,
    RLELossless,
)

from oculard_models.data.oct_photograph import paint_photograph, photograph_centre
from oculard_models.data.paint_oct import PaintedVolume
from oculard_models.data.painted_layers import wrap_surfaces
from oculard_models.data.painted_study import (
    FIELD_MM,
    IMPLEMENTATION_UID,
    Visit,
    code,
    painted_uid,
    patient_and_study,
    wrap_fundus,
)

Syntax = Literal["raw", "deflated", "rle", "jpeg-ls", "jpeg2000"]
SYNTAXES: Final[Mapping[Syntax, UID]] = {
    "raw": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
}
PHOTOGRAPH_PX = 1024
RETIRED = {"5665001": "T-AA610", "392012008": "A-00FBE"}  # codes as devices still write them: SCT, and SRT before it


def volume_study(
    painted: PaintedVolume, visit: Visit, *, syntax: Syntax = "raw", segmented: bool = False
) -> list[FileDataset]:
    """Wrap what a Topcon exports of one acquisition: the volume, its photograph, and its surfaces if `segmented`."""
    key = (visit.study_uid, painted.eye.seed, painted.eye.eye, painted.volume.pixels.shape, syntax)
    pixels = paint_photograph(painted.eye, PHOTOGRAPH_PX)
    photograph = wrap_fundus(pixels, visit, eye=painted.eye.eye, uid=painted_uid("oct-photograph", *key), number=2)
    volume = wrap_volume(painted, visit, uid=painted_uid("oct-volume", *key), syntax=syntax, photograph=photograph)
    surfaces = [wrap_surfaces(painted, volume, visit, uid=painted_uid("oct-surfaces", *key))] if segmented else []
    return [volume, photograph, *surfaces]


def wrap_volume(
    painted: PaintedVolume,
    visit: Visit,
    *,
    uid: str,
    number: int = 1,
    syntax: Syntax = "raw",
    photograph: Dataset | None = None,
    order: Sequence[int] | None = None,
) -> FileDataset:
    """Wrap a volume as Ophthalmic Tomography (PS3.3 A.48). Frames are stored in `order`, superior first by default.

    With `photograph` (of `wrap_fundus`, painted with `paint_photograph`) every frame says where it lies on it.
    """
    stored = list(range(len(painted.volume.pixels)) if order is None else order)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = OphthalmicTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if syntax == "deflated" else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = list(visit.character_set)
    ds.SOPClassUID, ds.SOPInstanceUID = OphthalmicTomographyImageStorage, uid
    patient_and_study(ds, visit, modality="OPT", series_number=3)
    ds.SeriesInstanceUID = painted_uid("oct-series", visit.series_uid)
    _image(ds, visit, number)
    _parameters(ds, painted)
    _frames(ds, painted, visit, stored, photograph)
    _pixels(ds, painted, stored)
    if SYNTAXES[syntax].is_encapsulated:
        ds.compress(SYNTAXES[syntax], generate_instance_uid=False)
    return ds


def as_topcon(ds: FileDataset) -> FileDataset:
    """Make a valid volume what devices send: retired codes, and attributes missing that should at least be empty."""
    for sequence in (ds.AnatomicRegionSequence, ds.AcquisitionDeviceTypeCodeSequence):
        for item in sequence:
            item.CodingSchemeDesignator, item.CodeValue = "SRT", RETIRED[item.CodeValue]
    anatomy = ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0]
    anatomy.AnatomicRegionSequence = ds.AnatomicRegionSequence
    for keyword in ("PupilDilated", "RefractiveStateSequence", "EmmetropicMagnification", "IntraOcularPressure"):
        delattr(ds, keyword)
    return ds


def _image(ds: Dataset, visit: Visit, number: int) -> None:
    """Ophthalmic Tomography Image module, and what says when (PS3.3 C.8.17.7)."""
    ds.InstanceNumber = number
    ds.ContentDate, ds.ContentTime = visit.taken.strftime("%Y%m%d"), visit.taken.strftime("%H%M%S")
    ds.InstanceCreationDate, ds.InstanceCreationTime = ds.ContentDate, ds.ContentTime
    ds.AcquisitionDateTime = visit.taken.strftime("%Y%m%d%H%M%S")
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.AcquisitionNumber, ds.AcquisitionDuration = 1, 1.3
    ds.InConcatenationNumber, ds.InConcatenationTotalNumber, ds.ConcatenationFrameOffsetNumber = 1, 1, 0
    ds.LossyImageCompression, ds.BurnedInAnnotation, ds.PresentationLUTShape = "00", "NO", "IDENTITY"
    ds.SynchronizationFrameOfReferenceUID = painted_uid("clock", visit.study_uid)
    ds.SynchronizationTrigger, ds.AcquisitionTimeSynchronized = "NO TRIGGER", "N"
    ds.PositionReferenceIndicator = ""
    ds.AcquisitionContextSequence = []


def _parameters(ds: Dataset, painted: PaintedVolume) -> None:
    """Acquisition parameters, parameters and ocular region (PS3.3 C.8.17.8, C.8.17.9, C.8.17.5)."""
    spacing = painted.volume.spacing
    ds.AxialLengthOfTheEye = ds.HorizontalFieldOfView = ds.EmmetropicMagnification = ds.IntraOcularPressure = None
    ds.RefractiveStateSequence, ds.PupilDilated = [], ""
    ds.AcquisitionDeviceTypeCodeSequence = [code("392012008", "SCT", "Optical Coherence Tomography Scanner")]
    ds.LightPathFilterTypeStackCodeSequence, ds.DetectorType = [], "CMOS"
    ds.IlluminationWaveLength, ds.IlluminationPower, ds.IlluminationBandwidth = 840.0, 0.65, 50.0
    ds.DepthSpatialResolution, ds.MaximumDepthDistortion = 6.0, 1.0
    ds.AlongScanSpatialResolution, ds.MaximumAlongScanDistortion = 20.0, 1.0
    ds.AcrossScanSpatialResolution, ds.MaximumAcrossScanDistortion = max(20.0, spacing.frame_um), 1.0
    ds.ImageLaterality = painted.eye.eye
    ds.AnatomicRegionSequence = [code("5665001", "SCT", "Retina")]


def _frames(
    ds: Dataset, painted: PaintedVolume, visit: Visit, stored: Sequence[int], photograph: Dataset | None
) -> None:
    """Frame of Reference, Dimension and Functional Group modules: B-scans lie one below the other."""
    ds.FrameOfReferenceUID = painted_uid("oct-frame", visit.study_uid, painted.eye.seed, painted.eye.eye)
    organization = Dataset()
    organization.DimensionOrganizationUID = painted_uid("oct-dimension", ds.SOPInstanceUID)
    ds.DimensionOrganizationSequence = [organization]
    ds.DimensionIndexSequence = [
        _index(organization.DimensionOrganizationUID, pointer) for pointer in (0x00209056, 0x00209057)
    ]
    ds.SharedFunctionalGroupsSequence = [_shared(ds, painted, photograph)]
    ds.PerFrameFunctionalGroupsSequence = [
        _frame(painted, visit, frame, place, photograph) for place, frame in enumerate(stored)
    ]


def _index(organization: str, pointer: int) -> Dataset:
    """One dimension: the stack, or the position in it."""
    item = Dataset()
    item.DimensionOrganizationUID, item.DimensionIndexPointer = organization, pointer
    item.FunctionalGroupPointer = 0x00209111  # Frame Content Sequence
    return item


def _shared(ds: Dataset, painted: PaintedVolume, photograph: Dataset | None) -> Dataset:
    """What all frames share: spacing, orientation (columns to the patient's left, rows to the back), which eye."""
    shared, measures, plane, anatomy = Dataset(), Dataset(), Dataset(), Dataset()
    spacing = painted.volume.spacing
    measures.PixelSpacing = [round(spacing.depth_um / 1000.0, 8), round(spacing.column_um / 1000.0, 8)]
    measures.SliceThickness = round(spacing.frame_um / 1000.0, 8)
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    anatomy.FrameLaterality, anatomy.AnatomicRegionSequence = painted.eye.eye, ds.AnatomicRegionSequence
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.FrameAnatomySequence = [anatomy]
    if photograph is not None:
        shared.ReferencedImageSequence = [_localizer(photograph)]
    return shared


def _frame(painted: PaintedVolume, visit: Visit, frame: int, place: int, photograph: Dataset | None) -> Dataset:
    """What is one frame's own: when, where in the patient, where on the photograph."""
    group, content, plane = Dataset(), Dataset(), Dataset()
    frames, _, columns = painted.volume.pixels.shape
    spacing = painted.volume.spacing
    content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = visit.taken.strftime("%Y%m%d%H%M%S")
    content.FrameAcquisitionDuration = 10.0
    content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", place + 1, [1, place + 1]
    right, head = -spacing.column_um * (columns - 1) / 2000.0, spacing.frame_um * ((frames - 1) / 2.0 - frame) / 1000.0
    plane.ImagePositionPatient = [round(right, 6), 0, round(head, 6)]
    group.FrameContentSequence, group.PlanePositionSequence = [content], [plane]
    if photograph is not None:
        where = _localizer(photograph)
        where.ReferenceCoordinates = _on_photograph(painted, frame, int(photograph.Columns))
        where.OphthalmicImageOrientation = "LINEAR"
        group.OphthalmicFrameLocationSequence = [where]
    return group


def _localizer(photograph: Dataset) -> Dataset:
    """A reference to the photograph on which the frames are drawn."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = photograph.SOPClassUID, photograph.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [code("121311", "DCM", "Localizer")]
    return item


def _on_photograph(painted: PaintedVolume, frame: int, size_px: int) -> list[float]:
    """Row and column of both ends of a frame on the photograph, from 1."""
    frames, _, columns = painted.volume.pixels.shape
    spacing, middle = painted.volume.spacing, photograph_centre(painted.eye)
    half = spacing.column_um * (columns - 1) / 2000.0
    down = painted.centre_mm[1] - middle[1] + spacing.frame_um * (frame - (frames - 1) / 2.0) / 1000.0
    side = 1.0 if painted.eye.eye == "R" else -1.0
    right = side * (painted.centre_mm[0] - middle[0])
    row, ends = down, (right - half, right + half)
    at = [round((value / FIELD_MM + 0.5) * size_px + 0.5, 2) for value in (row, *ends)]
    return [at[0], at[1], at[0], at[2]]


def _pixels(ds: Dataset, painted: PaintedVolume, stored: Sequence[int]) -> None:
    """Image Pixel and Multi-frame modules, and the pixels."""
    ds.NumberOfFrames, ds.Rows, ds.Columns = painted.volume.pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    content = np.ascontiguousarray(painted.volume.pixels[stored]).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB"
