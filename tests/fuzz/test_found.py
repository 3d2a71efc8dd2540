"""What hostile bytes have found, and what came of it: one test each."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom.dataset import Dataset, RawDataElement
from pydicom.tag import Tag
from pynetdicom.fsm import InvalidEventError

from fuzz.conversations import conversations
from fuzz.running import Target, run
from network import pdus
from oculard.intake.wire import CLOSING, TRANSFER, Wire
from oculard_models.dicom_header import header_numbers


def test_items_that_lie_about_their_length_are_answered_with_an_abort(tmp_path: Path) -> None:
    """pynetdicom asserts that they do not: it was our log's "unexpected", and the connection stayed for a while."""
    lying = pdus.item(0x50, pdus.item(0x51, struct.pack(">L", 16384), length=120))
    variable = pdus.item(0x10, pdus.APPLICATION_CONTEXT) + pdus.proposed(pdus.CONTEXTS) + lying
    with conversations(tmp_path) as ready:
        assert ready.feed(pdus.negotiation(pdus.RQ, variable)) == "heard 07"


def test_an_abort_from_nobody_breaks_only_itself(tmp_path: Path) -> None:
    """A source beyond those of PS3.8 9.3.8 raised in pynetdicom's state machine: it was our log's "unexpected"."""
    request = pdus.associate_rq()
    abort = bytes((7, 0)) + struct.pack(">L", 4) + bytes((0, 0, 49, 0))
    with conversations(tmp_path) as ready:
        assert ready.feed(request + abort).startswith("heard 02")


@pytest.mark.parametrize(("state", "is_late"), [(CLOSING, True), (TRANSFER, False)])
def test_what_comes_too_late_to_be_said_is_not_said(state: str, is_late: bool) -> None:
    """A device half-closes while its answer is on its way: no bug of ours, as it is in any other state."""

    def refuse(event: str) -> None:
        raise InvalidEventError(event)

    wire = SimpleNamespace(state_machine=SimpleNamespace(current_state=state, do_action=refuse))
    if is_late:
        Wire._act(wire, "Evt9")  # type: ignore[arg-type]  # as much of one as this needs
        return
    with pytest.raises(InvalidEventError):
        Wire._act(wire, "Evt9")  # type: ignore[arg-type]


def test_a_number_of_broken_length_is_no_number() -> None:
    """pydicom's error for it is of no usual kind, and ended the worker."""
    ds = Dataset()
    tag = Tag(0x00280010)
    ds[tag] = RawDataElement(tag, "US", 3, b"\1\2\3", 0, False, True, True)

    assert header_numbers(ds, "Rows") is None


def test_a_crash_is_kept_with_its_bytes(tmp_path: Path) -> None:
    """A target that raises is a finding: it is counted, and what did it lies in the folder."""
    from contextlib import nullcontext

    from fuzz.running import Ready

    def feed(data: bytes) -> str:
        raise KeyError("a bug")

    target = Target(
        name="bad", reads="nothing", prepared=lambda _: nullcontext(Ready(seeds=(b"12345",), feed=feed)), short=1
    )
    result = run(target, tmp_path, seed=1, numbers=iter(range(2)))

    assert (result.inputs, len(result.crashes), result.outcomes["crash KeyError"]) == (2, 2, 2)
    assert len(list((tmp_path / "bad").glob("crash-*"))) == 2
