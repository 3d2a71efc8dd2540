"""Backup and restore of the store: whole or not at all, on both databases, whatever is missing or damaged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from fakes import FakeClock
from oculard.errors import Misconfigured
from oculard.store import backup as backup_module
from oculard.store import copying
from oculard.store.backup import Backup, BackupFailed
from oculard.store.bringing import Brought
from oculard.store.database import Database
from oculard.store.identity import Identity, NotOurVault
from oculard.store.manifest import MANIFEST, BackupDamaged, Manifest, read_index, read_manifest
from oculard.store.restore import DaemonAlive, NotEmpty, Put, Restore
from shelf import Shelf


def silent(what: str, done: int, all_: int) -> None:
    """Nobody looks at the progress."""


def nobody(name: str) -> bool:
    """No process is known to be dead."""
    return False


def fill(shelf: Shelf) -> None:
    """A study with its report and a picture, delivered."""
    shelf.receive("1.1", b"right")
    shelf.receive("1.2", b"left")
    shelf.settle()
    (job,) = shelf.claim()
    shelf.finish(job, companions=[shelf.companion("sc", "2.2", b"picture")])


def back_up(shelf: Shelf, folder: Path, *, files: bool = True) -> tuple[Manifest, Brought | None]:
    """As the command does it."""
    making = Backup(shelf.database, shelf.vault, shelf.clock, folder)
    with making.alone():
        draft = making.draft(silent)
        brought = making.bring_files(draft, silent) if files else None
        return making.publish(draft, brought), brought


def bring_back(shelf: Shelf, folder: Path) -> Put:
    """As the command does it."""
    way = Restore(shelf.database, shelf.vault, shelf.clock, folder)
    manifest, damaged = way.verify(silent)
    way.check_place(manifest, is_dead=nobody)
    put = way.put_files(manifest, damaged, silent)
    way.put_database(manifest)
    return put


def drafts(folder: Path) -> int:
    """How many databases and indexes lie in a backup's folder."""
    return len([path for path in folder.iterdir() if path.name.startswith(("database-", "vault-index-"))])


@pytest.fixture
def empty(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """Another store, of the same kind of database, without anything in it."""
    if shelf.database.is_sqlite:
        database = Database(f"sqlite:///{tmp_path / 'other' / 'oculard.db'}")
        yield Shelf(database, FakeClock(), tmp_path / "other")
        database.close()
        return
    name = f"t{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(request.getfixturevalue("postgres_url"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    database = Database(shelf.database.url.set(database=name).render_as_string(hide_password=False))
    yield Shelf(database, FakeClock(), tmp_path / "other")
    database.close()
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


def test_a_backup_comes_back_as_it_was(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """Rows and files, in an empty folder and an empty database; nothing in it can be read by others."""
    fill(shelf)
    manifest, brought = back_up(shelf, tmp_path / "b")
    assert brought == Brought(new=4)
    assert manifest.counts | {"event": 0} == {
        "study": 1,
        "instance": 2,
        "job": 1,
        "report": 1,
        "delivery": 1,
        "event": 0,
    }
    for path in [tmp_path / "b", *(tmp_path / "b").glob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path

    assert bring_back(empty, tmp_path / "b") == Put(copied=4)
    assert json.dumps(empty.study(), default=str) == json.dumps(shelf.study(), default=str)
    for image in empty.study()["instances"]:
        assert empty.vault.path(image["path"]).read_bytes() in (b"right", b"left")
    assert empty.receive("1.3", b"more") == "received"


def test_a_second_backup_into_the_folder_brings_what_is_new(shelf: Shelf, tmp_path: Path) -> None:
    """And leaves one database, one index and one manifest there."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    shelf.receive("1.3", b"more")
    _, brought = back_up(shelf, tmp_path / "b")

    assert brought == Brought(new=1, there=4)
    names = [path.name.partition("-")[0] for path in (tmp_path / "b").iterdir()]
    assert sorted(names) == [".lock", "database", "files", "manifest.json", "vault"]


def test_files_are_linked_on_the_same_disk_and_copied_elsewhere(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept file never changes: a link is as good, and costs nothing."""
    fill(shelf)
    back_up(shelf, tmp_path / "linked")
    assert {path.stat().st_nlink for path in (tmp_path / "linked" / "files").rglob("*.dcm")} == {2}

    def another_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(backup_module.os, "link", another_disk)
    back_up(shelf, tmp_path / "copied")
    copies = list((tmp_path / "copied" / "files").rglob("*.dcm"))
    assert {(path.stat().st_nlink, path.stat().st_mode & 0o777) for path in copies} == {(1, 0o600)}
    assert len(copies) == 4


def test_what_the_vault_does_not_have_is_counted(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """A file that retention took meanwhile, or that is lost; what it removed before is not in the index."""
    fill(shelf)
    shelf.vault.path(shelf.study()["instances"][0]["path"]).unlink()
    with shelf.database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE instance SET removed_at = received_at WHERE sop_instance_uid='1.2'"))
    manifest, brought = back_up(shelf, tmp_path / "b")
    assert (brought, manifest.files, manifest.missing) == (Brought(new=2, missing=1), 3, 1)

    put = bring_back(empty, tmp_path / "b")
    assert (put.copied, len(put.missing)) == (2, 1)


def test_without_files_the_vault_is_compared(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """The database came from the backup, the vault survived: what it lacks is listed."""
    fill(shelf)
    back_up(shelf, tmp_path / "b", files=False)
    shutil.copytree(shelf.vault.folder, empty.vault.folder, dirs_exist_ok=True)
    lost = shelf.study()["instances"][1]["path"]
    empty.vault.path(lost).unlink()

    assert bring_back(empty, tmp_path / "b") == Put(there=3, missing=[lost])


def test_what_came_after_the_backup_is_taken_again(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """It was acknowledged: no row knows it, however young it is; what is refused is set aside."""
    fill(shelf)
    back_up(shelf, tmp_path / "b", files=False)
    shutil.copytree(shelf.vault.folder, empty.vault.folder, dirs_exist_ok=True)
    empty.vault.put(empty.arrival("1.3", b"later").spooled, "instances", "11" + "0" * 62)  # of a wrong digest
    late = empty.arrival("1.4", b"latest")
    kept = empty.vault.keep(late.spooled, late.sha256)
    bring_back(empty, tmp_path / "b")

    way = Restore(empty.database, empty.vault, empty.clock, tmp_path / "b")
    again = way.take_again(lambda path: empty.receive("1.4", path.read_bytes()), silent)
    assert (again.taken, again.aside) == (1, 1)
    assert [image["path"] for image in empty.study()["instances"]][2:] == [kept]


def test_a_backup_killed_on_the_way_leaves_the_one_before(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step; the next one clears what was left."""
    fill(shelf)
    first, _ = back_up(shelf, tmp_path / "b")
    shelf.receive("1.3", b"more")
    for step in ("draft", "bring_files", "publish", "replace"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            _back_up_until(step, shelf, tmp_path / "b", patch)

        way = Restore(shelf.database, shelf.vault, shelf.clock, tmp_path / "b")
        assert way.verify(silent) == (first, [])
        assert drafts(tmp_path / "b") == 2, step
    back_up(shelf, tmp_path / "b")
    assert drafts(tmp_path / "b") == 2


def test_what_a_killed_backup_left_goes_before_the_next(shelf: Shelf, tmp_path: Path) -> None:
    """A full disk is full of drafts: they go first. With a damaged manifest nothing goes that a person may save."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    left = tmp_path / "b" / "database-20261120T030000Z-0123abcd.sqlite-journal"
    left.write_bytes(b"left")
    making = Backup(shelf.database, shelf.vault, shelf.clock, tmp_path / "b")
    with making.alone():
        assert drafts(tmp_path / "b") == 2

    left.write_bytes(b"left")
    (tmp_path / "b" / MANIFEST).write_text("?", encoding="ascii")
    with making.alone():
        assert drafts(tmp_path / "b") == 3


def test_a_disk_that_fills_up_leaves_no_draft(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first nor a later backup keeps the room that it could not use."""
    fill(shelf)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    making = Backup(shelf.database, shelf.vault, shelf.clock, tmp_path / "b")
    monkeypatch.setattr(backup_module.os, "replace", full)
    with pytest.raises(BackupFailed), making.alone():
        making.publish(making.draft(silent), None)
    assert drafts(tmp_path / "b") == 0


def _back_up_until(step: str, shelf: Shelf, folder: Path, patch: pytest.MonkeyPatch) -> None:
    if step == "replace":
        patch.setattr(backup_module.os, "replace", _killed)
    making = Backup(shelf.database, shelf.vault, shelf.clock, folder)
    with making.alone():
        draft = making.draft(silent if step != "draft" else _killed)
        making.bring_files(draft, silent if step != "bring_files" else _killed)
        if step == "publish":
            _killed()
        making.publish(draft, None)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_backup_inside_the_vault_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    """Also by another name: the disk that dies would take both."""
    (tmp_path / "link").symlink_to(shelf.vault.folder)
    for folder in (shelf.vault.folder, shelf.vault.folder / "backup", tmp_path / "link" / "b"):
        with pytest.raises(Misconfigured), Backup(shelf.database, shelf.vault, shelf.clock, folder).alone():
            pytest.fail("it was not refused")


def test_two_backups_into_one_folder_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    """The second would clear away what the first has written."""
    making = [Backup(shelf.database, shelf.vault, shelf.clock, tmp_path / "b") for _ in range(2)]
    with making[0].alone(), pytest.raises(Misconfigured, match="another backup"), making[1].alone():
        pytest.fail("it was not refused")


def test_a_disk_without_room_is_said(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the hint says that the backup before is as it was."""
    fill(shelf)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "sync_file", full)
    making = Backup(shelf.database, shelf.vault, shelf.clock, tmp_path / "b")
    with making.alone(), pytest.raises(BackupFailed, match="No space left"):
        making.draft(silent)


@pytest.mark.parametrize("part", ["database", "index", "manifest"])
def test_a_damaged_backup_is_refused(shelf: Shelf, empty: Shelf, tmp_path: Path, part: str) -> None:
    """One bit is enough, and nothing has been touched then."""
    fill(shelf)
    manifest, _ = back_up(shelf, tmp_path / "b")
    names = {"database": manifest.database.name, "index": manifest.index.name, "manifest": MANIFEST}
    path = tmp_path / "b" / names[part]
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if part != "manifest" else data.index(b'"sha256": "') + 15] ^= 1
    path.write_bytes(data)

    with pytest.raises(BackupDamaged):
        bring_back(empty, tmp_path / "b")
    assert empty.database.file is None or not empty.database.file.exists()
    assert list(empty.vault.folder.rglob("*.dcm")) == []


def test_a_damaged_file_is_found_and_not_brought_back(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """Of the same size, with other bytes: it is named, and the rest may come back without it."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    path = shelf.study()["instances"][0]["path"]
    copy = tmp_path / "b" / "files" / path
    copy.unlink()
    copy.write_bytes(b"wrong")

    way = Restore(empty.database, empty.vault, empty.clock, tmp_path / "b")
    manifest, damaged = way.verify(silent)
    assert damaged == [path]
    assert way.put_files(manifest, damaged, silent) == Put(copied=3, missing=[path])


def test_a_damaged_file_is_brought_anew_by_the_next_backup(shelf: Shelf, tmp_path: Path) -> None:
    """The check sets it aside, so that it is there no more; what is damaged in the vault itself is not brought."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    paths = [image["path"] for image in shelf.study()["instances"]]
    copies = [tmp_path / "b" / "files" / path for path in paths]
    for copy in copies:
        data = copy.read_bytes()
        copy.unlink()
        copy.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    way = Restore(shelf.database, shelf.vault, shelf.clock, tmp_path / "b")
    damaged = way.verify(silent)[1]
    assert sorted(damaged) == sorted(paths)
    way.set_aside(damaged)
    assert sorted(way.verify(silent)[1]) == sorted(paths)  # it is not forgotten

    rotten = shelf.vault.path(paths[1])
    rotten.unlink()
    rotten.write_bytes(b"rott")
    manifest, brought = back_up(shelf, tmp_path / "b")
    assert (brought, manifest.missing) == (Brought(new=1, there=2, damaged=1), 1)
    assert copies[0].read_bytes() == b"right"
    assert [path.exists() for path in copies] == [True, False]
    assert [path.with_name(f"{path.name}.damaged").exists() for path in copies] == [False, True]
    assert way.verify(silent)[1] == []


def test_a_backup_whose_files_are_gone_is_not_whole(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """What it says it has must be there; what the vault did not have when it was made is no surprise."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "files")
    way = Restore(empty.database, empty.vault, empty.clock, tmp_path / "b")
    assert len(way.verify(silent)[1]) == 4

    shelf.vault.path(shelf.study()["instances"][0]["path"]).unlink()
    back_up(shelf, tmp_path / "c")
    assert Restore(empty.database, empty.vault, empty.clock, tmp_path / "c").verify(silent)[1] == []


def test_a_hostile_index_leads_nowhere(tmp_path: Path) -> None:
    """A path that leaves the vault, a line without end, a number for a name."""
    index = tmp_path / "index"
    for line in ("../../etc/passwd", "instances/aa/" + "a" * 64 + ".dcm/../x", 7, "x" * 5000):
        index.write_text(json.dumps({"path": line, "sha256": "a" * 64, "size_bytes": 1}) + "\n", encoding="utf-8")
        with pytest.raises(BackupDamaged):
            list(read_index(index))


def test_an_index_that_disagrees_with_itself_is_refused(tmp_path: Path) -> None:
    """A file lies where its digest says: nothing else could be put back."""
    index = tmp_path / "index"
    for path in (f"instances/aa/{'a' * 64}.dcm", f"reports/aa/{'b' * 64}.dcm"):
        index.write_text(json.dumps({"path": path, "sha256": "b" * 64, "size_bytes": 1}) + "\n", encoding="utf-8")
        with pytest.raises(BackupDamaged):
            list(read_index(index))


def test_a_folder_without_a_backup_is_said(tmp_path: Path) -> None:
    """So is one whose manifest is something else."""
    with pytest.raises(BackupDamaged, match="holds no backup"):
        read_manifest(tmp_path)
    for text in ("[]", "{}", "7", "\0", "[" * 60_000, '{"database": 1}'):
        (tmp_path / MANIFEST).write_text(text, encoding="utf-8")
        with pytest.raises(BackupDamaged, match="is not a manifest"):
            read_manifest(tmp_path)


def test_a_database_with_rows_is_never_overwritten(shelf: Shelf, tmp_path: Path) -> None:
    """The person moves it away; an empty one of any revision gives way."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")

    with pytest.raises(NotEmpty):
        bring_back(shelf, tmp_path / "b")


def test_a_restore_that_broke_off_goes_on(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """The second time the database is the backup's own: it is left, and the rest is done; then it is as any other."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    bring_back(empty, tmp_path / "b")  # and no word of the later images
    shelf.receive("1.3", b"more")
    other, _ = back_up(shelf, tmp_path / "c")
    way = Restore(empty.database, empty.vault, empty.clock, tmp_path / "b")
    manifest, _ = way.verify(silent)

    assert way.check_place(manifest, is_dead=nobody) is True
    assert way.put_files(manifest, [], silent) == Put(there=4)
    revision = empty.database.revisions()[1]
    assert way.go_on() == (revision, revision)
    with pytest.raises(NotEmpty):
        Restore(empty.database, empty.vault, empty.clock, tmp_path / "c").check_place(other, is_dead=nobody)

    way.take_again(pytest.fail, silent)
    with pytest.raises(NotEmpty):
        way.check_place(manifest, is_dead=nobody)


def test_a_restored_vault_is_that_of_its_database(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """The id comes with the backup into an empty folder; the vault of another database is not taken."""
    fill(shelf)
    Identity(shelf.database, shelf.vault).settle()
    back_up(shelf, tmp_path / "b")
    bring_back(empty, tmp_path / "b")
    ids = [(one.vault.folder / "vault-id").read_text(encoding="ascii") for one in (shelf, empty)]
    assert ids[0] == ids[1]
    Identity(empty.database, empty.vault).check()

    (empty.vault.folder / "vault-id").write_text("0" * 32, encoding="ascii")
    way = Restore(empty.database, empty.vault, empty.clock, tmp_path / "b")
    with pytest.raises(NotOurVault):
        way.check_place(read_manifest(tmp_path / "b"), is_dead=nobody)


def test_a_database_from_before_there_were_ids_is_restored(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """Even where none of its files is there: a person has been told which are missing."""
    fill(shelf)
    back_up(shelf, tmp_path / "b", files=False)
    assert len(bring_back(empty, tmp_path / "b").missing) == 4

    Identity(empty.database, empty.vault).check()


def test_the_renamed_database_is_on_disk(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is synced after the rename, as everywhere."""
    calls = list[str]()
    replace, sync = os.replace, os.fsync

    def synced(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("renamed"), replace(*paths)))
    monkeypatch.setattr(os, "fsync", synced)
    (tmp_path / "copy").write_bytes(b"copy")
    copying.put_back(tmp_path / "copy", Database(f"sqlite:///{tmp_path / 'other' / 'oculard.db'}"))

    assert calls == ["file", "renamed", "folder"]


def test_an_empty_database_gives_way(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """`db upgrade` may have been given before."""
    fill(shelf)
    back_up(shelf, tmp_path / "b")
    empty.database.upgrade()

    assert bring_back(empty, tmp_path / "b") == Put(copied=4)
    assert empty.study()["id"] == 1


def test_a_living_daemon_is_not_pulled_from_under(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """Even on an empty database; of a process that is known to be dead nobody waits for the end."""
    shelf.roles.beat("upkeep@there:1:x", "upkeep", {})  # the backup's processes are none of the restored database
    back_up(shelf, tmp_path / "b")
    empty.database.upgrade()
    empty.roles.beat("intake@here:1:x", "intake", {})
    with pytest.raises(DaemonAlive):
        bring_back(empty, tmp_path / "b")

    manifest = read_manifest(tmp_path / "b")
    Restore(empty.database, empty.vault, empty.clock, tmp_path / "b").check_place(manifest, is_dead=lambda _: True)
    empty.clock.pass_(60)
    bring_back(empty, tmp_path / "b")
    assert empty.roles.list() == []


def test_a_backup_of_a_newer_program_or_another_kind_is_refused(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """It says which program can."""
    back_up(shelf, tmp_path / "b")
    path = tmp_path / "b" / MANIFEST
    values = json.loads(path.read_text(encoding="utf-8"))
    other = "postgresql" if shelf.database.is_sqlite else "sqlite"
    for change, words in (({"revision": "9999"}, "does not know"), ({"kind": other}, f"backup of {other}")):
        path.write_text(json.dumps(values | change), encoding="utf-8")
        with pytest.raises(Misconfigured, match=words):
            bring_back(empty, tmp_path / "b")


def test_a_log_without_its_database_is_not_thrown_away(shelf: Shelf, empty: Shelf, tmp_path: Path) -> None:
    """It may hold what can still be saved."""
    if empty.database.file is None:
        return
    back_up(shelf, tmp_path / "b")
    empty.database.file.with_name("oculard.db-wal").write_bytes(b"something")
    with pytest.raises(NotEmpty, match="-wal"):
        bring_back(empty, tmp_path / "b")


def test_without_postgresqls_programs_it_is_said(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which program is missing, and where it comes from."""
    if shelf.database.is_sqlite:
        return
    monkeypatch.setattr(copying.shutil, "which", lambda _: None)
    making = Backup(shelf.database, shelf.vault, shelf.clock, tmp_path / "b")
    with making.alone(), pytest.raises(Misconfigured, match="pg_dump is not there"):
        making.draft(silent)


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print("ready", flush=True)
number = 0
while True:
    number += 1
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO pair VALUES ('a', ?)", (number,))
    connection.execute("INSERT INTO pair VALUES ('b', ?)", (number,))
    connection.execute("UPDATE filler SET text = ? WHERE rowid = ?", ("y" * 3000, number % 400 + 1))
    connection.execute("COMMIT")
"""


def wait_for_a_commit(source: Path) -> None:
    """The writer has written once more."""
    with contextlib.closing(sqlite3.connect(source, timeout=30)) as connection:

        def count() -> int:
            return int(connection.execute("SELECT count(*) FROM pair").fetchone()[0])

        before = count()
        while count() == before:
            pass


def test_sqlite_is_copied_in_one_go_under_constant_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is of one moment, and the writer never makes it begin anew."""
    monkeypatch.setattr(copying, "PAGES", 3)
    source, target, seen = tmp_path / "source.db", tmp_path / "target.db", list[int]()
    with sqlite3.connect(source) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE pair (name, number)")
        connection.execute("CREATE TABLE filler (text)")
        connection.executemany("INSERT INTO filler VALUES (?)", [("x" * 3000,)] * 400)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(source)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        copying._copy_file(source, target, lambda _, done, __: seen.append(done) or wait_for_a_commit(source))
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()

    assert seen == sorted(seen)  # it never began anew
    assert len(seen) > 50
    with sqlite3.connect(target) as copy:
        pairs = dict(copy.execute("SELECT name, count(*) FROM pair GROUP BY name").fetchall())
        assert pairs.get("a", 0) == pairs.get("b", 0)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not target.with_name("target.db-wal").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ('pg_restore: error: COPY failed for table "study": CONTEXT: COPY study, line 3: "YAMADA^TARO"', "exit code 1"),
        ("pg_dump: error: aborting because of server version mismatch\nYAMADA^TARO", "it is older than the server"),
        ('error: connection to server at "db" failed: FATAL: password authentication failed', "refuses the user"),
    ],
)
def test_what_postgresqls_programs_say_is_not_passed_on(monkeypatch: pytest.MonkeyPatch, words: str, told: str) -> None:
    """They quote rows, and so patients: what is known of their words is said in ours."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1, b"", words.encode())

    monkeypatch.setattr(copying.subprocess, "run", run)
    monkeypatch.setattr(copying.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(copying.CopyFailed, match=told) as why:
        copying._run(sqlalchemy.make_url("postgresql+psycopg://db/oculard"), "pg_restore", [])
    assert "YAMADA" not in f"{why.value} {why.value.hint}"


def test_the_password_of_a_server_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of the machine can read the list of processes: it goes by the environment."""
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[bytes]:
        seen.append((command, how["env"]))
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(copying.subprocess, "run", run)
    monkeypatch.setattr(copying.shutil, "which", lambda name: f"/usr/bin/{name}")
    copying._run(sqlalchemy.make_url("postgresql+psycopg://oculard:s3cret@db/oculard"), "pg_dump", [])

    ((command, environment),) = seen
    assert "s3cret" not in " ".join(command)
    assert "--dbname=postgresql://oculard@db/oculard" in command
    assert environment["PGPASSWORD"] == "s3cret"
