"""Several acceptor processes on one port: the kernel gives each of them some of the associations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from devices import Device, Site, photograph
from oculard.errors import Misconfigured
from oculard.roles import roles_of
from oculard.settings import Intake, Settings
from oculard.store.instances import Arrival, Received
from peers import free_port

CALLS_MAX = 64  # that all of them come to one of two is as likely as 2 ** -63


def test_two_share_a_port_and_a_store(make_site: Callable[..., Site], tmp_path: Path) -> None:
    """Both take instances, and what one has taken is nothing new to the other."""
    sections: dict[str, Any] = {"intake": {"port": free_port(), "processes": 2}, "store": {"folder": tmp_path / "one"}}
    sites = [make_site(**sections) for _ in range(2)]
    device, taken = Device(sites[0]), [watched(site) for site in sites]

    ds, sent = photograph(), 0
    while not all(taken) and sent < CALLS_MAX:
        sent += 1
        assert device.send_dataset(ds).Status == 0x0000

    assert all(taken)
    assert [one for some in taken for one in some].count(Received.NEW) == 1
    assert len(sites[0].rows()) == 1


def watched(site: Site) -> list[Received]:
    """What this intake's arrivals turn out to be."""
    found: list[Received] = []
    take = site.instances.take

    def noted(arrival: Arrival) -> Received:
        found.append(take(arrival))
        return found[-1]

    site.instances.take = noted  # type: ignore[method-assign]
    return found


def test_one_alone_shares_with_nobody(make_site: Callable[..., Site]) -> None:
    """Another daemon on the port is an error that is seen, not half of the images gone elsewhere."""
    port = free_port()
    make_site(intake={"port": port})

    with pytest.raises(Misconfigured, match="cannot listen"):
        make_site(intake={"port": port})


@pytest.mark.parametrize("values", [{"port": 0}, {"tls": {"port": 0}}])
def test_processes_cannot_share_a_port_that_is_not_named(values: dict[str, object]) -> None:
    """Each would pick one of its own."""
    with pytest.raises(ValidationError, match="share a port"):
        Intake(processes=2, **values)


def test_a_daemon_starts_as_many_as_are_asked_for() -> None:
    """And one of everything else."""
    roles = roles_of(Settings(intake=Intake(processes=3)))

    assert (roles.count("intake"), roles.count("worker"), len(roles)) == (3, 1, len(set(roles)) + 2)
