"""The seeded simulation: whatever dies when, nothing acknowledged is lost and nothing is done twice.

And the planted bugs: each would break a promise, and the simulation must notice.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from simulation_world import Crash, World, paths_are_whole
from sqlalchemy import select

from oculard.job import AMENDS, JOB, JobState
from oculard.store import tables
from oculard.store.jobs import Job, NewReport
from oculard.store.queue import Queue

TICKS, CALM_TICKS = 150, 200


def simulate(seed: int, folder: Path, plant: Callable[[World], None] = lambda world: None) -> World:
    """Run one seed to its calm end and look at every promise."""
    world = World(seed, folder)
    plant(world)
    for tick in range(TICKS):
        world.clock.sleep(world.dice.random.choice([0, 1, 5, 30, 400]))
        deed = world.dice.random.choice(
            [
                world.device_sends,
                world.device_sends,
                lambda tick=tick: world.worker_works(f"w{tick}"),
                lambda tick=tick: world.worker_works(f"v{tick}"),
                lambda tick=tick: world.sender_sends(f"s{tick}"),
                world.sender_asks,
                world.pacs_answers,
                world.upkeep_wakes,
                world.upkeep_wakes,
            ]
        )
        try:
            deed()
        except Crash:
            world.asked = {uid: items for uid, items in world.asked.items() if not world.dice.happens(0.1)}
    calm(world)
    look(world)
    return world


def calm(world: World) -> None:
    """The faults end; everything must come to an end of its own."""
    world.dice.faults = False
    for tick in range(CALM_TICKS):
        world.clock.sleep(600)
        busy = world.upkeep_wakes()
        for deed in (lambda t=tick: world.worker_works(f"cw{t}"), lambda t=tick: world.sender_sends(f"cs{t}")):
            try:
                busy |= deed()
            except Crash:  # the poison image still kills
                busy = True
        busy |= world.sender_asks() | world.pacs_answers()
        if not busy and not world.shelf.studies.open() and _all_ended(world):
            return
    raise AssertionError(f"not everything ended: {world.shelf.trace.counts()}")


def _all_ended(world: World) -> bool:
    counts = world.shelf.trace.counts()
    return set(counts["job"]) <= {"reported", "rejected", "failed"} and set(counts["delivery"]) <= {
        "delivered",
        "parked",
    }


def look(world: World) -> None:
    """Every promise of the design that a store can break."""
    shelf = world.shelf
    for uid, sha256 in world.acknowledged.items():
        (study_id,) = shelf.trace.find(uid)
        study = shelf.trace.study(study_id)
        kept = [image for image in study["instances"] if image["sop_instance_uid"] == uid]
        assert sha256 in {image["sha256"] for image in kept}, "acknowledged bytes have no row"
        for image in kept:
            data = shelf.vault.path(image["path"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == image["sha256"], "a kept file is not what was received"
        with shelf.database.read() as connection:
            query = select(tables.job_input.c.job_id).where(tables.job_input.c.instance_id == kept[0]["id"])
            assert connection.execute(query).first() is not None, "an acknowledged image has no job"
        look_at_study(world, study)


def look_at_study(world: World, study: dict[str, list[dict[str, object]]]) -> None:
    """One study: every job ended once, every report was delivered under one UID with one content."""
    reports = {report["job_id"]: report for report in study["reports"]}
    for job in study["jobs"]:
        assert job["state"] in JOB.ends
        if job["state"] == JobState.FAILED:
            assert job["reason"] == "attempts-spent" or job["id"] in reports
        else:
            assert job["id"] in reports, "a job ended without its report"
    assert len({report["sop_instance_uid"] for report in study["reports"]}) == len(study["reports"])
    assert len(study["deliveries"]) == len(study["reports"]), "a report is owed to the PACS exactly once"
    look_at_amendments(study)
    look_at_objects(world, study)
    by_work: dict[object, list[object]] = {}
    for job in study["jobs"]:
        by_work.setdefault((job["family"], job["eye"], job["inputs_digest"]), []).append(job["id"])
    assert all(len(jobs) == 1 for jobs in by_work.values()), "the same inputs were estimated twice"
    paths_are_whole(study["events"])
    assert set(world.pacs) <= {str(one["sop_instance_uid"]) for s in _studies(world) for one in s["objects"]}, (
        "a stray object"
    )


def look_at_objects(world: World, study: dict[str, list[dict[str, object]]]) -> None:
    """The PACS has every object of every report that it can take, promised to keep it, and the SR came with it."""
    reports = {delivery["id"]: delivery["report_id"] for delivery in study["deliveries"]}
    sent = {(reports[one["delivery_id"]], str(one["sop_instance_uid"])): one for one in study["sent"]}
    assert sent.keys() == {(one["report_id"], str(one["sop_instance_uid"])) for one in study["objects"]}
    for one in study["objects"]:
        uid = str(one["sop_instance_uid"])
        fate = sent[one["report_id"], uid]
        if one["role"] == "seg" and not world.takes_seg:
            assert (world.pacs[uid], fate["reason"]) == (0, "companion-not-accepted")
            continue
        assert world.pacs[uid] >= 1, "a part of a delivered report never reached the PACS"
        assert world.pacs_bytes[uid] == {one["sha256"]}, "one UID, two contents"
        assert uid in world.kept, "a part of a delivered report is not in the PACS any more"
        assert fate["committed_at"] is not None, "a report was delivered without a promise for each of its objects"


def look_at_amendments(study: dict[str, list[dict[str, object]]]) -> None:
    """Every report names the newest one before it that speaks of the same eye, alone or with the other."""
    eyes = {job["id"]: str(job["eye"]) for job in study["jobs"]}
    before: list[tuple[str, object]] = []  # eye and id of the reports so far
    for report in study["reports"]:
        eye = eyes[report["job_id"]]
        earlier = [found for of, found in before if of in AMENDS[eye]]
        assert report["predecessor_id"] == (earlier[-1] if earlier else None), "a report does not name what it amends"
        before.append((eye, report["id"]))


def _studies(world: World) -> list[dict[str, list[dict[str, object]]]]:
    with world.shelf.database.read() as connection:
        ids = connection.execute(select(tables.study.c.id)).scalars().all()
    return [world.shelf.trace.study(study_id) for study_id in ids]


def test_nothing_is_lost_and_nothing_done_twice(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Many seeds, each with its own deaths, stalls and silences, all come to a whole end."""
    delivered = 0
    for seed in range(request.config.getoption("--simulate")):
        folder = tmp_path / str(seed)
        delivered += sum(simulate(seed, folder).pacs.values())
        shutil.rmtree(folder)
    assert delivered > 0


def acknowledge_before_the_row(world: World) -> None:
    """Bug: 0x0000 as soon as the file is in the spool."""
    take = world.shelf.instances.take

    def early(arrival):  # type: ignore[no-untyped-def]
        world.acknowledged.setdefault(arrival.sop_instance_uid, arrival.sha256)
        return take(arrival)

    world.shelf.instances.take = early  # type: ignore[method-assign]


def settle_without_the_lease(world: World) -> None:
    """Bug: whoever finishes a job may settle it, lease or not."""
    move = Queue.move

    def careless(self, connection, row_id, source, event, **kept):  # type: ignore[no-untyped-def]
        return move(self, connection, row_id, source, event, **(kept | {"held_by": None}))

    world.shelf.jobs.queue.move = careless.__get__(world.shelf.jobs.queue)  # type: ignore[method-assign]


def random_report_uids(world: World) -> None:
    """Bug: every run of a job makes another UID, and the report is sent before it is settled."""
    make = world.new_report

    def anew(job: Job) -> NewReport:
        report = replace(make(job), sop_instance_uid=f"2.25.{uuid.UUID(int=world.dice.random.getrandbits(128)).int}")
        world.pacs[report.sop_instance_uid] += 1
        return report

    world.new_report = anew  # type: ignore[method-assign]


def never_reap(world: World) -> None:
    """Bug: what a dead process held stays held."""
    for queue in (world.shelf.jobs.queue, world.shelf.deliveries.queue):
        queue.reap = lambda **_: 0  # type: ignore[method-assign]


def delete_after_sending(world: World) -> None:
    """Bug: retention that looks at nothing."""
    send = world.sender_sends

    def eager(owner: str) -> bool:
        done = send(owner)
        for path in sorted((world.shelf.vault.folder / "instances").rglob("*.dcm"))[:1]:
            path.unlink()
        return done

    world.sender_sends = eager  # type: ignore[method-assign]


def attempts_are_not_counted(world: World) -> None:
    """Bug: the attempt is counted after the work, so a poison image kills workers for ever."""
    move = Queue.move

    def forgetful(self, connection, row_id, source, event, **kept):  # type: ignore[no-untyped-def]
        if event == JOB.claim:
            kept["attempts"] = 0
        return move(self, connection, row_id, source, event, **kept)

    world.shelf.jobs.queue.move = forgetful.__get__(world.shelf.jobs.queue)  # type: ignore[method-assign]


def send_the_sr_alone(world: World) -> None:
    """Bug: what accompanies a report is kept and never sent."""
    claim = world.shelf.deliveries.claim

    def forgetful(*args, **values):  # type: ignore[no-untyped-def]
        return [replace(one, objects=one.objects[-1:]) for one in claim(*args, **values)]

    world.shelf.deliveries.claim = forgetful  # type: ignore[method-assign]


def believe_half_an_answer(world: World) -> None:
    """Bug: one promise stands for the whole report, whatever the PACS says of its other objects."""
    answered = world.shelf.deliveries.commitment_answered

    def credulous(transaction_uid, *, committed, failed, actor):  # type: ignore[no-untyped-def]
        asked = [uid for _, uid in world.asked[transaction_uid]] if committed else []
        return answered(transaction_uid, committed=asked, failed=() if committed else failed, actor=actor)

    world.shelf.deliveries.commitment_answered = credulous  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "bug",
    [
        acknowledge_before_the_row,
        settle_without_the_lease,
        random_report_uids,
        never_reap,
        delete_after_sending,
        attempts_are_not_counted,
        send_the_sr_alone,
        believe_half_an_answer,
    ],
)
def test_the_simulation_notices_a_planted_bug(bug: Callable[[World], None], tmp_path: Path) -> None:
    """A simulation that cannot fail proves nothing: each planted bug is caught within forty seeds."""
    for seed in range(40):
        try:
            simulate(seed, tmp_path / str(seed), bug)
        except (AssertionError, ValueError, LookupError, OSError):
            return
    raise AssertionError(f"{bug.__name__} was not noticed")
