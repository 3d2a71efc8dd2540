"""What the tests of delivery share: a store on SQLite, reports that are owed, and peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from outbox import Outbox

from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.intake.role import IntakeRole
from oculard.settings import Peer, Settings
from oculard.store.database import Database
from peers import orthanc, storescp  # noqa: F401  fixtures
from shelf import Shelf


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

        def start(*, port: int = 0, ae_title: str = "PRACTICE", **manners: Any) -> PracticePacs:
            kept = tmp_path / "practice"
            return stack.enter_context(
                PracticePacs(folder=kept, port=port, ae_title=ae_title, manners=Manners(**manners))
            )

        yield start


@pytest.fixture
def listen(shelf: Shelf) -> Callable[..., IntakeRole]:
    """Makes an intake that takes the storage commitment answers of these peers; use it as a context."""

    def make(*peers: Peer) -> IntakeRole:
        return IntakeRole(
            Settings(peers=list(peers), intake={"host": "127.0.0.1", "port": 0}, store={"folder": shelf.vault.folder}),
            instances=shelf.instances,
            vault=shelf.vault,
            callers=shelf.callers,
            answers=shelf.answers,
            deliveries=shelf.deliveries,
            clock=shelf.clock,
            owner="intake",
        )

    return make
