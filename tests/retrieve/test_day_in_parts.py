"""A day with more studies than may be asked for at once, at real archives: it is asked for in parts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from archived import opened, part10

from devices import Site, photograph
from oculard.retrieve.archive import Days
from oculard.retrieve.day import find_day
from peers import DICOMWEB, Orthanc, program

DAY = date(2026, 11, 20)
TIMES = [f"{hour:02}{minute:02}00" for hour in (0, 8, 9, 12, 23) for minute in (0, 30, 59)]


def files() -> list[bytes]:
    """A study at each of these times of one day."""
    root = "1.2.826.0.1.3680043.10.2"
    return [
        part10(
            photograph(
                StudyInstanceUID=f"{root}.{number}",
                SeriesInstanceUID=f"{root}.{number}.1",
                SOPInstanceUID=f"{root}.{number}.1.1",
                StudyDate=f"{DAY:%Y%m%d}",
                StudyTime=time,
                PatientID=f"P{number}",
            )
        )
        for number, time in enumerate(TIMES, 1)
    ]


@pytest.mark.parametrize("how", ["move", "dicomweb"])
def test_every_study_of_a_full_day_is_found_once(here: Site, orthanc: Orthanc, how: str) -> None:
    """Fifteen studies, ten of which may be asked for at once."""
    if how == "dicomweb" and not DICOMWEB.exists():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    for file in files():
        orthanc.add(file)
    url = {"url": f"http://127.0.0.1:{orthanc.http_port}/dicom-web"} if how == "dicomweb" else {"port": orthanc.port}
    archive = opened(here, how=how, matches_max=10, **url)

    found = find_day(archive, DAY, ["OP"])

    assert len(found) == len({one.study_instance_uid for one in found}) == len(TIMES)
    assert archive.remarks == {"day-in-parts": 1}
    archive.close()


def test_dcmqrscp_knows_times_too(here: Site, dcmqrscp: Callable[..., Any], tmp_path: Path) -> None:
    """DCMTK's archive gives the studies of some hours alone."""
    peer = dcmqrscp("OCULARD", here.port)
    folder = tmp_path / "files"
    folder.mkdir()
    for number, file in enumerate(files()):
        (folder / f"{number}.dcm").write_bytes(file)
    command = [program("storescu"), "-aec", peer.ae_title, "127.0.0.1", str(peer.port), "+sd", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    archive = opened(here, ae_title=peer.ae_title, port=peer.port, matches_max=10)

    assert len(find_day(archive, DAY, [])) == len(TIMES)


@pytest.mark.parametrize("hours", [(0, 0), (3, 2), (-1, 4), (0, 25)])
def test_hours_that_are_none_cannot_be_asked_for(hours: tuple[int, int]) -> None:
    """They cannot be built, nor can hours of several days."""
    with pytest.raises(ValueError, match="hours"):
        Days(first=DAY, last=DAY, hours=hours)
    with pytest.raises(ValueError, match="hours"):
        Days(first=date(2026, 11, 19), last=DAY, hours=(0, 12))
