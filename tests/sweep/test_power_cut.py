"""The power goes after each sync and each answer: the disk comes up with what it promised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from peers import forbidden
from sweep.powercut import ARGUMENTS, Call, Cuts, Disk, calls
from sweep.tracing import attached, why_not
from sweep.world import make_world


@pytest.mark.timeout(600)
def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """All system calls of all processes, played again on a disk that forgets; one study by network, one by folder."""
    if why_not():
        forbidden(why_not())
    with make_world(tmp_path / "world") as world:
        world.study()
        trace, scratch = tmp_path / "trace", tmp_path / "scratch"
        scratch.mkdir()
        with attached(world.pids(), ["-o", str(trace), *ARGUMENTS]):
            disk = Disk.of(world.folder / "data")
            world.study()
            world.study(watched=True)
    cuts = Cuts(disk, scratch)
    cuts.play(calls(trace))

    assert cuts.wrong == []
    assert len(cuts.acknowledged) == 2, "both photographs that came by the network"
    assert cuts.cuts > 100


OPENED = ("openat", 'AT_FDCWD, "{a}", O_WRONLY|O_CREAT|O_EXCL, 0640) = 3')
WRITTEN = ("write", '3<{a}>, "\\x61\\x62", 2) = 2')
SYNCED = ("fsync", "3<{a}>) = 0")
NAMED = ("link", '"{a}", "{b}") = 0')
FOLDER_SYNCED = ("fsync", "3<{folder}>) = 0")


@pytest.mark.parametrize(
    ("steps", "is_there"),
    [
        ((OPENED, WRITTEN, SYNCED, NAMED, FOLDER_SYNCED), True),
        ((OPENED, WRITTEN, NAMED, SYNCED, FOLDER_SYNCED), True),
        ((OPENED, WRITTEN, NAMED, FOLDER_SYNCED), False),
        ((OPENED, WRITTEN, SYNCED, NAMED), False),
    ],
)
def test_a_disk_keeps_only_what_was_synced(tmp_path: Path, steps: Sequence[tuple[str, str]], is_there: bool) -> None:
    """A file is there after a cut when its bytes and its name were synced; a disk may have kept more by chance."""
    disk, a, b = Disk.of(tmp_path), tmp_path / "a", tmp_path / "b"
    for name, arguments in steps:
        disk.apply(Call(name=name, arguments=arguments.format(a=_hex(a), b=_hex(b), folder=_hex(tmp_path))))

    assert (disk.after_cut(lambda: False).get("b") == b"ab") is is_there
    assert disk.after_cut(lambda: True)["b"] == b"ab"


def _hex(path: Path) -> str:
    return "".join(f"\\x{byte:02x}" for byte in str(path).encode())
