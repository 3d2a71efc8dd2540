"""What the daemon keeps is its own user's alone, its secrets are nobody's, and its logs know no patient."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import Daemon, paint_study
from peers import program

EXPOSURE_MAX = 1.5  # of systemd's scale from 0 to 10; what is left is the network and the processor's features
SECRET = "hunter2-of-the-archive"
SECRETS = """
[notify]
urls_file = "{urls}"

[[archives]]
name = "cloud"
how = "dicomweb"
url = "https://127.0.0.1:9/dicom-web"
user = "oculard"
password_file = "{password}"
"""
UNIT = Path(__file__).parents[2] / "deploy" / "oculard.service"


@pytest.fixture
def careless() -> Iterator[None]:
    """A user who lets everybody read what he makes."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_nobody_else_can_read_what_the_daemon_keeps(
    careless: None, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Folders 0700, files 0600: database, its log, spool, images, reports; whatever the user's umask says."""
    daemon = make_daemon()
    daemon.start()
    files = paint_study(tmp_path / "study", seed=3, size_px=256)
    assert daemon.run("import", str(tmp_path / "study")).returncode == 0
    daemon.wait_for(lambda: daemon.app.trace.counts()["job"].get("reported", 0) > 0)
    kept = [daemon.folder / "data", *(daemon.folder / "data").rglob("*")]

    open_to_others = {str(path): oct(path.stat().st_mode) for path in kept if path.stat().st_mode & 0o077}

    assert open_to_others == {}
    assert len(kept) > len(files)


def test_no_secret_is_seen_in_the_process_list(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Children are given the file's name, never what stands in it, beside it or in the environment; no log says it."""
    told, kept, archived = tmp_path / "urls", f"{SECRET}-in-a-file", tmp_path / "password"
    told.write_text(f"jsons://user:{kept}@127.0.0.1:9/\n", encoding="utf-8")
    archived.write_text(f"{SECRET}-of-an-archive\n", encoding="utf-8")
    daemon = make_daemon(
        SECRETS.format(urls=told, password=archived),
        OCULARD_NOTIFY__URLS=f'["jsons://user:{SECRET}@127.0.0.1:9/"]',
    )
    assert kept in "".join(daemon.app.settings.notify_urls), "it is one that the daemon uses"
    daemon.start()
    paint_study(tmp_path / "study", seed=3, size_px=256)
    assert daemon.run("import", str(tmp_path / "study")).returncode == 0
    daemon.wait_for(lambda: daemon.app.trace.counts()["job"].get("reported", 0) > 0)
    listed = "\n".join(_arguments(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal())

    assert listed.count(str(daemon.file)) > 5, "the list shows every role"
    assert "oculard_models.decoder" in listed, "and who decodes for one"
    assert SECRET not in listed
    assert SECRET not in daemon.run("config", "show").stdout
    assert daemon.stop() == 0
    assert SECRET not in (daemon.folder / "log").read_text(encoding="utf-8")


def _arguments(process: Path) -> str:
    """What `ps` shows of a process; nothing where it has ended."""
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_the_service_is_shut_in() -> None:
    """systemd rates what the unit leaves open to the daemon; it is told by its own analysis, without starting it."""
    command = [program("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}"]

    done = subprocess.run([*command, str(UNIT)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-2000:]


def test_the_doctor_sees_a_folder_that_others_can_look_into(make_daemon: Callable[..., Daemon]) -> None:
    """A folder that was there before keeps its mode: a person is told to close it."""
    daemon = make_daemon()
    assert "open to other users" not in daemon.run("doctor").stdout
    (daemon.folder / "data").chmod(0o750)

    told = daemon.run("doctor").stdout

    assert "open to other users" in told
    assert "chmod" in told
