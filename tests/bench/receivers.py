"""Who receives: our intake, Orthanc with its defaults, DCMTK's storescp at its best, and the machine's own limit."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from peers import LOOPBACK, _await_port, free_port, program

TITLE = "BENCH"
CONFIGURATION = """\
[store]
folder = "{folder}/data"
disk_free_min_gib = 0.1

[intake]
host = "127.0.0.1"
port = {port}
ae_title = "BENCH"

[web]
port = 0

[[senders]]
name = "fast"
ae_title = "FASTSCU"
addresses = ["127.0.0.1"]

[[senders]]
name = "dcmtk"
ae_title = "STORESCU"
addresses = ["127.0.0.1"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A running receiver."""

    port: int
    pid: int

    def peak_mib(self) -> float:
        """The most memory that it has had."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    def cpu_s(self) -> float:
        """The time of processors that it and its ended children have had so far."""
        values = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return sum(map(int, values[11:15])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def oculard(folder: Path) -> Iterator[Receiver]:
    """Our intake alone, every default, durable before Success."""
    port, file = free_port(), folder / "oculard.toml"
    file.write_text(CONFIGURATION.format(folder=folder, port=port), encoding="utf-8")
    command = [sys.executable, "-m", "oculard", "--config", str(file)]
    subprocess.run([*command, "db", "upgrade"], check=True, capture_output=True)
    with _running([*command, "intake"], port, folder) as receiver:
        yield receiver


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Orthanc as it comes: it syncs its files, and its index not at every instance."""
    port = free_port()
    settings = {
        "Name": "bench",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": TITLE,
        "DicomPort": port,
        "HttpPort": free_port(),
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with _running([program("Orthanc"), str(folder / "orthanc.json")], port, folder) as receiver:
        yield receiver


@contextmanager
def storescp(folder: Path) -> Iterator[Receiver]:
    """DCMTK's storescp at its best settings; it syncs nothing."""
    port, into = free_port(), folder / "in"
    into.mkdir()
    command = [program("storescp"), "--fork", "+B", "+xa", "-pdu", "131072", "-aet", TITLE, "-od", str(into), str(port)]
    with _running(command, port, folder) as receiver:
        yield receiver


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[Receiver]:
    with (folder / "log").open("wb") as log:
        environment = os.environ | {"TCP_NODELAY": "1"}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)
    try:
        _await_port(process, port)
        yield Receiver(port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait()


RECEIVERS: Mapping[str, Callable[[Path], AbstractContextManager[Receiver]]] = {
    "oculard": oculard,
    "Orthanc": orthanc,
    "storescp": storescp,
}


def limit_mb_s(files: Sequence[Path], folder: Path, at_once: int) -> float:
    """What this machine does at best: by sendfile through so many sockets into as many files, synced. MB/s."""
    began = perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        got = threads.map(lambda number: _pass_on(files[number::at_once], folder / f"limit-{number}"), range(at_once))
        return sum(got) / 1e6 / (perf_counter() - began)


def _pass_on(files: Sequence[Path], to: Path) -> int:
    """File after file through a socket into another; gives the bytes."""
    got = 0
    for path in files:
        with socket.create_server((LOOPBACK, 0)) as server:
            sender = threading.Thread(target=_send_file, args=(path, server.getsockname()))
            sender.start()
            connection, _ = server.accept()
            got += _receive_file(connection, to)
            sender.join()
    return got


def _send_file(path: Path, address: tuple[str, int]) -> None:
    with socket.create_connection(address) as out, path.open("rb") as file:
        out.sendfile(file)


def _receive_file(connection: socket.socket, path: Path) -> int:
    """Into a new file, synced; gives its bytes."""
    path.unlink(missing_ok=True)
    buffer, got = bytearray(1 << 20), 0
    with connection, path.open("wb", buffering=0) as to, memoryview(buffer) as view:
        while count := connection.recv_into(buffer):
            to.write(view[:count])
            got += count
        os.fsync(to.fileno())
    return got
