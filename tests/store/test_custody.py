"""Custody: what is acknowledged is a file and a row, whatever comes twice or together."""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from oculard.errors import Rejected
from oculard.store import tables
from oculard.store.instances import Instances, Received
from oculard.store.orphans import Orphans, Stray
from oculard.store.vault import DiskFull, Vault, VaultTrouble, VaultUnwritable
from shelf import STUDY, Shelf

DISK_ERRORS = [
    (errno.ENOSPC, DiskFull),
    (errno.EDQUOT, DiskFull),
    (errno.EROFS, VaultUnwritable),
    (errno.EACCES, VaultUnwritable),
    (errno.EIO, VaultUnwritable),
]


def test_an_instance_is_on_disk_and_in_the_database(shelf: Shelf) -> None:
    """After `take` the file lies in the vault under its digest, and the study knows it."""
    assert shelf.receive("1.1", b"abc") is Received.NEW

    (image,) = shelf.trace.study(shelf.trace.find("1.1")[0])["instances"]
    assert shelf.vault.path(image["path"]).read_bytes() == b"abc"
    assert list(shelf.vault.spool.iterdir()) == []


def test_the_same_bytes_again_are_nothing_new(shelf: Shelf) -> None:
    """A device that sends again gets its success and changes nothing."""
    results = [shelf.receive("1.1", b"abc") for _ in range(3)]

    assert results == [Received.NEW, Received.SAME, Received.SAME]
    assert len(shelf.study()["instances"]) == 1
    assert list(shelf.vault.spool.iterdir()) == []


def test_the_same_uid_with_other_bytes_is_kept_beside_and_alarms(shelf: Shelf) -> None:
    """Nothing is overwritten: both are kept, the first is used, a person is told."""
    shelf.receive("1.1", b"abc")

    assert shelf.receive("1.1", b"other") is Received.DIFFERENT
    images = shelf.study()["instances"]
    assert [shelf.vault.path(image["path"]).read_bytes() for image in images] == [b"abc", b"other"]
    assert [kept.sha256 for kept in shelf.studies.instances(shelf.study()["id"])] == [images[0]["sha256"]]
    assert [(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()] == [("differing-duplicate", "1.1")]


def test_twins_that_arrive_together_are_one(shelf: Shelf) -> None:
    """Eight associations that bring the same instance at once make one row."""
    results: list[Received] = []
    arrivals = [shelf.arrival("1.1", b"abc") for _ in range(8)]
    threads = [threading.Thread(target=lambda a=a: results.append(shelf.instances.take(a))) for a in arrivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == sorted([Received.NEW, *[Received.SAME] * 7])
    assert len(shelf.study()["instances"]) == 1


def test_instances_of_a_study_that_arrive_together_are_all_kept(shelf: Shelf) -> None:
    """Many associations may fill one new study at once."""
    arrivals = [shelf.arrival(f"1.{n}", b"abc%d" % n) for n in range(12)]
    results: list[Received] = []
    threads = [threading.Thread(target=lambda a=a: results.append(shelf.instances.take(a))) for a in arrivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [Received.NEW] * 12
    assert len(shelf.study()["instances"]) == 12


def test_a_study_does_not_settle_under_an_open_association(shelf: Shelf) -> None:
    """While the association that brought an image is open, more may come; when its process died, the study goes on."""
    shelf.receive("1.1", association="a1")
    assert [study.is_receiving for study in shelf.studies.open()] == [True]

    shelf.clock.sleep(100)
    shelf.instances.beat("a1")
    shelf.clock.sleep(100)
    assert [study.is_receiving for study in shelf.studies.open()] == [True]

    shelf.instances.end("a1")
    (study,) = shelf.studies.open()
    assert not study.is_receiving
    assert study.active_at == shelf.clock.now()

    shelf.receive("1.2", association="killed")
    shelf.clock.sleep(121)
    assert [study.is_receiving for study in shelf.studies.open()] == [False]


def test_an_image_that_arrives_while_settling_wins(shelf: Shelf) -> None:
    """A study settles only as it was looked at: an arrival in between puts it off."""
    shelf.receive("1.1")
    (seen,) = shelf.studies.open()
    shelf.clock.sleep(1)
    shelf.receive("1.2")

    assert shelf.studies.settle(seen.id, active_at=seen.active_at, decide=lambda kept: [], actor="t", why="t") is None
    assert len(shelf.studies.open()) == 1


def test_a_late_image_refreshes_a_job_that_nobody_has_touched(shelf: Shelf) -> None:
    """The plan of a study that opened again replaces the inputs of a waiting job: one report, not two."""
    shelf.receive("1.1")
    (job,) = shelf.settle()
    shelf.receive("1.2")

    assert shelf.settle() == []
    (claimed,) = shelf.claim()
    assert claimed.ticket.id == job
    assert [image.sop_instance_uid for image in claimed.inputs] == ["1.1", "1.2"]


def test_a_late_image_amends_a_report_and_waits_for_it(shelf: Shelf) -> None:
    """While the first job runs, the second is not claimed; then its report names the first."""
    shelf.receive("1.1")
    shelf.settle()
    (first,) = shelf.claim("a")
    shelf.receive("1.2")
    (second,) = shelf.settle()

    assert shelf.claim("b") == []
    report = shelf.finish(first)
    (amending,) = shelf.claim("b")
    assert amending.ticket.id == second
    assert [earlier.sop_instance_uid for earlier in shelf.jobs.history(amending)] == [report.sop_instance_uid]


def test_the_same_study_again_orders_nothing(shelf: Shelf) -> None:
    """Known inputs are never estimated twice."""
    shelf.receive("1.1", b"abc")
    shelf.settle()
    shelf.finish(shelf.claim()[0])
    shelf.receive("1.1", b"abc")
    shelf.receive("1.3", b"x")
    shelf.settle(inputs_digest="d" * 64)
    shelf.finish(shelf.claim()[0])
    shelf.receive("1.4", b"y")

    assert shelf.settle(inputs_digest="d" * 64) == []


def test_commitment_looks_at_the_files(shelf: Shelf) -> None:
    """We commit to what is on disk whole, and to nothing else."""
    shelf.receive("1.1", b"abc")
    shelf.receive("1.2", b"def")
    op, other = shelf.study()["instances"][0]["sop_class_uid"], "1.2.840.10008.5.1.4.1.1.7"
    kept = shelf.vault.path(shelf.study()["instances"][1]["path"])
    os.truncate(kept, 1)

    assert shelf.instances.holds([(op, "1.1"), (other, "1.1"), (op, "1.2"), (op, "9.9")]) == {
        (op, "1.1"): "held",
        (other, "1.1"): "class-conflict",
        (op, "1.2"): "no-such-instance",
        (op, "9.9"): "no-such-instance",
    }


@pytest.mark.parametrize("case", ["new", "there already", "no links"])
def test_every_step_is_synced_before_the_row(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Name, file, folders, and only then the row: the order that a power cut respects.

    Where a file lies already under the name, or where there are no hard links, the bytes are synced before the name.
    """
    steps: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "link")}
    if case == "there already":
        shelf.receive("1.1", b"abc")
        kept = shelf.study()["instances"][0]["path"]
        os.truncate(shelf.vault.path(kept), 1)

    def fsync(handle: int) -> None:
        target = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append(f"sync {target.relative_to(shelf.vault.folder).parts[0]}" if target.is_dir() else "sync file")
        real["fsync"](handle)

    def named(name: str) -> Callable[[Path, Path], None]:
        def do(source: Path, target: Path) -> None:
            steps.append("named")
            assert case == "there already" or not shelf.trace.find("1.1"), "no row before the file has its place"
            if name == "link" and case == "no links":
                steps.pop()
                raise OSError(errno.EPERM, "no links")
            if name == "link" and target.exists():
                steps.pop()
            real[name](source, target)

        return do

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", named("replace"))
    monkeypatch.setattr(os, "link", named("link"))
    shelf.receive("1.1", b"abc")

    first = ["named", "sync file"] if case == "new" else ["sync file", "named"]
    assert steps[:3] == [*first, "sync instances"]
    if case != "there already":  # every folder on the way, once
        assert steps[3:] == ["sync instances"]
    assert shelf.vault.path(shelf.study()["instances"][0]["path"]).read_bytes() == b"abc"
    assert list(shelf.vault.spool.iterdir()) == []


def test_a_file_that_is_still_open_is_synced_by_who_wrote_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes themselves, not only the folder: a network file system tells only its writer that it is full."""
    arrival, synced, fsync = shelf.arrival("1.1", b"abc"), [], os.fsync
    handle = os.open(arrival.spooled, os.O_RDWR)

    def noted(number: int) -> None:
        synced.append(number)
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    shelf.instances.take(replace(arrival, handle=handle))
    os.close(handle)

    assert synced[0] == handle


@pytest.mark.parametrize("call", ["fsync", "link"])
@pytest.mark.parametrize(("number", "kind"), DISK_ERRORS)
def test_a_disk_that_fails_promises_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type[VaultTrouble]
) -> None:
    """When the disk says no, `take` raises what it said, and there is no row that nothing stands behind."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    arrival = shelf.arrival("1.1")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(kind, match=os.strerror(number)):
        shelf.instances.take(arrival)
    monkeypatch.undo()

    assert shelf.trace.find("1.1") == []
    assert shelf.receive("1.1") is Received.NEW


@pytest.mark.parametrize(("number", "kind"), DISK_ERRORS)
def test_a_report_that_cannot_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[VaultTrouble]
) -> None:
    """Only a disk without room is full; a missing right is no reason to delete files."""
    vault = Vault(tmp_path)
    vault.prepare()

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(kind, match=os.strerror(number)) as why:
        vault.write_report(b"report")
    assert why.value.hint


def test_the_spool_is_swept_by_age(tmp_path: Path) -> None:
    """What a dropped association left goes; what is being written stays."""
    vault = Vault(tmp_path)
    vault.prepare()
    old, new = vault.spool / "old", vault.spool / "new"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    new.write_bytes(b"x")

    assert vault.sweep_spool(older_than_s=60) == 1
    assert list(vault.spool.iterdir()) == [new]
    assert STUDY


def test_an_acknowledged_alarm_leaves_who_did_it(shelf: Shelf) -> None:
    """Cleared once, with a record of the person."""
    shelf.receive("1.1", b"abc")
    shelf.receive("1.1", b"other")

    assert shelf.alarms.acknowledge("differing-duplicate", "1.1", actor="person:x")
    assert not shelf.alarms.acknowledge("differing-duplicate", "1.1", actor="person:x")
    assert shelf.alarms.standing() == []
    with shelf.database.read() as connection:
        (event,) = connection.exec_driver_sql("SELECT actor FROM event WHERE name = 'acknowledged'").all()
    assert event[0] == "person:x"


def test_a_duplicate_whose_file_goes_while_it_is_acknowledged_is_kept_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention may delete a file between the look and the answer: no duplicate is acknowledged without a file."""
    shelf.receive("1.1", b"image")
    (row,) = shelf.study()["instances"]
    path = shelf.vault.path(row["path"])
    path.unlink()
    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).values(removed_at=shelf.clock.now()))
    monkeypatch.setattr(Instances, "_is_known", lambda *_: True)

    assert shelf.receive("1.1", b"image") is Received.SAME
    assert path.read_bytes() == b"image"
    assert shelf.study()["instances"][0]["removed_at"] is None


def test_a_file_that_goes_before_its_row_is_written_is_not_acknowledged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that set the file aside: the device keeps the instance and sends it again."""
    keep = shelf.vault.keep

    def taken_away(*args: Any) -> str:
        kept = keep(*args)
        shelf.vault.set_aside(kept)
        return kept

    with monkeypatch.context() as patched:
        patched.setattr(shelf.vault, "keep", taken_away)
        with pytest.raises(VaultUnwritable):
            shelf.receive("1.1")
    assert shelf.trace.find(STUDY) == []

    assert shelf.receive("1.1") is Received.NEW


def test_a_file_that_was_brought_meanwhile_is_not_set_aside(shelf: Shelf) -> None:
    """The sweep judged a damaged orphan; its sender brought the image before the file was moved."""
    shelf.receive("1.1", b"image")
    (row,) = shelf.study()["instances"]

    def refused(_: Path) -> None:
        raise Rejected("what was there before")

    assert Orphans(shelf.database, shelf.vault).recover(Stray(path=row["path"], study_id=None), refused)
    assert shelf.vault.path(row["path"]).read_bytes() == b"image"
