"""`[worker] disc_finder`: a network that outlines discs contradicts the gate, in the report and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from worker_bench import Bench, photograph, shipped

from oculard.inference.grading import GateRefused, QualityGate, serve_gate
from oculard.settings import Worker
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.quality import NO_DISC, Grade
from oculard_models.registry import Bundle

BUNDLES = ("fundus-quality", "disc-demo")


def bundles() -> list[Bundle]:
    """The shipped gate and the shipped demonstration of the disc."""
    return [shipped(name) for name in BUNDLES]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose gate has a second opinion."""
    made = Bench(tmp_path, gate=QualityGate(bundles(), BUNDLES[0], threads=1, disc_finder=BUNDLES[1]))
    yield made
    made.shelf.database.close()


def test_it_is_off_unless_somebody_asks() -> None:
    """The measured gain does not bear a default."""
    assert Worker().disc_finder == ""


def test_a_photograph_with_its_disc_is_good(bench: Bench) -> None:
    """Both see the disc of a painted eye: nothing is added."""
    bench.receive(photograph("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert [image.reasons for image in report.images] == [()]


def test_a_finder_that_is_not_there_refuses_the_gate() -> None:
    """A second opinion that was asked for and cannot be had is no silence."""
    with pytest.raises(GateRefused, match="disc_finder wants bundle `gone`"):
        serve_gate(bundles(), BUNDLES[0], 1, "gone")


def test_a_bundle_that_outlines_no_discs_refuses_the_gate() -> None:
    """The message names the setting."""
    with pytest.raises(GateRefused, match="disc_finder"):
        serve_gate([*bundles(), shipped("systemic-demo")], BUNDLES[0], 1, "systemic-demo")


def test_a_black_side_where_the_disc_was_is_said_by_one_of_both() -> None:
    """Whoever misses it: the photograph is limited at worst, and its reasons name a disc."""
    pixels = paint(sample_people(1, 11)[0], "R", 7, 400)
    pixels[:, 260:] = 0
    gate = serve_gate(bundles(), BUNDLES[0], 1, BUNDLES[1]).gate
    found = gate.assess(np.ascontiguousarray(pixels))
    assert found.grade is not Grade.GOOD
    assert found.grade is Grade.UNGRADABLE or {NO_DISC, "disc-not-found"} & set(found.reasons)
