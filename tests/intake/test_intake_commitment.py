"""Storage commitment, both ways, with a device that is a real pynetdicom peer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt

from devices import OPHTHALMIC_8_BIT, Device, Site, photograph
from oculard.intake.answering import ATTEMPTS_MAX
from oculard.intake.commitment import ITEMS_MAX
from oculard.intake.contexts import COMMITMENT, COMMITMENT_INSTANCE
from oculard.job import DeliveryState

OTHER_CLASS = "1.2.840.10008.5.1.4.1.1.7"
CONTEXT = (COMMITMENT, [ImplicitVRLittleEndian])


class Ears:
    """Where a device listens for its answers."""

    def __init__(self, status: int = 0x0000) -> None:
        self.heard: list[tuple[str, int, list[str], list[tuple[str, int]]]] = []
        self.roles: list[Any] = []
        self.status = status

    def on_report(self, event: Any) -> tuple[int, None]:
        ds = event.event_information
        committed = [item.ReferencedSOPInstanceUID for item in ds.get("ReferencedSOPSequence", [])]
        failed = [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in ds.get("FailedSOPSequence", [])]
        self.heard.append((ds.TransactionUID, event.event_type, committed, failed))
        return self.status, None

    @contextmanager
    def listen(self, port: int = 0, *, plays_roles: bool = True) -> Iterator[int]:
        ae = AE("DEVICE")
        roles = {"scu_role": True, "scp_role": True} if plays_roles else {}
        ae.add_supported_context(COMMITMENT, **roles)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self.on_report)]
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@pytest.fixture
def ears() -> Ears:
    return Ears()


def make_with_port(make_site: Callable[..., Site], port: int) -> Site:
    return make_site(senders=[{"name": "device", "ae_title": "DEVICE", "commitment_port": port}])


def request(items: list[tuple[str, str]], transaction: str | None = None) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction or generate_uid()
    ds.ReferencedSOPSequence = []
    for sop_class, sop_instance in items:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        ds.ReferencedSOPSequence.append(item)
    return ds


def ask(site: Site, ds: Dataset, *, action: int = 1, instance: str = COMMITMENT_INSTANCE, ae: str = "DEVICE") -> int:
    """A device asks; gives the status of its N-ACTION."""
    with Device(site, ae_title=ae).association(CONTEXT) as association:
        status, _ = association.send_n_action(ds, action, COMMITMENT, instance)
    return int(status.Status)


def answer_states(site: Site) -> list[tuple[str, str | None]]:
    return [(row["state"], row["reason"]) for row in site.rows("answer")]


def alarms(site: Site) -> list[tuple[str, str]]:
    return [(alarm.name, alarm.subject) for alarm in site.shelf.alarms.standing()]


def make_due(site: Site) -> None:
    """Let the waiting time of every answer be over."""
    with site.database.write() as connection:
        connection.exec_driver_sql("UPDATE answer SET run_after = '2026-01-01 00:00:00.000000'")


@pytest.mark.parametrize("plays_roles", [True, False])
def test_what_we_hold_is_committed_to_on_a_new_association(
    make_site: Callable[..., Site], ears: Ears, plays_roles: bool
) -> None:
    """All held: event type 1; a device that ignores role selection is told as well."""
    with ears.listen(plays_roles=plays_roles) as port:
        site = make_with_port(make_site, port)
        ds = photograph()
        Device(site).send_dataset(ds)
        asked = request([(OPHTHALMIC_8_BIT, ds.SOPInstanceUID)])

        assert ask(site, asked) == 0x0000
        assert ears.heard == []
        assert site.role.step()

    assert ears.heard == [(asked.TransactionUID, 1, [ds.SOPInstanceUID], [])]
    assert answer_states(site) == [(DeliveryState.DELIVERED, None)]
    assert not site.role.step()


def test_what_we_do_not_hold_is_said_so(make_site: Callable[..., Site], ears: Ears) -> None:
    """Unknown instances and instances of another class fail, each with its reason; the others are committed to."""
    with ears.listen() as port:
        site = make_with_port(make_site, port)
        held, other = photograph(), photograph()
        Device(site).send_dataset(held)
        Device(site).send_dataset(other)
        items = [
            (OPHTHALMIC_8_BIT, held.SOPInstanceUID),
            (OTHER_CLASS, other.SOPInstanceUID),
            (OPHTHALMIC_8_BIT, "1.2.3"),
        ]
        ask(site, request(items))
        site.role.step()

    [(_, kind, committed, failed)] = ears.heard
    assert (kind, committed) == (2, [held.SOPInstanceUID])
    assert failed == [(other.SOPInstanceUID, 0x0119), ("1.2.3", 0x0112)]


def test_a_file_that_is_gone_is_not_committed_to(make_site: Callable[..., Site], ears: Ears) -> None:
    """We commit to what is on disk, not to what a row says."""
    with ears.listen() as port:
        site = make_with_port(make_site, port)
        ds = photograph()
        Device(site).send_dataset(ds)
        site.vault.path(site.rows()[0]["path"]).unlink()
        ask(site, request([(OPHTHALMIC_8_BIT, ds.SOPInstanceUID)]))
        site.role.step()

    assert ears.heard[0][3] == [(ds.SOPInstanceUID, 0x0112)]


def test_a_device_that_is_away_is_told_later(make_site: Callable[..., Site], ears: Ears) -> None:
    """The answer survives a closed port, and waits longer each time."""
    with ears.listen() as port:
        pass
    site = make_with_port(make_site, port)
    ask(site, request([(OPHTHALMIC_8_BIT, "1.2.3")]))

    assert site.role.step()
    assert answer_states(site) == [(DeliveryState.PENDING, "device-away")]
    assert not site.role.step(), "the next attempt waits"
    with ears.listen(port):
        make_due(site)
        assert site.role.step()

    assert len(ears.heard) == 1
    assert answer_states(site) == [(DeliveryState.DELIVERED, None)]


def test_a_device_that_stays_away_is_a_matter_for_a_person(make_site: Callable[..., Site], ears: Ears) -> None:
    """After days of trying the answer is parked with its reason."""
    with ears.listen() as port:
        pass
    site = make_with_port(make_site, port)
    ask(site, request([(OPHTHALMIC_8_BIT, "1.2.3")]))
    with site.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE answer SET attempts = {ATTEMPTS_MAX - 1}")

    site.role.step()
    assert answer_states(site) == [(DeliveryState.PARKED, "device-away")]


def test_a_device_that_answers_failure_is_told_again(make_site: Callable[..., Site]) -> None:
    """A report that the device could not process is not given."""
    ears = Ears(status=0x0110)
    with ears.listen() as port:
        site = make_with_port(make_site, port)
        ask(site, request([(OPHTHALMIC_8_BIT, "1.2.3")]))
        site.role.step()

    assert answer_states(site) == [(DeliveryState.PENDING, "device-answered-failure")]


def test_a_device_without_commitment_is_tried_again(make_site: Callable[..., Site]) -> None:
    """A port behind which nobody speaks storage commitment is no end: somebody may repair it."""
    ae = AE("DEVICE")
    ae.add_supported_context(OTHER_CLASS)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        site = make_with_port(make_site, server.server_address[1])
        ask(site, request([(OPHTHALMIC_8_BIT, "1.2.3")]))
        site.role.step()
    finally:
        server.shutdown()

    [(state, reason)] = answer_states(site)
    assert (state, str(reason).startswith("device-")) == (DeliveryState.PENDING, True)


def test_without_a_port_the_answer_is_parked(site: Site) -> None:
    """Nobody has said where the device listens: a person must."""
    assert ask(site, request([(OPHTHALMIC_8_BIT, "1.2.3")])) == 0x0000

    assert site.role.step()
    assert answer_states(site) == [(DeliveryState.PARKED, "no-commitment-port")]
    assert alarms(site) == [("commitment-unanswered", "DEVICE")]


def test_a_device_that_a_person_let_in_is_answered_where_the_person_said(site: Site, ears: Ears) -> None:
    """The alarm of the parked answer stands until its device has been given one."""
    ds = photograph()
    site.callers.refused(
        calling_ae="GUEST", called_ae="OCULARD", address="127.0.0.1", reason="calling-ae-unknown", proposed=[]
    )
    [caller] = site.callers.list()
    site.callers.allow(caller.id, actor="person:test")
    Device(site, ae_title="GUEST").send_dataset(ds)
    ask(site, request([(OPHTHALMIC_8_BIT, ds.SOPInstanceUID)]), ae="GUEST")
    site.role.step()
    assert answer_states(site) == [(DeliveryState.PARKED, "no-commitment-port")]
    assert alarms(site) == [("commitment-unanswered", "GUEST")]

    with ears.listen() as port:
        site.callers.allow(caller.id, actor="person:test", commitment_port=port)
        site.shelf.answers.resend(actor="person:test")
        assert alarms(site) == [("commitment-unanswered", "GUEST")]
        assert site.role.step()

    assert [committed for _, _, committed, _ in ears.heard] == [[ds.SOPInstanceUID]]
    assert answer_states(site) == [(DeliveryState.DELIVERED, None)]
    assert alarms(site) == []


def test_the_same_request_twice_is_one_answer(site: Site) -> None:
    """A device that lost our response asks again."""
    asked = request([(OPHTHALMIC_8_BIT, "1.2.3")])

    assert [ask(site, asked), ask(site, asked)] == [0x0000, 0x0000]
    assert len(answer_states(site)) == 1


@pytest.mark.parametrize(
    ("ds", "more", "status"),
    [
        (request([]), {}, 0x0114),
        (request([(OPHTHALMIC_8_BIT, "../x")]), {}, 0x0115),
        (request([(OPHTHALMIC_8_BIT, "1.2.3")], "no uid"), {}, 0x0115),
        (request([(OPHTHALMIC_8_BIT, "1.2.3")]), {"action": 2}, 0x0123),
        (request([(OPHTHALMIC_8_BIT, "1.2.3")]), {"instance": "1.2.3"}, 0x0112),
        (request([(OPHTHALMIC_8_BIT, f"1.2.{n}") for n in range(ITEMS_MAX + 1)]), {}, 0x0213),
        (request([(OPHTHALMIC_8_BIT, "1.2.3")]), {"ae": "PACS"}, 0x0124),
    ],
    ids=["nothing", "no item uid", "no transaction uid", "unknown action", "unknown instance", "too many", "a peer"],
)
def test_what_makes_no_sense_is_refused(
    make_site: Callable[..., Site], ds: Dataset, more: dict[str, Any], status: int
) -> None:
    """A request that nobody could answer is refused at once, and nothing is owed."""
    site = make_site(peers=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}])

    assert ask(site, ds, **more) == status
    assert answer_states(site) == []


class Heard:
    """The deliveries, as far as commitment reaches them."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def commitment_answered(self, transaction_uid: str, **more: Any) -> int:
        self.answers.append((transaction_uid, list(more["committed"]), list(more["failed"]), more["actor"]))
        return 1


def report(association: Any, committed: list[str], failed: list[tuple[str, int]], kind: int) -> int:
    ds = request([(OPHTHALMIC_8_BIT, uid) for uid in committed], "1.2.3.4")
    ds.FailedSOPSequence = []
    for uid, reason in failed:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, item.FailureReason = OPHTHALMIC_8_BIT, uid, reason
        ds.FailedSOPSequence.append(item)
    status, _ = association.send_n_event_report(ds, kind, COMMITMENT, COMMITMENT_INSTANCE)
    return int(status.Status)


@pytest.mark.parametrize("ext_neg", [[build_role(COMMITMENT, scp_role=True)], []], ids=["roles", "no roles"])
def test_the_pacs_answers_what_we_asked(make_site: Callable[..., Site], ext_neg: list[Any]) -> None:
    """Its answer reaches the deliveries: what it commits to, and what it does not, with the reason."""
    site, heard = make_site(peers=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}]), Heard()
    site.server._services.commitment._deliveries = heard
    with Device(site, ae_title="PACS").association(CONTEXT, ext_neg=ext_neg) as association:
        assert association.accepted_contexts[0].as_scp is bool(ext_neg)
        status = report(association, ["1.2.1", "1.2.2"], [("1.2.9", 0x0112)], 2)

    assert status == 0x0000
    assert heard.answers == [("1.2.3.4", ["1.2.1", "1.2.2"], [("1.2.9", 0x0112)], "pacs")]


def test_a_device_may_not_answer_for_the_pacs(site: Site) -> None:
    """Only a peer commits to what we sent."""
    heard = Heard()
    site.server._services.commitment._deliveries = heard
    with Device(site).association(CONTEXT) as association:
        assert report(association, ["1.2.1"], [], 1) == 0x0124
    assert heard.answers == []


def test_requests_of_many_devices_are_all_answered(make_site: Callable[..., Site], ears: Ears) -> None:
    """Each step gives one answer; none is lost and none is given twice."""
    with ears.listen() as port:
        site = make_with_port(make_site, port)
        asked = [request([(OPHTHALMIC_8_BIT, "1.2.3")]) for _ in range(5)]
        askers = [threading.Thread(target=ask, args=(site, ds)) for ds in asked]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        while site.role.step():
            pass

    assert sorted(uid for uid, *_ in ears.heard) == sorted(ds.TransactionUID for ds in asked)


def test_a_store_request_on_a_commitment_context_is_refused(site: Site) -> None:
    """Each context serves what it was negotiated for."""
    from devices import encode, store

    with Device(site).association((COMMITMENT, [ExplicitVRLittleEndian])) as association:
        status = store(association, encode(photograph()), sop_instance="1.2.3")
    assert status.Status == 0x0122
