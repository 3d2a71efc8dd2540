"""Archives that misbehave: too much, malformed, half, silent, lying. Nothing that they say is trusted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from provider import GOOD, asked, finding, match, pages, scripted, web
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt, service_class

from devices import Site
from oculard.retrieve import find
from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveRefused,
    ArchiveSilent,
    Days,
    StudyFailed,
    TooManyMatches,
)

DAY = Days(first=date(2026, 11, 20), last=date(2026, 11, 20))


BAD_MATCHES = [
    (match(StudyInstanceUID=None), "match-without-uid"),
    (match(StudyInstanceUID=""), "match-without-uid"),
    (match(StudyInstanceUID="../../etc/passwd"), "match-without-uid"),
    (match(StudyInstanceUID="1." * 40), "match-without-uid"),
    (match(StudyDate="20250101"), "match-of-another-day"),
    (match(StudyDate="today"), "match-of-another-day"),
    (match(StudyDate=None), "match-of-another-day"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("bad", "remark"), BAD_MATCHES)
def test_a_malformed_match_is_a_remark(here: Site, bad: Dataset, remark: str) -> None:
    """It is left out and counted by its reason; the good ones count."""
    with scripted(finding((0xFF00, bad), (0xFF00, match()))) as port:
        archive = asked(here, port)
        (found,) = archive.find_studies(DAY, ())

    assert found.study_instance_uid == GOOD
    assert archive.remarks == {remark: 1}


@pytest.mark.filterwarnings("ignore")
def test_modalities_that_cannot_be_are_left_out(here: Site) -> None:
    """None is longer than 16 characters (PS3.5 6.2): each such one is a remark."""
    with scripted(finding((0xFF00, match(ModalitiesInStudy=["OP", "X" * 17, "Y" * 30_000])))) as port:
        archive = asked(here, port)
        (found,) = archive.find_studies(DAY, ())

    assert found.modalities == ("OP",)
    assert archive.remarks == {"modality-not-believed": 2}


def test_a_match_that_cannot_be_decoded_is_a_remark(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are no data set; the others count."""
    encode, bad = service_class.encode, match(StudyInstanceUID="1.2.9")
    garbage = b"\x08\x00\x40\x11\xff\xff\xff\xffno items at all"
    monkeypatch.setattr(service_class, "encode", lambda ds, *how: garbage if ds == bad else encode(ds, *how))
    with scripted(finding((0xFF00, bad), (0xFF00, match()))) as port:
        archive = asked(here, port)
        assert [one.study_instance_uid for one in archive.find_studies(DAY, ())] == [GOOD]

    assert archive.remarks == {"match-unreadable": 1}


@pytest.mark.filterwarnings("ignore")
def test_a_match_in_another_character_set_counts(here: Site) -> None:
    """Nothing that we use of it depends on its character set."""
    named = match(SpecificCharacterSet="ISO 2022 IR 87", ModalitiesInStudy=["OP"])
    named.add_new("PatientName", "PN", b"\xff\xfe\x1b$B")
    with scripted(finding((0xFF00, named))) as port:
        archive = asked(here, port)
        assert [one.study_instance_uid for one in archive.find_studies(DAY, ("OP",))] == [GOOD]

    assert not archive.remarks


@pytest.mark.filterwarnings("ignore")
def test_elements_of_another_kind_are_none(here: Site) -> None:
    """A UID that is a sequence, modalities that are a number: no more than if they were missing."""
    bad, odd = match(StudyInstanceUID=None), match()
    bad.add_new("StudyInstanceUID", "SQ", [Dataset()])
    odd.add_new("ModalitiesInStudy", "US", 7)
    with scripted(finding((0xFF00, bad), (0xFF00, odd)), syntax=ExplicitVRLittleEndian) as port:
        archive = asked(here, port)
        (found,) = archive.find_studies(DAY, ())

    assert found.modalities == ()
    assert archive.remarks == {"match-without-uid": 1}


@pytest.mark.filterwarnings("ignore")
def test_an_element_of_an_impossible_length_is_none(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of three bytes where the UID stands: pydicom has an error of its own for it."""
    encode, bad = service_class.encode, match(StudyInstanceUID="1.2.9")
    odd = b"\x20\0\x0d\0US\3\0abc"
    monkeypatch.setattr(service_class, "encode", lambda ds, *how: odd if ds == bad else encode(ds, *how))
    with scripted(finding((0xFF00, bad), (0xFF00, match())), syntax=ExplicitVRLittleEndian) as port:
        archive = asked(here, port)
        assert [one.study_instance_uid for one in archive.find_studies(DAY, ())] == [GOOD]

    assert archive.remarks == {"match-without-uid": 1}


def test_a_match_larger_than_any_ends_the_association(here: Site) -> None:
    """It is not kept in memory, and nobody waits for its end."""
    with scripted(finding((0xFF00, match(StudyComments="x" * (2 << 20))))) as port, pytest.raises(ArchiveAway) as why:
        asked(here, port, find_s=30).find_studies(DAY, ())
    assert why.type is ArchiveAway


def test_an_archive_that_does_not_say_modalities_is_asked_for_its_series(here: Site) -> None:
    """ModalitiesInStudy may be missing; Modality of a series may not."""

    def handle(event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "STUDY":
            yield 0xFF00, match()
            yield 0xFF00, match(StudyInstanceUID="1.2.4")
        else:
            modality = "OP" if event.identifier.StudyInstanceUID == GOOD else "US"
            yield 0xFF00, match(SeriesInstanceUID="1.2.3.1", Modality=modality)

    with scripted((evt.EVT_C_FIND, handle)) as port:
        assert [one.study_instance_uid for one in asked(here, port).find_studies(DAY, ("OP",))] == [GOOD]


def test_a_match_that_comes_twice_counts_once(here: Site) -> None:
    """And is remarked on."""
    with scripted(finding((0xFF00, match()), (0xFF01, match()))) as port:
        archive = asked(here, port)
        assert len(archive.find_studies(DAY, ())) == 1

    assert archive.remarks == {"match-doubled": 1}


def test_an_archive_without_end_is_told_to_stop(here: Site) -> None:
    """Ten thousand matches where thirty may be: cancelled."""
    stopped = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        for number in range(1_000_000):
            if event.is_cancelled:
                stopped.set()
                yield 0xFE00, None
                return
            yield 0xFF00, match(StudyInstanceUID=f"1.2.{number}")

    with scripted((evt.EVT_C_FIND, handle)) as port, pytest.raises(TooManyMatches):
        asked(here, port, matches_max=30).find_studies(DAY, ())


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, ArchiveBusy), (0xA900, ArchiveRefused), (0xC001, ArchiveRefused), (0xFE00, StudyFailed)],
)
def test_a_query_that_fails(here: Site, status: int, error: type[Exception]) -> None:
    """Its status says whether it may be asked again."""
    with scripted(finding((0xFF00, match()), (status, None))) as port, pytest.raises(error):
        asked(here, port).find_studies(DAY, ())


def test_an_archive_that_stalls_between_matches(here: Site) -> None:
    """It is waited for so long, and no longer."""
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield 0xFF00, match()
        over.wait(30)
        yield 0xFF00, match(StudyInstanceUID="1.2.4")

    with scripted((evt.EVT_C_FIND, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, find_s=0.5).find_studies(DAY, ())
        over.set()


def test_an_archive_that_drips(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each match comes in time, and there is no end to them: the question as a whole has its time."""
    monkeypatch.setattr(find, "STUDIES_TIMES", 1)
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        for number in range(10_000):
            if event.is_cancelled or over.wait(0.05):
                return
            yield 0xFF00, match(StudyInstanceUID=f"1.2.{number}")

    with scripted((evt.EVT_C_FIND, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, find_s=1).find_studies(DAY, ())
        over.set()


def test_an_archive_that_speaks_nonsense_in_the_middle(here: Site) -> None:
    """Bytes that are no message end the association at once."""

    def handle(event: Any) -> Iterator[Any]:
        yield 0xFF00, match()
        event.assoc.dul.socket.socket.sendall(b"\x09\x00\x00\x00\x00\x04\xff\xff\xff\xff")
        yield 0xFF00, match()

    with scripted((evt.EVT_C_FIND, handle)) as port, pytest.raises(ArchiveAway) as why:
        asked(here, port, find_s=1000).find_studies(DAY, ())
    assert why.type is ArchiveAway


def test_an_archive_that_aborts_in_the_middle(here: Site) -> None:
    """What was told until then is not taken for all."""

    def handle(event: Any) -> Iterator[Any]:
        yield 0xFF00, match()
        event.assoc.abort()

    with scripted((evt.EVT_C_FIND, handle)) as port, pytest.raises(ArchiveAway):
        asked(here, port).find_studies(DAY, ())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", ["-1", "0", "999999999", "many", "9" * 5000, "1e999", None])
def test_a_count_that_cannot_be_believed_is_counted_one_by_one(here: Site, count: str | None) -> None:
    """The instances themselves are asked for."""

    def handle(event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            told = match(SeriesInstanceUID="1.2.3.1")
            if count is not None:
                told.add_new("NumberOfSeriesRelatedInstances", "LO", count)  # not even a number need it be
            yield 0xFF00, told
            yield 0xFF00, match(SeriesInstanceUID="1.2.3.2", NumberOfSeriesRelatedInstances="1", StudyInstanceUID="9.9")
        else:
            for number in (1, 2, 2):
                yield 0xFF00, match(SeriesInstanceUID="1.2.3.1", SOPInstanceUID=f"1.2.3.1.{number}")
            yield 0xFF00, match(SeriesInstanceUID="1.2.3.9", SOPInstanceUID="1.2.3.9.1")

    with scripted((evt.EVT_C_FIND, handle)) as port:
        archive = asked(here, port)
        assert archive.count_series(GOOD) == {"1.2.3.1": 2}

    assert archive.remarks["match-of-another-study"] == 2
    assert archive.remarks["count-not-believed"] == (count in ("-1", "0", "999999999", "many"))  # others are unreadable


def test_a_port_that_speaks_something_else(here: Site) -> None:
    """An HTTP server where DICOM was expected."""
    with web(pages({})) as port, pytest.raises(ArchiveAway):
        asked(here, port).find_studies(DAY, ())
