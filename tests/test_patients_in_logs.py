"""No log of the whole suite names a patient: this runs last, over everything that the tests before it have left."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import patients
from report.report_samples import part10, photograph


def test_a_name_in_a_log_is_found() -> None:
    """The search finds names, parts of names in any script, and identifiers; not the digits of a UID."""
    with TemporaryDirectory() as folder:  # not below the folder that the next test searches
        found = _planted(Path(folder))

    assert found == {"山田", "H-44871", "Tarou"}


def _planted(folder: Path) -> set[str]:
    """What is found of a patient who is named in three logs of four."""
    who = {"PatientName": "Yamada^Tarou=山田^太郎", "PatientID": "H-44871", "PatientBirthDate": "19480229"}
    (folder / "kept.dcm").write_bytes(part10(photograph(**who, SpecificCharacterSet="ISO_IR 192")))
    (folder / "log").write_text('{"event": "x", "why": "山田 came"}\n{"uid": "2.25.19480229194802291948"}\n')
    (folder / "worker.log.2").write_text("told H-44871\n")
    (folder / "events.log").write_text("Tarou was here\n")
    return {line.rpartition(": ")[2] for line in patients.leaks(folder)}


def test_no_log_of_the_suite_names_a_patient(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every value of a patient in every DICOM file that a test left, against every log that a daemon wrote, and against
    the events of the test run itself, which pass the same allow-list."""
    assert (tmp_path_factory.getbasetemp() / "events.log").is_file()
    assert patients.leaks(tmp_path_factory.getbasetemp()) == []
