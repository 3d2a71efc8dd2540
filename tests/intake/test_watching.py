"""Watched folders: finished files are taken, growing ones left alone, originals as configured, nothing is trusted."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from devices import photograph
from fakes import FakeClock
from oculard.cli.folders import trouble
from oculard.intake import growing, listing, watching
from oculard.intake.folder import FolderImport
from oculard.intake.listing import Entry, Listing, safe_name
from oculard.intake.originals import put_away
from oculard.intake.role import folder_import
from oculard.intake.watching import FolderWatch
from oculard.settings import Settings
from oculard.settings_night import Folder
from oculard.store.vault import DiskFull
from oculard.store.watched import Watched
from shelf import Shelf

QUIET_S = 30.0


class PowerCut(BaseException):
    """The machine stops here."""


def write(path: Path, uid: str = "1.2.3", **values: Any) -> Path:
    """A file with one photograph."""
    ds = photograph(SOPInstanceUID=uid, StudyInstanceUID="1.2", **values)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_below(folder: Path, uid: str) -> None:
    """A file with one photograph in subfolders whose path is longer than a database's index can hold."""
    folder.mkdir(parents=True)
    write(folder / "a.dcm", uid)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The watched folder."""
    folder = tmp_path / "export"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(shelf: Shelf, root: Path, tmp_path: Path) -> Callable[..., FolderWatch]:
    """Begins to watch, as a process that starts does."""

    def begin(**changes: Any) -> FolderWatch:
        settings = Settings(store={"folder": tmp_path / "store", "disk_free_min_gib": 0.0})
        entry = Folder(name="stick", path=root, quiet_s=QUIET_S, every_s=10.0, **changes)
        importer = folder_import(settings, shelf.instances, shelf.vault, sender=entry.name)
        return FolderWatch(entry, importer, Watched(shelf.database, shelf.clock), shelf.alarms, shelf.clock)

    return begin


def look(watch: FolderWatch, clock: FakeClock, *, after_s: float = QUIET_S + 1) -> None:
    """A whole look, some time later."""
    clock.pass_(after_s)
    while watch.step():
        pass


def before_reading(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Let something happen between the look at a file and its reading."""
    open_entry = watching.open_entry

    def opened(*args: Any) -> Any:
        do()
        return open_entry(*args)

    monkeypatch.setattr(watching, "open_entry", opened)


def alarms(shelf: Shelf) -> list[tuple[str, str]]:
    """What stands."""
    return [(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()]


def taken(shelf: Shelf) -> set[str]:
    """The instances in custody."""
    return {
        image["sop_instance_uid"]
        for study in shelf.trace.find("1.2")
        for image in shelf.trace.study(study)["instances"]
    }


def outcomes(shelf: Shelf) -> dict[str, int]:
    """What became of the files."""
    return Watched(shelf.database, shelf.clock).summary(["stick"])["stick"]


def test_a_finished_file_is_taken_once(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Not at first sight, then once, as the folder's; the original stays as it is, and a restart changes nothing."""
    path = write(root / "sub" / "a.dcm")
    before = path.read_bytes()
    first = watch()
    look(first, clock, after_s=0)
    assert taken(shelf) == set()

    for watcher in (first, first, watch(), watch()):
        look(watcher, clock)
    assert taken(shelf) == {"1.2.3"}
    assert outcomes(shelf) == {"received": 1}
    assert path.read_bytes() == before
    (image,) = shelf.trace.study(shelf.trace.find("1.2")[0])["instances"]
    assert image["sender"] == "stick"
    assert [event[1] for event in shelf_events(shelf)] == ["received"]


def shelf_events(shelf: Shelf) -> list[tuple[Any, ...]]:
    """What happened to the instances."""
    (study,) = shelf.trace.find("1.2")
    return [(e["subject_id"], e["name"]) for e in shelf.trace.study(study)["events"] if e["kind"] == "instance"]


def test_a_growing_file_is_left_alone(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten gigabytes that grow for an hour cost a look at their size, and are told of; then they are refused unread."""
    path, watcher = root / "huge.dcm", watch()
    path.touch()
    monkeypatch.setattr("oculard.intake.folder.read_layout", lambda _: pytest.fail("it was read"))
    for step in range(1, 61):
        os.truncate(path, step * 170 << 20)
        look(watcher, clock, after_s=60)
        if step == 10:
            assert outcomes(shelf) == {}
    assert outcomes(shelf) == {"growing: still-growing": 1}
    look(watcher, clock)

    assert outcomes(shelf) == {"refused: instance-too-large": 1}
    assert not list(shelf.vault.spool.iterdir())


def test_a_growing_file_that_vanishes_is_not_told_of(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """A copy that was given up, after a restart too."""
    path, watcher = root / "a.dcm", watch()
    for size in range(1, 20):
        path.write_bytes(b"x" * size)
        look(watcher, clock, after_s=60)
    assert outcomes(shelf) == {"growing: still-growing": 1}
    path.unlink()
    look(watch(), clock)

    assert outcomes(shelf) == {}


def test_a_file_that_was_told_of_is_taken_when_it_rests(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Noted down as it is, it is not finished all the same."""
    path, watcher = root / "a.dcm", watch()
    for number in range(1, 17):
        write(path, ImageComments="x" * number)
        look(watcher, clock, after_s=60)
    assert outcomes(shelf) == {"growing: still-growing": 1}
    look(watcher, clock)

    assert outcomes(shelf) == {"received": 1}


def test_the_memory_of_growing_files_is_bounded(clock: FakeClock, root: Path) -> None:
    """Files that have gone are forgotten at the end of a look, and what is beyond the bound is not kept."""
    following = growing.Growing(QUIET_S)
    for number in range(3):
        following.begin()
        for name in ("a", "b"):
            status = write(root / f"{name}{number}", "1.2.3").stat()
            entry = Entry(below=Path(f"{name}{number}"), stamp=listing.stamp_of(status))
            assert not following.is_finished(entry, clock.now())
        following.end()

    assert [str(entry.below) for entry in following.longer_than(timedelta(), clock.now())] == ["a2", "b2"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied until then is thrown away; the finished file is taken later."""
    path, watcher = write(root / "a.dcm"), watch()
    look(watcher, clock, after_s=0)
    offer = FolderImport._offer

    def grows(*args: Any) -> Any:
        write(path, ImageComments="the rest has come")
        return offer(*args)

    with monkeypatch.context() as patched:
        patched.setattr(FolderImport, "_offer", grows)
        look(watcher, clock)
    assert (taken(shelf), outcomes(shelf)) == (set(), {})
    assert not list(shelf.vault.spool.iterdir())
    look(watcher, clock)
    look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}


def test_a_changed_file_is_taken_again(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """An export that is written over holds another image."""
    watcher = watch()
    for uid in ("1.2.3", "1.2.4"):
        write(root / "export.dcm", uid)
        look(watcher, clock)
        look(watcher, clock)

    assert taken(shelf) == {"1.2.3", "1.2.4"}


def test_what_is_no_instance_is_refused_once(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exports hold other files too: each has its reason, is not read again, and raises no alarm."""
    (root / "notes.xml").write_text("<xml/>")
    (root / "empty").touch()
    whole = write(root / "whole.dcm").read_bytes()
    (root / "cut.dcm").write_bytes(whole[:-1])
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock)
    with monkeypatch.context() as patched:
        patched.setattr(FolderImport, "take_open", lambda *_: pytest.fail("it was read again"))
        look(watcher, clock)

    assert outcomes(shelf) == {"received": 1, "refused: not-dicom": 2, "refused: truncated": 1}
    assert shelf.alarms.standing() == []


def test_one_damaged_file_stops_nothing(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """A value of an impossible length is that file's trouble before the data set; in it, it is no reason to refuse."""
    data = write(root / "whole.dcm").read_bytes()
    odd = b"\2\0\2\0US\3\0abc"  # Media Storage SOP Class UID as an unsigned short of three bytes
    (root / "meta.dcm").write_bytes(data[:132] + odd + data[data.index(b"\2\0\3\0UI") :])
    rows = data.index(b"\x28\0\x10\0US\2\0")
    (root / "rows.dcm").write_bytes(data[:rows] + b"\x28\0\x10\0US\3\0abc" + data[rows + 10 :])
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}
    assert outcomes(shelf) == {"received": 1, "refused: bad-file-meta": 1, "differing-duplicate": 1}


def test_originals_are_moved_where_that_is_wanted(
    shelf: Shelf, clock: FakeClock, root: Path, tmp_path: Path, watch: Callable[..., FolderWatch]
) -> None:
    """After custody, below the same subfolders, over nothing; what was refused stays."""
    done = tmp_path / "done"
    write(done / "sub" / "a.dcm", "9.9")
    path = write(root / "sub" / "a.dcm")
    (root / "notes.txt").write_text("no DICOM")
    whole, watcher = path.read_bytes(), watch(then="move", move_to=done)
    look(watcher, clock, after_s=0)
    look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}
    assert (done / "sub" / "a.1.dcm").read_bytes() == whole
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["notes.txt"]


def test_another_file_that_looks_like_a_moved_one_is_taken(
    shelf: Shelf, clock: FakeClock, root: Path, tmp_path: Path, watch: Callable[..., FolderWatch]
) -> None:
    """A device without a clock exports under the same name, with the same size and time: it is not moved unseen."""
    done = tmp_path / "done"
    done.mkdir()
    watcher = watch(then="move", move_to=done)
    for uid in ("1.2.3", "1.2.4"):
        os.utime(write(root / "export.dcm", uid), ns=(0, 0))
        look(watcher, clock)
        look(watcher, clock)

    assert taken(shelf) == {"1.2.3", "1.2.4"}
    assert sorted(one.name for one in done.iterdir()) == ["export.1.dcm", "export.dcm"]
    assert outcomes(shelf) == {"received": 1}


@pytest.mark.parametrize("cut_at", ["oculard.intake.watching.put_away", "oculard.store.watched.Watched.remember"])
def test_a_power_cut_after_custody_costs_nothing(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
    cut_at: str,
) -> None:
    """Before the move, or before it is noted down what became of the file: moved later, and kept once."""
    path, done = write(root / "a.dcm"), tmp_path / "done"
    done.mkdir()
    watcher = watch(then="move", move_to=done)
    look(watcher, clock, after_s=0)

    def cut(*_: Any) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(cut_at, cut)
        with pytest.raises(PowerCut):
            look(watcher, clock)
    assert (path.exists(), taken(shelf)) == (True, {"1.2.3"})
    watcher = watch(then="move", move_to=done)
    look(watcher, clock)
    look(watcher, clock)

    assert [one.name for one in done.iterdir()] == ["a.dcm"]
    assert not path.exists()
    assert len(shelf.trace.study(shelf.trace.find("1.2")[0])["instances"]) == 1


def test_originals_that_cannot_be_moved_raise_one_alarm(
    shelf: Shelf, clock: FakeClock, root: Path, tmp_path: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Nothing is made where a disk may not be mounted; once it is there, all is moved and the alarm is cleared."""
    for number in range(3):
        write(root / f"{number}.dcm", f"1.2.3.{number}")
    done = tmp_path / "done"
    watcher = watch(then="move", move_to=done)
    for after_s in (0, QUIET_S, QUIET_S):
        look(watcher, clock, after_s=after_s)
    assert alarms(shelf) == [("originals-not-moved", "stick")]
    assert not done.exists()
    done.mkdir()
    look(watcher, clock)

    assert alarms(shelf) == []
    assert len(list(done.iterdir())) == 3
    assert outcomes(shelf) == {"received": 3}


def test_another_file_system_is_said_so(
    shelf: Shelf, clock: FakeClock, root: Path, tmp_path: Path, watch: Callable[..., FolderWatch]
) -> None:
    """The original stays, whole."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    path, done = write(root / "a.dcm"), other / f"oculard-test-{os.getpid()}"
    done.mkdir()
    try:
        watcher = watch(then="move", move_to=done)
        assert trouble(Folder(name="stick", path=root, then="move", move_to=done)) is not None
        look(watcher, clock, after_s=0)
        look(watcher, clock)
        assert list(done.iterdir()) == []
    finally:
        done.rmdir()

    assert path.exists()
    assert alarms(shelf) == [("originals-not-moved", "stick")]


def test_a_file_that_somebody_else_takes_away_is_no_trouble(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before it is read, and between custody and move."""
    (tmp_path / "done").mkdir()
    watcher = watch(then="move", move_to=tmp_path / "done")
    path = write(root / "a.dcm")
    look(watcher, clock, after_s=0)
    with monkeypatch.context() as patched:
        before_reading(patched, path.unlink)
        look(watcher, clock)
    assert outcomes(shelf) == {}
    write(path)
    look(watcher, clock)

    def late(*args: Any) -> None:
        path.unlink()
        put_away(*args)

    monkeypatch.setattr(watching, "put_away", late)
    look(watcher, clock)

    assert outcomes(shelf) == {"received": 1}
    assert alarms(shelf) == []


def test_what_took_an_originals_place_is_not_moved(tmp_path: Path, root: Path) -> None:
    """A new export under the same name is not in custody: it stays for the next look."""
    path = write(root / "a.dcm")
    entry = Entry(below=Path("a.dcm"), stamp=listing.stamp_of(path.stat()))
    write(path, "1.2.4", ImageComments="new")
    (tmp_path / "done").mkdir()
    put_away(root, entry, tmp_path / "done")

    assert path.exists()
    assert list((tmp_path / "done").iterdir()) == []


def test_the_world_fails_and_nothing_is_refused(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses no file: it is taken when there is room."""
    write(root / "a.dcm")
    watcher = watch()
    look(watcher, clock, after_s=0)

    def full(*_: Any) -> None:
        raise DiskFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(FolderImport, "take_open", full)
        with pytest.raises(DiskFull):
            look(watcher, clock)
    assert outcomes(shelf) == {}
    look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}


def test_a_folder_that_is_away_raises_one_alarm(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that was pulled out: said once, cleared once; the files are not forgotten."""
    write(root / "a.dcm")
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock)
    away = root.with_name("pulled")
    root.rename(away)
    said: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(watching.logger, "warning", lambda event, **_: said.append(event))
        for _ in range(3):
            look(watcher, clock)
    assert said == ["folder in trouble"]
    assert alarms(shelf) == [("folder-away", "stick")]
    assert watcher.says()["state"] == "away"
    away.rename(root)
    look(watcher, clock)
    assert watcher.says()["state"] == "resting"

    assert shelf.alarms.standing() == []
    assert [event[1] for event in shelf_events(shelf)] == ["received"]


def test_hostile_folders_are_looked_at_safely(
    shelf: Shelf, clock: FakeClock, root: Path, tmp_path: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Links, pipes, sockets, devices, names that are no text, files on their way, endless depth."""
    outside = write(tmp_path / "outside" / "secret.dcm", "6.6.6")
    (root / "link.dcm").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "folder").symlink_to(outside.parent)
    os.mkfifo(root / "pipe.dcm")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(root / "socket.dcm"))
    for name in ("a.dcm.part", ".hidden.dcm", "b.tmp", "c.dcm~"):
        write(root / name, "6.6.7")
    deep = root
    for _ in range(listing.DEPTH_MAX + 3):
        deep = deep / "d"
    write(deep / "deep.dcm", "6.6.8")
    write(root / "new\nline\t.dcm", "1.2.4")
    os.utime(write(root / "future.dcm", "1.2.6"), ns=(0, 9_300_000_000 * 10**9))  # beyond 64 bits of nanoseconds
    long = root
    for _ in range(10):
        long = long / ("長" * 80)
    write_below(long, "1.2.7")
    write(Path(os.fsdecode(bytes(root) + b"/\xff\xfe.dcm")), "1.2.5")
    watcher = watch()
    for after_s in (0, QUIET_S + 1, QUIET_S + 1):
        look(watcher, clock, after_s=after_s)
    listening.close()

    assert taken(shelf) == {"1.2.4", "1.2.5", "1.2.6", "1.2.7"}
    assert outcomes(shelf) == {"received": 4}


def test_a_link_that_takes_a_files_place_is_not_followed(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look and the reading."""
    outside, path = write(tmp_path / "outside.dcm", "6.6.6"), write(root / "a.dcm")
    watcher = watch()
    look(watcher, clock, after_s=0)

    def swap() -> None:
        path.unlink()
        path.symlink_to(outside)

    before_reading(monkeypatch, swap)
    look(watcher, clock)

    assert taken(shelf) == set()
    assert outcomes(shelf) == {"refused: unreadable": 1}


def test_many_files_are_handled_batch_by_batch(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, a step is short and the files that are followed are bounded."""
    monkeypatch.setattr(watching, "BATCH", 4)
    monkeypatch.setattr(growing, "FOLLOWED_MAX", 3)
    for number in range(10):
        write(root / f"{number}.dcm", f"1.2.3.{number}")
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock)
    assert len(taken(shelf)) == 3
    for _ in range(6):
        look(watcher, clock)

    assert len(taken(shelf)) == 10


def test_vanished_files_are_forgotten(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Long after; a file that is still there is not."""
    gone, stays = write(root / "gone.dcm"), write(root / "stays.dcm", "1.2.4")
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock)
    gone.unlink()
    look(watcher, clock, after_s=40 * 86400)
    assert stays.exists()

    kept = Watched(shelf.database, clock)
    assert kept.forget(clock.now() - timedelta(days=30)) == 1
    assert list(kept.known("stick", ["gone.dcm", "stays.dcm"])) == ["stays.dcm"]


def test_a_link_that_takes_a_folders_place_is_not_followed(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is read through it, and nothing of somebody else's is moved."""
    outside = write(tmp_path / "outside" / "a.dcm")
    os.utime(write(root / "sub" / "a.dcm"), ns=(1, 1))
    os.utime(outside, ns=(1, 1))
    (tmp_path / "done").mkdir()
    watcher = watch(then="move", move_to=tmp_path / "done")
    look(watcher, clock, after_s=0)

    def swap() -> None:
        (root / "sub").rename(tmp_path / "was")
        (root / "sub").symlink_to(outside.parent)

    before_reading(monkeypatch, swap)
    look(watcher, clock)

    assert taken(shelf) == set()
    assert outside.exists()
    with pytest.raises(OSError):  # noqa: PT011  whichever: the folder is a link now
        put_away(root, Entry(below=Path("sub/a.dcm"), stamp=listing.stamp_of(outside.stat())), tmp_path / "done")


def test_a_link_that_takes_a_folders_place_is_not_looked_into(root: Path, tmp_path: Path) -> None:
    """Between the look at the folder and its opening."""
    write(tmp_path / "outside" / "a.dcm")
    (root / "sub").mkdir()
    found = Listing(root)
    entries = found.entries()
    assert next(entries) is None
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path / "outside")

    assert list(entries) == []
    assert found.unreadable == 1


def test_a_file_that_changed_since_the_look_waits(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer went on after a pause: nothing is read before it has rested again."""
    path, watcher = write(root / "a.dcm"), watch()
    look(watcher, clock, after_s=0)
    with monkeypatch.context() as patched:
        before_reading(patched, lambda: os.utime(path))
        patched.setattr(FolderImport, "take_open", lambda *_: pytest.fail("it was read"))
        look(watcher, clock)
    for _ in range(2):
        look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}


def test_a_disk_that_is_pulled_out_in_a_look_refuses_nothing(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be read any more is not remembered as unreadable."""
    for number in range(3):
        write(root / f"{number}.dcm", f"1.2.3.{number}")
    watcher, away = watch(), root.with_name("pulled")
    look(watcher, clock, after_s=0)
    with monkeypatch.context() as patched:
        before_reading(patched, lambda: root.exists() and root.rename(away))  # type: ignore[arg-type,func-returns-value]
        look(watcher, clock)
    assert (outcomes(shelf), alarms(shelf)) == ({}, [("folder-away", "stick")])
    away.rename(root)
    for _ in range(2):
        look(watcher, clock)

    assert (outcomes(shelf), alarms(shelf)) == ({"received": 3}, [])


@pytest.mark.parametrize("moment", ["listing", "moving"])
def test_a_disk_that_is_pulled_out_at_any_moment_is_away(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """It is not the subfolder that cannot be read, nor the original that cannot be moved."""
    write(root / "sub" / "a.dcm")
    (tmp_path / "done").mkdir()
    watcher = watch(then="move", move_to=tmp_path / "done")
    look(watcher, clock, after_s=0)
    opened, away = os.open, root.with_name("pulled")

    def pulled(path: Any, *args: Any, **named: Any) -> int:
        if path == "sub" and root.exists():
            root.rename(away)
            raise OSError(errno.EIO, "pulled out")
        return opened(path, *args, **named)

    def move(*args: Any) -> None:
        root.rename(away)
        put_away(*args)

    with monkeypatch.context() as patched:
        if moment == "listing":
            patched.setattr(os, "open", pulled)
        else:
            patched.setattr(watching, "put_away", move)
        look(watcher, clock)

    assert alarms(shelf) == [("folder-away", "stick")]


def test_a_mount_point_without_its_disk_is_away(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder is not what a disk that was pulled out holds."""
    mounted = {root}
    monkeypatch.setattr(os.path, "ismount", lambda path: path in mounted)
    watcher = watch()
    look(watcher, clock)
    mounted.clear()
    look(watcher, clock)
    look(watcher, clock)
    assert alarms(shelf) == [("folder-away", "stick")]
    mounted.add(root)
    look(watcher, clock)

    assert alarms(shelf) == []


def test_a_share_that_hangs_raises_the_alarm(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from another thread, for the one that looks hangs with it; cleared when it answers."""
    write(root / "a.dcm")
    watcher = watch()
    look(watcher, clock, after_s=0)
    seen: list[Any] = []

    def hang() -> None:
        watcher.check()
        seen.extend(alarms(shelf))
        clock.pass_(31 * 60)
        watcher.check()
        seen.extend([*alarms(shelf), watcher.says()["state"]])

    with monkeypatch.context() as patched:
        before_reading(patched, hang)
        look(watcher, clock)

    assert seen == [("folder-away", "stick"), "hung"]
    assert alarms(shelf) == []
    assert taken(shelf) == {"1.2.3"}


@pytest.mark.parametrize("broken", ["export", "done"])
def test_a_share_that_answers_with_errors_is_said_so(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """By the doctor, and by the alarm of that folder which is broken: either is more than `not there`."""
    write(root / "a.dcm")
    done = tmp_path / "done"
    done.mkdir()
    watcher = watch(then="move", move_to=done)
    look(watcher, clock, after_s=0)

    def disconnected(call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(path: Any, *args: Any, **named: Any) -> Any:
            if str(path).endswith(broken):
                raise OSError(errno.ENOTCONN, "not connected")
            return call(path, *args, **named)

        return answer

    with monkeypatch.context() as patched:
        for name in ("stat", "open"):
            patched.setattr(os, name, disconnected(getattr(os, name)))
        look(watcher, clock)
        assert trouble(Folder(name="stick", path=root, then="move", move_to=done)) is not None
    assert alarms(shelf) == [("folder-away" if broken == "export" else "originals-not-moved", "stick")]
    look(watcher, clock)
    look(watcher, clock)

    assert alarms(shelf) == []
    assert taken(shelf) == {"1.2.3"}


def test_subfolders_that_cannot_be_looked_into_are_counted(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the folder is taken all the same."""
    write(root / "locked" / "a.dcm", "6.6.6")
    write(root / "open" / "a.dcm")
    opened = os.open

    def denied(path: Any, *args: Any, **named: Any) -> int:
        if path == "locked":
            raise PermissionError(errno.EACCES, "denied")
        return opened(path, *args, **named)

    monkeypatch.setattr(os, "open", denied)
    watcher = watch()
    for _ in range(2):
        look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}
    assert watcher.says()["unreadable_folders"] == 1
    assert alarms(shelf) == []


def test_an_unreadable_file_is_tried_again(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody corrects its rights, which changes neither its size nor its time."""
    write(root / "a.dcm")
    watcher = watch()
    look(watcher, clock, after_s=0)

    def deny() -> None:
        raise PermissionError(errno.EACCES, "denied")

    with monkeypatch.context() as patched:
        before_reading(patched, deny)
        look(watcher, clock)
    assert outcomes(shelf) == {"refused: unreadable": 1}
    for _ in range(2):
        look(watcher, clock)

    assert outcomes(shelf) == {"received": 1}


def test_a_step_lists_a_batch_of_names_or_takes_one_file(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the names are: a step is short, so that the end of the process is not held up."""
    monkeypatch.setattr(watching, "BATCH", 4)
    for number in range(20):
        (root / f"{number}.tmp").touch()
        (root / f"folder{number}").mkdir()
        write(root / f"{number}.dcm", f"1.2.3.{number}")
    watcher = watch()
    look(watcher, clock, after_s=0)
    clock.pass_(QUIET_S)
    steps = 0
    while watcher.step():
        steps += 1
        assert len(taken(shelf)) <= steps

    assert steps == 60 / 4 + 20
    assert len(taken(shelf)) == 20


def test_a_large_folder_rests_longer(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing costs at most a fifth of the time, and a look ends at a number of names."""
    for number in range(10):
        write(root / f"{number}.dcm", f"1.2.3.{number}")
    entries = Listing.entries

    def slow(self: Listing) -> Iterator[Entry | None]:
        clock.pass_(100)
        yield from entries(self)

    monkeypatch.setattr(watching, "ENTRIES_MAX", 6)
    monkeypatch.setattr(Listing, "entries", slow)
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock, after_s=399)
    assert taken(shelf) == set()
    look(watcher, clock, after_s=2)

    assert len(taken(shelf)) == 6


def test_a_process_that_starts_anew_goes_on(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Ended in the middle of a look: what was taken is not read again, the rest is taken."""
    for number in range(6):
        write(root / f"{number}.dcm", f"1.2.3.{number}")
    watcher = watch()
    look(watcher, clock, after_s=0)
    clock.pass_(QUIET_S)
    for _ in range(4):
        watcher.step()
    assert len(taken(shelf)) == 3
    watcher = watch()
    look(watcher, clock)
    look(watcher, clock)

    assert outcomes(shelf) == {"received": 6}


def test_names_are_printable_and_tell_files_apart() -> None:
    """Whatever bytes they hold, however long they are."""
    odd = [b"a\\xff", b"a\xff", b"a\n", b"a\\n", b"a" * 5000, b"a" * 5001, "\u202egpj.dcm".encode(), "眼.dcm".encode()]
    names = [safe_name(Path(os.fsdecode(one))) for one in odd]

    assert len(set(names)) == len(odd)
    assert all(name.isprintable() and len(name.encode()) <= listing.NAME_BYTES_MAX for name in names)
    assert names[-1] == "眼.dcm"
