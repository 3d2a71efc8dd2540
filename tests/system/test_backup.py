"""Backup and restore of a real daemon: while it receives, after a SIGKILL, when its disk or its database is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from daemons import Daemon, paint_study
from oculard.delivery.files import Sent, send_files
from oculard.delivery.scu import Target


def send(daemon: Daemon, paths: Sequence[Path]) -> list[Sent]:
    """As a device sends its study."""
    values = {"name": "oculard", "host": "127.0.0.1", "called_ae": "OCULARD", "calling_ae": "TOPCON"}
    target = Target(**values, port=daemon.port(), connect_s=5, answer_s=30)  # type: ignore[arg-type]  # all are text
    return list(send_files(target, paths))


class Device(threading.Thread):
    """Sends study after study until it is told to stop; remembers what was acknowledged."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        super().__init__(name="device")
        self.daemon_, self.folder = daemon, folder
        self.acknowledged: list[str] = []
        self.enough = threading.Event()
        self.some = threading.Event()

    def run(self) -> None:
        """One study after the other."""
        seed = 0
        while not self.enough.is_set():
            seed += 1
            paths = paint_study(self.folder / f"study{seed}", seed=seed, size_px=96)
            self.acknowledged += [one.sop_instance_uid for one in send(self.daemon_, paths) if one.is_taken]
            if seed >= 3:
                self.some.set()

    def stop(self) -> list[str]:
        """Gives everything that was acknowledged."""
        self.enough.set()
        self.join()
        return self.acknowledged


def held(daemon: Daemon) -> set[str]:
    """The images that a daemon has, with their files."""
    uids = set()
    for study in {job["study_id"] for job in daemon.app.trace.jobs(state=None, limit=10_000)} | all_studies(daemon):
        for image in daemon.app.trace.study(study)["instances"]:
            path = daemon.app.vault.path(image["path"])
            if path.exists() and path.stat().st_size == image["size_bytes"]:
                uids.add(image["sop_instance_uid"])
    return uids


def all_studies(daemon: Daemon) -> set[int]:
    """The studies that have not settled."""
    return {study.id for study in daemon.app.studies.open()}


def lose_database(daemon: Daemon) -> None:
    """The file is gone, with its log."""
    daemon.app.database.close()
    for path in (daemon.folder / "data").glob("oculard.db*"):
        path.unlink()


@pytest.fixture
def receiving(make_daemon: Callable[..., Daemon], tmp_path: Path) -> tuple[Daemon, Device]:
    """A daemon with a device that sends all the time."""
    daemon = make_daemon()
    daemon.start()
    device = Device(daemon, tmp_path / "painted")
    device.start()
    assert device.some.wait(120)
    return daemon, device


def test_nothing_acknowledged_is_lost_with_the_database(receiving: tuple[Daemon, Device], tmp_path: Path) -> None:
    """A backup while a device sends, more images, SIGKILL, the database gone: restored, everything is there again."""
    daemon, device = receiving
    before = list(device.acknowledged)
    done = daemon.run("backup", str(tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "b" / "manifest.json").read_text(encoding="utf-8"))["files"] >= len(before)
    more = len(device.acknowledged)
    daemon.wait_for(lambda: len(device.acknowledged) >= more + 4)
    acknowledged = device.stop()
    daemon.kill()
    refused = daemon.run("restore", str(tmp_path / "b"))
    assert refused.returncode == 1
    assert "hint:" in refused.stderr

    lose_database(daemon)
    done = daemon.run("restore", str(tmp_path / "b"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["files"]["missing"] == []
    assert told["later"]["taken"] >= 4
    assert told["later"]["aside"] == 0
    assert held(daemon) >= set(acknowledged)
    assert len(acknowledged) == len(set(acknowledged)) >= 10

    daemon.start()
    daemon.wait_for(lambda: not daemon.app.studies.open())
    assert held(daemon) == set(acknowledged)
    assert daemon.stop() == 0


def test_a_lost_disk_comes_back_from_a_backup_with_files(
    receiving: tuple[Daemon, Device], make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Another machine, an empty folder: every image that was acknowledged before the backup began is there."""
    daemon, device = receiving
    before = set(device.acknowledged)
    done = daemon.run("backup", str(tmp_path / "b"), "--files")
    assert done.returncode == 0, done.stderr
    device.stop()
    assert daemon.stop() == 0
    shutil.rmtree(daemon.folder / "data")

    other = make_daemon()
    other.app.database.close()  # another process puts another file there
    done = other.run("restore", str(tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    assert held(other) >= before
    assert len(before) >= 6
    other.start()
    other.wait_for(lambda: not other.app.studies.open())
    assert other.stop() == 0


def test_a_backup_that_is_killed_leaves_the_earlier_one_whole(receiving: tuple[Daemon, Device], tmp_path: Path) -> None:
    """SIGKILL as soon as its first file is there, again and again; the earlier one is verified, byte for byte."""
    daemon, device = receiving
    folder = tmp_path / "b"
    assert daemon.run("backup", str(folder), "--files").returncode == 0
    manifest = (folder / "manifest.json").read_bytes()
    device.stop()
    command = [sys.executable, "-m", "oculard", "--config", str(daemon.file), "backup", str(folder), "--files"]
    for pattern in ("database-*", "vault-index-*"):
        known = len(list(folder.glob(pattern)))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=daemon.environment)
        while len(list(folder.glob(pattern))) == known and process.poll() is None:
            pass  # the very moment
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            continue  # it was faster
        assert (folder / "manifest.json").read_bytes() == manifest
        checked = daemon.run("restore", str(folder), "--check")
        assert checked.returncode == 0, checked.stderr
        assert "whole" in checked.stderr
    assert daemon.run("backup", str(folder), "--files").returncode == 0
    assert len(list(folder.glob("database-*"))) == 1
    assert daemon.stop() == 0


def test_a_damaged_backup_is_refused_by_the_command(receiving: tuple[Daemon, Device], tmp_path: Path) -> None:
    """With exit code 1, its reason's hint, and the database as it was; a living daemon refuses it as well.

    The hint is true: the next backup heals it.
    """
    daemon, device = receiving
    folder = tmp_path / "b"
    assert daemon.run("backup", str(folder), "--files").returncode == 0
    device.stop()
    alive = daemon.run("restore", str(folder))
    assert (alive.returncode, "a daemon is running" in alive.stderr) == (1, True)

    image = next((folder / "files" / "instances").rglob("*.dcm"))
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.unlink()
    image.write_bytes(data)
    done = daemon.run("restore", str(folder), "--check")
    assert done.returncode == 1
    assert image.name in done.stderr
    assert "oculard backup DIR --files" in done.stderr
    assert daemon.run("backup", str(folder), "--files").returncode == 0
    assert daemon.run("restore", str(folder), "--check").returncode == 0

    inside = daemon.run("backup", str(daemon.folder / "data" / "backup"))
    assert inside.returncode == 2
    assert daemon.stop() == 0
