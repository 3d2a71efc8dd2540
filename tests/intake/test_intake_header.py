"""The header: walked in bounded memory; whatever the bytes are, the walk ends with an answer."""

from __future__ import annotations

import contextlib
import random
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from devices import encode, photograph
from oculard.imaging.facts import Eye, Facts, read_facts
from oculard.intake.custody import facts_of
from oculard.intake.header import BadDataSet, read_header
from oculard_models import header_cost

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def in_syntax(ds: Dataset, syntax: str) -> bytes:
    if syntax == DeflatedExplicitVRLittleEndian:
        return deflated(encode(ds))
    return encode(ds, syntax)


def header(data: bytes, syntax: str = ExplicitVRLittleEndian, inflated_bytes_max: int = 1 << 30) -> Dataset:
    return read_header(BytesIO(data), len(data), syntax, inflated_bytes_max=inflated_bytes_max, quick=False)


def volume() -> Dataset:
    """A multi-frame image whose eye only its functional groups name, and whose en face slab is coded."""
    frame, anatomy, slab = Dataset(), Dataset(), Dataset()
    anatomy.FrameLaterality = "L"
    frame.FrameAnatomySequence = [anatomy]
    slab.CodeValue = "128265"
    return photograph(
        ImageLaterality=None,
        PerFrameFunctionalGroupsSequence=[frame] * 20,
        OphthalmicImageTypeCodeSequence=[slab],
        Manufacturer="Nobody",
        ImageType=["ORIGINAL", "PRIMARY"],
        AcquisitionDateTime="20261120101112",
        NumberOfFrames=20,
    )


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_the_facts_survive(syntax: str, undefined: bool) -> None:
    """The header gives the same facts as the whole data set, in every encoding."""
    ds = volume()
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined

    facts = read_facts(header(in_syntax(ds, syntax), syntax))

    assert facts == read_facts(ds)
    assert (facts.eye, facts.slab, facts.frames) == (Eye.LEFT, "128265", 20)


class Asked(Dataset):
    """A data set that writes down what it is asked for."""

    def get(self, key: object, default: object = None) -> object:  # type: ignore[override]  # one use only
        self.__dict__.setdefault("asked", set()).add(key)
        return super().get(key, default)  # type: ignore[call-overload]


def test_the_header_keeps_all_that_the_facts_are_read_from() -> None:
    """A fact that is read from a sequence needs that sequence kept."""
    asked = Asked(volume())
    read_facts(asked)
    long_enough = {keyword for keyword in asked.__dict__["asked"] if keyword.endswith("Sequence")}
    assert long_enough == {
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "OphthalmicImageTypeCodeSequence",
    }


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_cut_is_seen_or_harmless(syntax: str) -> None:
    """Wherever a data set is cut, it is refused, unless the cut looks like the end of an element, or like padding."""
    ds = photograph()
    data, ends = in_syntax(ds, syntax), element_ends(ds, syntax)
    for length in range(len(data)):
        try:
            facts_of(BytesIO(data[:length]), length, syntax, inflated_bytes_max=1 << 20)
        except BadDataSet:
            continue
        last = max(end for end in ends if end <= length)
        assert not data[last:length].strip(b"\0"), f"cut at {length} of {len(data)} passed"


def element_ends(ds: Dataset, syntax: str) -> list[int]:
    """Where each element ends."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return []
    part, ends = Dataset(), []
    for element in ds:
        part.add(element)
        ends.append(len(encode(part, syntax)))
    return ends


def test_padding_after_the_pixel_data_is_harmless() -> None:
    """Devices pad."""
    data = encode(photograph())
    for padding in (b"\0", b"\0\0\0\0", b"\xff\0"):
        assert header(data + padding).SOPInstanceUID


def test_encapsulated_pixels_are_walked() -> None:
    """Fragments are passed over; what looks like a delimiter inside of one is none."""
    ds = photograph(PixelData=encapsulate([b"\xfe\xff\xdd\xe0\0\0\0\0" * 10, b"ab"]))
    ds["PixelData"].is_undefined_length = True

    assert "PixelData" not in header(encode(ds), JPEGBaseline8Bit)


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes_are_refused_or_read_never_worse(seed: int) -> None:
    """Damage anywhere ends in facts or in a refusal: no other exception, no endless walk."""
    dice = random.Random(seed)
    for syntax in SYNTAXES:
        whole = in_syntax(volume(), syntax)
        for _ in range(100):
            data = bytearray(whole)
            for _ in range(dice.randint(1, 6)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            with contextlib.suppress(BadDataSet):
                facts_of(BytesIO(bytes(data)), len(data), syntax, inflated_bytes_max=1 << 20)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), syntax=st.sampled_from(SYNTAXES))
def test_any_bytes_end_with_an_answer(data: bytes, syntax: str) -> None:
    """Nothing that a network may bring does worse than being refused."""
    with contextlib.suppress(BadDataSet):
        facts_of(BytesIO(data), len(data), syntax, inflated_bytes_max=1 << 20)


def test_a_header_that_costs_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bytes of an element become hundreds in memory: it is the cost that is bounded, not the bytes."""
    monkeypatch.setattr(header_cost, "COST_MAX", 1 << 20)
    sound, crowded = photograph(PatientName="Müller"), photograph(PatientName="Müller")
    for number in range(4000):
        crowded.add_new((0x5001, number), "CS", "A")

    assert header(encode(sound)).PatientName == "Müller"
    with pytest.raises(BadDataSet) as caught:
        header(encode(crowded))
    assert caught.value.reason == "header-too-large"


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_frames_that_name_no_eye_cost_nothing(monkeypatch: pytest.MonkeyPatch, syntax: str, undefined: bool) -> None:
    """A segmentation of many thousand frames is an instance like any other."""
    monkeypatch.setattr(header_cost, "COST_MAX", 1 << 20)
    ds = photograph(PatientName="Müller", ImageLaterality="R", PerFrameFunctionalGroupsSequence=[Dataset()] * 3000)
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined

    assert read_facts(header(in_syntax(ds, syntax), syntax)).eye is Eye.RIGHT


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_an_eye_that_too_many_frames_name_is_unknown(
    monkeypatch: pytest.MonkeyPatch, syntax: str, undefined: bool
) -> None:
    """Nobody has read whether they say another than the header: the eye is not guessed, and the image is taken."""
    frame, anatomy = Dataset(), Dataset()
    anatomy.FrameLaterality = "L"
    frame.FrameAnatomySequence = [anatomy]

    def facts(frames: int) -> Facts:
        ds = photograph(PatientName="Müller", Laterality="R", PerFrameFunctionalGroupsSequence=[frame] * frames)
        del ds.ImageLaterality
        ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined
        data = in_syntax(ds, syntax)
        return facts_of(BytesIO(data), len(data), syntax, inflated_bytes_max=1 << 30)

    monkeypatch.setattr(header_cost, "COST_MAX", 1 << 20)
    assert facts(9).eye_why == "contradiction: Laterality R, FrameLaterality L"
    assert (facts(3000).eye, facts(3000).eye_why) == (
        Eye.UNKNOWN,
        "what the header says of the frames' eyes is too large to be read",
    )
