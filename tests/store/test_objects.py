"""The contract of reports that consist of several objects, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from oculard.store import database as module
from oculard.store.database import Database, DatabaseDown
from oculard.store.deliveries import Deliveries, Delivery
from oculard.store.jobs import NewReport
from oculard.store.objects import SentObject
from oculard.store.queue import LeaseLost
from shelf import Shelf

ROLES = ("seg", "sc", "pdf")
UIDS = ("2.25.1", "2.25.2", "2.25.3")


def owe(shelf: Shelf) -> NewReport:
    """A report with three companions, owed to one peer."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim()
    return shelf.finish(
        job, companions=[shelf.companion(role, uid, role.encode()) for role, uid in zip(ROLES, UIDS, strict=True)]
    )


def claim(shelf: Shelf) -> Delivery:
    """The delivery, in a sender's hands."""
    (delivery,) = shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=5)
    return delivery


def ask(shelf: Shelf) -> Sequence[str]:
    """The peer took everything and is asked to keep it, in transaction 2.25.9."""
    shelf.took(claim(shelf))
    asked = shelf.deliveries.begin_commitment("pacs", "2.25.9", limit=5)
    assert asked is not None
    return [uid for _, uid in asked.items]


def answer(shelf: Shelf, committed: Sequence[str] = (), failed: Sequence[str] = ()) -> int:
    """The peer answers what it was asked."""
    return shelf.deliveries.commitment_answered(
        "2.25.9", committed=committed, failed=[(uid, 0x0112) for uid in failed], actor="pacs"
    )


def test_a_delivery_has_all_objects_of_its_report(shelf: Shelf) -> None:
    """Companions in the order that the worker gave them, the SR last; each with its file."""
    report = owe(shelf)

    delivery = claim(shelf)

    assert [(one.role, one.sop_instance_uid) for one in delivery.objects] == [
        *zip(ROLES, UIDS, strict=True),
        ("sr", report.sop_instance_uid),
    ]
    assert [shelf.vault.path(one.path).read_bytes() for one in delivery.objects] == [b"seg", b"sc", b"pdf", b"report"]
    assert delivery.sop_instance_uid == report.sop_instance_uid


def test_a_report_is_kept_whole_or_not_at_all(shelf: Shelf) -> None:
    """A companion that cannot be kept takes back the report, its delivery and the job's end."""
    owe(shelf)
    shelf.receive("1.2", b"more")
    shelf.settle()
    (job,) = shelf.claim()

    with pytest.raises(IntegrityError):
        shelf.finish(job, data=b"new", companions=[shelf.companion("sc", "2.25.8", b"8"), *_known(shelf)])

    assert shelf.jobs.queue.counts() == {"reported": 1, "running": 1}
    assert len(shelf.study()["reports"]) == len(shelf.study()["deliveries"]) == 1
    assert len(shelf.study()["objects"]) == 4


@pytest.mark.parametrize("uid", UIDS)
def test_a_study_is_found_by_each_of_its_objects(shelf: Shelf, uid: str) -> None:
    """Whoever sees a segmentation in the PACS finds out where it comes from."""
    owe(shelf)

    assert shelf.trace.find(uid) == shelf.trace.find("A1")


def test_a_study_tells_of_every_object_and_its_fate(shelf: Shelf) -> None:
    """Which objects there are, which the peer took and under which UID, which were left out, which it keeps."""
    report = owe(shelf)
    assert shelf.study()["sent"] == []
    delivery = claim(shelf)
    fallback = SentObject(role="sr", sop_class_uid="1.9", sop_instance_uid="2.25.77")
    shelf.deliveries.took(delivery, [*_sent(delivery, missing="seg")[:-1], fallback], awaits_commitment=True)
    shelf.deliveries.begin_commitment("pacs", "2.25.9", limit=5)
    answer(shelf, committed=[UIDS[2]])

    study = shelf.study()
    assert [(one["report_id"], one["role"], one["sop_instance_uid"]) for one in study["objects"]] == [
        *((1, role, uid) for role, uid in zip(ROLES, UIDS, strict=True)),
        (1, "sr", report.sop_instance_uid),
    ]
    now = shelf.clock.now()
    assert [(one["role"], one["sop_instance_uid"], one["reason"], one["committed_at"]) for one in study["sent"]] == [
        ("seg", UIDS[0], "companion-not-accepted", None),
        ("sc", UIDS[1], None, None),
        ("pdf", UIDS[2], None, now),
        ("sr", "2.25.77", None, None),
    ]
    assert shelf.trace.find("2.25.77") == [study["id"]]


def test_the_question_names_everything_that_the_peer_took(shelf: Shelf) -> None:
    """A peer is asked to keep each object under the UID that it took, and nothing that it never got."""
    report = owe(shelf)
    delivery = claim(shelf)
    shelf.deliveries.took(delivery, _sent(delivery, missing="sc"), awaits_commitment=True)

    asked = shelf.deliveries.begin_commitment("pacs", "2.25.9", limit=1)

    assert asked is not None
    assert [uid for _, uid in asked.items] == [UIDS[0], UIDS[2], report.sop_instance_uid]


def test_every_promise_is_needed(shelf: Shelf) -> None:
    """A report is delivered by the last promise, in whichever order and however often they come."""
    owe(shelf)
    uids = ask(shelf)

    first = shelf.clock.now()
    assert answer(shelf, committed=uids[1:]) == 0
    shelf.clock.sleep(1)
    assert answer(shelf, committed=uids[1:]) == 0
    assert shelf.deliveries.queue.counts() == {"sent": 1}
    assert answer(shelf, committed=[uids[0], "1.2.3"]) == 1
    assert answer(shelf, committed=uids) == 0

    assert shelf.deliveries.queue.counts() == {"delivered": 1}
    assert [one["committed_at"] for one in shelf.study()["sent"]] == [shelf.clock.now(), first, first, first]


@pytest.mark.parametrize("denied", range(4))
def test_one_denial_sends_everything_again(shelf: Shelf, denied: int) -> None:
    """Whichever object the peer does not keep: the whole report goes again, and old promises count for nothing."""
    owe(shelf)
    uids = ask(shelf)

    assert answer(shelf, committed=[uid for uid in uids if uid != uids[denied]], failed=[uids[denied]]) == 1
    assert shelf.deliveries.queue.counts() == {"pending": 1}
    shelf.clock.sleep(2)
    uids = ask(shelf)
    assert len(uids) == 4
    assert answer(shelf, committed=[uids[denied]]) == 0
    assert answer(shelf, committed=uids) == 1


def test_a_denial_after_the_last_promise_changes_nothing(shelf: Shelf) -> None:
    """What is delivered stays delivered, and its promises stay written."""
    owe(shelf)
    uids = ask(shelf)
    answer(shelf, committed=uids)

    assert answer(shelf, failed=uids) == 0

    assert shelf.deliveries.queue.counts() == {"delivered": 1}
    assert all(one["committed_at"] for one in shelf.study()["sent"])


def test_two_answers_at_once_wait_for_each_other(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of an answer on two associations: neither may overlook the other's promises, or none would deliver."""
    owe(shelf)
    uids = ask(shelf)
    rival = Deliveries(_impatient(shelf.database, monkeypatch), shelf.clock)

    def meanwhile(*_: Any) -> None:
        with pytest.raises(DatabaseDown):  # it must wait, and its database gives up soon
            rival.commitment_answered("2.25.9", committed=uids[2:], failed=(), actor="pacs")
        waited.append(True)

    waited: list[bool] = []
    monkeypatch.setattr(shelf.deliveries, "_calm", meanwhile)  # inside the transaction, when its promises are counted
    assert answer(shelf, committed=uids[:2]) == 0
    assert waited == [True]

    assert rival.commitment_answered("2.25.9", committed=uids[2:], failed=(), actor="pacs") == 1


def test_a_lost_lease_writes_nothing(shelf: Shelf) -> None:
    """A sender whose delivery went to another one leaves no word of what it sent."""
    owe(shelf)
    delivery = claim(shelf)
    shelf.clock.sleep(61)
    shelf.deliveries.queue.reap()

    with pytest.raises(LeaseLost):
        shelf.took(delivery)

    assert shelf.study()["sent"] == []


def test_a_report_without_its_sr_is_never_delivered(shelf: Shelf) -> None:
    """A sender that forgot the SR is a bug, not a delivery."""
    owe(shelf)
    delivery = claim(shelf)

    for sent in ([], _sent(delivery)[:-1], _sent(delivery, missing="sr")):
        with pytest.raises(AssertionError):
            shelf.deliveries.took(delivery, sent, awaits_commitment=False)

    assert shelf.deliveries.queue.counts() == {"sending": 1}


def test_another_peer_begins_anew(shelf: Shelf) -> None:
    """What the old peer took and promised says nothing about the new one."""
    owe(shelf)
    uids = ask(shelf)
    answer(shelf, committed=uids[:1])
    shelf.deliveries.orphans(["new"], actor="upkeep")

    assert shelf.deliveries.resend(peer="pacs", to="new", actor="person") == 1

    assert shelf.study()["sent"] == []
    (delivery,) = shelf.deliveries.claim("sender", "new", lease_s=60, limit=5)
    assert len(delivery.objects) == 4


def _sent(delivery: Delivery, *, missing: str = "") -> list[SentObject]:
    return [
        SentObject(
            role=one.role,
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            reason="companion-not-accepted" if one.role == missing else None,
        )
        for one in delivery.objects
    ]


def _known(shelf: Shelf) -> Sequence[Any]:
    """A companion under a UID that another report's has already."""
    return [shelf.companion("seg", UIDS[0], b"other")]


def _impatient(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The same database, for somebody who does not wait for locks."""
    if database.is_sqlite:
        monkeypatch.setattr(module, "BUSY_S", 0)
    else:
        with database.write() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {database.url.database} SET lock_timeout = '50ms'")
    return Database(database.url.render_as_string(hide_password=False))
