"""Power cuts: a trace of system calls played again on a disk that keeps only what was synced, or anything beyond it.

A disk may lose every write since the last fsync of its file and every name since the last fsync of its folder; or it
may have written some of them. Whatever it did: what was acknowledged is whole, and no row names a file that is not.
"""

from __future__ import annotations

import hashlib
import random
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CALLS = (
    "openat,write,pwrite64,ftruncate,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat,mkdir,sendto"
)
ARGUMENTS = ("-y", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-e", "signal=none")
LINE = re.compile(r"^(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
FAILED = re.compile(r"= -1 |= \?")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
HANDLE = re.compile(r"(?:^|, )(?:-?\w+)<((?:\\x[0-9a-f]{2})+)>")
SECTOR = 512
P_DATA, STORE_RESPONSE = 4, 0x8001


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call that succeeded."""

    name: str
    arguments: str

    @property
    def handle(self) -> str:
        """The file behind the first descriptor."""
        found = HANDLE.search(self.arguments)
        return "" if found is None else _text(found[1])

    @property
    def strings(self) -> list[bytes]:
        """The arguments that are strings or buffers."""
        return [_bytes(found) for found in STRING.findall(self.arguments)]

    @property
    def numbers(self) -> list[int]:
        """The arguments that are numbers, in order."""
        plain = HANDLE.sub("", STRING.sub("", self.arguments.rpartition(")")[0]))
        return [int(word) for word in plain.replace(" ", "").split(",") if word.isdecimal()]


@dataclass(slots=True, eq=False)
class File:
    """The bytes of a file: those that are on disk for sure, and the writes that may be."""

    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    end: int = 0  # where the next write without an offset goes

    def write(self, at: int, data: bytes) -> None:
        """Bytes that were handed to the system."""
        self.pending.append((at, data))
        self.end = max(self.end, at + len(data))

    def cut(self, size: int) -> None:
        """A new length."""
        self.pending.append((size, b""))  # b"" cuts
        self.end = size

    def sync(self) -> None:
        """Everything is on disk."""
        self.durable, self.pending = self.seen(lambda: True), []

    def seen(self, reaches: Callable[[], bool]) -> bytes:
        """The bytes if each pending sector reaches the disk or does not."""
        data = bytearray(self.durable)
        for at, piece in self.pending:
            if not piece:
                if reaches():
                    del data[at:]
                    data.extend(bytes(at - len(data)))
                continue
            for start in range(0, len(piece), SECTOR):
                part = piece[start : start + SECTOR]
                if reaches():
                    data.extend(bytes(max(0, at + start + len(part) - len(data))))
                    data[at + start : at + start + len(part)] = part
        return bytes(data)


@dataclass(slots=True)
class Disk:
    """Names and files, as the system sees them and as a power cut would leave them."""

    root: Path
    live: dict[str, File] = field(default_factory=dict)
    durable: dict[str, File] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Self:
        """A disk that holds what a folder holds now, for sure."""
        disk = cls(root)
        for path in [root, *sorted(root.rglob("*"))]:
            data = path.read_bytes() if path.is_file() else b""
            disk.live[str(path)] = disk.durable[str(path)] = File(durable=data, end=len(data))
        return disk

    def apply(self, call: Call) -> None:
        """What one call does to it."""
        match call.name:
            case "openat" if "O_CREAT" in call.arguments:
                path = call.strings[0].decode()
                if path.startswith(str(self.root)):
                    file = self.live.setdefault(path, File())
                    if "O_TRUNC" in call.arguments:
                        file.cut(0)
            case "write" | "pwrite64" if (file := self.live.get(call.handle)) is not None:
                data = call.strings[0]
                file.write(call.numbers[-1] if call.name == "pwrite64" else file.end, data)
            case "ftruncate" if (file := self.live.get(call.handle)) is not None:
                file.cut(call.numbers[-1])
            case "fsync" | "fdatasync":
                self._sync(call.handle)
            case "link" | "linkat" | "rename" | "renameat" | "renameat2":
                source, target = (name.decode() for name in call.strings[:2])
                if source in self.live and target.startswith(str(self.root)):
                    self.live[target] = self.live[source] if call.name.startswith("link") else self.live.pop(source)
            case "unlink" | "unlinkat":
                self.live.pop(call.strings[0].decode(), None)
            case "mkdir" if (path := call.strings[0].decode()).startswith(str(self.root)):
                self.live[path] = File()

    def _sync(self, path: str) -> None:
        """A folder's names are on disk, or a file's bytes."""
        file = self.live.get(path)
        if file is None:
            return
        file.sync()
        here = {name for name in (self.live | self.durable) if name.rpartition("/")[0] == path}
        for name in here:
            if name in self.live:
                self.durable[name] = self.live[name]
            else:
                self.durable.pop(name, None)

    def after_cut(self, reaches: Callable[[], bool]) -> dict[str, bytes]:
        """The files that can be reached, by their path below the root."""
        names = {}
        for name in self.durable.keys() | self.live.keys():
            before, after = self.durable.get(name), self.live.get(name)
            file = after if after is not before and reaches() else before
            if file is not None:
                names[name] = file
        kept = {}
        for name, file in names.items():
            folders = Path(name).relative_to(self.root).parents
            if all(str(self.root / folder) in names for folder in folders):
                kept[str(Path(name).relative_to(self.root))] = file.seen(reaches)
        return kept


@dataclass(slots=True)
class Cuts:
    """Plays a trace and cuts the power after each sync and each answer."""

    disk: Disk
    scratch: Path
    seed: int = 1
    acknowledged: set[str] = field(default_factory=set)  # SOP Instance UIDs
    cuts: int = 0
    wrong: list[str] = field(default_factory=list)

    def play(self, calls: Iterator[Call]) -> None:
        """The whole trace."""
        dice = random.Random(self.seed)
        for call in calls:
            uid = stored(call)
            if uid:
                self.acknowledged.add(uid)
            self.disk.apply(call)
            if uid or call.name in ("fsync", "fdatasync"):
                self._look(lambda: False, call)  # the disk wrote nothing that it was not made to
                self._look(lambda: dice.random() < 0.5, call)
                self._look(lambda: True, call)

    def _look(self, reaches: Callable[[], bool], call: Call) -> None:
        """The machine comes up again: what does it find?"""
        self.cuts += 1
        files = self.disk.after_cut(reaches)
        for path in self.scratch.iterdir():
            path.unlink()
        for name in ("oculard.db", "oculard.db-wal"):
            if name in files:
                (self.scratch / name).write_bytes(files[name])
        with closing(sqlite3.connect(self.scratch / "oculard.db")) as connection:
            whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
            rows = connection.execute("SELECT sop_instance_uid, path, size_bytes, sha256 FROM instance").fetchall()
            reports = connection.execute(
                "SELECT sop_instance_uid, path, size_bytes, sha256 FROM report UNION ALL"
                " SELECT sop_instance_uid, path, size_bytes, sha256 FROM report_object"
            ).fetchall()
        wrong = [] if whole == "ok" else [f"the database is broken: {whole}"]
        wrong += [f"acknowledged, and no row: {uid}" for uid in self.acknowledged - {row[0] for row in rows}]
        for uid, path, size, sha256 in [*rows, *reports]:
            data = files.get(path, b"")
            digests = {hashlib.sha256(data).hexdigest(), hashlib.sha256(data_set(data)).hexdigest()}
            if len(data) != size or sha256 not in digests:
                wrong.append(f"a row, and its file is not whole: {uid}")
        self.wrong += [f"power cut after {call.name} of {call.handle}: {what}" for what in wrong]


def calls(trace: Path) -> Iterator[Call]:
    """The calls of a trace that succeeded, in the order in which they ended."""
    begun: dict[tuple[str, str], str] = {}
    with trace.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            found = LINE.match(line.rstrip("\n"))
            if found is None:
                continue
            process, name, rest, resumed, tail = found.groups()
            if name and rest.endswith("<unfinished ...>"):
                begun[process, name] = rest.removesuffix("<unfinished ...>")
                continue
            whole = rest if name else begun.pop((process, resumed), "") + tail
            if not FAILED.search(STRING.sub("", whole)):
                yield Call(name=name or resumed, arguments=whole)


def stored(call: Call) -> str:
    """The SOP Instance UID of a C-STORE response that says Success (PS3.7 9.3.1.2); "" for anything else."""
    if call.name != "sendto" or not call.strings or call.strings[0][:1] != bytes([P_DATA]):
        return ""
    command, values = call.strings[0][12:], {}
    at = 0
    while at + 8 <= len(command):
        group, element, length = struct.unpack_from("<HHL", command, at)
        if group != 0:
            return ""
        values[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    if values.get(0x0100) != STORE_RESPONSE.to_bytes(2, "little") or values.get(0x0900) != b"\0\0":
        return ""
    return values.get(0x1000, b"").rstrip(b"\0 ").decode("ascii")


def data_set(file: bytes) -> bytes:
    """What follows the file meta information of a Part 10 file; nothing where it is none."""
    return file[144 + int.from_bytes(file[140:144], "little") :] if file[128:132] == b"DICM" else b""


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    return _bytes(text).decode().removesuffix(" (deleted)")
