"""Durable first, then yes: whatever fails on the way into custody, the device is never told that it may forget."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from devices import OPHTHALMIC_8_BIT, Device, Site, encode, fragments, photograph, store
from oculard.clock import SystemClock
from oculard.intake.handlers import Answered
from oculard.intake.role import BEAT_EVERY
from oculard.store import spool as spool_module
from oculard.store import vault as vault_module
from oculard.store.database import Database, DatabaseDown
from oculard.store.instances import Instances
from oculard.store.spool import Spool

LARGE_BYTES = 400 << 20
RECEIVER_RSS_MAX_MIB = 150  # with all that the tests load; test_intake_memory.py looks at a real intake
STEPS = 6  # between the spooled file and Success, in an empty vault


class Faults:
    """Counts the steps towards custody, and makes the n-th fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
        self.steps: list[str] = []
        self._fail_at = fail_at
        for module, name in ((vault_module, "sync_file"), (vault_module, "sync_folder")):
            monkeypatch.setattr(module, name, self._wrap(name, getattr(module, name)))
        monkeypatch.setattr(vault_module.os, "link", self._wrap("link", os.link))
        monkeypatch.setattr(Instances, "_insert", self._wrap("insert", Instances._insert))
        monkeypatch.setattr(Database, "write", self._wrap_commit(Database.write))

    def _wrap(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            self._count(name, OSError(28, "no space"))
            return step(*args, **more)

        return run

    def _wrap_commit(self, write: Callable[[Database], AbstractContextManager[Any]]) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def run(database: Database) -> Any:
            with write(database) as connection:
                yield connection
                self._count("commit", DatabaseDown("gone"))

        return run

    def _count(self, name: str, fault: Exception) -> None:
        self.steps.append(name)
        if len(self.steps) == self._fail_at:
            raise fault


@pytest.mark.parametrize("fail_at", range(1, STEPS + 1))
def test_a_failing_step_is_never_answered_success(site: Site, device: Device, fail_at: int) -> None:
    """For every step: when it fails the answer is 0xA700; and sent again, the instance is whole in file and row."""
    ds = photograph()
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, fail_at)
        status = device.send_dataset(ds)

    assert len(faults.steps) >= fail_at
    assert status.Status == 0xA700
    assert site.rows() == []
    assert device.send_dataset(ds).Status == 0x0000
    [row] = site.rows()
    assert site.stored_data_set(row) == encode(ds)
    site.wait_idle()
    assert site.spooled() == []


def test_the_order_is_file_then_folder_then_row_then_success(site: Site, device: Device) -> None:
    """The file is named and synced, its folders are synced, the row committed; only then the device hears success."""
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, fail_at=0)
        assert device.send_dataset(photograph()).Status == 0x0000

    steps = " ".join(faults.steps[:STEPS])  # what comes after is the end of the association
    assert steps == "link sync_file sync_folder sync_folder insert commit"


def test_the_device_waits_for_custody_and_for_nothing_that_comes_after(
    site: Site, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its answer while the spooled file is still open and nothing stands in the log."""
    end, may_end = Answered.end, threading.Event()

    def end_later(answered: Answered) -> None:
        assert may_end.wait(timeout=30), "the answer waited for this"
        end(answered)

    monkeypatch.setattr(Answered, "end", end_later)
    ds = photograph()
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        status = store(association, encode(ds), sop_instance=ds.SOPInstanceUID)
        may_end.set()

    assert status.Status == 0x0000
    site.wait_idle()
    assert (len(site.rows()), site.spooled()) == (1, [])


def test_what_nobody_foresaw_keeps_the_image_on_the_device(site: Site, device: Device) -> None:
    """An unexpected exception is answered 0xA700, and the server lives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Instances, "take", lambda *_: 1 / 0)
        assert device.send_dataset(photograph()).Status == 0xA700

    assert device.send_dataset(photograph()).Status == 0x0000


def test_a_database_that_is_down_keeps_the_image_on_the_device(site: Site, device: Device) -> None:
    """No row, no success."""

    def down(_: Database) -> Any:
        raise DatabaseDown("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", down)
        patch.setattr(Database, "read", down)
        status = device.send_dataset(photograph())

    assert (status.Status, "database" in status.ErrorComment) == (0xA700, True)


def test_a_disk_below_its_mark_takes_nothing(make_site: Callable[..., Site]) -> None:
    """The disk is never filled: intake refuses before."""
    site = make_site(store={"disk_free_min_gib": 1e9})

    assert Device(site).send_dataset(photograph()).Status == 0xA700
    assert site.spooled() == []


def test_a_disk_that_reaches_its_mark_meanwhile_ends_the_transfer(make_site: Callable[..., Site]) -> None:
    """The mark is looked at again while a large instance comes in."""
    site, free = make_site(store={"disk_free_min_gib": 5.0}), iter([100.0, 0.0])
    device = Device(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.vault, "free_gib", lambda: next(free, 0.0))
        status = device.send_dataset(photograph(PixelData=bytes(spool_module.ROOM_CHECK_BYTES)))

    assert status.Status == 0xA700
    assert site.rows() == []


def test_an_instance_above_the_limit_is_refused(make_site: Callable[..., Site]) -> None:
    """The rest of what is too large is swallowed, answered, and leaves no file."""
    site = make_site(store={"instance_max_gib": 0.001})

    assert Device(site).send_dataset(photograph(PixelData=bytes(4 << 20))).Status == 0xA700
    assert site.spooled() == []


def test_a_full_disk_is_answered_and_the_association_goes_on(site: Site, device: Device) -> None:
    """A real refusal of the kernel to write is 0xA700, and the next instance on the same association is taken."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    large, small = photograph(PixelData=bytes(40 << 20)), photograph()
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        resource.setrlimit(resource.RLIMIT_FSIZE, (32 << 20, limit[1]))  # write() fails beyond, as on a full disk
        try:
            first = store(association, encode(large), sop_instance=large.SOPInstanceUID)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        second = store(association, encode(small), sop_instance=small.SOPInstanceUID)

    assert (first.Status, second.Status) == (0xA700, 0x0000)
    assert len(site.rows()) == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "out of disk space"), (errno.EDQUOT, "out of disk space"), (errno.EROFS, "cannot write")],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_the_device_is_told_what_the_disk_said(
    site: Site, device: Device, monkeypatch: pytest.MonkeyPatch, number: int, words: str, call: str
) -> None:
    """A full disk and one that went read-only are two things; after both the device keeps the instance."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        for module in (spool_module, vault_module):
            patch.setattr(module, "os", Disk(call, fail))
        status = device.send_dataset(photograph())
    assert (status.Status, status.ErrorComment.split(":")[0]) == (0xA700, words)
    assert site.rows() == []


def test_a_disk_that_writes_nothing_is_no_disk(site: Site, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system of some program may answer so; nobody waits for it for ever."""
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "os", Disk("write", lambda *_: 0))
        status = device.send_dataset(photograph())
    assert (status.Status, status.ErrorComment.split(":")[0]) == (0xA700, "cannot write")


class Disk:
    """The operating system, one call of which fails."""

    def __init__(self, call: str, fail: Callable[..., int]) -> None:
        self._call, self._fail = call, fail

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._call else getattr(os, name)


def test_what_cannot_be_read_back_is_not_taken(site: Site, device: Device) -> None:
    """A spooled file that the disk does not give back is the vault's trouble, not the data set's."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "read", fail)
        status = device.send_dataset(photograph())
    assert (status.Status, status.ErrorComment.split(":")[0]) == (0xA700, "cannot read back")


def test_an_open_association_holds_its_study_and_its_end_lets_it_go(site: Site, device: Device) -> None:
    """While a device may send more, its study does not settle."""
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        ds = photograph()
        store(association, encode(ds), sop_instance=ds.SOPInstanceUID)
        [held] = receptions(site)
        site.role.step()
        assert receptions(site) == [held], "the heart does not race"
        site.role._beaten_at -= BEAT_EVERY
        site.role.step()
        [beaten] = receptions(site)
        assert beaten > held
    site.wait_idle()
    site.wait_until(lambda: receptions(site) == [])


def receptions(site: Site) -> list[str]:
    """When each open association was last heard of."""
    with site.database.read() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT beat_at FROM reception")]


RECEIVER = """
import re, sys
from pathlib import Path
from devices import Site
from oculard import log
from oculard.settings import Settings

log.configure(level="error", form="json", role="intake")
folder = Path(sys.argv[1])
site = Site(Settings(store={"folder": folder, "disk_free_min_gib": 0.0}, intake={"host": "127.0.0.1", "port": 0},
                     senders=[{"name": "device", "ae_title": "DEVICE"}]))
with site.role:
    print(site.port, flush=True)
    sys.stdin.readline()
    site.wait_idle()
peak_kib = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)  # ru_maxrss counts our parent
print(int(peak_kib) // 1024, flush=True)
"""


def test_400_mb_cost_no_400_mb_of_memory(tmp_path: Path) -> None:
    """A large volume goes to disk piece by piece."""
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    try:
        port = int(receiver.stdout.readline())
        status = send_large(port)
        receiver.stdin.write("\n")
        receiver.stdin.flush()
        peak_mib = int(receiver.stdout.readline())
    finally:
        receiver.kill()
        receiver.communicate()

    assert status == 0x0000
    assert peak_mib < RECEIVER_RSS_MAX_MIB
    [file] = (tmp_path / "store" / "instances").rglob("*.dcm")
    assert file.stat().st_size > LARGE_BYTES


def send_large(port: int) -> int:
    """Send one instance of LARGE_BYTES without holding it in memory here either; gives the status."""

    class At:
        def __init__(self, port: int) -> None:
            self.port = port

    ds = photograph(PixelData=bytes(2))
    head = encode(ds)[:-2]
    assert head[-4:] == b"\x02\0\0\0"
    head = head[:-4] + LARGE_BYTES.to_bytes(4, "little")
    piece = bytes(120_000)
    device: Any = Device(At(port), pdu=131072)  # type: ignore[arg-type]
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        association._reactor_checkpoint.clear()
        *command, first = fragments(association, head, sop_instance=ds.SOPInstanceUID)
        context_id, data = first.presentation_data_value_list[0]
        for part in command:
            association.dul.send_pdu(part)
        pieces = [data[1:], *[piece] * (LARGE_BYTES // len(piece)), bytes(LARGE_BYTES % len(piece))]
        for index, value in enumerate(pieces):
            part = type(first)()
            control = b"\x02" if index == len(pieces) - 1 else b"\x00"
            part.presentation_data_value_list.append([context_id, control + value])
            while association.dul.to_provider_queue.qsize() > 64:
                SystemClock().sleep(0.001)
            association.dul.send_pdu(part)
        _, response = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return int(response.Status)


def test_a_file_that_was_lost_is_kept_again(site: Site, device: Device) -> None:
    """A duplicate is answered success only while the first is on disk; else it takes its place."""
    ds = photograph()
    device.send_dataset(ds)
    site.vault.path(site.rows()[0]["path"]).unlink()

    assert device.send_dataset(ds).Status == 0x0000
    [row] = site.rows()
    assert site.stored_data_set(row) == encode(ds)
    assert site.instances.holds([(OPHTHALMIC_8_BIT, ds.SOPInstanceUID)]).popitem()[1] == "held"


def test_an_association_that_could_not_be_ended_is_ended_later(site: Site, device: Device) -> None:
    """The database was away when it ended: its study does not wait until the association is taken for dead."""

    def down(*_: object) -> None:
        raise DatabaseDown("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Instances, "_end", down)
        assert device.send_dataset(photograph()).Status == 0x0000
        site.wait_idle()
        with pytest.raises(DatabaseDown):
            site.role.step()
    assert len(receptions(site)) == 1

    site.role.step()
    assert receptions(site) == []
