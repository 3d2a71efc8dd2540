"""The watched folders as `status` shows them and as the doctor looks at them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oculard.cli.context import print_table

if TYPE_CHECKING:
    from oculard.app import App
    from oculard.settings_night import Folder

NOT_RUNNING = {"state": "not running", "looked_at": None, "unreadable_folders": 0}


def folder_rows(app: App) -> dict[str, dict[str, Any]]:
    """By folder: how the last look at it went, and what became of its files."""
    folders = [folder.name for folder in app.settings.folders]
    said: dict[str, Any] = {}
    for role in app.roles.list():
        if role.role == "fetcher" and app.roles.is_alive(role):
            said |= role.says.get("folders", {})
    files = app.watched.summary(folders) if folders else {}
    return {name: said.get(name, NOT_RUNNING) | _counts(files[name]) | {"files": files[name]} for name in folders}


def _counts(files: Mapping[str, int]) -> dict[str, int]:
    from oculard.store.watched import GROWING, REFUSED

    of = {kind: sum(count for what, count in files.items() if what.startswith(kind)) for kind in (REFUSED, GROWING)}
    return {"taken": sum(files.values()) - sum(of.values()), **of}


def print_folders(rows: Mapping[str, dict[str, Any]]) -> None:
    """The folders as a table, and why files of them were refused."""
    from oculard.store.watched import REFUSED

    columns = ("state", "looked_at", "taken", "refused", "growing", "unreadable_folders")
    told = [[name, *(row[column] for column in columns)] for name, row in rows.items()]
    print_table(("folder", *columns), told, title="Watched folders")
    refused = [
        [name, what.partition(": ")[2], count]
        for name, row in rows.items()
        for what, count in row["files"].items()
        if what.startswith(REFUSED)
    ]
    if refused:
        print_table(("folder", "reason", "files"), refused, title="Files refused")


def trouble(folder: Folder) -> tuple[str, str] | None:
    """What keeps a folder from being watched as it is configured, and a hint."""
    try:
        return _trouble(folder)
    except OSError as why:  # a share that is gone, a folder within one that we may not enter
        return f"{folder.path} cannot be watched as `{folder.name}`", f"it does not answer: {why.strerror}"


def _trouble(folder: Folder) -> tuple[str, str] | None:
    if not folder.path.is_dir() or not os.access(folder.path, os.R_OK | os.X_OK):
        return f"{folder.path} cannot be read", "is it mounted? May the daemon's user read it? [[folders]] path"
    if folder.move_to is None:
        return None
    what = f"{folder.path} cannot be emptied into {folder.move_to}"
    if not folder.move_to.is_dir():
        return what, f"{folder.move_to} is not there: make it"
    source, target = folder.path.resolve(), folder.move_to.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        return what, f"one is in the other: {source}, {target}"
    if source.stat().st_dev != target.stat().st_dev:
        return what, "they are in different file systems: [[folders]] move_to must be where a rename reaches"
    if not _may_write(source) or not _may_write(target):
        return what, "the daemon's user must be allowed to write to both"
    return None


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
