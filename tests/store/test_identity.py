"""A vault and its database know each other: an empty mount point is never taken for the vault."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import delete

from oculard.app import App
from oculard.cli import doctor
from oculard.cli.check import WRONG
from oculard.cli.context import Context
from oculard.clock import SystemClock
from oculard.settings import Settings, Store
from oculard.store import tables
from oculard.store.identity import FILE, Identity, NotOurVault
from shelf import Shelf


@pytest.fixture
def identity(shelf: Shelf) -> Identity:
    """What a start of the daemon asks."""
    return Identity(shelf.database, shelf.vault)


def named(shelf: Shelf) -> str:
    """What the vault says."""
    return (shelf.vault.folder / FILE).read_text(encoding="ascii").strip()


def test_the_first_start_names_both(shelf: Shelf, identity: Identity) -> None:
    """An empty database and an empty vault belong together from then on; the next start changes nothing."""
    identity.settle()
    first = named(shelf)
    identity.settle()
    identity.check()

    assert named(shelf) == first
    assert sorted(path.name for path in shelf.vault.folder.iterdir()) == ["instances", "reports", "spool", FILE]


def test_looking_names_nothing(shelf: Shelf, identity: Identity) -> None:
    """The doctor only looks."""
    identity.check()
    assert not (shelf.vault.folder / FILE).exists()


def test_an_older_vault_is_named_when_a_known_file_is_there(shelf: Shelf, identity: Identity) -> None:
    """One is enough; what is lost besides is another matter."""
    shelf.receive("1.1", b"one")
    shelf.receive("1.2", b"two")
    shelf.vault.path(shelf.study()["instances"][1]["path"]).unlink()

    identity.settle()
    assert len(named(shelf)) == 32


def test_an_empty_folder_is_not_the_vault_of_what_is_known(shelf: Shelf, identity: Identity) -> None:
    """The disk is away: nothing is written, neither there nor into the database, and it goes on when it is back."""
    shelf.receive("1.1", b"one")
    away = shelf.vault.folder.rename(shelf.vault.folder.with_name("away"))
    shelf.vault.folder.mkdir()
    for judge in (identity.check, identity.settle):
        with pytest.raises(NotOurVault, match="none of the files") as why:
            judge()
        assert f": > {shelf.vault.folder / FILE}" in why.value.hint
    assert list(shelf.vault.folder.iterdir()) == []

    shelf.vault.folder.rmdir()
    away.rename(shelf.vault.folder)
    identity.settle()


@pytest.mark.parametrize(
    ("text", "words"), [(None, "there is no `vault-id`"), ("0" * 32, "of another"), ("?", "damaged")]
)
def test_a_vault_that_is_not_the_known_one_is_refused(
    shelf: Shelf, identity: Identity, text: str | None, words: str
) -> None:
    """Without the id, with another one, or with one that is none; whatever files are in it."""
    shelf.receive("1.1", b"one")
    identity.settle()
    (shelf.vault.folder / FILE).unlink()
    if text is not None:
        (shelf.vault.folder / FILE).write_text(text, encoding="ascii")
    for judge in (identity.check, identity.settle):
        with pytest.raises(NotOurVault, match=words):
            judge()


def test_an_empty_file_is_a_persons_word(shelf: Shelf, identity: Identity) -> None:
    """The old disk is lost for good: the new folder gets the id that the database has, or the first."""
    shelf.receive("1.1", b"one")
    shutil.rmtree(shelf.vault.folder / "instances")
    (shelf.vault.folder / FILE).touch()
    identity.settle()
    first = named(shelf)

    (shelf.vault.folder / FILE).write_text("", encoding="ascii")
    identity.settle()
    assert named(shelf) == first


def test_a_new_database_takes_the_name_of_its_vault(shelf: Shelf, identity: Identity) -> None:
    """A kill between file and row, or a database that was made anew: the vault keeps its name."""
    identity.settle()
    first = named(shelf)
    with shelf.database.write() as connection:
        connection.execute(delete(tables.vault))
    identity.settle()
    assert named(shelf) == first

    (shelf.vault.folder / FILE).write_text("1" * 32, encoding="ascii")
    with pytest.raises(NotOurVault):
        identity.check()


def test_nothing_is_made_on_a_mount_point(shelf: Shelf, identity: Identity, tmp_path: Path) -> None:
    """Program and doctor look before they make folders; the word of a person lets them."""
    identity.settle()
    url = shelf.database.url.render_as_string(hide_password=False)
    mount = tmp_path / "mount"
    mount.mkdir()
    app = App(Settings(store=Store(folder=mount, database_url=url)), SystemClock())
    with pytest.raises(NotOurVault):
        app.prepare()
    context = Context(None)
    context.settings, context.app = app.settings, app
    (check,) = doctor._folder(context)
    assert (check.state, "vault-id" in check.hint) == (WRONG, True)
    assert list(mount.iterdir()) == []

    (mount / FILE).touch()
    app.prepare()
    assert (mount / FILE).read_text(encoding="ascii").strip() == named(shelf)
    app.database.close()
