"""Archives to fetch from: real ones that hold painted studies, and an intake that they send to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import STUDIES, Fetcher, ScriptedArchive

from devices import Site
from fakes import FakeClock
from oculard.settings import Settings
from oculard.settings_night import Archive
from peers import dcmqrscp, orthanc  # noqa: F401  fixtures
from shelf import Shelf


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    """An intake that lets Orthanc and dcmqrscp send to it."""
    senders = [
        {"name": "pacs", "ae_title": "ORTHANC"},
        {"name": "dcmqrscp", "ae_title": "DCMQRSCP"},
        {"name": "scripted", "ae_title": "SCRIPTED"},
    ]
    values = {
        "store": {"folder": tmp_path / "store", "disk_free_min_gib": 0.0},
        "intake": {"host": "127.0.0.1", "port": 0},
        "senders": senders,
        "delivery": {"connect_s": 2.0},
        "archives": [Archive(name="pacs", ae_title="ORTHANC", host="127.0.0.1")],
    }
    site = Site(Settings.model_validate(values))
    with site.role:
        yield site
    site.database.close()


@pytest.fixture
def archive(shelf: Shelf) -> ScriptedArchive:
    """Six studies of two series on three days."""
    return ScriptedArchive(shelf, studies=dict(STUDIES))


@pytest.fixture
def fetcher(shelf: Shelf, archive: ScriptedArchive, clock: FakeClock) -> Fetcher:
    """An engine that may work at any time, as fast as it likes."""
    return Fetcher(shelf, archive, clock)
