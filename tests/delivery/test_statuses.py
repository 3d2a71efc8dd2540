"""What answers mean, as the table says."""

from __future__ import annotations

import re

import pytest

from oculard.delivery.statuses import (
    REJECTED,
    STORE,
    TROUBLES,
    Kind,
    PacsBusy,
    PacsRefused,
    PacsUnreachable,
    Trouble,
    of_rejection,
    of_store,
    of_trouble,
    refused,
    rejected,
    troubled,
)

SLUG = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, Kind.TAKEN),
        (0x0001, Kind.TAKEN_WITH_WARNING),
        (0x0111, Kind.TAKEN_WITH_WARNING),
        (0xB000, Kind.TAKEN_WITH_WARNING),
        (0xB0FF, Kind.TAKEN_WITH_WARNING),
        (0x0110, Kind.TRANSIENT),
        (0xA700, Kind.TRANSIENT),
        (0xA7FF, Kind.TRANSIENT),
        (0x0213, Kind.TRANSIENT),
        (0xFE00, Kind.TRANSIENT),
        (0x0122, Kind.PERMANENT),
        (0x0124, Kind.PERMANENT),
        (0x0117, Kind.PERMANENT),
        (0xA800, Kind.PERMANENT),
        (0xA900, Kind.PERMANENT),
        (0xC000, Kind.PERMANENT),
        (0xCFFF, Kind.PERMANENT),
    ],
)
def test_a_store_status_has_a_kind(status: int, kind: Kind):
    """Each status leads to one of four things."""
    assert of_store(status).kind is kind


@pytest.mark.parametrize("status", [0x0002, 0x1234, 0xA600, 0xD000, 0xFFFF])
def test_an_unknown_status_is_tried_again(status: int):
    """What nobody knows is neither lost nor parked."""
    assert of_store(status).kind is Kind.TRANSIENT
    assert of_store(status).reason == "pacs-unknown-status"


def test_every_refusal_says_what_to_change():
    """No row that keeps a report back is without a hint, and every reason is a slug that fits its column."""
    rows = [(kind, reason, hint) for *_, kind, reason, hint in STORE] + list(REJECTED.values())
    rows += [(of_trouble(trouble).kind, trouble, of_trouble(trouble).hint) for trouble in Trouble]

    for kind, reason, hint in rows:
        assert SLUG.match(reason)
        assert len(reason) <= 64
        assert hint or reason in ("stored", "stored-before")
        assert isinstance(kind, Kind)


def test_every_trouble_is_in_the_table():
    """Nothing that may happen to an association is without a row."""
    assert set(TROUBLES) == set(Trouble)


@pytest.mark.parametrize(
    ("rejection", "kind", "reason"),
    [
        ((1, 1, 3), Kind.PERMANENT, "pacs-calling-ae-unknown"),
        ((1, 1, 7), Kind.PERMANENT, "pacs-called-ae-unknown"),
        ((1, 1, 9), Kind.PERMANENT, "pacs-rejected"),
        ((2, 1, 1), Kind.TRANSIENT, "pacs-busy"),
        ((2, 3, 2), Kind.TRANSIENT, "pacs-association-limit"),
        ((1, 3, 1), Kind.TRANSIENT, "pacs-congested"),
    ],
)
def test_a_rejection_has_a_kind(rejection: tuple[int, int, int], kind: Kind, reason: str):
    """A rejection is permanent or transient as the PACS says; congestion always passes."""
    verdict = of_rejection(*rejection)

    assert (verdict.kind, verdict.reason) == (kind, reason)


def test_errors_carry_reason_and_hint():
    """An error's class says whether to try again; its reason and hint are the table's."""
    assert isinstance(refused("pacs", 0xA700), PacsBusy)
    assert isinstance(refused("pacs", 0xC000), PacsRefused)
    assert isinstance(rejected("pacs", 1, 1, 3), PacsRefused)
    assert isinstance(rejected("pacs", 2, 3, 1), PacsBusy)
    why = troubled("pacs", Trouble.CONNECTION_REFUSED)
    assert isinstance(why, PacsUnreachable)
    assert (why.reason, why.hint) == ("pacs-connection-refused", of_trouble(Trouble.CONNECTION_REFUSED).hint)
    assert "0xA700" in str(refused("pacs", 0xA700))
