"""Secondary captures: the picture as an image that every viewer shows (PS3.3 A.8.1).

Not compressed: Explicit VR Little Endian is taken wherever DICOM is, thin lines and letters stay sharp, and two or
three megabytes are little beside the images that came.
"""

from __future__ import annotations

from PIL import Image
from pydicom.dataset import Dataset

from oculard.report.codes import term
from oculard.report.document import coded, instance, object_header
from oculard.report.envelope import envelope
from oculard.report.geometry import geometry, set_lossy
from oculard.report.part10 import Report, finished
from oculard.report.planned import Planned
from oculard.report.request import ReportRequest
from oculard.report.source import Source

OUTLINE = "Outline drawn by an AI model, with a legend"
VIEWS = "Views that an AI model saw, with class activation maps and a legend"


def build_capture(planned: Planned, request: ReportRequest, picture: Image.Image) -> Report:
    """Write the picture of a request's shape or views."""
    source = request.picture_source
    assert source is not None
    ds, known = object_header(planned, request), geometry(source)
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD"  # made by a workstation
    ds.Laterality = request.eye
    ds.PatientOrientation = []  # of the sheet, not of the retina on it
    if known.burned_in:  # of ours none names a patient; of the source's pixels only its header can say
        ds.BurnedInAnnotation = known.burned_in
    ds.DerivationDescription = OUTLINE if request.seen is None else VIEWS
    ds.SourceImageSequence = [_derived_from(source)]
    set_lossy(ds, known)
    _add_pixels(ds, picture)
    return finished(planned, ds, envelope(request.sources[0].header))


def _derived_from(source: Source) -> Dataset:
    ds = instance(source.sop_class_uid, source.sop_instance_uid)
    ds.PurposeOfReferenceCodeSequence = [coded(term("processed-image"))]
    return ds


def _add_pixels(ds: Dataset, picture: Image.Image) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Columns, ds.Rows = picture.size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.add_new("PixelData", "OB", picture.tobytes())
