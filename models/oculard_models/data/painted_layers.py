"""Wraps the layers of a painted volume as devices do: Surface Segmentation, as Topcon, and Height Map Segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SurfaceSegmentationStorage

from oculard_models.data.paint_oct import PaintedVolume
from oculard_models.data.painted_study import IMPLEMENTATION_UID, Visit, code, painted_uid, patient_and_study
from oculard_models.volumes.volume import Layers, Map

HEIGHT_MAP: Final = UID("1.2.840.10008.5.1.4.1.1.66.8")  # Height Map Segmentation Storage
PADDING: Final = -1.0  # where there is no boundary
SURFACES: Final = {  # our name: the device's, and its code (PS3.16 CID 4273)
    "ilm": ("ILM", ("280677004", "SCT", "ILM - Internal limiting membrane")),
    "rnfl_gcl": ("RNFL/GCL", ("128289", "DCM", "Outer surface of RNFL")),
    "ipl_inl": ("IPL/INL", ("128291", "DCM", "Outer surface of IPL")),
    "bm": ("BM", ("128300", "DCM", "Outer surface of the BM")),
}


def wrap_surfaces(
    painted: PaintedVolume, volume: Dataset, visit: Visit, *, uid: str, layers: Layers | None = None
) -> FileDataset:
    """Wrap layers (the true ones by default) as Surface Segmentation (PS3.3 A.57) of a wrapped volume.

    Points are in mm: x to the patient's left, y the depth from a frame's first row, z to the head. There is none where
    there is no boundary.
    """
    ds = _base(SurfaceSegmentationStorage, volume, visit, uid)
    ds.NumberOfSurfaces = len(SURFACES)
    ds.SegmentSequence, ds.SurfaceSequence = [], []
    for number, (name, (label, concept)) in enumerate(SURFACES.items(), start=1):
        surface = _surface(number, label, _points(painted, getattr(layers or painted.layers, name)))
        reference = Dataset()
        reference.ReferencedSurfaceNumber = number
        reference.SegmentSurfaceGenerationAlgorithmIdentificationSequence = [_algorithm()]
        reference.SegmentSurfaceSourceInstanceSequence = [_reference(volume)]
        segment = _segment(number, label, concept)
        segment.SurfaceCount, segment.ReferencedSurfaceSequence = 1, [reference]
        ds.SegmentSequence.append(segment)
        ds.SurfaceSequence.append(surface)
    return ds


def wrap_height_map(
    painted: PaintedVolume,
    volume: Dataset,
    visit: Visit,
    *,
    uid: str,
    layers: Layers | None = None,
    order: Sequence[int] | None = None,
) -> FileDataset:
    """Wrap layers as Height Map Segmentation (PS3.3 C.8.20.5): a frame a boundary, a row a B-scan as stored.

    Values are rows of the volume; PADDING where there is no boundary. `order` is that of `wrap_volume`.
    """
    ds = _base(HEIGHT_MAP, volume, visit, uid)
    stored = range(len(painted.volume.pixels)) if order is None else order
    maps = [getattr(layers or painted.layers, name)[list(stored)] for name in SURFACES]
    ds.Laterality = volume.ImageLaterality
    ds.ImageType, ds.SegmentationType = ["DERIVED", "PRIMARY"], "HEIGHTMAP"
    ds.NumberOfFrames, (ds.Rows, ds.Columns) = len(maps), maps[0].shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.BitsAllocated = 1, "MONOCHROME2", 32
    ds.FloatPixelPaddingValue = PADDING
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.SegmentSequence = [
        _segment(number, label, concept) for number, (label, concept) in enumerate(SURFACES.values(), start=1)
    ]
    _groups(ds, painted, volume)
    stack = np.stack([np.where(np.isfinite(one), one, PADDING) for one in maps])
    ds.FloatPixelData = stack.astype("<f4").tobytes()
    return ds


def _base(kind: UID, volume: Dataset, visit: Visit, uid: str) -> FileDataset:
    """What both objects share: patient, study, series, whose layers they are, who found them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, UID(uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID(IMPLEMENTATION_UID)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = list(visit.character_set)
    ds.SOPClassUID, ds.SOPInstanceUID = kind, uid
    patient_and_study(ds, visit, modality="SEG", series_number=4)
    ds.SeriesInstanceUID = painted_uid("oct-layers", visit.series_uid, str(kind))
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = volume.FrameOfReferenceUID, ""
    found = visit.taken + timedelta(seconds=5)
    ds.InstanceNumber, ds.ContentDate, ds.ContentTime = 1, found.strftime("%Y%m%d"), found.strftime("%H%M%S")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "LAYERS", "Retinal layers", "painted"
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = volume.SeriesInstanceUID, [_reference(volume)]
    ds.ReferencedSeriesSequence = [series]
    return ds


def _reference(volume: Dataset) -> Dataset:
    """A reference to the volume."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = volume.SOPClassUID, volume.SOPInstanceUID
    return item


def _segment(number: int, label: str, concept: tuple[str, str, str]) -> Dataset:
    """One boundary as a segment."""
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = number, label
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "AUTOMATIC", "painted"
    segment.SegmentedPropertyCategoryCodeSequence = [code("91723000", "SCT", "Anatomical structure")]
    segment.SegmentedPropertyTypeCodeSequence = [code(*concept)]
    return segment


def _algorithm() -> Dataset:
    """Who found the layers."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code("123103", "DCM", "Edge Detection")]
    item.AlgorithmName, item.AlgorithmVersion = "painted", "1"
    return item


def _points(painted: PaintedVolume, rows: Map) -> npt.NDArray[np.float32]:
    """The places of a boundary in mm, points x 3."""
    spacing = painted.volume.spacing
    frames, columns = rows.shape
    frame, column = np.nonzero(np.isfinite(rows))
    return np.column_stack(
        [
            (column - (columns - 1) / 2.0) * spacing.column_um / 1000.0,
            rows[frame, column] * spacing.depth_um / 1000.0,
            ((frames - 1) / 2.0 - frame) * spacing.frame_um / 1000.0,
        ]
    ).astype(np.float32)


def _surface(number: int, label: str, points: npt.NDArray[np.float32]) -> Dataset:
    """One surface: its points, no triangles (PS3.3 C.27.1)."""
    surface, cloud, primitives = Dataset(), Dataset(), Dataset()
    surface.SurfaceNumber, surface.SurfaceComments = number, f"Layer: {label}"
    surface.SurfaceProcessing, surface.FiniteVolume, surface.Manifold = "NO", "NO", "NO"
    surface.RecommendedDisplayGrayscaleValue, surface.RecommendedDisplayCIELabValue = 65535, [53485, 32896, 32896]
    surface.RecommendedPresentationOpacity, surface.RecommendedPresentationType = 1.0, "POINTS"
    cloud.NumberOfSurfacePoints, cloud.PointCoordinatesData = len(points), points.astype("<f4").tobytes()
    for keyword in ("TriangleStripSequence", "TriangleFanSequence", "LineSequence", "FacetSequence"):
        setattr(primitives, keyword, [])
    primitives.LongTrianglePointIndexList = primitives.LongEdgePointIndexList = b""
    primitives.LongVertexPointIndexList = np.arange(1, len(points) + 1, dtype="<u4").tobytes()
    surface.SurfacePointsSequence, surface.SurfacePointsNormalsSequence = [cloud], []
    surface.SurfaceMeshPrimitivesSequence = [primitives]
    return surface


def _groups(ds: Dataset, painted: PaintedVolume, volume: Dataset) -> None:
    """Dimension and functional groups of a height map: a frame a segment."""
    spacing = painted.volume.spacing
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = painted_uid("oct-dimension", ds.SOPInstanceUID)
    index.DimensionOrganizationUID = organization.DimensionOrganizationUID
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x0062000B, 0x0062000A  # segment number
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = [organization], [index]
    shared, measures, source, derivation = Dataset(), Dataset(), _reference(volume), Dataset()
    measures.PixelSpacing = [round(spacing.frame_um / 1000.0, 8), round(spacing.column_um / 1000.0, 8)]
    source.PurposeOfReferenceCodeSequence = [code("121322", "DCM", "Source Image for Image Processing Operation")]
    derivation.DerivationCodeSequence = [code("113076", "DCM", "Segmentation")]
    derivation.SourceImageSequence = [source]
    shared.PixelMeasuresSequence, shared.DerivationImageSequence = [measures], [derivation]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [_group(number) for number in range(1, len(SURFACES) + 1)]


def _group(number: int) -> Dataset:
    """The functional groups of one boundary's frame."""
    group, content, segment = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues, content.StackID, content.InStackPositionNumber = [number], "1", number
    segment.ReferencedSegmentNumber = number
    group.FrameContentSequence, group.SegmentIdentificationSequence = [content], [segment]
    return group
