"""What every test may ask for: databases of both kinds, a store, a clock, and real peers or a reason why not."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
import structlog

import postgres
from fakes import FakeClock
from oculard import log
from oculard.store.database import Database
from peers import missing
from real_data import DATA
from shelf import Shelf
from tls_samples import Authority, Pair


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--simulate N`: how many seeds the simulation runs. `--slow`: also what takes minutes."""
    parser.addoption("--simulate", type=int, default=30, help="seeds of the simulation")
    parser.addoption("--slow", action="store_true", help="run the slow part, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow part out, and say so, unless it is asked for; what looks at all logs comes last."""
    items.sort(key=lambda item: item.path.name == "test_patients_in_logs.py")
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow part: `make test-slow` runs it"))


@pytest.fixture(autouse=True, scope="session")
def _quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The program's events belong to the tests that look at them; all go through the allow-list into one file."""
    with (tmp_path_factory.getbasetemp() / "events.log").open("w", encoding="utf-8", buffering=1) as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                log._error_place,
                log.allow_only,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        yield
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def data() -> Path:
    """Real photographs and awkward DICOM, beside the project."""
    if not DATA.is_dir():
        pytest.skip(f"there is no real data at {DATA} (OCULARD_DATA names another place)")
    return DATA


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of our own."""
    if postgres.find_binaries() is None:
        missing("PostgreSQL's server is not installed")
    with postgres.cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table; every test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        (tmp_path / "oculard.db").touch()
        database = Database(f"sqlite:///{tmp_path / 'oculard.db'}")
        yield database
        database.close()
        return
    url = sqlalchemy.make_url(request.getfixturevalue("postgres_url"))
    name = f"t{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    database = Database(url.set(database=name).render_as_string(hide_password=False))
    yield database
    database.close()
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.fixture
def database(bare: Database) -> Database:
    """An empty database of the newest revision; every test that asks for it runs on both kinds."""
    bare.upgrade()
    return bare


@pytest.fixture
def clock() -> FakeClock:
    """Time that the test owns."""
    return FakeClock()


@pytest.fixture
def shelf(database: Database, clock: FakeClock, tmp_path: Path) -> Shelf:
    """The whole store on one database, with short words to fill it."""
    return Shelf(database, clock, tmp_path / "vault")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates of a test."""
    return Authority(tmp_path)


@pytest.fixture
def ours(authority: Authority) -> Pair:
    """Our own certificate and its key."""
    return authority.pair("oculard.clinic.test")
