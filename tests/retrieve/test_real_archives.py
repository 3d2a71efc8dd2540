"""Archives that are real: Orthanc by C-MOVE, C-GET and DICOMweb, and DCMTK's dcmqrscp."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from archived import Study, opened, study, taking

from devices import Site, data_set_of
from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveDoesNotKnowUs,
    Days,
    StudyFailed,
    TooManyMatches,
)
from peers import DICOMWEB, Orthanc, missing, program

WAYS = ("move", "get", "dicomweb")
NOVEMBER = Days(first=date(2026, 11, 1), last=date(2026, 11, 30))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, orthanc: Orthanc, here: Site) -> dict[str, Any]:
    """How Orthanc is asked."""
    orthanc.introduce("OCULARD", here.port)
    if request.param == "dicomweb":
        if not DICOMWEB.exists():
            missing("Orthanc's DICOMweb plugin is not installed")
        return {"how": "dicomweb", "url": f"http://127.0.0.1:{orthanc.http_port}/dicom-web"}
    return {"how": request.param, "port": orthanc.port}


def fill(orthanc: Orthanc, *studies: Study) -> None:
    """Put studies into the archive."""
    for one in studies:
        for file in one.files:
            orthanc.add(file)


def held(here: Site) -> dict[str, dict[str, int]]:
    """What is in custody: study UID -> series UID -> instances."""
    counts: dict[str, dict[str, int]] = {}
    for row in here.rows():
        of_study = counts.setdefault(row["series_instance_uid"].rpartition(".")[0], {})
        of_study[row["series_instance_uid"]] = of_study.get(row["series_instance_uid"], 0) + 1
    return counts


def test_orthanc_is_asked_and_gives(way: dict[str, Any], orthanc: Orthanc, here: Site) -> None:
    """Studies of the range, their series and counts, and every instance bit for bit in custody."""
    inside, outside = study(1, "20261120"), study(2, "20261201")
    fill(orthanc, inside, outside)
    archive = opened(here, **way)

    (found,) = archive.find_studies(NOVEMBER, ())
    assert (found.study_instance_uid, found.study_date) == (inside.uid, "20261120")
    assert archive.count_series(inside.uid) == inside.counts
    said = archive.retrieve(inside.uid, taking(here))
    here.wait_idle()

    assert (said.completed, said.failed, said.reason) == (3, 0, None)
    assert held(here) == {inside.uid: inside.counts}
    kept = {here.stored_data_set(row) for row in here.rows()}
    assert kept == {data_set_of(file) for file in inside.files}
    assert not list(here.vault.spool.iterdir())
    assert not archive.remarks
    archive.close()


def test_only_the_modalities_that_are_asked_for(way: dict[str, Any], orthanc: Orthanc, here: Site) -> None:
    """A study without any of them is left alone."""
    wanted = study(1)
    fill(orthanc, wanted, study(2, Modality="US"))
    archive = opened(here, **way)

    assert [one.study_instance_uid for one in archive.find_studies(NOVEMBER, ("OP", "OPT"))] == [wanted.uid]
    assert archive.find_studies(NOVEMBER, ("CT",)) == []
    assert len(archive.find_studies(NOVEMBER, ())) == 2
    archive.close()


def test_a_study_that_is_gone_has_no_series(way: dict[str, Any], orthanc: Orthanc, here: Site) -> None:
    """An archive that does not have it (any more) says so."""
    archive = opened(here, **way)

    assert archive.count_series("1.2.3.4") == {}
    archive.close()


def test_too_many_matches_are_cancelled(way: dict[str, Any], orthanc: Orthanc, here: Site) -> None:
    """The archive is told to stop, and the next question is answered."""
    fill(orthanc, *(study(number, series=(1,)) for number in range(1, 16)))
    archive = opened(here, matches_max=10, **way)

    with pytest.raises(TooManyMatches):
        archive.find_studies(NOVEMBER, ())
    assert archive.count_series(study(1).uid) == study(1, series=(1,)).counts
    archive.close()


def test_orthanc_that_does_not_know_us(orthanc: Orthanc, here: Site) -> None:
    """It cannot send to an AE title that it was never told : the hint says what to do there."""
    fill(orthanc, study(1))
    archive = opened(here, how="move", port=orthanc.port)

    with pytest.raises(StudyFailed) as why:
        archive.retrieve(study(1).uid, taking(here))
    assert f"AE title OCULARD, host 127.0.0.1, port {here.port}" in why.value.hint


def send(peer: Any, one: Study, folder: Path) -> None:
    """Put a study into a dcmqrscp."""
    folder.mkdir()
    for number, file in enumerate(one.files):
        (folder / f"{number}.dcm").write_bytes(file)
    command = [program("storescu"), "-aec", peer.ae_title, "127.0.0.1", str(peer.port), "+sd", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_dcmqrscp_that_does_not_know_us(dcmqrscp: Callable[..., Any], here: Site, tmp_path: Path) -> None:
    """It says what is wrong with a status of its own (0xA801)."""
    peer = dcmqrscp("SOMEBODY", here.port)
    send(peer, study(1), tmp_path / "files")
    archive = opened(here, how="move", ae_title=peer.ae_title, port=peer.port)

    with pytest.raises(ArchiveDoesNotKnowUs) as why:
        archive.retrieve(study(1).uid, taking(here))
    assert f"AE title OCULARD, host 127.0.0.1, port {here.port}" in why.value.hint


def test_nobody_listens(here: Site) -> None:
    """An archive that is not there is away, by any way."""
    from peers import free_port

    for way in ({"how": "move"}, {"how": "get"}, {"how": "dicomweb", "url": f"http://127.0.0.1:{free_port()}/x"}):
        archive = opened(here, port=free_port(), **way)
        with pytest.raises(ArchiveAway):
            archive.find_studies(NOVEMBER, ())
        archive.close()


def test_dcmqrscp_counts_one_by_one(dcmqrscp: Callable[..., Any], here: Site, tmp_path: Path) -> None:
    """It does not say how many instances a series has: they are counted, fetched by C-MOVE and by C-GET."""
    peer = dcmqrscp("OCULARD", here.port)
    one = study(1, series=(3, 2))
    send(peer, one, tmp_path / "files")

    for how in ("move", "get"):
        archive = opened(here, how=how, ae_title=peer.ae_title, port=peer.port)
        assert [found.study_instance_uid for found in archive.find_studies(NOVEMBER, ("OP",))] == [one.uid]
        assert archive.count_series(one.uid) == one.counts
        assert archive.retrieve(one.uid, taking(here)).completed == 5
        here.wait_idle()
        assert held(here) == {one.uid: one.counts}
