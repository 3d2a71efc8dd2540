"""A watched folder with the real daemon: an export is taken, annotated and put away, across a kill of the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import Daemon, paint_study

FOLDER = """
[[folders]]
name = "stick"
path = "{path}"
then = "move"
move_to = "{done}"
quiet_s = 1
every_s = 1
"""


def folder_status(daemon: Daemon, *, looked: bool = False) -> dict[str, Any]:
    """What `status` says of the folder; nothing before the end of a look, where that is wanted."""
    told = dict(json.loads(daemon.run("status", "--json").stdout)["folders"]["stick"])
    return told if told["looked_at"] or not looked else {}


def images(folder: Path) -> list[Path]:
    """The instances below a folder."""
    return list(folder.rglob("*.dcm"))


def test_an_export_is_taken_and_put_away(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Both eyes have their reports, the rest of the export stays and is counted; the next one comes after a kill."""
    export, done = tmp_path / "export", tmp_path / "done"
    export.mkdir()
    done.mkdir()
    daemon = make_daemon(FOLDER.format(path=export, done=done))
    (export / "notes.xml").write_text("<xml/>")
    first = len(paint_study(export / "visit", seed=1, size_px=96))
    looked = json.loads(daemon.run("doctor", "--json").stdout)
    assert [check["state"] for check in looked if "is watched as" in check["found"]] == ["fine"]

    daemon.start()
    daemon.wait_for(lambda: len(images(done)) == first)
    daemon.wait_for(lambda: daemon.app.trace.counts()["study"].get("settled") == 1)
    status = daemon.wait_for(lambda: folder_status(daemon, looked=True))
    assert (status["taken"], status["refused"]) == (first, 1)
    daemon.kill()
    second = len(paint_study(export / "next", seed=2, size_px=96))
    daemon.start()
    daemon.wait_for(lambda: len(images(done)) == first + second)
    daemon.wait_for(lambda: daemon.app.trace.counts()["study"].get("settled") == 2)
    assert daemon.stop() == 0

    assert [path.name for path in export.rglob("*") if path.is_file()] == ["notes.xml"]
    assert folder_status(daemon)["state"] == "not running"
    assert not [event for event in daemon.log() if event["level"] == "error" and event["event"] != "role died"]
