"""A real intake on loopback, with SQLite and a vault in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import Device, Site
from oculard.settings import Settings


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts intakes with given settings; the default lets DEVICE in and wants no free disk."""
    started: list[Site] = []

    def make(**sections: Any) -> Site:
        values: dict[str, Any] = {
            "store": {"folder": tmp_path / f"store{len(started)}", "disk_free_min_gib": 0.0},
            "intake": {"host": "127.0.0.1", "port": 0},
            "senders": [{"name": "device", "ae_title": "DEVICE"}],
        }
        for name, section in sections.items():
            values[name] = {**values[name], **section} if isinstance(section, dict) and name in values else section
        site = Site(Settings(**values))
        started.append(site)
        site.role.__enter__()
        return site

    yield make
    for site in started:
        site.server.stop(grace_s=0.0)
        site.database.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def device(site: Site) -> Device:
    return Device(site)
