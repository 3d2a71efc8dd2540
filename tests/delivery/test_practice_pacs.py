"""The practice PACS is a PACS: it keeps, finds and commits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from oculard.delivery.files import send_files
from oculard.delivery.practice_find import find
from oculard.delivery.practice_pacs import PracticePacs
from oculard.delivery.scu import Target
from peers import program
from report.report_samples import STUDY, part10, photograph

Start = Callable[..., PracticePacs]


def query(level: str, **keys: str) -> Dataset:
    """A query of a level."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def filled(practice: Start, tmp_path: Path) -> PracticePacs:
    """A practice PACS with three photographs of two studies."""
    pacs = practice()
    other = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "PatientID": "X7", "StudyDate": "20251231"}
    files = [photograph(1), photograph(2), photograph(3, **other)]
    for number, ds in enumerate(files):
        (tmp_path / f"{number}.dcm").write_bytes(part10(ds))
    target = Target(name="pacs", host="127.0.0.1", port=pacs.port, called_ae="PRACTICE", calling_ae="SCU")
    assert all(sent.is_taken for sent in send_files(target, sorted(tmp_path.glob("*.dcm"))))
    return pacs


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (query("STUDY", StudyInstanceUID=""), 2),
        (query("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=""), 1),
        (query("IMAGE", StudyInstanceUID=STUDY, SOPInstanceUID=""), 2),
        (query("PATIENT", PatientID="*"), 2),
        (query("STUDY", PatientID="X?"), 1),
        (query("STUDY", PatientName="Sample*"), 2),
        (query("STUDY", StudyDate="20260101-"), 1),
        (query("STUDY", StudyDate="-20260101"), 1),
        (query("STUDY", StudyInstanceUID=[STUDY, "1.2.3"]), 2),  # type: ignore[arg-type]  # a list of UIDs
        (query("IMAGE", Modality="CT"), 0),
        (query("NONSENSE"), 0),
    ],
)
def test_a_query_finds_what_matches(filled: PracticePacs, asked: Dataset, expected: int):
    """Queries match by UID, list, wild card and range, once for each entity of their level."""
    headers = [dcmread(path) for path in sorted(filled.folder.iterdir())]

    assert len(list(find(asked, headers))) == expected


def test_another_program_queries_it(filled: PracticePacs, tmp_path: Path):
    """DCMTK's findscu gets the studies with the attributes that it asked for."""
    answers = tmp_path / "answers"
    answers.mkdir()
    keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientID"]
    command = [program("findscu"), "-S", "-X", "-od", str(answers), "-aec", "PRACTICE", "127.0.0.1", str(filled.port)]

    subprocess.run([*command, *(part for key in keys for part in ("-k", key))], check=True, capture_output=True)

    found = [dcmread(path) for path in answers.iterdir()]
    assert {(ds.StudyInstanceUID, ds.PatientID) for ds in found} == {(STUDY, "0001234"), ("1.2.3", "X7")}


def test_another_program_sees_it(filled: PracticePacs):
    """DCMTK's echoscu gets an answer."""
    command = [program("echoscu"), "-aec", "PRACTICE", "127.0.0.1", str(filled.port)]

    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
