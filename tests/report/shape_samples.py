"""Samples for the tests of outlined structures: an en face image, a photograph, and requests with a shape in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import OphthalmicOpticalCoherenceTomographyEnFaceImageStorage
from report_samples import ORIGIN, STUDY, part10, photograph, request, source

from oculard.report.request import ReportRequest
from oculard.report.shape import FoundShape
from oculard.report.source import Source
from oculard_models.contract import Finding, Shape
from oculard_models.manifest import Logistic, Output, OutputKind, Structure

ROWS, COLUMNS = 36, 44
SPACING_MM = 0.08
PREFIX = {Structure.FAZ: "FAZ", Structure.OPTIC_DISC: "DISC"}
FAMILY = {Structure.FAZ: "faz", Structure.OPTIC_DISC: "disc"}
MEASURES = {  # name: concept, unit, value
    "area": ("AREA", "mm2", 0.3124),
    "area-px": ("AREA-PX", "{pixels}", 48.8),
    "perimeter": ("PERIM", "mm", 2.3051),
    "perimeter-px": ("PERIM-PX", "{pixels}", 28.8),
    "circularity": ("CIRC", "1", 0.7389),
    "feret-max": ("FERET-MAX", "mm", 0.812),
    "feret-min": ("FERET-MIN", "mm", 0.604),
    "axial-ratio": ("AXIAL-RATIO", "1", 1.3),
    "centroid-offset": ("OFFSET", "mm", 0.1209),
}
GLAUCOMA = Output(
    name="glaucoma",
    concept="FAZ-GL",
    kind=OutputKind.LOGISTIC,
    choices=("normal", "glaucoma"),
    logistic=Logistic(intercept=0.0, coefficients={"area": 1.0}),
)


def en_face(number: int = 1, **elements: Any) -> Dataset:
    """A small slab of OCT angiography that validators accept, with elements set by keyword; None removes one."""
    ds = photograph(number)
    for keyword in PHOTOGRAPHIC:
        del ds[keyword]
    for keyword, value in {**_slab(), **elements}.items():
        if value is None:
            ds.pop(keyword, None)
        else:
            setattr(ds, keyword, value)
    return ds


def fundus(number: int = 1, **elements: Any) -> Dataset:
    """A photograph as large as the sample mask."""
    pixels = {"Rows": ROWS, "Columns": COLUMNS, "PixelData": bytes(3 * ROWS * COLUMNS)}
    return photograph(number, **(pixels | elements))


def outputs(structure: Structure) -> tuple[Output, ...]:
    """All measures of a structure, and for the foveal avascular zone the class by its shape."""
    measured = tuple(
        Output(name=name, concept=f"{PREFIX[structure]}-{concept}", kind=OutputKind.MEASURED, unit=unit)
        for name, (concept, unit, _) in MEASURES.items()
    )
    return (*measured, GLAUCOMA) if structure is Structure.FAZ else measured


def shape_in(
    image: Source, structure: Structure = Structure.FAZ, rows: int = ROWS, columns: int = COLUMNS
) -> FoundShape:
    """An ellipse off the middle of an image, in a grey picture of it."""
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    middle, half = (columns * 0.45, rows * 0.55), (columns * 0.2, rows * 0.15)
    mask = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 <= 1.0
    turn = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    outline = np.stack([middle[0] + half[0] * np.cos(turn), middle[1] + half[1] * np.sin(turn)], axis=1)
    pixels = np.repeat(((x + y) * 2).astype(np.uint8)[..., None], 3, axis=2)
    return FoundShape(
        sop_instance_uid=image.sop_instance_uid,
        structure=structure,
        shape=Shape(mask=mask, outline=outline),
        pixels=pixels,
        spacing_mm=(SPACING_MM, SPACING_MM),
    )


def measured(image: Source, structure: Structure) -> tuple[Finding, ...]:
    """A value for each output."""
    values = {name: value for name, (_, _, value) in MEASURES.items()} | {"glaucoma": 73.2}
    return tuple(
        Finding(
            name=output.name,
            unit=output.unit,
            value=values[output.name],
            choice="glaucoma" if output.choices else None,
            sources=(image.sop_instance_uid,),
        )
        for output in outputs(structure)
    )


def outlined(file: bytes | None = None, structure: Structure = Structure.FAZ, **changes: Any) -> ReportRequest:
    """A request with a shape and all companions, with some fields changed."""
    image = source(file or part10(en_face()))
    fields: dict[str, Any] = {
        "origin": replace(ORIGIN, family=FAMILY[structure], name="outline-sample", title="Outline sample"),
        "outputs": outputs(structure),
        "findings": measured(image, structure),
        "shape": shape_in(image, structure),
        "parameters": ("pixel-spacing-mm=0.08 x 0.08",),
        "with_pictures": True,
        "with_pdf": True,
    }
    return request(image, **(fields | changes))


PHOTOGRAPHIC = [
    "SynchronizationFrameOfReferenceUID",
    "SynchronizationTrigger",
    "AcquisitionTimeSynchronized",
    "AcquisitionDateTime",
    "AcquisitionDeviceTypeCodeSequence",
    "LightPathFilterTypeStackCodeSequence",
    "ImagePathFilterTypeStackCodeSequence",
    "IlluminationTypeCodeSequence",
    "LensesCodeSequence",
    "DetectorType",
    "PatientEyeMovementCommanded",
    "HorizontalFieldOfView",
    "RefractiveStateSequence",
    "EmmetropicMagnification",
    "IntraOcularPressure",
    "PupilDilated",
    "RelativeImagePositionCodeSequence",
    "AcquisitionContextSequence",
    "PlanarConfiguration",
    "NumberOfFrames",
    "FrameIncrementPointer",
    "FrameTime",
    "ICCProfile",
]


def _slab() -> dict[str, Any]:
    volume = _reference("1.2.840.10008.5.1.4.1.1.77.1.5.4", f"{STUDY}.7")
    location = _reference("1.2.840.10008.5.1.4.1.1.77.1.5.4", f"{STUDY}.7")
    location.ReferenceCoordinates = [1.0, 1.0, float(ROWS), float(COLUMNS)]
    location.OphthalmicImageOrientation, location.DepthOfTransverseImage = "TRANSVERSE", 100.0
    surface = _reference("1.2.840.10008.5.1.4.1.1.68.1", f"{STUDY}.8")
    surface.ReferencedSurfaceNumber, surface.SurfaceMeshZPixelOffset = 1, 0
    surface.SegmentedPropertyTypeCodeSequence = [_code("280677004", "SCT", "ILM - Internal limiting membrane")]
    volume.PurposeOfReferenceCodeSequence = [_code("128250", "DCM", "Structural image for image processing")]
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [_code("128252", "DCM", "OCT-A amplitude decorrelation")]
    algorithm.AlgorithmName, algorithm.AlgorithmVersion = "painted", "1"
    return {
        "SOPClassUID": OphthalmicOpticalCoherenceTomographyEnFaceImageStorage,
        "Modality": "OPTENF",
        "ImageType": ["DERIVED", "PRIMARY"],
        "SourceImageSequence": [volume],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "OphthalmicFrameLocationSequence": [location],
        "ReferencedSurfaceMeshIdentificationSequence": [surface],
        "DerivationAlgorithmSequence": [algorithm],
        "OphthalmicImageTypeCodeSequence": [_code("128265", "DCM", "Superficial retina vasculature flow")],
        "FrameOfReferenceUID": f"{STUDY}.9",
        "PositionReferenceIndicator": "",
        "RecognizableVisualFeatures": "NO",
        "PresentationLUTShape": "IDENTITY",
        "WindowCenter": 128,
        "WindowWidth": 256,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": ROWS,
        "Columns": COLUMNS,
        "PixelSpacing": [SPACING_MM, SPACING_MM],
        "PixelData": bytes(ROWS * COLUMNS),
    }


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds
