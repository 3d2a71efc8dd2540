"""Facts, kinds and eyes: what a header says, and what it does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from oculard.imaging.eyes import acquisitions, is_complete
from oculard.imaging.facts import BadHeader, Eye, Facts, is_uid, read_eye, read_facts
from oculard.imaging.kinds import (
    EN_FACE,
    FLOW_VOLUME,
    FUNDUS,
    OCT_EN_FACE,
    OCT_FLOW_VOLUME,
    OCT_VOLUME,
    OPHTHALMIC_TOMOGRAPHY,
    OTHER,
    kind_of,
)
from oculard.imaging.slabs import slab_of, slab_words
from oculard.imaging.spacing import read_scale

OP_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"


def header(**values: Any) -> Dataset:
    """A header with the four UIDs."""
    ds = Dataset()
    uids = {"SOPClassUID": OP_8_BIT, "SOPInstanceUID": "1.2", "StudyInstanceUID": "1.3", "SeriesInstanceUID": "1.4"}
    for keyword, value in (uids | values).items():
        setattr(ds, keyword, value)
    return ds


def frames(*lateralities: str) -> list[Dataset]:
    """Per-frame functional groups with these frame lateralities."""
    groups = []
    for laterality in lateralities:
        anatomy, group = Dataset(), Dataset()
        anatomy.FrameLaterality = laterality
        group.FrameAnatomySequence = [anatomy]
        groups.append(group)
    return groups


@pytest.mark.parametrize(
    ("values", "eye", "why"),
    [
        ({"ImageLaterality": "R"}, Eye.RIGHT, "ImageLaterality"),
        ({"ImageLaterality": "l "}, Eye.LEFT, "ImageLaterality"),
        ({"Laterality": "L"}, Eye.LEFT, "Laterality"),
        ({"ImageLaterality": "", "Laterality": "R"}, Eye.RIGHT, "Laterality"),
        ({"PerFrameFunctionalGroupsSequence": frames("L", "L")}, Eye.LEFT, "FrameLaterality"),
        ({"PerFrameFunctionalGroupsSequence": frames("L", "R")}, Eye.UNKNOWN, "FrameLaterality says both eyes"),
        ({"ImageLaterality": "B"}, Eye.UNKNOWN, "ImageLaterality says both eyes"),
        ({"ImageLaterality": "R", "Laterality": "L"}, Eye.UNKNOWN, "contradiction: ImageLaterality R, Laterality L"),
        ({"ImageLaterality": "OD"}, Eye.UNKNOWN, "no laterality in the header"),
        ({"SeriesDescription": "right eye"}, Eye.UNKNOWN, "no laterality in the header"),
        ({}, Eye.UNKNOWN, "no laterality in the header"),
    ],
)
def test_an_eye_is_read_and_never_guessed(values: dict[str, Any], eye: Eye, why: str) -> None:
    """Image Laterality, then Laterality, then the frames; contradictions and free text leave the eye unknown."""
    assert read_eye(header(**values)) == (eye, why)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1..2", "1." + "2" * 70, "a.b", "1.2/3", "1.", "1.2\n3"])
def test_a_header_without_its_uids_is_refused(keyword: str, uid: str) -> None:
    """Missing, malformed, absurd: custody needs the four UIDs."""
    with pytest.raises(BadHeader, match=keyword):
        read_facts(header(**{keyword: uid}))


@given(st.text(max_size=80))
def test_only_uids_pass_for_uids(text: str) -> None:
    """What passes has digits and dots alone, no path and no more than 64 characters."""
    if is_uid(text):
        assert set(text) <= set("0123456789.")
        assert len(text) <= 64
        assert ".." not in text


def test_facts_survive_the_database() -> None:
    """As JSON and back they are the same."""
    facts = read_facts(header(ImageLaterality="R", Modality="op", ImageType=["ORIGINAL", "PRIMARY", "", "COLOR"]))

    assert Facts.from_json(facts.as_json()) == facts
    assert facts.modality == "OP"


def test_bad_values_are_no_reason_to_refuse() -> None:
    """A device's wrong number or date is kept as it is: custody comes first."""
    ds = header()
    ds.add_new("NumberOfFrames", "IS", None)
    ds.AcquisitionDateTime = "yesterday"

    facts = read_facts(ds)
    assert facts.frames == 1
    assert facts.acquired_at == "yesterday"


def photograph(uid: str, eye: str = "R", at: str = "20261120090000", **changes: Any) -> Facts:
    """Facts of a colour photograph."""
    values: dict[str, Any] = {
        "sop_class_uid": OP_8_BIT,
        "sop_instance_uid": uid,
        "study_instance_uid": "1",
        "series_instance_uid": "2",
        "modality": "OP",
        "samples_per_pixel": 3,
        "acquired_at": at,
    }
    return Facts(eye=Eye(eye), **(values | changes))


def volume(uid: str, eye: str = "R", at: str = "20261120090000", **changes: Any) -> Facts:
    """Facts of an OCT volume."""
    return photograph(uid, eye, at, **({"sop_class_uid": OPHTHALMIC_TOMOGRAPHY, "samples_per_pixel": 1} | changes))


def slab(uid: str, eye: str = "R", at: str = "20261120090000", **changes: Any) -> Facts:
    """Facts of an en face slab."""
    return photograph(uid, eye, at, **({"sop_class_uid": OCT_EN_FACE, "samples_per_pixel": 1} | changes))


def test_kinds() -> None:
    """Photographs, volumes, slabs and flow volumes are told apart; infrared and multi-frame photographs are none."""
    assert kind_of(photograph("1")) == FUNDUS
    assert kind_of(photograph("1", sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.4")) == FUNDUS
    assert kind_of(photograph("1", modality="XC", sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.4")) == OTHER
    assert kind_of(photograph("1", image_type=("ORIGINAL", "PRIMARY", "", "INFRARED"))) == OTHER
    assert kind_of(photograph("1", samples_per_pixel=1)) == OTHER
    assert kind_of(photograph("1", frames=2)) == OTHER
    assert kind_of(volume("1")) == OCT_VOLUME
    assert kind_of(slab("1")) == EN_FACE
    assert kind_of(slab("1", sop_class_uid=OCT_FLOW_VOLUME)) == FLOW_VOLUME


def typed(value: str, scheme: str) -> Facts:
    """Facts of a header with this coded image type."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, scheme
    return read_facts(header(OphthalmicImageTypeCodeSequence=[item]))


@pytest.mark.parametrize(
    ("value", "scheme", "slab", "words"),
    [
        ("128265", "DCM", "128265", "128265 DCM superficial retina vasculature flow"),
        ("128999", "DCM", "128999", "128999 DCM"),
        ("128265", "99TOP", "", "128265 99TOP"),
        ("128265", "", "", "128265"),
        ("", "", "", "no coded image type"),
    ],
)
def test_only_a_standard_code_says_which_slab_it_is(value: str, scheme: str, slab: str, words: str) -> None:
    """The code value of another scheme means something else; the words for a report name what came."""
    facts = typed(value, scheme)

    assert (slab_of(facts), slab_words(facts)) == (slab, words)
    assert Facts.from_json(facts.as_json()) == facts


def test_a_strange_code_fits_every_report() -> None:
    """Whatever a device writes there, the words are plain ASCII without a report's special characters."""
    facts = Facts.from_json(typed("1", "DCM").as_json() | {"slab": "a~b\\c眼" * 9, "slab_scheme": "\x00"})

    assert slab_words(facts) == "a?b?c?a?b?c?a?b? ?"


def measures(*spacing: float) -> list[Dataset]:
    """Shared functional groups with this spacing."""
    item, group = Dataset(), Dataset()
    item.PixelSpacing = list(spacing)
    group.PixelMeasuresSequence = [item]
    return [group]


def raw_spacing(text: str) -> Dataset:
    """A header whose Pixel Spacing has these very bytes."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    ds = header()
    ds[0x00280030] = RawDataElement(Tag(0x00280030), "DS", len(text), text.encode(), 0, False, True)
    return ds


@pytest.mark.parametrize(
    ("ds", "spacing_mm", "reason"),
    [
        (header(PixelSpacing=[0.03, 0.02]), (0.03, 0.02), ""),
        (header(SharedFunctionalGroupsSequence=measures(0.03, 0.02)), (0.03, 0.02), ""),
        (header(PixelSpacing=[0.03, 0.02], SharedFunctionalGroupsSequence=measures(0.03, 0.02)), (0.03, 0.02), ""),
        (
            header(PixelSpacing=[0.03, 0.02], SharedFunctionalGroupsSequence=measures(0.02, 0.02)),
            None,
            "spacing-implausible",
        ),
        (header(), None, "spacing-missing"),
        (header(PixelSpacing=None), None, "spacing-missing"),
        (header(PixelSpacing=[0, 0]), None, "spacing-implausible"),
        (header(PixelSpacing=[0.03, 0]), None, "spacing-implausible"),
        (header(PixelSpacing=[-0.03, 0.02]), None, "spacing-implausible"),
        (header(PixelSpacing=0.03), None, "spacing-implausible"),
        (header(PixelSpacing=[0.03, 0.02, 0.02]), None, "spacing-implausible"),
        (header(PixelSpacing=[0.0099, 0.02]), None, "spacing-implausible"),
        (header(PixelSpacing=[0.03, 0.1251]), None, "spacing-implausible"),
        (raw_spacing("nan\\nan "), None, "spacing-implausible"),
        (raw_spacing("inf\\inf "), None, "spacing-implausible"),
        (raw_spacing("wide\\high "), None, "spacing-implausible"),
    ],
)
def test_a_spacing_is_read_or_refused(ds: Dataset, spacing_mm: tuple[float, float] | None, reason: str) -> None:
    """At the root or in the frames' measures, of a field of 1 to 25 mm a side; whatever else is said is not used."""
    scale = read_scale(ds, rows=100, columns=200)

    assert (scale.spacing_mm, scale.reason) == (spacing_mm, reason)


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("FD", b"\x00\x00\x00\x00\x00\x00\xf0\x3f"),
        ("SQ", b"\xfe\xff\x00"),
        ("SQ", b"\xfe\xff\x00\xe0\xff\x00\x00\x00\x28\x00\x30\x00DS"),
    ],
    ids=["a number", "three bytes", "a broken item"],
)
def test_a_malformed_sequence_is_no_spacing(vr: str, value: bytes) -> None:
    """Nested values are parsed when they are asked for, in the worker: none of them may end it."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    group = Dataset()
    group[0x00289110] = RawDataElement(Tag(0x00289110), vr, len(value), value, 0, False, True)

    assert read_scale(header(SharedFunctionalGroupsSequence=[group]), rows=300, columns=300).spacing_mm is None


@pytest.mark.parametrize(
    ("said", "length_mm"),
    [(24.0, 24.0), (18.0, 18.0), (40.0, 40.0), (17.9, None), (0.0, None), (None, None), (float("nan"), None)],
)
def test_an_axial_length_is_an_eyes_or_none(said: float | None, length_mm: float | None) -> None:
    """Only what an eye can have is believed."""
    assert read_scale(header(AxialLengthOfTheEye=said), rows=1, columns=1).axial_length_mm == length_mm
    assert read_scale(header(), rows=1, columns=1).axial_length_mm is None


def test_a_volume_finds_its_photograph_and_slabs() -> None:
    """Same eye and frame of reference, or near in time; another eye's or an unknown eye's never."""
    found = acquisitions(
        [
            volume("v1", at="20261120090000", frame_of_reference_uid="9.1"),
            volume("v2", at="20261120091000", frame_of_reference_uid="9.2"),
            photograph("p1", at="20261120090005"),
            photograph("p2", at="20261120091005"),
            photograph("pl", "L", at="20261120090005"),
            photograph("pu", "U", at="20261120090005"),
            photograph("far", at="20261120120000"),
            slab("s1", at="20261120095900", frame_of_reference_uid="9.1"),
            slab("s2", at="20261120091001"),
        ]
    )

    assert [(a.volume.sop_instance_uid, a.photograph and a.photograph.sop_instance_uid) for a in found] == [
        ("v1", "p1"),
        ("v2", "p2"),
    ]
    assert [[s.sop_instance_uid for s in a.slabs] for a in found] == [["s1"], ["s2"]]


def test_eyes_are_never_mixed() -> None:
    """The other eye's photograph was taken nearer in time, and two images whose eye nobody knows look like a pair."""
    found = acquisitions(
        [
            volume("v", at="20261120090000", frame_of_reference_uid="9.1"),
            photograph("other", "L", at="20261120090000", frame_of_reference_uid="9.1"),
            slab("other slab", "L", at="20261120090000", frame_of_reference_uid="9.1"),
            photograph("own", at="20261120090030"),
            volume("unknown volume", "U", at="20261120090000"),
            photograph("unknown", "U", at="20261120090000"),
        ]
    )

    assert [(one.volume.sop_instance_uid, one.photograph and one.photograph.sop_instance_uid) for one in found] == [
        ("v", "own")
    ]
    assert found[0].slabs == ()


def test_a_device_profile_says_when_a_study_is_complete() -> None:
    """A pair needs both eyes; an acquisition needs its volume and its number of files."""
    right, left = photograph("1"), photograph("2", "L")
    assert not is_complete([right], "fundus-pair")
    assert not is_complete([right, photograph("3", "U")], "fundus-pair")
    assert is_complete([right, left], "fundus-pair")
    assert is_complete([volume("1"), right], "oct-2")
    assert not is_complete([volume("1")], "oct-2")
    assert not is_complete([right, left], "oct-2")
    assert is_complete([volume("1"), *[slab(str(n)) for n in range(8)]], "oct-9")
    assert not is_complete([right, left], "nothing")
