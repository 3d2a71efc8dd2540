"""Watched folders: finished files are taken, growing ones left alone, originals as configured, nothing is trusted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from devices import photograph
from fakes import FakeClock
from oculard.intake import watching
from oculard.intake.role import folder_import
from oculard.intake.watching import FolderWatch
from oculard.settings import Settings
from oculard.settings_night import Folder
from oculard.store.vault import DiskFull
from oculard.store.watched import Watched
from shelf import Shelf

QUIET_S = 30.0


def write(path: Path, uid: str = "1.2.3", **values: Any) -> Path:
    """A file with one photograph."""
    ds = photograph(SOPInstanceUID=uid, StudyInstanceUID="1.2", **values)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


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
        return FolderWatch(
            folder=entry,
            importer=folder_import(settings, shelf.instances, shelf.vault, sender=entry.name),
            watched=Watched(shelf.database, shelf.clock),
            alarms=shelf.alarms,
            clock=shelf.clock,
            instance_max_gib=settings.store.instance_max_gib,
        )

    return begin


def look(watch: FolderWatch, clock: FakeClock, *, after_s: float = QUIET_S + 1) -> None:
    """A whole look, some time later."""
    clock.pass_(after_s)
    while watch.step():
        pass


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
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """Ten gigabytes that grow for an hour cost a look at their size; when they rest, they are refused unread."""
    path, watcher = root / "huge.dcm", watch()
    path.touch()
    for step in range(1, 61):
        os.truncate(path, step * 170 << 20)
        look(watcher, clock, after_s=60)
        assert outcomes(shelf) == {}
    look(watcher, clock)

    assert outcomes(shelf) == {"refused: instance-too-large": 1}
    assert not list(shelf.vault.spool.iterdir())


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied until then is thrown away; the finished file is taken later."""
    path, watcher = write(root / "a.dcm"), watch()
    look(watcher, clock, after_s=0)
    offer = watcher.importer._offer

    def grows(*args: Any) -> Any:
        write(path, ImageComments="the rest has come")
        return offer(*args)

    with monkeypatch.context() as patched:
        patched.setattr(watcher.importer, "_offer", grows)
        look(watcher, clock)
    assert taken(shelf) == set()
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
        patched.setattr(watcher.importer, "take", lambda path: pytest.fail(f"{path} was read again"))
        look(watcher, clock)

    assert outcomes(shelf) == {"received": 1, "refused: not-dicom": 2, "refused: truncated": 1}
    assert shelf.alarms.standing() == []


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


def test_a_move_that_was_interrupted_is_finished(
    shelf: Shelf,
    clock: FakeClock,
    root: Path,
    tmp_path: Path,
    watch: Callable[..., FolderWatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A power cut between custody and move: moved at the next look, and taken once."""
    path = write(root / "a.dcm")
    wanted = {"then": "move", "move_to": tmp_path / "done"}
    watcher = watch(**wanted)
    look(watcher, clock, after_s=0)
    with monkeypatch.context() as patched:
        patched.setattr(FolderWatch, "_put_away", lambda *_: None)
        look(watcher, clock)
    assert path.exists()
    look(watch(**wanted), clock)

    assert not path.exists()
    assert [event[1] for event in shelf_events(shelf)] == ["received"]


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
        patched.setattr(watcher.importer, "take", full)
        with pytest.raises(DiskFull):
            look(watcher, clock)
    assert outcomes(shelf) == {}
    look(watcher, clock)

    assert taken(shelf) == {"1.2.3"}


def test_a_folder_that_is_away_raises_one_alarm(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch]
) -> None:
    """A stick that was pulled out: said once, cleared once; the files are not forgotten."""
    write(root / "a.dcm")
    watcher = watch()
    look(watcher, clock, after_s=0)
    look(watcher, clock)
    away = root.with_name("pulled")
    root.rename(away)
    for _ in range(3):
        look(watcher, clock)
    assert [(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()] == [("folder-away", "stick")]
    away.rename(root)
    look(watcher, clock)

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
    for _ in range(watching.DEPTH_MAX + 3):
        deep = deep / "d"
    write(deep / "deep.dcm", "6.6.8")
    write(root / "new\nline\t.dcm", "1.2.4")
    write(Path(os.fsdecode(bytes(root) + b"/\xff\xfe.dcm")), "1.2.5")
    watcher = watch()
    for after_s in (0, QUIET_S + 1, QUIET_S + 1):
        look(watcher, clock, after_s=after_s)
    listening.close()

    assert taken(shelf) == {"1.2.4", "1.2.5"}
    assert outcomes(shelf) == {"received": 2}


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
    take = watcher.importer.take

    def swapped(found: Path) -> Any:
        path.unlink()
        path.symlink_to(outside)
        return take(found)

    monkeypatch.setattr(watcher.importer, "take", swapped)
    look(watcher, clock)

    assert taken(shelf) == set()
    assert outcomes(shelf) == {"refused: unreadable": 1}


def test_many_files_are_handled_batch_by_batch(
    shelf: Shelf, clock: FakeClock, root: Path, watch: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, a step is short and the files that are followed are bounded."""
    monkeypatch.setattr(watching, "BATCH", 4)
    monkeypatch.setattr(watching, "GROWING_MAX", 3)
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
    from datetime import timedelta

    assert kept.forget(clock.now() - timedelta(days=30)) == 1
    assert list(kept.known("stick", ["gone.dcm", "stays.dcm"])) == ["stays.dcm"]
