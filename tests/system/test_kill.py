"""SIGKILL at every commit boundary of every role: nothing acknowledged is lost, nothing is reported twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemons import Daemon, paint_study
from oculard.delivery.files import send_files
from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.delivery.scu import Target
from oculard.report.read import read_report
from peers import free_port

HERE = Path(__file__).parent
PEER = """
[[peers]]
name = "pacs"
ae_title = "PRACTICE"
host = "127.0.0.1"
port = {port}
commitment = true
commitment_silence_h = 0.001
"""
BOUNDARIES = {  # commits that one study makes in each role: when the orders are given, and how many commits later
    "intake": (
        ("before", 1),
        ("before", 2),
        ("before", 3),
        ("after", 1),
    ),
    "upkeep": (("before", 1),),
    "worker": (("before", 1), ("before", 2), ("before", 3)),
    "sender": (("before", 1), ("before", 2), ("before", 3), ("before", 4)),
}


def known_to(pacs: PracticePacs) -> dict[str, str]:
    """A port of our own that stays the same over restarts, and that the PACS answers to."""
    port = free_port()
    pacs.manners = Manners(answers_to=("127.0.0.1", port))
    return {"OCULARD_INTAKE__PORT": str(port)}


def send_until_taken(daemon: Daemon, files: list[Path]) -> None:
    """As a device does: send again until every image was acknowledged."""

    def taken() -> bool:
        target = Target(
            name="oculard",
            host="127.0.0.1",
            port=daemon.port(),
            called_ae="OCULARD",
            calling_ae="TOPCON",
            connect_s=5,
            answer_s=30,
        )
        return all(sent.is_taken for sent in send_files(target, files))

    daemon.wait_for(taken)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", BOUNDARIES)
def test_a_role_killed_at_a_commit(make_daemon: Callable[..., Daemon], tmp_path: Path, role: str) -> None:
    """Each boundary in turn, before and after the commit: the study is sent three times, one report an eye arrives."""
    orders = tmp_path / "kill"
    with PracticePacs(tmp_path / "pacs") as pacs:
        killer = {"PYTHONPATH": str(HERE / "killer"), "KILL_ORDERS": str(orders)}
        daemon = make_daemon(PEER.format(port=pacs.port), **killer, **known_to(pacs))
        daemon.start()
        studies = 0
        for when, number in BOUNDARIES[role]:
            for side in ("before", "after"):
                if when == "before":
                    orders.write_text(f"{role} {number} {side}")
                files = list(paint_study(tmp_path / f"study{studies}", seed=1000 + studies, size_px=256))
                for _ in range(3):
                    send_until_taken(daemon, files)
                if when == "after":  # what is left for intake: the end of the association, or the commitment
                    orders.write_text(f"{role} {number} {side}")
                studies += 1
                daemon.wait_for(lambda: not orders.exists())  # the shot was fired
                daemon.wait_for(daemon.ended(2 * studies))
        look(daemon, pacs, studies)
        assert [event["event"] for event in daemon.log()].count("role died") == studies, "every shot was fired"
        assert daemon.stop() == 0


def look(daemon: Daemon, pacs: PracticePacs, studies: int) -> None:
    """One report for each eye of each study, the same on both sides; every acknowledged image in custody."""
    counts = daemon.app.trace.counts()
    assert counts["instance"]["kept"] == 2 * studies
    assert counts["job"] == {"reported": 2 * studies}
    reports = [read_report(pacs.path(uid).read_bytes()) for uid in pacs.uids()]
    assert sorted((r.study_instance_uid, r.eye) for r in reports) == sorted(
        {(r.study_instance_uid, eye) for r in reports for eye in "RL"}
    )
    assert len(reports) == 2 * studies
    assert set(pacs.received) == pacs.uids()
    assert list(daemon.app.vault.spool.glob("*.report")) == []


@pytest.mark.timeout(600)
def test_the_whole_daemon_killed(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """The supervisor dies with work in hand; its children end by themselves; the next start finishes the work."""
    with PracticePacs(tmp_path / "pacs") as pacs:
        daemon = make_daemon(PEER.format(port=pacs.port), **known_to(pacs))
        daemon.start()
        files = list(paint_study(tmp_path / "study", seed=7, size_px=256))
        send_until_taken(daemon, files)
        daemon.kill()

        daemon.start()
        send_until_taken(daemon, files)
        daemon.wait_for(daemon.ended(2))
        look(daemon, pacs, 1)
        assert daemon.stop() == 0
