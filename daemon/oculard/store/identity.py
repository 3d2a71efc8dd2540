"""Which vault is a database's: both hold the same id, so that an empty mount point is never taken for the vault."""

from __future__ import annotations

import os
import re
import uuid

from sqlalchemy import Connection, select, union_all

from oculard.errors import Permanent
from oculard.store import tables
from oculard.store.database import Database, insert_or
from oculard.store.vault import Vault, VaultUnreadable, not_written, sync_file, sync_folder, write_new

FILE = "vault-id"  # an empty one is a person's word: this folder shall be the vault
ID = re.compile(r"^[0-9a-f]{32}$")
BYTES_MAX = 100
LOOKED_AT = 100  # of the newest files of a kind


class NotOurVault(Permanent):
    """The folder is not the vault of this database."""

    reason = "vault-not-ours"

    def __init__(self, vault: Vault, what: str) -> None:
        hint = (
            "is its disk mounted, is [store] folder right? Where this folder shall be the vault from now on, "
            f"let the daemon's user say so: `: > {vault.folder / FILE}`"
        )
        super().__init__(f"{vault.folder} is not the vault of this database: {what}", hint=hint)


class Identity:
    """The id that a vault and its database share."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    def check(self) -> None:
        """See that the vault is the database's, and write nothing. Raises NotOurVault."""
        with self._database.read() as connection:
            self._judge(connection)

    def settle(self) -> None:
        """See so, and give an id to vault or database where it has none yet. Raises NotOurVault."""
        with self._database.read() as connection:
            known = known_id(connection)
            if known is not None and known == self._judge(connection) == self._found():
                return
        with self._database.write() as connection:
            self._write(connection, self._judge(connection))

    def check_restore(self, restored: str | None) -> None:
        """See that a database with that id may come to this vault. Raises NotOurVault."""
        if restored and (found := self._found()) and found != restored:
            raise NotOurVault(self._vault, "it is that of another one")

    def accept(self) -> None:
        """Let the two belong together: a person has restored them so."""
        with self._database.write() as connection:
            self._write(connection, known_id(connection) or self._found() or uuid.uuid4().hex)

    def _judge(self, connection: Connection) -> str:
        """The id that both should have."""
        known, found = known_id(connection), self._found()
        if found == "":
            return known or uuid.uuid4().hex
        if known is None and not _is_there(connection, self._vault):
            raise NotOurVault(self._vault, "none of the files that the database knows is there")
        if known is not None and known != found:
            what = f"there is no `{FILE}` in it" if found is None else "it is that of another one"
            raise NotOurVault(self._vault, what)
        return found or uuid.uuid4().hex

    def _found(self) -> str | None:
        """What the vault's file says."""
        try:
            with (self._vault.folder / FILE).open("rb") as file:
                text = file.read(BYTES_MAX).decode("ascii", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as why:
            raise VaultUnreadable(f"cannot read {self._vault.folder / FILE}: {why.strerror}") from why
        if text and not ID.match(text):
            raise NotOurVault(self._vault, f"its `{FILE}` is damaged")
        return text

    def _write(self, connection: Connection, new: str) -> None:
        """The row waits for any other process that writes one, and then the file says what the row says."""
        row = insert_or(connection, tables.vault).values(id=1, uid=new)
        connection.execute(row.on_conflict_do_nothing())
        uid = known_id(connection)
        assert uid is not None, "it was written just now"
        if self._found() == uid:
            return
        path = self._vault.folder / f"{FILE}.{uuid.uuid4().hex}"
        try:
            write_new(path, f"{uid}\n".encode())
            sync_file(path)
            os.replace(path, self._vault.folder / FILE)
            sync_folder(self._vault.folder)
        except OSError as why:
            raise not_written("cannot write the vault's id", why) from why


def known_id(connection: Connection) -> str | None:
    """The vault's id, as the database has it."""
    return connection.execute(select(tables.vault.c.uid)).scalar_one_or_none()


def _is_there(connection: Connection, vault: Vault) -> bool:
    """Whether one of the newest files is in the vault, or none is known."""
    newest = [
        select(table.c.path, table.c.size_bytes)
        .where(table.c.removed_at.is_(None))
        .order_by(table.c.id.desc())
        .limit(LOOKED_AT)
        .subquery()
        for table in (tables.instance, tables.report)
    ]
    rows = connection.execute(union_all(*(select(one) for one in newest))).all()
    return not rows or any(vault.has(row.path, row.size_bytes) for row in rows)
