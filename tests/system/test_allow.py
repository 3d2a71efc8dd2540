"""`oculard allow` and the doctor's word on refused callers: exactly one is let in, and only where it helps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from daemons import Daemon


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """Four refusals: one AE title from two addresses, a device of its own, and one that calls somebody else."""
    daemon = make_daemon()
    for calling_ae, address, called_ae, reason in (
        ("CAM", "192.0.2.1", "OCULARD", "calling-ae-unknown"),  # 1
        ("CAM", "192.0.2.2", "OCULARD", "calling-ae-unknown"),  # 2
        ("OCT", "192.0.2.3", "OCULARD", "calling-ae-unknown"),  # 3
        ("LOST", "192.0.2.4", "OTHER", "called-ae-unknown"),  # 4
    ):
        daemon.app.callers.refused(
            calling_ae=calling_ae, called_ae=called_ae, address=address, reason=reason, proposed=[]
        )
    return daemon


def allowed(daemon: Daemon) -> list[int]:
    return sorted(caller.id for caller in daemon.app.callers.list(state="allowed"))


@pytest.mark.parametrize(("who", "number"), [("1", 1), ("OCT", 3), ("192.0.2.2", 2)])
def test_number_or_a_name_of_one_lets_that_one_in(daemon: Daemon, who: str, number: int) -> None:
    """A number always means its row; an AE title or an address must mean one."""
    assert daemon.run("allow", who).returncode == 0
    assert allowed(daemon) == [number]


def test_a_name_of_several_lets_nobody_in(daemon: Daemon) -> None:
    """One AE title from two addresses may be two devices: the candidates are listed with their numbers."""
    done = daemon.run("allow", "CAM")

    assert (done.returncode, allowed(daemon)) == (1, [])
    assert "1 ('CAM' from 192.0.2.1)" in done.stderr
    assert "2 ('CAM' from 192.0.2.2)" in done.stderr
    assert "192.0.2.3" not in done.stderr


@pytest.mark.parametrize("who", ["4", "LOST", "192.0.2.4"])
def test_who_calls_another_title_cannot_be_helped_by_allowing(daemon: Daemon, who: str) -> None:
    """The device must call us: the message says so, and the row stays refused."""
    done = daemon.run("allow", who)

    assert (done.returncode, allowed(daemon)) == (1, [])
    assert "'OTHER', which is not our AE title" in done.stderr
    assert "set the device's called AE title to OCULARD (ours)" in done.stderr


def test_the_doctor_says_what_helps_each(daemon: Daemon) -> None:
    """`allow` for a stranger, the device's settings for one that calls another title."""
    checks: list[dict[str, Any]] = json.loads(daemon.run("doctor", "--json").stdout)

    hints = {check["found"].split()[0]: check["hint"] for check in checks if check["what"] == "refused"}
    assert hints["OCT"] == "`oculard allow 3` lets it in"
    assert hints["LOST"].startswith("set the device's called AE title to OCULARD (ours)")


def test_all_and_remove(daemon: Daemon) -> None:
    """The list shows the allowed too; one of them is refused again by its number."""
    assert daemon.run("allow", "3", "--commitment-port", "11112").returncode == 0
    listed = json.loads(daemon.run("allow", "--all", "--json").stdout)
    assert {one["id"]: (one["state"], one["commitment_port"]) for one in listed} == {
        1: ("refused", None),
        2: ("refused", None),
        3: ("allowed", 11112),
        4: ("refused", None),
    }
    assert [one["id"] for one in json.loads(daemon.run("allow", "--json").stdout)] == [4, 2, 1]

    assert daemon.run("allow", "--remove", "3").returncode == 0
    assert allowed(daemon) == []
    assert daemon.run("allow", "--remove", "3").returncode == 1


@pytest.mark.parametrize(
    "arguments", [("3", "--all"), ("3", "--remove", "3"), ("--commitment-port", "104"), ("3", "--commitment-port", "0")]
)
def test_one_thing_at_a_time(daemon: Daemon, arguments: tuple[str, ...]) -> None:
    """What makes no sense together is misuse, and changes nothing."""
    assert daemon.run("allow", *arguments).returncode == 2
    assert allowed(daemon) == []
