"""Whole conversations with the intake's port: what comes after a bad one must be an honest one's answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from devices import OPHTHALMIC_8_BIT, Site, encode, photograph
from fuzz.running import Ready
from network import pdus
from oculard.settings import Settings

HONEST_EVERY = 25


@contextmanager
def conversations(folder: Path) -> Iterator[Ready]:
    """An intake on loopback."""
    with tempfile.TemporaryDirectory() as store:
        values: dict[str, Any] = {
            "store": {"folder": Path(store) / "store", "disk_free_min_gib": 0.0},
            "intake": {"host": "127.0.0.1", "port": 0, "acse_s": 1.0, "network_s": 10.0},
            "senders": [{"name": "device", "ae_title": "DEVICE"}],
        }
        site = Site(Settings(**values))
        with site.role, capture_logs() as events:
            talk = Talk(site, events)
            yield Ready(seeds=tuple(seeds()), feed=talk.feed)
        site.server.stop(grace_s=0.0)
        site.database.close()


class Talk:
    """One bad conversation after another, and an honest one now and then."""

    def __init__(self, site: Site, events: Any) -> None:
        self._site, self._events, self._count = site, events, 0

    def feed(self, data: bytes) -> str:
        """Ask for an association, say the rest, say nothing more, and hear what comes. Our bugs are in our log."""
        first = 6 + int.from_bytes(data[2:6], "big")
        heard = b""
        with pdus.Line.to(self._site.port) as line:
            try:
                if first < len(data):  # what comes before the answer to it is refused at once, whatever it is
                    line.send(data[:first])
                    heard = bytes(line.hear()[:1])
                    data = data[first:]
                line.send(data)
                line.half_close()
                heard += bytes(line.heard())
            except OSError:
                pass  # it hung up: its right
        unexpected = [event for event in self._events if event.get("reason") == "unexpected"]
        self._events.clear()
        assert not unexpected, unexpected
        self._count += 1
        if self._count % HONEST_EVERY == 0:
            self._honest()
        return f"heard {heard.hex(' ', 1)}" if heard.strip(b"\0") else "heard nothing"

    def _honest(self) -> None:
        """An honest device is served all the while."""
        with pdus.Line.to(self._site.port) as line:
            line.associate()
            line.send(pdus.echo())
            kind, body = line.hear()
            assert (kind, pdus.status_of(body)) == (pdus.P_DATA, 0)
            line.release()


def seeds() -> list[bytes]:
    """An echo, a stored photograph whole and in pieces, a request of everything that may be negotiated."""
    release = pdus.pdu(pdus.RELEASE_RQ, bytes(4))
    data = encode(photograph(SOPInstanceUID="1.2.3", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))
    store, half = pdus.store_command("1.2.3"), len(data) // 2
    whole = pdus.p_data(3, pdus.LAST, data)
    pieces = pdus.p_data(3, 0, data[:half]) + pdus.p_data(3, pdus.LAST, data[half:])
    role = len(OPHTHALMIC_8_BIT).to_bytes(2, "big") + OPHTHALMIC_8_BIT.encode() + b"\1\1"
    more = [(0x54, role), (0x53, b"\0\1\0\1"), (0x55, b"OCULARD_FUZZ"), (0x58, b"\1\0\0\4user\0\0")]
    variable = pdus.item(0x10, pdus.APPLICATION_CONTEXT) + pdus.proposed(pdus.CONTEXTS)
    rich = pdus.negotiation(
        pdus.RQ, variable + pdus.user_information(16384, *(pdus.item(kind, body) for kind, body in more))
    )
    return [
        pdus.associate_rq() + pdus.echo() + release,
        pdus.associate_rq() + store + whole + release,
        pdus.associate_rq() + store + pieces + pdus.echo(2) + release,
        rich + pdus.echo() + store + whole + pdus.pdu(pdus.ABORT, bytes(4)),
    ]
