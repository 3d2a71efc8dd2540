"""The clock jumps, forward and back: nothing waits for a time that is years away, nothing happens twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from fakes import FakeClock
from oculard.clock import Hands
from oculard.imaging.facts import Eye, Facts
from oculard.job import DeliveryEvent
from oculard.settings import Settings
from oculard.upkeep.settling import Settling
from shelf import OP_8_BIT, STUDY, Shelf
from sweep.world import ROLES, World, make_world

DAY_S = 86_400.0
FACTS = Facts(
    sop_class_uid=OP_8_BIT,
    sop_instance_uid="1.1",
    study_instance_uid=STUDY,
    series_instance_uid=f"{STUDY}.1",
    modality="OP",
    eye=Eye.RIGHT,
)


@pytest.mark.timeout(600)
def test_a_study_ends_whatever_the_clock_does(tmp_path: Path) -> None:
    """The real daemon: the clock is a day ahead, then right again while a study is on its way, then a day behind."""
    with make_world(tmp_path / "world") as world:
        world.study()
        world.orders.set_clock(DAY_S)
        for times, seconds_ahead in enumerate((0, -DAY_S), 1):
            world.wait_for(partial(_have_looked, world), "each role has seen the clock")
            world.study(meanwhile=partial(world.orders.set_clock, seconds_ahead))
            world.wait_for(partial(_have_noticed, world, times), "noticed by every role")
        wrong = world.verdict()

    assert wrong == []


def _have_looked(world: World) -> bool:
    """A clock that jumps there and back between two looks of a role is no matter: so all must have looked."""
    now = world.roles()
    return len(now) == len(ROLES) and set(now.values()) <= world.orders.have_looked()


def _have_noticed(world: World, times: int) -> bool:
    noticed = Counter(one["role"] for one in world.daemon.log() if one["event"] == "clock set back")
    return noticed == dict.fromkeys(ROLES, times)


def test_only_a_clock_that_goes_back_far_is_noticed(clock: FakeClock) -> None:
    """Seconds are the time server's daily work."""
    hands = Hands(clock, seen=clock.now())
    clock.pass_(1000)
    assert not hands.were_set_back()
    clock.pass_(-50)
    assert not hands.were_set_back()
    clock.pass_(-61)
    assert hands.were_set_back()
    assert not hands.were_set_back(), "once"


def test_a_study_of_the_future_settles(shelf: Shelf, clock: FakeClock) -> None:
    """Its last image came by a clock that was a year ahead, on an association that died with its process."""
    settling = Settling(Settings(settling={"quiet_s": 30}, plan=[]), shelf.studies, {}, clock)
    clock.pass_(365 * DAY_S)
    shelf.receive("1.1", association="dead", facts=FACTS.as_json())
    clock.pass_(-365 * DAY_S)

    assert settling.step()


def test_what_was_put_off_in_the_future_goes_now(shelf: Shelf, clock: FakeClock) -> None:
    """A delivery that was to be tried again in ten seconds, by a clock that was a year ahead."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0])
    clock.pass_(365 * DAY_S)
    (delivery,) = shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=1)
    shelf.deliveries.queue.settle(delivery.ticket, DeliveryEvent.RETRY, reason="pacs-busy", delay_s=10)
    clock.pass_(-365 * DAY_S)
    assert shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=1) == []

    assert shelf.deliveries.queue.recall() == 1
    assert shelf.deliveries.queue.recall() == 0
    assert len(shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=1)) == 1


def test_what_was_put_off_by_this_clock_waits(shelf: Shelf, clock: FakeClock) -> None:
    """A pause is a pause."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim()
    shelf.jobs.hinder(job, reason="vault-away", delay_s=3600)

    assert shelf.jobs.queue.recall() == 0
    assert shelf.claim() == []


def test_a_lease_of_the_future_ends(shelf: Shelf, clock: FakeClock) -> None:
    """Its holder is dead, on a machine of which nothing is known; by the old clock it would last for a year."""
    shelf.receive("1.1")
    shelf.settle()
    clock.pass_(365 * DAY_S)
    shelf.claim("elsewhere")
    clock.pass_(-365 * DAY_S)

    assert shelf.jobs.queue.reap() == 1
    assert shelf.jobs.queue.reap() == 0


def test_a_promise_that_is_awaited_since_the_future_is_asked_for_again(shelf: Shelf, clock: FakeClock) -> None:
    """The PACS took it by a clock that was a year ahead, and stays silent."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0])
    clock.pass_(365 * DAY_S)
    shelf.took(shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=1)[0])
    clock.pass_(-365 * DAY_S)

    assert shelf.deliveries.silent("pacs", since=clock.now() - timedelta(hours=1), retry_s=0) == 1
