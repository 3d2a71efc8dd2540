"""Retention: only what is done, delivered and committed is removed, and never what somebody may still need."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from beside import Beside
from oculard.job import JobEvent
from oculard.store import tables
from oculard.store.instances import Received
from oculard.store.retention import Retention
from oculard.store.vault import VaultUnwritable
from shelf import OP_8_BIT, Shelf

DAY = timedelta(days=1)


@pytest.fixture
def retention(shelf: Shelf) -> Retention:
    """Retention at a site whose peer `pacs` commits to what it takes."""
    return Retention(shelf.database, shelf.vault, shelf.clock, committing=["pacs"])


def do_study(shelf: Shelf, *, peers: tuple[str, ...] = ("pacs",), event: JobEvent = JobEvent.DONE) -> None:
    """A study of two images and one job, from the device to the PACS's commitment."""
    shelf.receive("1.1", b"right")
    shelf.receive("1.2", b"left")
    shelf.settle()
    (job,) = shelf.claim()
    shelf.finish(job, event=event, peers=peers, companions=[shelf.companion("sc", "2.2", b"picture")])
    for peer in peers:
        deliver(shelf, peer)


def deliver(shelf: Shelf, peer: str) -> None:
    """The peer takes what waits for it, and promises to keep it."""
    for delivery in shelf.deliveries.claim("sender", peer, lease_s=60, limit=9):
        shelf.took(delivery)
    commitment = shelf.deliveries.begin_commitment(peer, f"2.25.{len(peer)}", limit=9)
    assert commitment is not None
    uids = [uid for _, uid in commitment.items]
    shelf.deliveries.commitment_answered(commitment.transaction_uid, committed=uids, failed=[], actor=peer)


def remove(shelf: Shelf, retention: Retention, *, days: float = 1) -> tuple[int, int]:
    """Retention's round with so many days for everything: how many images and reports went."""
    before = shelf.clock.now() - days * DAY
    ids = retention.next_studies(0, limit=100)
    images = retention.remove_images(ids, done_before=before)
    return images, retention.remove_reports(ids, done_before=before)


def files(shelf: Shelf) -> list[Path]:
    """Everything that lies in the vault."""
    return sorted(path for path in shelf.vault.folder.rglob("*") if path.is_file())


def change(shelf: Shelf, table: Any, **values: Any) -> None:
    """Set columns of every row, whatever the rules of its life say."""
    with shelf.database.write() as connection:
        connection.execute(update(table).values(**values))


def test_what_is_done_goes_when_its_days_are_over(shelf: Shelf, retention: Retention) -> None:
    """Images, report and picture are deleted a day after the last promise; the rows say when and why."""
    do_study(shelf)
    shelf.clock.pass_(86_399)
    assert remove(shelf, retention) == (0, 0)
    assert len(files(shelf)) == 4

    shelf.clock.pass_(2)
    assert remove(shelf, retention) == (2, 1)
    assert files(shelf) == []
    study = shelf.study()
    assert {image["removed_at"] for image in study["instances"]} == {shelf.clock.now()}
    assert study["reports"][0]["removed_at"] == shelf.clock.now()
    gone = [e for e in study["events"] if e["name"] == "removed"]
    assert [(e["kind"], e["actor"], e["reason"]) for e in gone] == [
        ("instance", "retention", "all-delivered"),
        ("instance", "retention", "all-delivered"),
        ("report", "retention", "all-delivered"),
    ]
    assert remove(shelf, retention) == (0, 0)


def test_images_and_reports_have_their_own_days(shelf: Shelf, retention: Retention) -> None:
    """The small reports may stay when the large images go."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    ids = retention.next_studies(0, limit=100)

    assert retention.remove_images(ids, done_before=shelf.clock.now() - DAY) == 2
    assert retention.remove_reports(ids, done_before=shelf.clock.now() - 100 * DAY) == 0
    assert [path.parts[-3] for path in files(shelf)] == ["reports", "reports"]


def _late_commitment(shelf: Shelf) -> None:
    change(shelf, tables.delivery_object, committed_at=shelf.clock.now())


def _no_deliveries(shelf: Shelf) -> None:
    with shelf.database.write() as connection:
        connection.execute(delete(tables.delivery_object))
        connection.execute(delete(tables.delivery))


def _no_sent_objects(shelf: Shelf) -> None:
    with shelf.database.write() as connection:
        connection.execute(delete(tables.delivery_object))


def _second_job(shelf: Shelf, state: str, at: datetime) -> int:
    with shelf.database.write() as connection:
        query = insert(tables.job).values(
            study_id=1,
            family="faz",
            eye="R",
            estimator="faz@1",
            inputs_digest="0" * 64,
            run_window="now",
            priority=5,
            created_at=at,
            state=state,
            run_after=at,
            changed_at=at,
        )
        return int(connection.execute(query.returning(tables.job.c.id)).scalar_one())


def _second_peer_waits(shelf: Shelf) -> None:
    at = shelf.clock.now() - 5 * DAY
    with shelf.database.write() as connection:
        values = {"report_id": 1, "peer": "other", "created_at": at, "state": "pending"}
        connection.execute(insert(tables.delivery).values(**values, run_after=at, changed_at=at))


def _reopened(shelf: Shelf) -> None:
    change(shelf, tables.study, state="open")


def _differing(shelf: Shelf) -> None:
    for uid in ("1.1", "1.2"):
        shelf.alarms.raise_("differing-duplicate", uid)


HINDRANCES: dict[str, Callable[[Shelf], None]] = {
    "the study is open again": _reopened,
    "it settled a moment ago": lambda shelf: change(shelf, tables.study, settled_at=shelf.clock.now()),
    "something came a moment ago": lambda shelf: change(shelf, tables.study, active_at=shelf.clock.now()),
    "its job failed": lambda shelf: change(shelf, tables.job, state="failed"),
    "its job waits": lambda shelf: change(shelf, tables.job, state="waiting"),
    "its job ended a moment ago": lambda shelf: change(shelf, tables.job, changed_at=shelf.clock.now()),
    "another job is queued": lambda shelf: _second_job(shelf, "queued", shelf.clock.now() - 5 * DAY) and None,
    "another job has no report": lambda shelf: _second_job(shelf, "reported", shelf.clock.now() - 5 * DAY) and None,
    "the report is new": lambda shelf: change(shelf, tables.report, created_at=shelf.clock.now()),
    "nobody was sent the report": _no_deliveries,
    "its delivery is parked": lambda shelf: change(shelf, tables.delivery, state="parked"),
    "its delivery waits for commitment": lambda shelf: change(shelf, tables.delivery, state="sent"),
    "it was delivered a moment ago": lambda shelf: change(shelf, tables.delivery, changed_at=shelf.clock.now()),
    "another peer has not got it": _second_peer_waits,
    "the peer promised nothing": lambda shelf: change(shelf, tables.delivery_object, committed_at=None),
    "the peer promised a moment ago": _late_commitment,
    "what the peer took is not known": _no_sent_objects,
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_each_condition_alone_keeps_everything(shelf: Shelf, retention: Retention, hindrance: str) -> None:
    """Take one of the conditions away, and not a file goes."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    HINDRANCES[hindrance](shelf)
    before = files(shelf)

    assert remove(shelf, retention) == (0, 0)
    assert files(shelf) == before


def test_what_the_peer_left_out_needs_no_promise(shelf: Shelf, retention: Retention) -> None:
    """A companion that the PACS does not take is not waited for: the images go. The report stays: nobody else has all
    of it, until another peer takes what the first left out.
    """
    do_study(shelf, peers=("pacs", "other"))
    with shelf.database.write() as connection:
        sent = tables.delivery_object
        left_out = update(sent).where(sent.c.role == "sc").values(reason="not-accepted", committed_at=None)
        connection.execute(left_out)
    shelf.clock.pass_(10 * 86_400)

    assert remove(shelf, retention) == (2, 0)
    assert sorted(path.read_bytes() for path in files(shelf)) == [b"picture", b"report"]
    with shelf.database.write() as connection:
        connection.execute(update(sent).where(sent.c.role == "sc", sent.c.delivery_id == 2).values(reason=None))
    assert remove(shelf, retention) == (0, 1)


def test_a_peer_that_never_commits_is_not_waited_for(shelf: Shelf) -> None:
    """Where storage commitment is off, delivered is enough."""
    do_study(shelf)
    change(shelf, tables.delivery_object, committed_at=None)
    shelf.clock.pass_(10 * 86_400)

    assert remove(shelf, Retention(shelf.database, shelf.vault, shelf.clock, committing=[])) == (2, 1)


def test_an_image_that_differs_from_its_twin_waits_for_a_person(shelf: Shelf, retention: Retention) -> None:
    """While the alarm stands, nobody has decided which of the two is right."""
    do_study(shelf)
    _differing(shelf)
    shelf.clock.pass_(10 * 86_400)
    assert remove(shelf, retention) == (0, 1)

    shelf.alarms.acknowledge("differing-duplicate", "1.1", actor="person:me")
    assert remove(shelf, retention) == (1, 0)


def test_a_failed_job_keeps_its_study(shelf: Shelf, retention: Retention) -> None:
    """A person may let it run again, and needs its images then."""
    do_study(shelf, event=JobEvent.GIVE_UP)
    shelf.clock.pass_(10 * 86_400)

    assert remove(shelf, retention) == (0, 0)


def test_a_file_that_two_rows_share_goes_with_the_last(shelf: Shelf, retention: Retention) -> None:
    """One file, two rows: it stays while one of them needs it."""
    do_study(shelf)
    shelf.receive("9.1", b"right", study_instance_uid="9")  # the same bytes under another UID
    shelf.clock.pass_(10 * 86_400)

    assert remove(shelf, retention) == (2, 1)
    assert [path.read_bytes() for path in files(shelf)] == [b"right"]


def test_a_kill_between_mark_and_deletion_leaves_a_file_too_many(
    shelf: Shelf, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is marked first: the other order would lose a file that is still needed."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    monkeypatch.setattr(retention, "delete_unused", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        remove(shelf, retention)
    monkeypatch.undo()

    images = shelf.study()["instances"]
    assert all(image["removed_at"] for image in images)
    assert len(files(shelf)) == 4
    assert retention.delete_unused(1, [image["path"] for image in images]) == 2


def test_a_study_that_moves_between_look_and_mark_keeps_everything(
    shelf: Shelf, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conditions are asked again under the study's lock."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    mark = retention._mark

    def late(*arguments: Any) -> Any:
        shelf.receive("1.3", b"late")
        return mark(*arguments)

    monkeypatch.setattr(retention, "_mark", late)
    assert remove(shelf, retention) == (0, 0)
    assert all(image["removed_at"] is None for image in shelf.study()["instances"])


def test_the_same_bytes_are_kept_again_and_live_on(shelf: Shelf, retention: Retention) -> None:
    """What comes back after its removal is a file and a row again, and stays its days once more."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    remove(shelf, retention)
    assert shelf.instances.holds([(OP_8_BIT, "1.1")]) == {(OP_8_BIT, "1.1"): "no-such-instance"}

    assert shelf.receive("1.1", b"right") is Received.SAME
    assert shelf.instances.holds([(OP_8_BIT, "1.1")]) == {(OP_8_BIT, "1.1"): "held"}
    assert [e["name"] for e in shelf.study()["events"] if e["kind"] == "instance"][-1] == "kept-again"
    shelf.settle()
    assert remove(shelf, retention) == (0, 0)
    shelf.clock.pass_(2 * 86_400)
    assert remove(shelf, retention) == (1, 0)


def test_a_marked_row_is_not_known_even_while_its_file_is_there(shelf: Shelf) -> None:
    """Between mark and deletion the bytes may come again: they are kept, and the mark goes."""
    shelf.receive("1.1", b"right")
    change(shelf, tables.instance, removed_at=shelf.clock.now())

    assert shelf.instances.holds([(OP_8_BIT, "1.1")]) == {(OP_8_BIT, "1.1"): "no-such-instance"}
    assert shelf.receive("1.1", b"right") is Received.SAME
    assert shelf.study()["instances"][0]["removed_at"] is None


def test_a_file_deleted_while_it_was_kept_again_is_not_acknowledged(
    shelf: Shelf, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is refused and sends once more: no row lives without its file."""
    shelf.receive("1.1", b"right")
    change(shelf, tables.instance, removed_at=shelf.clock.now())
    keep = shelf.vault.keep

    def keep_and_lose(spooled: Path, sha256: str, handle: int | None = None) -> str:
        kept = keep(spooled, sha256, handle)
        retention.delete_unused(1, [kept])  # the other process gets the lock first
        return kept

    monkeypatch.setattr(shelf.vault, "keep", keep_and_lose)
    with pytest.raises(VaultUnwritable):
        shelf.receive("1.1", b"right")
    monkeypatch.undo()
    assert shelf.study()["instances"][0]["removed_at"] is not None

    shelf.receive("1.1", b"right")
    assert retention.delete_unused(1, [shelf.study()["instances"][0]["path"]]) == 0  # it lives


def test_bytes_that_come_for_another_study_are_not_deleted(
    shelf: Shelf, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file, two studies: retention of the one waits for the custody of the other, which it cannot see yet."""
    shelf.receive("1.1", b"right")
    change(shelf, tables.instance, removed_at=shelf.clock.now())
    path = shelf.study()["instances"][0]["path"]
    beside = Beside(shelf, lambda: retention.delete_unused(1, [path]))
    monkeypatch.setattr(shelf.instances, "_record", beside.then(shelf.instances._record))
    shelf.receive("9.1", b"right", study_instance_uid="9")

    assert beside.end() == 0
    assert shelf.vault.path(path).exists()


def test_one_image_that_comes_back_gives_no_poorer_report(shelf: Shelf, retention: Retention) -> None:
    """The study has been reported on all its images; a part of them is nothing new."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    remove(shelf, retention)
    shelf.receive("1.1", b"right")

    assert shelf.settle() == []


def test_a_late_image_is_planned_without_the_removed(shelf: Shelf, retention: Retention) -> None:
    """Its job has the inputs that are there, and amends the earlier report."""
    do_study(shelf)
    shelf.clock.pass_(10 * 86_400)
    remove(shelf, retention)
    shelf.receive("1.3", b"late")

    assert len(shelf.settle()) == 1
    (job,) = shelf.claim()
    assert [one.sop_instance_uid for one in job.inputs] == ["1.3"]
    assert len(shelf.jobs.history(job)) == 1
