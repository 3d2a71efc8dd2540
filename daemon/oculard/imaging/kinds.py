"""What an image is, told from its facts: the word by which a plan and a manifest find each other."""

from __future__ import annotations

from oculard.imaging.facts import Facts
from oculard.settings import OCT_EN_FACE, OCT_FLOW_VOLUME
from oculard.settings import OPHTHALMIC_TOMOGRAPHY as OPHTHALMIC_TOMOGRAPHY

FUNDUS = "fundus"  # colour photograph of the retina, one frame
OCT_VOLUME = "oct-volume"
EN_FACE = "en-face"  # OCT angiography slab seen from above
FLOW_VOLUME = "flow-volume"  # OCT angiography before slabs were made of it
OCT_LAYERS = "oct-layers"  # where a device found the layers of the retina in an OCT volume
OTHER = ""

OPHTHALMIC_PHOTOGRAPHY_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
PHOTOGRAPHS = frozenset(  # some cameras send photographs of the eye as these (Canon RICS, Optovue)
    {
        OPHTHALMIC_PHOTOGRAPHY_8_BIT,
        "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
        "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture
    }
)
LAYERS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.5",  # Surface Segmentation
        "1.2.840.10008.5.1.4.1.1.66.8",  # Height Map Segmentation
    }
)
NOT_COLOUR = frozenset({"INFRARED", "IR", "REDFREE", "RED FREE", "AUTOFLUORESCENCE", "FA", "ICG"})


def kind_of(facts: Facts) -> str:
    """The image's kind; OTHER when no estimator reads such objects."""
    if facts.sop_class_uid == OPHTHALMIC_TOMOGRAPHY:
        return OCT_VOLUME
    if facts.sop_class_uid in LAYERS:
        return OCT_LAYERS
    if facts.sop_class_uid == OCT_EN_FACE:
        return EN_FACE
    if facts.sop_class_uid == OCT_FLOW_VOLUME:
        return FLOW_VOLUME
    is_colour = facts.samples_per_pixel == 3 and not NOT_COLOUR & set(facts.image_type[2:])
    if facts.sop_class_uid in PHOTOGRAPHS and facts.modality == "OP" and is_colour and facts.frames == 1:
        return FUNDUS
    return OTHER
