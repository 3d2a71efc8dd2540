"""Upkeep: when studies settle, and what the chores do."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from apscheduler.events import JobExecutionEvent

from fakes import FakeClock
from oculard.imaging.facts import Eye, Facts
from oculard.plan import Family
from oculard.settings import Expect, Peer, Sender, Settings, Settling, Site, Store
from oculard.upkeep.clockwork import Chore, Chores, Mishaps, schedule
from oculard.upkeep.settling import Settling as Watcher
from shelf import OP_8_BIT, Shelf

FAMILIES = {"systemic": Family(name="systemic", estimator="painted@1.0.0", input_kind="fundus")}


def photograph(uid: str, eye: str) -> dict[str, Any]:
    """The facts of a photograph, as they are stored."""
    return Facts(
        sop_class_uid=OP_8_BIT,
        sop_instance_uid=uid,
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.1",
        modality="OP",
        samples_per_pixel=3,
        eye=Eye(eye),
    ).as_json()


def settings(**changes: Any) -> Settings:
    """A device that takes pairs, a quiet time of 30 s."""
    values: dict[str, Any] = {
        "site": Site(time_zone="Asia/Tokyo"),
        "senders": [Sender(name="topcon", ae_title="TOPCON", expects=Expect.FUNDUS_PAIR)],
        "peers": [Peer(name="pacs", ae_title="P", host="h", port=1, commitment=True, commitment_silence_h=1)],
        "settling": Settling(quiet_s=30),
        "store": Store(disk_free_min_gib=0),
    }
    return Settings(**(values | changes))


def watcher(shelf: Shelf, **changes: Any) -> Watcher:
    """The settling step over a shelf."""
    return Watcher(settings(**changes), shelf.studies, FAMILIES, shelf.clock)


def chores(shelf: Shelf, **changes: Any) -> Chores:
    """The chores over a shelf."""
    return Chores(
        settings=settings(**changes),
        jobs=shelf.jobs,
        deliveries=shelf.deliveries,
        families=FAMILIES,
        queues=(shelf.jobs.queue, shelf.deliveries.queue, shelf.answers.queue),
        vault=shelf.vault,
        alarms=shelf.alarms,
        clock=shelf.clock,
    )


def test_a_study_settles_when_it_has_been_quiet(shelf: Shelf, clock: FakeClock) -> None:
    """Not before, and once."""
    shelf.receive("1.1", facts=photograph("1.1", "R"))
    watch = watcher(shelf)
    assert not watch.step()
    clock.pass_(29)
    assert not watch.step()
    clock.pass_(2)

    assert watch.step()
    assert not watch.step()
    assert [job["eye"] for job in shelf.study()["jobs"]] == ["R"]


def test_a_complete_pair_settles_at_once(shelf: Shelf, clock: FakeClock) -> None:
    """What the device's profile expects has come: nobody waits. One eye alone is not a pair."""
    watch = watcher(shelf)
    shelf.receive("1.1", facts=photograph("1.1", "R"))
    assert not watch.step()
    clock.pass_(1)
    shelf.receive("1.2", b"left", facts=photograph("1.2", "L"))

    assert watch.step()
    assert sorted(job["eye"] for job in shelf.study()["jobs"]) == ["L", "R"]


def test_a_complete_pair_waits_for_its_association(shelf: Shelf) -> None:
    """A device that has not released may still send a better photograph."""
    watch = watcher(shelf)
    shelf.receive("1.1", facts=photograph("1.1", "R"), association="a")
    shelf.receive("1.2", b"left", facts=photograph("1.2", "L"), association="a")
    assert not watch.step()
    shelf.instances.end("a")

    assert watch.step()


def test_another_sender_has_no_such_profile(shelf: Shelf) -> None:
    """A pair that came from two senders, or from one without a profile, waits until it is quiet."""
    watch = watcher(shelf)
    shelf.receive("1.1", facts=photograph("1.1", "R"), sender="pacs")
    shelf.receive("1.2", b"left", facts=photograph("1.2", "L"))

    assert not watch.step()


def test_a_person_settles_by_hand(shelf: Shelf) -> None:
    """Without any wait, and with the person's name on the event."""
    shelf.receive("1.1", facts=photograph("1.1", "R"))

    assert watcher(shelf).settle_now(shelf.study()["id"], actor="person:x")
    (settled,) = [event for event in shelf.study()["events"] if event["name"] == "settled"]
    assert (settled["actor"], settled["reason"]) == ("person:x", "by-hand")


def test_a_settled_study_opens_again_for_a_late_image(shelf: Shelf, clock: FakeClock) -> None:
    """And settles again, with a job for what has changed only."""
    watch = watcher(shelf)
    shelf.receive("1.1", facts=photograph("1.1", "R"))
    clock.pass_(31)
    watch.step()
    shelf.finish(shelf.claim()[0])
    shelf.receive("1.2", b"left", facts=photograph("1.2", "L"))
    clock.pass_(31)

    assert watch.step()
    assert [(job["eye"], job["state"]) for job in shelf.study()["jobs"]] == [("R", "reported"), ("L", "queued")]


def test_an_upgraded_bundle_serves_what_still_waits(shelf: Shelf) -> None:
    """A job that was planned for a version that is gone goes to the one in force; what is done stays."""
    shelf.receive("1.1")
    shelf.settle(estimator="painted@0.9.0")
    shelf.finish(shelf.claim()[0])
    shelf.receive("1.2", b"more")
    shelf.settle(estimator="painted@0.9.0")
    chores(shelf).adopt()

    assert [job["estimator"] for job in shelf.study()["jobs"]] == ["painted@0.9.0", "painted@1.0.0"]


def test_a_silent_pacs_gets_the_report_again(shelf: Shelf, clock: FakeClock) -> None:
    """Silence longer than allowed: sent again; the third time an alarm stands."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0])
    for silence in (1, 2, 3):
        (delivery,) = shelf.deliveries.claim("s", "pacs", lease_s=60, limit=1)
        shelf.took(delivery)
        shelf.deliveries.begin_commitment("pacs", f"2.25.{silence}", limit=5)
        clock.pass_(3599)
        chores(shelf).chase_commitments()
        assert shelf.deliveries.queue.counts() == {"sent": 1}
        clock.pass_(2)
        chores(shelf).chase_commitments()
        assert shelf.deliveries.queue.counts() == {"pending": 1}
        assert bool(shelf.alarms.standing()) == (silence == 3)


def test_what_waits_for_a_peer_that_is_gone_is_parked(shelf: Shelf) -> None:
    """A renamed peer leaves nothing waiting in silence, sent or not; what waits for known peers is left alone."""
    for number, peers in enumerate((["old"], ["old"], ["pacs"])):
        shelf.receive(f"1.{number}", str(number).encode())
        shelf.settle()
        shelf.finish(shelf.claim()[0], peers=peers)
    (sent,) = shelf.deliveries.claim("s", "old", lease_s=60, limit=1)
    shelf.took(sent)

    chores(shelf).park_orphans()
    chores(shelf).park_orphans()  # a doubled wake-up changes nothing

    assert shelf.deliveries.queue.counts() == {"parked": 2, "pending": 1}
    assert [(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()] == [("peer-unknown", "old")]
    assert [event[1:] for event in shelf.events("delivery") if event[1] == "park"] == [
        ("park", "sent", "parked"),
        ("park", "pending", "parked"),
    ]


def test_the_disk_alarm_is_raised_once_and_cleared(shelf: Shelf) -> None:
    """Below the mark an alarm stands; above it, none."""
    low = chores(shelf, store=Store(disk_free_min_gib=10**9))
    low.watch_disk()
    low.watch_disk()
    assert [alarm.name for alarm in shelf.alarms.standing()] == ["disk-full"]

    chores(shelf).watch_disk()
    assert shelf.alarms.standing() == []


def test_the_scheduler_only_wakes(shelf: Shelf) -> None:
    """Late and missed wake-ups melt into one: nothing depends on their number."""
    scheduler = schedule(chores(shelf).all(), shelf.clock, shelf.alarms)
    scheduler.start(paused=True)
    jobs = scheduler.get_jobs()
    scheduler.shutdown()

    assert {job.id for job in jobs} == {"reap", "adopt", "chase_commitments", "watch_disk", "sweep"} | {"park_orphans"}
    assert all(job.coalesce and job.misfire_grace_time is None and job.max_instances == 1 for job in jobs)


def test_a_chore_with_a_bug_is_told(shelf: Shelf) -> None:
    """It raises one alarm, which is cleared when the chore succeeds; what an earlier process met is forgotten."""
    has_ended = threading.Event()

    def chore() -> None:
        has_ended.set()
        raise ValueError("a bug")

    shelf.alarms.raise_("chore-failed", "of-yesterday")
    scheduler = schedule([Chore(do=chore, every_s=3600)], shelf.clock, shelf.alarms)
    scheduler.start()
    assert has_ended.wait(30)
    scheduler.shutdown(wait=True)
    assert [(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()] == [("chore-failed", "chore")]

    mishaps = Mishaps(shelf.alarms)
    for exception, standing in ((ValueError(), 1), (ValueError(), 1), (None, 0), (None, 0)):
        mishaps(JobExecutionEvent(0, "chore", "default", None, exception=exception))
        assert len(shelf.alarms.standing()) == standing


def test_a_vault_that_is_away_is_told(shelf: Shelf) -> None:
    """A disk that is not mounted raises one alarm, and clears none of another."""
    shelf.alarms.raise_("disk-full", str(shelf.vault.folder))
    away = shelf.vault.folder.with_name("away")
    shelf.vault.folder.rename(away)
    for _ in range(2):
        chores(shelf).watch_disk()
    assert {alarm.name for alarm in shelf.alarms.standing()} == {"disk-full", "vault-away"}
    away.rename(shelf.vault.folder)
    chores(shelf).watch_disk()
    assert shelf.alarms.standing() == []


def test_an_unready_world_costs_no_attempt(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that is away, or a full disk, stops the worker before it claims."""
    from oculard.store.vault import DiskFull, VaultAway, VaultUnwritable

    shelf.vault.check()
    shelf.vault.spool.rename(shelf.vault.spool.with_name("away"))
    with pytest.raises(VaultAway):
        shelf.vault.check()
    shelf.vault.spool.with_name("away").rename(shelf.vault.spool)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # a disk that went read-only
        with pytest.raises(VaultUnwritable):
            shelf.vault.check()
    monkeypatch.setattr(shelf.vault, "free_gib", lambda: 0.01)
    with pytest.raises(DiskFull):
        shelf.vault.check()
