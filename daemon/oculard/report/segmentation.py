"""Segmentations: the outlined structure as a mask over the pixels of its image (PS3.3 A.51), for viewers and programs.

highdicom builds it on a stub that holds only what we checked: real headers it refuses too often (character sets,
missing attributes, photographs that call themselves multi-frame). The source's own bytes come in with the envelope.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import VLPhotographicImageStorage

from oculard.report import items, uids
from oculard.report.codes import table, term
from oculard.report.document import object_header, scheme_item
from oculard.report.envelope import REQUIRED, envelope
from oculard.report.geometry import Geometry, geometry, set_lossy
from oculard.report.part10 import Report, finished
from oculard.report.picture import OUTLINE
from oculard.report.planned import Planned
from oculard.report.request import ReportRequest
from oculard.report.shape import FoundShape
from oculard.report.source import Source

THICKNESS_UNKNOWN = "0.1"  # mm; pixels in a frame of reference must have one (PS3.3 C.7.6.16.2.1), slabs say none


def build_segmentation(planned: Planned, request: ReportRequest) -> Report:
    """Write the shape of a request that has a segmentation."""
    shape, source = request.shape, request.shape_source
    assert shape is not None
    assert source is not None
    known = geometry(source)
    if shape.spacing_mm is None:  # absent, or not to be believed: then nobody shall measure on the mask either
        known = replace(known, pixel_spacing=())
    stub = _stub(source, known, shape.shape.mask.shape)
    ds = Segmentation(
        [stub],
        shape.shape.mask.astype(np.uint8),
        SegmentationTypeValues.BINARY,
        [_segment(request, shape)],
        omit_empty_frames=False,
        content_label=shape.structure.name,
        content_description=f"{shape.name}, outlined by an AI model",
        specific_character_set=None,
        # highdicom wants these; `object_header` says them again, beside all else
        series_instance_uid=planned.series_instance_uid,
        series_number=planned.series_number,
        sop_instance_uid=planned.sop_instance_uid,
        instance_number=request.generation,
        manufacturer=request.device.manufacturer,
        manufacturer_model_name=request.device.model,
        software_versions=request.device.software_version,
        device_serial_number=request.device.serial_number,
    )
    ds.update(object_header(planned, request))
    _complete(ds, known, planned)
    _refer(ds, source, planned)
    return finished(planned, ds, envelope(request.sources[0].header))


def _stub(source: Source, known: Geometry, pixels: tuple[int, ...]) -> Dataset:
    """A photograph of one frame with the source's identity and geometry, and an empty patient."""
    ds = Dataset()
    for keyword in REQUIRED:
        setattr(ds, keyword, "")
    ds.SOPClassUID, ds.SOPInstanceUID = VLPhotographicImageStorage, source.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = source.study_instance_uid, source.series_instance_uid
    ds.Rows, ds.Columns = pixels
    if known.frame_of_reference_uid:
        ds.FrameOfReferenceUID = known.frame_of_reference_uid
    if known.pixel_spacing:
        ds.PixelSpacing = list(known.pixel_spacing)
    return ds


def _segment(request: ReportRequest, shape: FoundShape) -> SegmentDescription:
    """What the mask is a mask of, in which eye, and which model drew it."""
    origin = request.origin
    parameters = {"weights-sha256": origin.weights_sha256} | ({"demonstration": "yes"} if origin.demonstration else {})
    segment = SegmentDescription(
        segment_number=1,
        segment_label=shape.name,
        segmented_property_category=items.coded(term("anatomical-structure")),
        segmented_property_type=items.coded(shape.code),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"{origin.name} (DEMONSTRATION)" if origin.demonstration else origin.name,
            family=items.coded(term("artificial-intelligence")),
            version=origin.version,
            source=origin.manufacturer,
            parameters=parameters,
        ),
        tracking_uid=request.tracking_uid,
        tracking_id=request.tracking_identifier,
        anatomic_regions=[items.coded(term("eye"))],
        display_color=CIELabColor.from_rgb(*OUTLINE),
    )
    (eye,) = segment.AnatomicRegionSequence
    eye.AnatomicRegionModifierSequence = [items.coded(term(f"eye-{request.eye.lower()}"))]
    return segment


def _complete(ds: Dataset, known: Geometry, planned: Planned) -> None:
    """Say what highdicom leaves out or makes up: each mask of the same image must be the same file."""
    ds.PatientOrientation = list(known.patient_orientation)
    for measures in ds.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence", ()):
        measures.SliceThickness = known.slice_thickness or THICKNESS_UNKNOWN
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = uids.dimension_uid(planned.sop_instance_uid)
    ds.CodingSchemeIdentificationSequence = [scheme_item(table().own)]
    set_lossy(ds, known)
    ds["PixelData"].VR = "OB"


def _refer(ds: Dataset, source: Source, planned: Planned) -> None:
    """Give the source its true class in every reference, and its study where that is not ours (PS3.3 C.12.2)."""

    def tell(_: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = source.sop_class_uid

    ds.walk(tell)
    if source.study_instance_uid != planned.study_instance_uid:
        other = Dataset()
        other.StudyInstanceUID, other.ReferencedSeriesSequence = source.study_instance_uid, ds.ReferencedSeriesSequence
        ds.StudiesContainingOtherReferencedInstancesSequence = [other]
        del ds.ReferencedSeriesSequence
