"""The connection to the database: durable settings, short transactions, and the check of its revision."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError

from oculard.errors import Misconfigured, Transient
from oculard_migrations import NEWEST

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.dialects import postgresql, sqlite

UPGRADE = "run `oculard db upgrade` (is this the configuration that you mean, and is its disk mounted?)"
POSTGRESQL = {  # a silent server is a transient failure after a minute, not a hang
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=120s",
}
BUSY_S = 30  # how long a writer waits for another one
RESTED_S = 1.0
RESTS = "oculard_rests"  # since when a connection of a server is in the pool
PLACE = "oculard_place"  # which file a connection of SQLite writes to


class DatabaseDown(Transient):
    """The database did not answer."""

    reason = "database-down"


class Database:
    """One engine, two doors: `read` and `write`. Nothing outside the store sees a connection."""

    def __init__(self, url: str, password: str | None = None) -> None:
        self.url = make_url(url) if password is None else make_url(url).set(password=password)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        try:
            self._engine = _engine(self.url, sqlite=self.is_sqlite)
        except ModuleNotFoundError as why:
            hint = "install it: pip install 'psycopg[binary]'"
            raise Misconfigured(f"the database's driver `{why.name}` is not installed", hint=hint) from why

    @cached_property
    def file(self) -> Path | None:
        """SQLite's file; None for a server or for a database in memory."""
        is_file = self.is_sqlite and self.url.database not in (None, "", ":memory:")
        return Path(str(self.url.database)) if is_file else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; it is on disk when the block ends without an exception."""
        with _down_as_transient(), self._engine.connect() as connection:
            self._must_be_in_place(connection)
            connection = connection.execution_options(oculard_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; on a server every statement for itself, as READ COMMITTED sees it anyway."""
        with _down_as_transient(), self._engine.connect() as connection:
            if not self.is_sqlite:  # spares the journeys of BEGIN and COMMIT
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            with connection.begin():
                yield connection

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """For one statement that writes: on a server it is a transaction by itself; on SQLite one is made around it."""
        with self.write() if self.is_sqlite else self.read() as connection:
            yield connection

    @contextmanager
    def outside(self) -> Iterator[Connection]:
        """A connection outside of any transaction, for what a database does only there, as VACUUM."""
        with _down_as_transient(), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection.execution_options(oculard_outside=True)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction of a server that sees one moment, however long it lasts."""
        with _down_as_transient(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
                yield connection

    def upgrade(self) -> tuple[str | None, str]:
        """Bring the schema to the newest revision, making the database where there is none; gives the old and the new.

        Raises Misconfigured where it cannot be made.
        """
        from alembic import command  # 80 ms and 10 MB: only this command needs it

        if self.file is not None:
            _make_file(self.file)
        before = self.revisions()[0]
        with _down_as_transient(), self._engine.connect() as connection:
            config = _alembic()
            config.attributes["connection"] = connection.execution_options(oculard_write=True)
            with _free_to_rebuild(connection):
                if not self.is_sqlite:
                    connection.exec_driver_sql("SET statement_timeout = 0")  # a migration takes the time it takes
                command.upgrade(config, "head")
        return before, self.revisions()[1]

    def revisions(self) -> tuple[str | None, str]:
        """The revision the database has and the one this program needs."""
        with _down_as_transient(), self._engine.connect() as connection:
            return revision_of(connection), NEWEST

    @staticmethod
    def knows(revision: str) -> bool:
        """Whether this program can bring a database of that revision to its own."""
        from alembic.script import ScriptDirectory

        return revision in {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}

    def check(self) -> None:
        """Raise Misconfigured unless the database has exactly the revision this program needs."""
        shown = self.url.render_as_string(hide_password=True)
        if self.file is not None and not self.file.exists():
            raise Misconfigured(f"there is no database at {shown}", reason="database-revision", hint=UPGRADE)
        has, needs = self.revisions()
        if has is None:
            raise Misconfigured(f"the database at {shown} is empty", reason="database-revision", hint=UPGRADE)
        if has != needs:
            raise Misconfigured(
                f"the database has revision {has}, this program needs {needs}",
                reason="database-revision",
                hint="run `oculard db upgrade`, or start the program that fits the database",
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _must_be_in_place(self, connection: Connection) -> None:
        """What is written to a file that somebody moved or deleted is lost with the last process that holds it open."""
        if self.file is None or connection.info.get(PLACE) == _identity(self.file):
            return
        connection.invalidate()
        self._engine.dispose()  # the others that are not in use are of the same file
        raise DatabaseDown(f"the database's file {self.file} was moved, deleted or replaced")


def revision_of(connection: Connection) -> str | None:
    """The revision that a database has, as Alembic wrote it; None where it never was upgraded."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return revision


def insert_or(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both databases spell alike."""
    return insert_of(connection.dialect.name, table)


def insert_of(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """The same for a dialect by its name. Each loads its dialect alone: PostgreSQL's brings its drivers along."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def hold_files(connection: Connection, paths: Iterable[str]) -> None:
    """Until the transaction ends, nobody else who asks decides about these files. SQLite's writers are alone anyway."""
    if connection.dialect.name == "sqlite":
        return
    digests = (hashlib.sha256(path.encode()).digest() for path in paths)
    keys = sorted(
        int.from_bytes(digest[:8], signed=True) for digest in digests
    )  # in one order: no two block each other
    hold = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
    connection.execute(hold, {"keys": keys})


def _make_file(path: Path) -> None:
    """An empty file that only the daemon's own user and group may read: it will hold patients' identifiers."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as why:
        hint = "the daemon's user must own [store] folder; or name another one"
        raise Misconfigured(f"cannot make the database {path}: {why.strerror}", hint=hint) from why


def _engine(url: Any, *, sqlite: bool) -> Engine:
    if not sqlite:
        return _pinging(create_engine(url, pool_use_lifo=True, pool_size=10, max_overflow=40, connect_args=POSTGRESQL))
    # The connection that was used last is used next: another one must read again what this one has just written.
    pool = {} if url.database in (None, "", ":memory:") else {"pool_use_lifo": True}
    engine = create_engine(url, connect_args={"timeout": BUSY_S, "check_same_thread": False}, **pool)

    @event.listens_for(engine, "do_connect")
    def _found(_dialect: Any, _record: Any, arguments: Any, _more: Any) -> None:
        if arguments[0] != ":memory:" and not Path(arguments[0]).exists():
            raise sqlite3.OperationalError("there is no such file")  # the driver would make an empty one

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, record: Any) -> None:
        record.info[PLACE] = _identity(Path(str(url.database)))
        connection.isolation_level = None  # transactions begin below, not when the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: upgrading a read lock later could fail with "database is locked".
        if connection.get_execution_options().get("oculard_outside", False):
            return
        writes = connection.get_execution_options().get("oculard_write", False)
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _pinging(engine: Engine) -> Engine:
    """A connection that has rested is asked whether its server is still there; one in steady use need not be."""

    @event.listens_for(engine, "checkin")
    def _rests(_connection: Any, record: Any) -> None:
        record.info[RESTS] = monotonic()

    @event.listens_for(engine, "checkout")
    def _is_there(connection: Any, record: Any, _proxy: Any) -> None:
        if monotonic() - record.info.get(RESTS, monotonic()) < RESTED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as why:
            raise InvalidatePoolError from why

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies there; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _free_to_rebuild(connection: Connection) -> Iterator[None]:
    """A transaction in which SQLite may write a table anew, its only way to change one.

    Foreign keys would forbid that: they are off meanwhile, and checked before the commit
    (https://www.sqlite.org/lang_altertable.html section 7). The pragma does nothing inside a transaction. The
    transaction is begun here, because Alembic commits every step of its own where it finds none.
    """
    sqlite = connection.connection.driver_connection if connection.dialect.name == "sqlite" else None
    if sqlite is not None:
        sqlite.execute("PRAGMA foreign_keys=OFF")
    try:
        with connection.begin():
            yield
            broken = [] if sqlite is None else sqlite.execute("PRAGMA foreign_key_check").fetchall()
            assert not broken, f"a migration broke {len(broken)} references"
    finally:
        if sqlite is not None:
            sqlite.execute("PRAGMA foreign_keys=ON")


def _alembic() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "oculard_migrations:")
    return config


@contextmanager
def _down_as_transient() -> Iterator[None]:
    try:
        yield
    except OperationalError as why:
        raise DatabaseDown(f"the database did not answer: {type(why.orig).__name__}") from why
    except sqlite3.OperationalError as why:  # of a prepared statement, which the driver executes itself
        raise DatabaseDown(f"the database did not answer: {type(why).__name__}") from why
    except DBAPIError as why:
        if why.connection_invalidated:
            raise DatabaseDown("the connection to the database was lost") from why
        if "file is not a database" in str(why.orig):
            raise Misconfigured("the database's file is no database", hint="[store] database_url, folder") from why
        raise
