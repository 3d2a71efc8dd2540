"""The sender: reports a second to DCMTK's storescp as it comes, each checked, sent, answered and settled on disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

from outbox import Outbox, japanese_report, peer

from bench.tables import Table, middle, seconds
from oculard.clock import SystemClock
from oculard.store.database import Database
from peers import LOOPBACK, _await_port, free_port, program
from shelf import Shelf

REPORTS = 200
THEIRS = 40  # of them to storescu, which takes many times as long
ROUNDS = 5
AT_LEAST = 100.0  # reports a second


def measure() -> Table:
    """Reports a second of the sender, and objects a second of DCMTK's own storescu to the same peer, in turn."""
    with TemporaryDirectory(prefix="bench-sending-") as folder:
        ours, theirs, busy_ms = _pairs(Path(folder))
    size_kb = len(japanese_report()) / 1000
    rows = [["oculard's sender", middle(ours)], ["storescu, TCP_NODELAY", middle(theirs)]]
    return Table(
        title=f"Reports of {size_kb:.0f} KB to DCMTK's storescp, a second, on one association",
        heads=["sender", "reports/s: median (range)"],
        rows=rows,
        remarks=[
            f"Goal {AT_LEAST:.0f}: {'reached' if median(ours) >= AT_LEAST else 'MISSED'}. Ours checks each report's "
            "digest, and commits its fate to disk; storescu does neither.",
            f"The sender's processor time: {median(busy_ms):.1f} ms a report.",
        ],
        raw={"oculard": ours, "storescu": theirs, "busy_ms": busy_ms},
    )


def _pairs(folder: Path) -> tuple[list[float], list[float], list[float]]:
    port, into = free_port(), folder / "in"
    into.mkdir()
    command = [program("storescp"), "-aet", "STORESCP", "+B", "+xa", "-od", str(into), str(port)]
    storescp = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(storescp, port)
        database = Database(f"sqlite:///{folder / 'x.db'}")
        database.upgrade()
        outbox = Outbox(Shelf(database, SystemClock(), folder / "vault"))
        pacs = peer(port, ae_title="STORESCP")
        sender = outbox.sender(pacs, batch=REPORTS)
        ours, theirs, busy_ms = [], [], []
        for _ in range(ROUNDS):
            files = outbox.owe(REPORTS)
            before = process_time()
            ours.append(REPORTS / seconds(sender.step))
            busy_ms.append(1000.0 * (process_time() - before) / REPORTS)
            assert set(outbox.states()) == {"delivered"}
            theirs.append(THEIRS / seconds(lambda files=files[:THEIRS]: _storescu(files, folder, port)))
        return ours, theirs, busy_ms
    finally:
        storescp.kill()
        storescp.wait()


def _storescu(files: list[bytes], folder: Path, port: int) -> None:
    """DCMTK's own sender, without Nagle."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    paths = [out / f"{number}.dcm" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    command = [program("storescu"), "-R", "-xe", "-aec", "STORESCP", LOOPBACK, str(port), *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TCP_NODELAY": "1"})
