"""Real peers for tests: Orthanc and DCMTK's storescp, each in a folder of its own, started and ended by a fixture."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LOOPBACK = "127.0.0.1"
START_S = 30.0
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SYSTEM_PATH = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"  # a virtual environment has programs of the same name


def program(name: str) -> str:
    """Where a peer's program is; without it the test is skipped, and fails where CI=true."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        missing(f"{name} is not installed (tests/install-peers installs it)")
    return str(found)


def missing(reason: str) -> None:
    """Skip, and say why; where CI=true a missing peer is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"with CI=true every peer must be there: {reason}")
    pytest.skip(reason)


def forbidden(reason: str) -> None:
    """Skip, and say why, also where CI=true: what a machine forbids can be installed by nobody."""
    if "not installed" in reason:
        missing(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Orthanc:
    """A running Orthanc."""

    ae_title: str
    port: int
    http_port: int

    def get(self, path: str) -> Any:
        """A page of its REST interface."""
        return json.loads(self.raw(path))

    def raw(self, path: str) -> bytes:
        """A page as bytes."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http_port}{path}", timeout=START_S) as answer:
            return bytes(answer.read())

    def add(self, file: bytes) -> None:
        """Store an instance."""
        self._request("POST", "/instances", file)

    def put(self, path: str, value: Any) -> None:
        """Change something."""
        self._request("PUT", path, json.dumps(value).encode())

    def delete(self, path: str) -> None:
        """Remove something."""
        self._request("DELETE", path, None)

    def introduce(self, ae_title: str, port: int) -> None:
        """Tell it where an AE lives, and that the AE may ask for storage commitment."""
        modality = {"AET": ae_title, "Host": LOOPBACK, "Port": port, "AllowStorageCommitment": True}
        self.put(f"/modalities/{ae_title.lower()}", modality)

    def file(self, sop_instance_uid: str) -> bytes | None:
        """The file of an instance, or None."""
        for instance in self.get("/instances"):
            if self.get(f"/instances/{instance}")["MainDicomTags"]["SOPInstanceUID"] == sop_instance_uid:
                return self.raw(f"/instances/{instance}/file")
        return None

    def _request(self, method: str, path: str, data: bytes | None) -> None:
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.http_port}{path}", data, method=method)
        urllib.request.urlopen(request, timeout=START_S).close()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An empty Orthanc."""
    with running_orthanc(tmp_path / "orthanc") as peer:
        yield peer


@contextmanager
def running_orthanc(folder: Path, **more: Any) -> Iterator[Orthanc]:
    """An empty Orthanc with further settings, until the block ends."""
    command = program("Orthanc")
    folder.mkdir()
    peer = Orthanc(ae_title="ORTHANC", port=free_port(), http_port=free_port())
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": peer.ae_title,
        "DicomPort": peer.port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "HttpPort": peer.http_port,
        "RemoteAccessAllowed": False,
        "Plugins": [str(plugin) for plugin in (DICOMWEB,) if plugin.exists()],
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "LimitFindResults": 0,
        "StableAge": 1,
    } | more
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with running([command, str(folder / "orthanc.json")], peer.port, peer.http_port):
        yield peer


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreScp:
    """A running storescp of DCMTK."""

    ae_title: str
    port: int
    folder: Path


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StoreScp]:
    """A storescp that writes what it gets, bit for bit."""
    command = program("storescp")
    peer = StoreScp(ae_title="STORESCP", port=free_port(), folder=tmp_path / "storescp")
    peer.folder.mkdir()
    arguments = [command, "-v", "-aet", peer.ae_title, "+B", "+xa", "-od", str(peer.folder), str(peer.port)]
    with running(arguments, peer.port):
        yield peer


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRetrieveScp:
    """A running dcmqrscp of DCMTK."""

    ae_title: str
    port: int


@pytest.fixture
def dcmqrscp(tmp_path: Path) -> Iterator[Callable[..., QueryRetrieveScp]]:
    """Starts a dcmqrscp that sends to one AE title on a port of ours; call it with both."""
    command, folder = program("dcmqrscp"), tmp_path / "dcmqrscp"
    folder.mkdir()
    with ExitStack() as stack:

        def start(ae_title: str, port: int) -> QueryRetrieveScp:
            peer = QueryRetrieveScp(ae_title="DCMQRSCP", port=free_port())
            lines = [
                "MaxPDUSize = 16384",
                "MaxAssociations = 16",
                "HostTable BEGIN",
                f"us = ({ae_title}, {LOOPBACK}, {port})",
                "HostTable END",
                "AETable BEGIN",
                f"{peer.ae_title} {folder} RW (500, 1024mb) ANY",
                "AETable END",
            ]
            (folder / "dcmqrscp.cfg").write_text("\n".join(lines) + "\n", encoding="ascii")
            stack.enter_context(running([command, "-c", str(folder / "dcmqrscp.cfg"), str(peer.port)], peer.port))
            return peer

        yield start


@contextmanager
def running(arguments: list[str], *ports: int) -> Iterator[None]:
    """A program that listens on these ports, until the block ends."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for port in ports:
            _await_port(process, port)
        yield
    finally:
        process.kill()  # it has nothing to keep
        process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until somebody listens there; another program tells us in no other way."""
    ends_at = time.monotonic() + START_S
    while time.monotonic() < ends_at:
        assert process.poll() is None, f"the peer ended with {process.returncode}"
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the peer does not listen")
