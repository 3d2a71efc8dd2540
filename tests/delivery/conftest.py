"""What the tests of delivery share: a store on SQLite, reports that are owed, and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from outbox import Outbox
from peers import orthanc, storescp  # noqa: F401  fixtures
from shelf import Shelf

from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database: both kinds are compared where the store is tested."""
    database = Database(f"sqlite:///{tmp_path / 'oculard.db'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def outbox(shelf: Shelf) -> Outbox:
    """Reports that are owed, and senders for them."""
    return Outbox(shelf)


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Callable[..., PracticePacs]]:
    """Starts practice PACS with the given manners."""
    with ExitStack() as stack:

        def start(*, port: int = 0, ae_title: str = "PRACTICE", folder: str = "practice", **manners: Any) -> PracticePacs:
            pacs = PracticePacs(
                folder=tmp_path / folder, port=port, ae_title=ae_title, manners=Manners(**manners)
            )
            return stack.enter_context(pacs)

        yield start
