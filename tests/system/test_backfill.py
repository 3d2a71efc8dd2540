"""Back-fill with the real daemon from real archives, Orthanc and dcmqrscp: killed on the way, counted at the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from daemons import Daemon
from oculard.store import tables
from oculard.store.roles import Role
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import MORNING, Compression, Visit, painted_uid, wrap_fundus
from oculard_models.data.person import sample_people
from peers import Orthanc, dcmqrscp, free_port  # noqa: F401  a fixture
from relay import relay

ARCHIVE = """
[[senders]]
name = "pacs"
ae_title = "{ae_title}"
addresses = ["127.0.0.1"]

[[archives]]
name = "pacs"
how = "{how}"
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
associations = {associations}
studies_per_min = 60000
"""
PEER = """
[[peers]]
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {port}
commitment = false
"""
DAYS = 3
SIZE_PX = 128
RANGE = ("--from", f"{MORNING:%Y-%m-%d}", "--to", f"{MORNING + timedelta(days=DAYS - 1):%Y-%m-%d}")


def studies(count: int, compression: Compression = "jpeg") -> Iterator[list[bytes]]:
    """So many painted studies of both eyes on three days: the same eyes each time, of another person."""
    (person,) = sample_people(1, 5)
    eyes = {eye: paint(person, eye, 5, SIZE_PX) for eye in "RL"}
    for number in range(count):
        visit = Visit(
            study_uid=painted_uid("back-fill", number),
            series_uid=painted_uid("back-fill", number, "series"),
            patient_id=f"B{number:05d}",
            accession_number=f"B{number:05d}",
            taken=MORNING + timedelta(days=number % DAYS),
        )
        files = []
        for order, (eye, pixels) in enumerate(eyes.items(), start=1):
            file = BytesIO()
            uid = painted_uid("back-fill", number, eye)
            ds = wrap_fundus(pixels, visit, eye=eye, uid=uid, number=order, compression=compression)
            ds.save_as(file, enforce_file_format=True)
            files.append(file.getvalue())
        yield files


def fill(orthanc: Orthanc, count: int) -> None:
    """Let an Orthanc have so many studies."""
    for files in studies(count):
        for file in files:
            orthanc.add(file)


def in_archive(orthanc: Orthanc, modality: str = "OP") -> dict[str, int]:
    """How many instances it has in each series of a modality, by its own word."""
    found = [orthanc.get(f"/series/{one}") for one in orthanc.get("/series")]
    return {
        one["MainDicomTags"]["SeriesInstanceUID"]: len(one["Instances"])
        for one in found
        if one["MainDicomTags"]["Modality"] == modality
    }


def held(daemon: Daemon, count: int) -> dict[str, int]:
    """How many instances the daemon has in each series."""
    return {
        series: number
        for study in range(count)
        for series, number in daemon.app.retrievals.held(painted_uid("back-fill", study)).present.items()
    }


def backfill(daemon: Daemon, *more: str) -> dict[str, Any]:
    """Order it as an administrator does, and wait for its end."""
    done = daemon.run("backfill", *RANGE, "--anytime", "--json", *more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def one_report_an_eye(daemon: Daemon, count: int) -> None:
    """Every eye of every study has one reported or rejected job, and one report."""
    jobs = daemon.app.trace.jobs(state=None, limit=10_000)
    assert sorted((job["study_instance_uid"], job["eye"]) for job in jobs) == sorted(
        (painted_uid("back-fill", number), eye) for number in range(count) for eye in "LR"
    )
    assert {job["state"] for job in jobs} <= {"reported", "rejected"}
    reports = [report for job in {job["study_id"] for job in jobs} for report in daemon.app.trace.study(job)["reports"]]
    assert len(reports) == len(jobs)


def kill_fetcher(daemon: Daemon, backfill_id: int, complete: int) -> None:
    """SIGKILL to the fetcher when so many studies are complete."""

    def enough() -> bool:
        return daemon.app.backfills.progress(backfill_id)["complete"] >= complete

    daemon.wait_for(enough)
    fetcher = newest_fetcher(daemon)
    os.kill(fetcher.pid, signal.SIGKILL)
    daemon.wait_for(lambda: newest_fetcher(daemon).pid != fetcher.pid)


def newest_fetcher(daemon: Daemon) -> Role:
    """The fetcher that started last."""
    return max((role for role in daemon.app.roles.list() if role.role == "fetcher"), key=lambda role: role.started_at)


def arrivals(daemon: Daemon) -> int:
    """How often an instance has come, whether it was new or not."""
    event = tables.event
    with daemon.app.database.read() as connection:
        query = select(func.count()).select_from(event).where(event.c.kind == "instance")
        return int(connection.execute(query).scalar_one())


@pytest.mark.timeout(600)
def test_three_hundred_studies_killed_twice(make_daemon: Callable[..., Daemon], orthanc: Orthanc) -> None:
    """C-MOVE from Orthanc: it resumes, ends with C-FIND's counts and one report an eye; a second run does nothing."""
    count, port = 300, free_port()
    fill(orthanc, count)
    orthanc.introduce("OCULARD", port)
    with relay(orthanc.port) as way:
        archive = ARCHIVE.format(how="move", ae_title="ORTHANC", port=way.port, associations=2)
        daemon = make_daemon(archive, OCULARD_INTAKE__PORT=str(port))
        daemon.start()
        begun = time.monotonic()  # for the figures, never for a verdict
        ordered = daemon.run("backfill", *RANGE, "--anytime", "--detach", "--json")
        assert ordered.returncode == 0, ordered.stderr
        backfill_id = json.loads(ordered.stdout)["id"]
        kill_fetcher(daemon, backfill_id, 100)
        kill_fetcher(daemon, backfill_id, 200)
        told = backfill(daemon)
        fetched_s = time.monotonic() - begun
        assert told["id"] == backfill_id, "the same order is continued"
        assert (told["found"], told["complete"], told["troubled"]) == (count, count, [])
        assert in_archive(orthanc) == held(daemon, count)
        daemon.wait_for(lambda: daemon.app.trace.counts()["study"] == {"settled": count})
        daemon.wait_for(lambda: not {"waiting", "queued", "running"} & daemon.app.jobs.queue.counts().keys())
        one_report_an_eye(daemon, count)
        assert way.most == 2, "as many associations at once as are allowed, and no more"

        all_s, per_min = time.monotonic() - begun, 60 * count / fetched_s
        figures = (
            f"{per_min:.0f} studies a minute, twice killed, with annotation beside; {all_s:.0f} s until all was done"
        )
        print(f"\n{figures}; at most {way.most} associations at once")  # noqa: T201  a figure for the reader of the test

        before = arrivals(daemon), daemon.app.jobs.queue.counts()
        again = backfill(daemon)
        assert again["id"] != backfill_id
        assert (again["complete"], again["failed"]) == (count, 0)
        assert (arrivals(daemon), daemon.app.jobs.queue.counts()) == before
    assert daemon.stop() == 0


@pytest.mark.timeout(300)
def test_c_get_from_the_pacs_that_gets_the_reports(make_daemon: Callable[..., Daemon], orthanc: Orthanc) -> None:
    """C-GET from Orthanc, reports to the same Orthanc: what it has from us is never fetched; a dry run only looks."""
    fill(orthanc, 4)
    archive = ARCHIVE.format(how="get", ae_title="ORTHANC", port=orthanc.port, associations=1)
    daemon = make_daemon(archive + PEER.format(port=orthanc.port))

    preview = daemon.run("backfill", *RANGE, "--dry-run", "--json")
    assert preview.returncode == 0, preview.stderr
    rows = json.loads(preview.stdout)["studies"]
    assert [(row["instances"], row["held"], row["would"]) for row in rows] == [(2, 0, "fetch")] * 4
    alone = daemon.run("backfill", *RANGE, "--anytime")
    assert alone.returncode == 1
    assert "no fetcher runs" in alone.stderr
    daemon.start()
    told = backfill(daemon)
    assert (told["found"], told["complete"]) == (4, 4)
    assert in_archive(orthanc) == held(daemon, 4)
    daemon.wait_for(daemon.ended(8))
    one_report_an_eye(daemon, 4)
    senders = {image["sender"] for study in range(1, 5) for image in daemon.app.trace.study(study)["instances"]}
    assert senders == {"pacs"}

    before = arrivals(daemon)
    assert backfill(daemon, "--modality", "all")["complete"] == 4
    assert arrivals(daemon) == before
    assert sum(in_archive(orthanc, "SR").values()) == 8
    assert json.loads(daemon.run("reannotate", *RANGE, "--json").stdout) == {
        "studies": 4,
        "ordered": True,
        "jobs": {},
        "under_way": 0,
        "removed": 0,
    }
    assert daemon.stop() == 0


@pytest.mark.timeout(300)
def test_c_move_from_dcmqrscp(make_daemon: Callable[..., Daemon], dcmqrscp: Any, tmp_path: Path) -> None:  # noqa: F811
    """DCMTK's archive moves a handful of studies to us; by night they would wait, and `status` shows the order."""
    port, folder = free_port(), tmp_path / "files"
    peer = dcmqrscp("OCULARD", port)
    folder.mkdir()
    for number, files in enumerate(studies(3, "raw")):
        for eye, file in enumerate(files):
            (folder / f"{number}-{eye}.dcm").write_bytes(file)
    archive = ARCHIVE.format(how="move", ae_title=peer.ae_title, port=peer.port, associations=1)
    night = f'[night]\nstart = "{datetime.now(UTC) + timedelta(hours=3):%H:%M}"\n'
    night += f'end = "{datetime.now(UTC) + timedelta(hours=4):%H:%M}"\ntime_zone = "UTC"\n'
    daemon = make_daemon(archive + night, OCULARD_INTAKE__PORT=str(port))
    sent = daemon.run("send", str(folder), "--to", f"{peer.ae_title}@127.0.0.1:{peer.port}")
    assert sent.returncode == 0, sent.stderr
    daemon.start()

    waits = daemon.run("backfill", *RANGE, "--detach", "--json")
    assert waits.returncode == 0, waits.stderr
    assert "waits for the night" in waits.stderr
    shown = json.loads(daemon.run("status", "--json").stdout)["backfills"]
    assert [(row["state"], row["found"]) for row in shown] == [("finding", 0)]
    told = backfill(daemon)
    assert (told["found"], told["complete"], told["troubled"]) == (3, 3, [])
    assert sum(held(daemon, 3).values()) == 6
    daemon.wait_for(lambda: daemon.app.jobs.queue.counts().get("reported", 0) == 6)
    one_report_an_eye(daemon, 3)
    assert daemon.run("backfill", "--stop", str(shown[0]["id"])).returncode == 0
    assert json.loads(daemon.run("status", "--json").stdout)["backfills"] == []
    assert daemon.stop() == 0
