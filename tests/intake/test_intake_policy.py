"""The policy: nobody may unless somebody said so, and who was refused can be let in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from devices import OPHTHALMIC_8_BIT, Device, Site, encode, photograph, store
from fakes import FakeClock
from oculard.intake import policy as policy_module
from oculard.intake.association import plain_address
from oculard.intake.contexts import COMMITMENT, VERIFICATION
from oculard.intake.policy import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    CONGESTED,
    KEPT_A_SECOND_MAX,
    Admitted,
    Call,
    Policy,
    Refused,
    decide,
    is_inside,
)
from oculard.settings import Settings
from oculard.store.database import Database, DatabaseDown

SETTINGS = Settings(
    senders=[
        {"name": "maestro", "ae_title": "MAESTRO", "addresses": ["10.1.2.0/24"]},
        {"name": "maestro-2", "ae_title": "MAESTRO", "addresses": ["10.1.3.7"]},
        {"name": "anywhere", "ae_title": "ANYWHERE"},
    ],
    peers=[{"name": "pacs", "ae_title": "PACS", "host": "10.1.1.1", "port": 104, "addresses": ["10.1.1.1"]}],
)


def call(calling_ae: str, address: str, called_ae: str = "OCULARD") -> Call:
    return Call(called_ae=called_ae, calling_ae=calling_ae, address=address)


@pytest.mark.parametrize(
    ("who", "verdict"),
    [
        (call("MAESTRO", "10.1.2.9"), Admitted(sender="maestro")),
        (call("MAESTRO", "10.1.3.7"), Admitted(sender="maestro-2")),
        (call("ANYWHERE", "192.0.2.1"), Admitted(sender="anywhere")),
        (call("ANYWHERE", "2001:db8::1"), Admitted(sender="anywhere")),
        (call("PACS", "10.1.1.1"), Admitted(peer="pacs")),
        (call("GUEST", "10.9.9.9"), Admitted(sender="allowed-7")),
        (call("MAESTRO", "10.1.4.1"), Refused(reason="address-unknown", rejection=CALLING_UNKNOWN)),
        (call("PACS", "10.1.1.2"), Refused(reason="address-unknown", rejection=CALLING_UNKNOWN)),
        (call("maestro", "10.1.2.9"), Refused(reason="calling-ae-unknown", rejection=CALLING_UNKNOWN)),
        (call("", "10.1.2.9"), Refused(reason="calling-ae-unknown", rejection=CALLING_UNKNOWN)),
        (call("MAESTRO", "10.1.2.9", "ANY-SCP"), Refused(reason="called-ae-unknown", rejection=CALLED_UNKNOWN)),
        (call("GUEST", "10.9.9.9", "oculard"), Refused(reason="called-ae-unknown", rejection=CALLED_UNKNOWN)),
    ],
)
def test_who_may_come_in(who: Call, verdict: Admitted | Refused) -> None:
    """Called title, calling title and address decide; a person's word comes last."""
    assert decide(who, SETTINGS, lambda other: 7 if other.calling_ae == "GUEST" else None) == verdict


def test_a_peer_that_was_let_in_may_also_send() -> None:
    """What a person allows adds to what the settings allow."""
    verdict = decide(call("PACS", "10.1.1.1"), SETTINGS, lambda _: 3)

    assert verdict == Admitted(sender="allowed-3", peer="pacs")


def test_addresses_are_compared_as_settings_write_them() -> None:
    """IPv4 that came through an IPv6 socket is IPv4."""
    assert plain_address("::ffff:10.1.2.3") == "10.1.2.3"
    assert is_inside("10.1.2.3", ["2001:db8::/32", "10.0.0.0/8"])
    assert not is_inside("2001:db9::1", ["2001:db8::/32", "10.0.0.0/8"])


def test_a_refused_caller_is_kept_and_can_be_let_in(site: Site) -> None:
    """The administrator sees who called and with what, and one command lets it in."""
    stranger = Device(site, ae_title="NEW-CAMERA")
    context = (OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])
    with stranger.association(context) as association:
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == CALLING_UNKNOWN
    site.wait_until(lambda: len(site.callers.list()) == 1)

    [caller] = site.callers.list()
    assert (caller.calling_ae, caller.address, caller.reason) == ("NEW-CAMERA", "127.0.0.1", "calling-ae-unknown")
    assert caller.proposed == [
        {"sop_class_uid": OPHTHALMIC_8_BIT, "transfer_syntax_uids": [str(ExplicitVRLittleEndian)]}
    ]
    site.callers.allow(caller.id, actor="person:test")
    assert stranger.send_dataset(photograph()).Status == 0x0000
    site.callers.remove(caller.id, actor="person:test")
    with stranger.association(context) as association:
        assert association.is_rejected, "taken back, it is refused from the next association on"
    assert [row["sender"] for row in site.rows()] == [f"allowed-{caller.id}"]


def test_a_wrong_called_title_is_told_so(site: Site) -> None:
    """A device with our title misspelt reads the right diagnostic."""
    with Device(site, called="OCCULARD").association((VERIFICATION, [ExplicitVRLittleEndian])) as association:
        answer = association.acceptor.primitive

    assert (answer.result, answer.result_source, answer.diagnostic) == CALLED_UNKNOWN


def test_an_address_outside_is_refused(make_site: Callable[..., Site]) -> None:
    """The right title from the wrong place is refused."""
    site = make_site(senders=[{"name": "device", "ae_title": "DEVICE", "addresses": ["192.0.2.0/24"]}])

    with Device(site).association((VERIFICATION, [ExplicitVRLittleEndian])) as association:
        assert association.is_rejected
    site.wait_until(lambda: [caller.reason for caller in site.callers.list()] == ["address-unknown"])


def test_a_peer_gets_commitment_and_echo_only(make_site: Callable[..., Site]) -> None:
    """The PACS may answer us; it may not store unless it is a sender too."""
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    site = make_site(peers=[peer])
    asked = [(uid, [ExplicitVRLittleEndian]) for uid in (OPHTHALMIC_8_BIT, VERIFICATION, COMMITMENT)]

    with Device(site, ae_title="PACS").association(*asked) as association:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        status = store(association, encode(photograph()), sop_instance="1.2.3")

    assert accepted == {VERIFICATION, COMMITMENT}
    assert status.Status == 0x0124


def test_a_dead_database_refuses_strangers_for_now(site: Site) -> None:
    """Nobody is let in because nobody could be asked; those of the settings still are."""

    def down(_: Database) -> Any:
        raise DatabaseDown("gone")

    context = (VERIFICATION, [ExplicitVRLittleEndian])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "read", down)
        patch.setattr(Database, "write", down)
        with Device(site, ae_title="STRANGER").association(context) as stranger:
            answer = stranger.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == CONGESTED
        with Device(site).association(context) as known:
            assert known.is_established


class Written:
    """The refusals that reached the database."""

    def __init__(self) -> None:
        self.count, self.called = 0, list[str]()

    def refused(self, **row: Any) -> None:
        self.count += 1
        self.called.append(row["called_ae"])


def test_a_flood_of_refusals_hardly_touches_the_database() -> None:
    """One caller is written once a second, and all together so many times a second."""
    written, clock = Written(), FakeClock()
    policy = Policy(SETTINGS, written, clock)  # type: ignore[arg-type]  # all that `keep` asks of it
    refused = Refused(reason="calling-ae-unknown", rejection=CALLING_UNKNOWN)

    for _ in range(1000):
        policy.keep(call("SAME", "192.0.2.1"), refused, [])
    assert written.count == 1

    clock.pass_(1.0)
    for number in range(1000):
        policy.keep(call(f"OTHER-{number}", "192.0.2.1"), refused, [])
    assert written.count == 1 + KEPT_A_SECOND_MAX

    clock.pass_(1.0)
    policy.keep(call("SAME", "192.0.2.1"), refused, [])
    assert written.count == 2 + KEPT_A_SECOND_MAX


def test_another_called_title_is_another_refusal() -> None:
    """Somebody who tries two of our titles within a second is written down for both."""
    written, clock = Written(), FakeClock()
    policy = Policy(SETTINGS, written, clock)  # type: ignore[arg-type]  # all that `keep` asks of it

    policy.keep(call("CAM", "192.0.2.1", "TYPO"), Refused(reason="called-ae-unknown", rejection=CALLED_UNKNOWN), [])
    policy.keep(call("CAM", "192.0.2.1"), Refused(reason="calling-ae-unknown", rejection=CALLING_UNKNOWN), [])

    assert written.called == ["TYPO", "OCULARD"]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("called-ae-unknown", "set the device's called AE title to OCULARD (ours)"),
        ("calling-ae-unknown", "`oculard allow`"),
        ("address-unknown", "`oculard allow`"),
    ],
)
def test_a_refusal_is_logged_with_what_helps(monkeypatch: pytest.MonkeyPatch, reason: str, words: str) -> None:
    """Nobody is told to allow a device that calls somebody else."""
    hints: list[str] = []

    class Log:
        def warning(self, _: str, *, hint: str, **__: Any) -> None:
            hints.append(hint)

    monkeypatch.setattr(policy_module, "logger", Log())
    policy = Policy(SETTINGS, Written(), FakeClock())  # type: ignore[arg-type]  # all that `keep` asks of it
    policy.keep(call("CAM", "192.0.2.1"), Refused(reason=reason, rejection=CALLED_UNKNOWN), [])

    assert [hint.startswith(words) for hint in hints] == [True]
