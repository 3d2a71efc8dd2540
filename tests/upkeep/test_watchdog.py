"""The watchdog: each condition just below and just above its threshold, raised once, cleared once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy import func, select, update

from fakes import FakeClock
from oculard.job import JobEvent
from oculard.settings import Settings
from oculard.settings_night import Limits
from oculard.store import tables
from oculard.store.health import Health
from oculard.tls import Files
from oculard.upkeep.certificates import BYTES_MAX, COUNT_MAX, Unreadable, ends_at, watched
from oculard.upkeep.watchdog import Steady, Watchdog
from shelf import Shelf
from tls_samples import Authority

HOUR, DAY = 3600.0, 86400.0


class SameClock(Health):
    """A database server whose clock is the test's."""

    def database_ahead_s(self) -> float:
        """Never ahead."""
        return 0.0


@dataclass
class World:
    """What the watchdog looks at beside the tables."""

    shelf: Shelf
    limits: Limits
    health: type[Health] = SameClock
    days: float | None = None
    steady_s: float = 0.0
    tls: Sequence[Files] = ()
    dog: Watchdog = field(init=False)

    def __post_init__(self) -> None:
        self.dog = Watchdog(
            limits=self.limits,
            certificates=self.limits.certificates,
            tls=self.tls,
            peers=["pacs", "other"],
            health=self.health(self.shelf.database, self.shelf.clock),
            alarms=self.shelf.alarms,
            days_left=lambda: self.days,
            steady=Steady(seconds=lambda: self.steady_s),
            clock=self.shelf.clock,
        )

    def look(self) -> list[tuple[str, str]]:
        """Look at everything, twice; what stands then."""
        for chore in [*self.dog.all(), *self.dog.all()]:
            chore.do()
        return [(alarm.name, alarm.subject) for alarm in self.shelf.alarms.standing()]

    def ever(self) -> int:
        """How many alarms there have been."""
        with self.shelf.database.read() as connection:
            return connection.execute(select(func.count()).select_from(tables.alarm)).scalar_one()


def world(shelf: Shelf, **limits: Any) -> World:
    """A watchdog over a shelf."""
    return World(shelf, Limits(**limits))


def test_nothing_stands_where_nothing_is_wrong(shelf: Shelf, clock: FakeClock) -> None:
    """An empty daemon, a busy one, and one at rest for a week."""
    dog = world(shelf)
    assert dog.look() == []
    shelf.receive("1.1")
    shelf.settle()
    job = shelf.claim()[0]
    assert dog.look() == []
    shelf.finish(job, peers=())
    clock.pass_(7 * DAY)
    dog.steady_s += 7 * DAY

    assert dog.look() == []
    assert dog.ever() == 0


def test_a_silent_pacs(shelf: Shelf, clock: FakeClock) -> None:
    """Raised at the hour, for the peer that it concerns; cleared when the peer takes what waits."""
    dog = world(shelf, pacs_silent_h=4)
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0], peers=["pacs"])
    clock.pass_(4 * HOUR - 1)
    dog.steady_s = 4 * HOUR - 1
    assert dog.look() == []
    clock.pass_(1)
    for _ in range(3):
        assert dog.look() == [("pacs-silent", "pacs")]

    (delivery,) = shelf.deliveries.claim("s", "pacs", lease_s=60, limit=1)
    assert dog.look() == [("pacs-silent", "pacs")], "it is on its way, and not taken"
    shelf.took(delivery)
    assert dog.look() == []
    assert dog.ever() == 1


def test_a_peer_that_went_is_not_silent(shelf: Shelf, clock: FakeClock) -> None:
    """It is in no configuration any more: another alarm says so."""
    shelf.alarms.raise_("pacs-silent", "gone")

    assert world(shelf).look() == []


def test_an_old_queue(shelf: Shelf, clock: FakeClock) -> None:
    """Raised at the hour; a queue around its threshold does not flap; cleared when it is clearly younger."""
    dog = world(shelf, queue_h=24)
    shelf.receive("1.1", study_instance_uid="9.1")
    shelf.settle()
    clock.pass_(5 * HOUR)
    shelf.receive("1.2", b"2", study_instance_uid="9.2")
    shelf.settle()
    clock.pass_(19 * HOUR - 1)
    dog.steady_s = 24 * HOUR - 1
    assert dog.look() == []
    clock.pass_(1)
    dog.steady_s += 1
    assert dog.look() == [("queue-old", "systemic")]

    shelf.finish(shelf.claim()[0], peers=())
    assert dog.look() == [("queue-old", "systemic")], "the next is 19 hours old: the queue is about as long as it was"
    shelf.finish(shelf.claim()[0], peers=())
    assert dog.look() == []
    assert dog.ever() == 1


def end(shelf: Shelf, first: int, last: int, event: JobEvent) -> None:
    """Jobs of these numbers end."""
    for number in range(first, last + 1):
        shelf.receive(f"1.{number}", str(number).encode(), study_instance_uid=f"9.{number}")
        shelf.settle()
        shelf.jobs.queue.settle(shelf.claim()[0].ticket, event, reason=None)


def test_many_failures(shelf: Shelf, clock: FakeClock) -> None:
    """Both a share and a number are needed; around them it does not flap; a day later it is over."""
    dog = world(shelf, failures_percent=50, failures_least=4)
    end(shelf, 1, 3, JobEvent.GIVE_UP)
    assert dog.look() == [], "all failed, and they are few"
    end(shelf, 4, 8, JobEvent.DONE)
    end(shelf, 9, 9, JobEvent.GIVE_UP)
    assert dog.look() == [], "4 of 9 are less than half"
    end(shelf, 10, 10, JobEvent.GIVE_UP)
    assert dog.look() == [("failures-high", "jobs")]
    end(shelf, 11, 13, JobEvent.DONE)
    assert dog.look() == [("failures-high", "jobs")], "5 of 13 are 38 %, not clearly less than half"
    end(shelf, 14, 14, JobEvent.DONE)
    assert dog.look() == []
    end(shelf, 15, 18, JobEvent.GIVE_UP)
    assert dog.look() == [("failures-high", "jobs")]
    clock.pass_(DAY + 1)
    dog.steady_s = DAY + 1
    assert dog.look() == []
    assert dog.ever() == 2


def test_a_disk_that_fills(shelf: Shelf) -> None:
    """Raised at the limit, kept until it lasts clearly longer; unknown is no alarm."""
    dog = world(shelf, disk_days=14)
    for days, stands in (
        (None, 0),
        (14.1, 0),
        (14.0, 1),
        (16.0, 1),
        (18.6, 1),
        (18.7, 0),
        (14.1, 0),
        (0.0, 1),
        (None, 0),
    ):
        dog.days = days
        assert dog.look() == [("disk-soon-full", "disk")] * stands, days
    assert dog.ever() == 2


def test_events_of_the_future(shelf: Shelf, clock: FakeClock) -> None:
    """The clock went back: raised, and cleared when time has clearly come closer."""
    dog = world(shelf, clock_skew_s=14400)
    shelf.receive("1.1")
    clock.pass_(-14400)
    dog.steady_s = -14400
    assert dog.look() == []
    clock.pass_(-1)
    dog.steady_s -= 1
    assert dog.look() == [("clock-skew", "events")]
    for passed_s, stands in ((3600, 1), (1, 0)):
        clock.pass_(passed_s)
        dog.steady_s += passed_s
        assert dog.look() == [("clock-skew", "events")] * stands
    assert dog.ever() == 1


def test_another_machines_clock_does_not_flap(shelf: Shelf, clock: FakeClock) -> None:
    """Its events come now and then, each from the future: one alarm."""
    dog = world(shelf, clock_skew_s=60)
    for number in range(20):
        clock.pass_(90)
        shelf.receive(f"1.{number}", study_instance_uid=f"9.{number}")
        clock.pass_(-90)
        for _ in range(5):
            dog.look()
            clock.pass_(60)
            dog.steady_s += 60

    assert shelf.alarms.subjects("clock-skew") == {"events"}
    assert dog.ever() == 2, "once an hour at most"


@pytest.mark.parametrize("jump_s", [61, -61])
def test_a_clock_that_was_set(shelf: Shelf, clock: FakeClock, jump_s: float) -> None:
    """A clock that nobody sets tells; the alarm stands for an hour, and time that passes is no jump."""
    dog = world(shelf, clock_skew_s=60)
    assert dog.look() == []
    for passed_s, jump in ((60, 0), (60, 59), (60, -59), (86400, 0)):
        clock.pass_(passed_s + jump)
        dog.steady_s += passed_s
        assert dog.look() == []
    clock.pass_(60 + jump_s)
    dog.steady_s += 60
    for _ in range(60):
        assert dog.look() == [("clock-skew", "jump")]
        clock.pass_(60)
        dog.steady_s += 60
    assert dog.look() == []
    assert dog.ever() == 1


def test_a_server_whose_clock_differs(shelf: Shelf, clock: FakeClock) -> None:
    """PostgreSQL's clock is compared with ours, in both directions; SQLite has none of its own."""
    dog = World(shelf, Limits(clock_skew_s=60), health=Health)
    for off_s, stands in ((-30, 0), (-90, 1), (7200, 1), (11000, 1)):
        clock.at = datetime.now(UTC) + timedelta(seconds=off_s)
        dog.dog.steady.seen = None
        assert dog.look() == [("clock-skew", "database")] * (0 if shelf.database.is_sqlite else stands), off_s
    clock.at = datetime.now(UTC)
    with shelf.database.write() as connection:
        connection.execute(update(tables.alarm).values(raised_at=clock.now() - timedelta(hours=2)))
    dog.dog.steady.seen = None
    assert dog.look() == []


def test_certificates_that_end(shelf: Shelf, clock: FakeClock, authority: Authority, tmp_path: Path) -> None:
    """Thirty days before the end, and after it; the earliest of a file counts; a new certificate clears it."""
    path = tmp_path / "chain.pem"
    key = authority.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ends = clock.now() + timedelta(days=31)
    path.write_bytes(
        b"words before\n" + key + authority.of_its_own(ends + timedelta(days=99)) + authority.of_its_own(ends)
    )
    dog = world(shelf, certificates=[path], certificate_days=30)
    assert dog.look() == []
    clock.pass_(DAY - 1)
    assert dog.dog.watch_certificates() is None
    assert shelf.alarms.subjects("certificate-ending") == set()
    clock.pass_(1)
    for _ in range(3):
        dog.dog.watch_certificates()
        assert shelf.alarms.subjects("certificate-ending") == {str(path)}
    clock.pass_(60 * DAY)
    dog.dog.watch_certificates()
    assert shelf.alarms.subjects("certificate-ending") == {str(path)}, "it has ended"

    path.write_bytes(b"half of a certif")
    dog.dog.watch_certificates()
    assert shelf.alarms.subjects("certificate-ending") == {str(path)}, "what was written half is no new certificate"
    assert shelf.alarms.subjects("certificate-unreadable") == {str(path)}
    path.write_bytes(authority.of_its_own(clock.now() + timedelta(days=365)))
    dog.dog.watch_certificates()
    assert dog.ever() == 2
    assert shelf.alarms.standing() == []


def test_files_that_hold_no_certificate(shelf: Shelf, clock: FakeClock, authority: Authority, tmp_path: Path) -> None:
    """Missing, a folder, a pipe, a key, rubbish, far too large: each is an alarm, and holds up nobody."""
    os.mkfifo(tmp_path / "pipe.pem")
    (tmp_path / "folder.pem").mkdir()
    good = authority.of_its_own(clock.now() + timedelta(days=365))
    contents = {
        "empty.pem": b"",
        "rubbish.pem": bytes(range(256)),
        "der.pem": x509.load_pem_x509_certificate(good).public_bytes(serialization.Encoding.DER),
        "broken.pem": good.replace(b"MII", b"MIJ"),
        "large.pem": good + b"\n" * BYTES_MAX,
        "many.pem": good * (COUNT_MAX + 1),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in ("missing.pem", "pipe.pem", "folder.pem", *contents)]
    for path in paths:
        with pytest.raises(Unreadable, match=path.name):
            ends_at(path)

    (tmp_path / "good.pem").write_bytes(good)
    dog = world(shelf, certificates=[*paths, tmp_path / "good.pem"])
    assert dog.look() == [("certificate-unreadable", str(path)) for path in sorted(paths)]


def test_a_path_longer_than_its_column_is_an_alarm_like_others(shelf: Shelf, tmp_path: Path) -> None:
    """Its end is kept, which tells more than its beginning; raised once, cleared once."""
    path = tmp_path / ("x" * 120) / "pacs.pem"
    dog = world(shelf, certificates=[path])
    ((name, subject),) = dog.look()
    assert (name, len(subject)) == ("certificate-unreadable", 128)
    assert subject.endswith("xxx/pacs.pem")
    assert dog.look() == [(name, subject)]
    assert dog.ever() == 1

    assert shelf.alarms.acknowledge(name, str(path), actor="person:x")
    assert world(shelf).look() == []


def test_a_pair_that_does_not_fit_is_an_alarm(shelf: Shelf, clock: FakeClock, authority: Authority) -> None:
    """The files of TLS are looked at as who uses them does, and what is said of them goes when it is mended."""
    ours, other = authority.pair("oculard.clinic.test", days=4000), authority.pair("other.clinic.test")
    dog = World(shelf, Limits(), tls=[Files(authorities=authority.file, certificate=ours.certificate, key=ours.key)])
    key = ours.key.read_bytes()
    assert dog.look() == []

    for broken in (other.key.read_bytes(), key[:100], b""):
        ours.key.write_bytes(broken)
        assert dog.look() == [("certificate-unreadable", str(ours.certificate))]
        ours.key.write_bytes(key)
        assert dog.look() == []
    ours.key.unlink()
    assert dog.look() == [("certificate-unreadable", str(ours.certificate))]


def test_the_certificates_of_tls_are_watched(tmp_path: Path) -> None:
    """Whoever configures TLS need not name its files twice."""
    ours = {"certificate": tmp_path / "ours.pem", "key": tmp_path / "ours.key", "authorities": tmp_path / "ca.pem"}
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 1, "tls": {"authorities": tmp_path / "pacs.pem"}}
    named = tmp_path / "named.pem"

    found = Settings.model_validate({"intake": {"tls": ours}, "peers": [pacs], "alarms": {"certificates": [named]}})

    assert watched(found) == [named, tmp_path / "ours.pem", tmp_path / "ca.pem", tmp_path / "pacs.pem"]
