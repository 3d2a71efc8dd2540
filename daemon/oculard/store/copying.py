"""Copying a whole database, while others write to it, and putting a copy back: SQLite's file, PostgreSQL's dump."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, NullPool, create_engine

from oculard.errors import Misconfigured, Permanent
from oculard.store.database import BUSY_S, Database
from oculard.store.vault import sync_file, sync_folder

PAGES = 1000  # of SQLite's file at once
PROGRAM_S_MAX = 6 * 3600
MEANINGS = {  # of what PostgreSQL's programs say; their own words may quote a row, and so a patient
    "server version mismatch": "it is older than the server",
    "unsupported version": "it is older than the one that wrote the dump",
    "authentication failed": "the server refuses the user or the password",
    "no password supplied": "the server wants a password",
    "permission denied": "the database's user has not the right",
    "must be owner": "the database's user is not its owner",
    "No space left": "there is no room",
    "connection to server": "the server cannot be reached",
}
Tell = Callable[[str, int, int], None]  # what is being done, how much of it, out of how much


class CopyFailed(Permanent):
    """A database could not be copied or put back."""

    reason = "backup-failed"


@contextmanager
def copied(database: Database, target: Path, tell: Tell) -> Iterator[Connection]:
    """Copy the database to a private file; gives a connection that sees exactly what was copied."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    if database.is_sqlite:
        assert database.file is not None
        _copy_file(database.file, target, tell)
        engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(target), poolclass=NullPool)
        with engine.connect() as connection:
            yield connection
        return
    with database.snapshot() as connection:
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        _run(database.url, "pg_dump", ["--format=custom", f"--snapshot={snapshot}", f"--file={target}"])
        yield connection


def put_back(copy: Path, database: Database) -> None:
    """Let a copy be the database. What is there has no rows: the caller has looked."""
    database.close()
    if database.file is None:
        arguments = ["--clean", "--if-exists", "--exit-on-error", "--single-transaction", str(copy)]
        _run(database.url, "pg_restore", arguments)
        return
    file = database.file
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        shutil.copyfile(copy, new)
        new.chmod(0o600)
        sync_file(new)
        for rest in ("-wal", "-shm"):  # of the empty database: they would be applied to this one
            file.with_name(file.name + rest).unlink(missing_ok=True)
        os.replace(new, file)
        sync_folder(file.parent)
    except OSError as why:
        raise CopyFailed(f"cannot write {file}: {why.strerror}") from why


def _copy_file(source: Path, target: Path, tell: Tell) -> None:
    """SQLite's online backup of one moment: the open transaction keeps writers from making it begin anew."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=BUSY_S, isolation_level=None)) as held,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            held.execute("BEGIN")
            held.execute("SELECT count(*) FROM sqlite_master").fetchone()
            held.backup(copy, pages=PAGES, progress=lambda _, left, all_: tell("database", all_ - left, all_))
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as why:
        raise CopyFailed(f"the database cannot be copied: {why}") from why
    if verdict != "ok":
        raise CopyFailed("the database is damaged", hint="`sqlite3 FILE 'PRAGMA integrity_check'` says where")


def _run(url: URL, program: str, arguments: list[str]) -> None:
    """Run one of PostgreSQL's programs on the database; the password goes by the environment."""
    path = shutil.which(program)
    if path is None:
        hint = "install PostgreSQL's client programs, of the server's version or newer"
        raise Misconfigured(f"{program} is not there", hint=hint)
    # `URL.set` would keep the password: None means nothing to it.
    plain = url._replace(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = os.environ | {"LC_ALL": "C"} | ({"PGPASSWORD": str(url.password)} if url.password else {})
    command = [path, "--no-owner", "--no-privileges", "--no-password", f"--dbname={plain}", *arguments]
    try:
        done = subprocess.run(  # noqa: S603  the server's own program
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_S_MAX, check=False
        )
    except subprocess.TimeoutExpired as why:
        raise CopyFailed(f"{program} did not end in {PROGRAM_S_MAX} s") from why
    if done.returncode:
        words = done.stderr.decode("utf-8", errors="replace")
        meaning = next((told for phrase, told in MEANINGS.items() if phrase in words), f"exit code {done.returncode}")
        hint = f"the server's log says why; {program} must be of the server's version or newer"
        raise CopyFailed(f"{program} failed: {meaning}", hint=hint)
