"""Log files: no line is lost, cut or mixed, whoever writes and rotates, and no trouble of theirs ends the daemon."""

import errno
import fcntl
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from oculard import log
from oculard.log_files import LogFile
from oculard.process import configure_log
from oculard.settings import Log, Settings

WRITER = """
import sys
from pathlib import Path
from oculard.log_files import LogFile

name, folder = sys.argv[1], Path(sys.argv[2])
file = LogFile(folder, "worker", bytes_max=4000, files=1000)
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
for number in range(1500):
    file.write(f"{name} {number} " + "x" * (number % 90) + " end\\n")
"""


def lines(folder: Path) -> list[str]:
    """Every line of every file of the role."""
    return [line for path in folder.glob("worker.log*") for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_processes_lose_and_mix_no_line(tmp_path: Path) -> None:
    """Both write and rotate the same file as fast as they can."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, name, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == ""  # nothing had to go to stderr
        assert writer.returncode == 0

    expected = [f"{name} {n} " + "x" * (n % 90) + " end" for name in "ab" for n in range(1500)]
    assert sorted(lines(tmp_path)) == sorted(expected)
    assert len(list(tmp_path.glob("worker.log.*"))) > 20
    sizes = [path.stat().st_size for path in tmp_path.glob("worker.log*")]
    assert max(sizes) < 4000 + 2 * 120  # one late line of the other process at most


def test_who_waited_for_the_lock_does_not_rotate_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has put the full file aside meanwhile: the line goes into the new one."""
    ours, theirs = (LogFile(tmp_path, "worker", bytes_max=20, files=5) for _ in range(2))
    ours.write("first ............\n")
    real, waits = fcntl.flock, iter([True])

    def flock(handle: int, operation: int) -> None:
        if next(waits, False):
            theirs.write("theirs\n")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    ours.write("ours\n")

    assert (tmp_path / "worker.log").read_text(encoding="utf-8") == "theirs\nours\n"
    assert (tmp_path / "worker.log.1").read_text(encoding="utf-8") == "first ............\n"
    assert not (tmp_path / "worker.log.2").exists()


def test_so_many_files_are_kept_as_configured(tmp_path: Path) -> None:
    """The newest stay, in order; what an earlier configuration kept beyond them goes."""
    (tmp_path / "worker.log.7").write_text("old\n", encoding="utf-8")
    (tmp_path / "worker.log.notes").write_text("somebody's own\n", encoding="utf-8")
    file = LogFile(tmp_path, "worker", bytes_max=20, files=2)
    for number in range(6):
        file.write(f"line {number} ........\n")

    names = sorted(path.name for path in tmp_path.glob("worker.log*"))
    assert names == ["worker.log", "worker.log.1", "worker.log.2", "worker.log.notes"]
    texts = [(tmp_path / name).read_text(encoding="utf-8") for name in names[:3]]
    assert [text[:6] for text in texts] == ["line 5", "line 4", "line 3"]


def test_files_are_private(tmp_path: Path) -> None:
    """Only the daemon's user and group read them."""
    LogFile(tmp_path / "logs", "worker", bytes_max=10, files=2).write("line\n")

    assert (tmp_path / "logs" / "worker.log").stat().st_mode & 0o137 == 0
    assert (tmp_path / "logs").stat().st_mode & 0o027 == 0


def test_a_folder_that_cannot_be_made_leaves_stderr(tmp_path: Path) -> None:
    """The events are not lost with it."""
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    otherwise = io.StringIO()
    LogFile(tmp_path / "file", "worker", bytes_max=10, files=2, otherwise=otherwise).write("line\n")

    assert otherwise.getvalue() == "line\n"


def test_a_file_that_is_moved_away_by_hand_is_made_anew(tmp_path: Path) -> None:
    """Another rotation than ours, or a person, may have its name."""
    file = LogFile(tmp_path, "worker", bytes_max=1000, files=2)
    file.write("one\n")
    (tmp_path / "worker.log").rename(tmp_path / "moved")
    file.write("two\n")

    assert (tmp_path / "worker.log").read_text(encoding="utf-8") == "two\n"


def test_a_full_disk_cuts_a_line_and_the_next_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut line is on stderr as a whole; when there is room again, the file goes on with a line of its own."""
    otherwise, write, room = io.StringIO(), os.write, [4]

    def short(handle: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "full")
        part = data[: room[0]]
        room[0] -= len(part)
        return write(handle, part)

    file = LogFile(tmp_path, "worker", bytes_max=1000, files=2, otherwise=otherwise)
    monkeypatch.setattr(os, "write", short)
    file.write("first line\n")
    room[0] = 1000
    file.write("second line\n")
    monkeypatch.undo()

    assert otherwise.getvalue() == "first line\n"
    assert (tmp_path / "worker.log").read_text(encoding="utf-8") == "firs\nsecond line\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write into the folder may not choose what the daemon writes to."""
    (tmp_path / "worker.log").symlink_to(tmp_path / "target")
    otherwise = io.StringIO()
    LogFile(tmp_path, "worker", bytes_max=1000, files=2, otherwise=otherwise).write("line\n")

    assert not (tmp_path / "target").exists()
    assert otherwise.getvalue() == "line\n"


def test_a_role_writes_its_own_file(tmp_path: Path) -> None:
    """Where [log] names a folder, the events go there through the same allow-list."""
    before = structlog.get_config()
    configure_log(Settings(log=Log(folder=tmp_path)), "sender")
    structlog.configure(cache_logger_on_first_use=False)
    log.get("x").info("event", job=3, patient_name="Yamada")
    structlog.configure(**before)
    logging.getLogger().handlers[:] = []

    event = json.loads((tmp_path / "sender.log").read_text(encoding="utf-8"))
    assert (event["role"], event["job"], event["patient_name"]) == ("sender", 3, "<withheld>")
