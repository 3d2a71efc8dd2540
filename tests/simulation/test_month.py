"""A month: every study annotated once, nothing begun at night that would not end in time, and sums that add up.

What is promised of the end of a night: a batch of night jobs begins only while the window is open and only if its jobs,
each taking what nine of ten of the newest reports took at most, end before the window does. A batch that takes longer
than that is left to end, and may end after the window; nothing else runs there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from month_world import BERLIN, CLOSES, FIRST, MONTH_ENDS, OPENS, PACS_DOWN, WHOLE, Month, closing
from sqlalchemy import func, select

from oculard.job import DELIVERY, JOB
from oculard.night import window_of
from oculard.store import tables
from oculard.upkeep.morning import MorningMaker

STUDIES = 2_000  # in the short form
LONG_SEEDS = 1_000  # of the seeded simulation: whoever asks for so many gets the long month, too
SHORT_SEED = 3
NIGHTS_MAX = 30  # after the month, until everything is done


def live(seed: int, studies: int, folder: Path, plant: Callable[[Month], None] = lambda month: None) -> Month:
    """A month, and the nights after it until all is done; every promise is looked at."""
    month = Month(seed, studies, folder)
    plant(month)
    month.run(MONTH_ENDS)
    for night in range(1, NIGHTS_MAX):
        if set(month.shelf.jobs.queue.counts()) == {"reported"}:
            break
        month.run(MONTH_ENDS + timedelta(days=night))
    month.run(month.clock.now() + timedelta(hours=2))  # the sender has its time
    look_at_the_studies(month)
    look_at_the_nights(month)
    look_at_the_events(month)
    look_at_the_mornings(month)
    return month


def look_at_the_studies(month: Month) -> None:
    """Every eye of every study has one job, one report and one delivery, and the PACS has each report once."""
    wanted = Counter((study, eye) for study, (_, eyes) in month.wanted.items() for eye in eyes)
    study, job, report, delivery = tables.study, tables.job, tables.report, tables.delivery
    query = select(study.c.study_instance_uid, job.c.eye).join_from(job, study)
    with month.database.read() as connection:
        assert Counter(tuple(row) for row in connection.execute(query)) == wanted
        reported = query.join(report, report.c.job_id == job.c.id).where(job.c.state == "reported")
        assert Counter(tuple(row) for row in connection.execute(reported)) == wanted
        delivered = reported.join(delivery, delivery.c.report_id == report.c.id)
        assert (
            Counter(tuple(row) for row in connection.execute(delivered.where(delivery.c.state == "delivered")))
            == wanted
        )
        uids = set(connection.execute(select(report.c.sop_instance_uid)).scalars())
    assert set(month.pacs) == uids
    assert sum(month.pacs.values()) <= len(uids) + month.boots  # what was stored when the power went may come again


def look_at_the_nights(month: Month) -> None:
    """The window is left only by what took longer than expected; quotas were used, and no night was without work."""
    nights = set()
    for batch in month.begun:
        if any(batch.are_night):
            ends = closing(batch.at)
            assert ends is not None
            nights.add(ends)
            late = batch.ends > ends
            assert not late or sum(batch.takes_s) > batch.expected_s * len(batch.jobs), "it was known to end late"
    assert len(nights) >= 28
    assert max(len(jobs) for jobs in month.rationed.values()) == month.quota
    down = [datetime.combine(PACS_DOWN, OPENS, BERLIN), datetime.combine(PACS_DOWN + timedelta(days=1), CLOSES, BERLIN)]
    assert not [at for at in month.delivered_at if down[0] <= at < down[1]]
    assert any(down[0] <= batch.at < down[1] for batch in month.begun)  # and the night's work went on


def look_at_the_events(month: Month) -> None:
    """Every state is where its events lead, and every count is the count of its events."""
    event = tables.event
    with month.database.read() as connection:
        for machine, table in ((JOB, tables.job), (DELIVERY, tables.delivery)):
            states: dict[int, str] = {}
            rows = connection.execute(
                select(event.c.subject_id, event.c.name, event.c.source, event.c.target)
                .where(event.c.kind == machine.name)
                .order_by(event.c.id)
            )
            for subject, name, source, target in rows:
                if source is not None:
                    assert states[subject] == source
                    assert machine.moves[source, name] == target  # type: ignore[index]  # a StrEnum is its word
                states[subject] = target
            assert states == dict(tuple(row) for row in connection.execute(select(table.c.id, table.c.state)))
        reports = connection.execute(select(func.count()).select_from(tables.report)).scalar_one()
    done = _events(month, "job", "done")
    assert reports == done == _events(month, "delivery", "done") == _events(month, "job", "ordered")
    assert _events(month, "job", "claim") == done + _events(month, "job", "lost")
    assert sum(len(batch.jobs) for batch in month.begun) <= _events(month, "job", "claim")
    ends = sum(_events(month, "delivery", name) for name in ("done", "retry", "lost"))
    assert _events(month, "delivery", "claim") == ends


def look_at_the_mornings(month: Month) -> None:
    """The reports follow each other without a gap, and what they count adds up to the table of events."""
    night, zone = month.settings.night, month.settings.night_zone
    maker = MorningMaker(settings=month.settings, database=month.database, vault=month.shelf.vault, clock=month.clock)
    days = (month.clock.now().astimezone(BERLIN).date() - FIRST).days
    mornings = []
    for day in range(-1, days + 1):
        window = window_of(night, FIRST + timedelta(days=day), zone)
        assert window is not None
        mornings.append(maker.make(window))
    assert all(one.span.end == other.span.start for one, other in pairwise(mornings))
    told = Counter(
        {
            (kind, name): sum(morning.events.get(kind, {}).get(name, 0) for morning in mornings)
            for kind in ("instance", "study", "job", "delivery")
            for name in {name for morning in mornings for name in morning.events.get(kind, {})}
        }
    )
    event = tables.event
    with month.database.read() as connection:
        rows = connection.execute(select(event.c.kind, event.c.name))
        assert told == Counter(tuple(row) for row in rows)
    assert sum(morning.total("done") for morning in mornings) == told["job", "done"]
    assert sum(peer["delivered"] for morning in mornings for peer in morning.peers) == told["delivery", "done"]
    assert mornings[-1].missed == 0  # at the end nothing waits
    assert any(row["why"] == "quota" for morning in mornings for row in morning.not_reached)


def _events(month: Month, kind: str, name: str) -> int:
    event = tables.event
    with month.database.read() as connection:
        query = select(func.count()).select_from(event).where(event.c.kind == kind, event.c.name == name)
        return int(connection.execute(query).scalar_one())


def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return int(request.config.getoption("--simulate")) >= LONG_SEEDS


def test_a_month(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Thirty-one days with power cuts, a PACS that is down for a night, and the change to summer time."""
    month = live(1, WHOLE if is_long(request) else STUDIES, tmp_path)

    assert _events(month, "job", "withdraw") > 0
    assert _events(month, "job", "lost") > 0
    assert month.boots >= 8
    short = [batch for batch in month.begun if batch.at.astimezone(BERLIN).date() == date(2026, 3, 29)]
    assert any(any(batch.are_night) for batch in short)  # the night of the change was used


@pytest.mark.parametrize("seed", range(3, 8))
def test_other_months(request: pytest.FixtureRequest, seed: int, tmp_path: Path) -> None:
    """Other dice, smaller months; in the short form, one."""
    if seed > SHORT_SEED and not is_long(request):
        pytest.skip("`make sim` lives through more months")
    live(seed, 400, tmp_path)


# Planted bugs: each would break a promise, and the month must notice.


def claim_at_any_time(month: Month) -> None:
    """Bug: whether the window is open is not asked."""
    hours = month.hours
    month.hours = lambda: replace(hours(), until=month.clock.now() + timedelta(days=1))  # type: ignore[method-assign]


def claim_to_the_end(month: Month) -> None:
    """Bug: what a job takes is not asked."""
    hours = month.hours
    month.hours = lambda: replace(hours(), expected_s={}, first_s=0.001)  # type: ignore[method-assign]


def claim_full_batches(month: Month) -> None:
    """Bug: where one job fits, a whole batch is claimed."""
    claim = month.shelf.jobs.claim

    def careless(owner, *, hours, limit, **kept):  # type: ignore[no-untyped-def]
        return [job for _ in range(limit) for job in claim(owner, hours=hours, limit=1, **kept)]

    month.shelf.jobs.claim = careless  # type: ignore[method-assign]


def forget_the_quota(month: Month) -> None:
    """Bug: every wake-up lets as many run again."""
    month.shelf.night_jobs._spent = lambda *_: 0  # type: ignore[method-assign]


def hold_the_day_back(month: Month) -> None:
    """Bug: outside the night nothing is claimed at all."""
    claim = month.shelf.jobs.claim
    month.shelf.jobs.claim = lambda *args, hours, **kept: (  # type: ignore[method-assign]
        [] if hours.until is None else claim(*args, hours=hours, **kept)
    )


@pytest.mark.parametrize(
    "bug", [claim_at_any_time, claim_to_the_end, claim_full_batches, forget_the_quota, hold_the_day_back]
)
def test_the_month_notices_a_planted_bug(bug: Callable[[Month], None], tmp_path: Path) -> None:
    """A simulation that cannot fail proves nothing."""
    with pytest.raises(AssertionError):
        live(1, 400, tmp_path, bug)
