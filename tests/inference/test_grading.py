"""The quality gate in the worker: nothing is estimated ungraded, and what it sees beside the grade is only told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from worker_bench import Bench, StagedGate, photograph, shipped

from oculard.errors import Misconfigured
from oculard.inference.estimators import families, find
from oculard.inference.grading import GateRefused, QualityGate, contradiction, serve_gate, suggestion
from oculard_models.contract import EstimateFailed, OutOfMemory
from oculard_models.quality import Grade, Quality
from oculard_models.registry import BUNDLES, Bundle

Make = Callable[..., Bench]
LEFT = Quality(grade=Grade.GOOD, suggested_eye="L", suggested_eye_probability=0.9934)
RIGHT = Quality(grade=Grade.LIMITED, reasons=("hazy",), suggested_eye="R", suggested_eye_probability=0.97)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a bench with a gate; closes it in the end."""
    made: list[Bench] = []

    def bench(gate: StagedGate | QualityGate) -> Bench:
        made.append(Bench(tmp_path, gate=gate))
        return made[-1]

    yield bench
    for one in made:
        one.shelf.database.close()


def altered(folder: Path) -> Bundle:
    """The shipped gate with weights that somebody changed."""
    bundle = shipped("fundus-quality")
    copy = folder / "fundus-quality"
    shutil.copytree(BUNDLES / "fundus-quality", copy)
    with (copy / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    return Bundle(folder=copy, manifest=bundle.manifest, card=bundle.card)


def test_a_report_names_the_gate(make: Make) -> None:
    """Name, version and weights of the shipped gate stand in the report, beside the grade."""
    bench = make(QualityGate([shipped("fundus-quality")], "fundus-quality", threads=1))
    bench.receive(photograph("a"))
    (report,) = bench.work()

    manifest = shipped("fundus-quality").manifest
    assert report.grader is not None
    assert (report.grader.name, report.grader.version) == ("fundus-quality", manifest.version)
    assert report.grader.weights_sha256 == manifest.weights.sha256


@pytest.mark.parametrize("name", ["fundus-quality", "gone"])
def test_without_a_gate_nothing_is_estimated(make: Make, tmp_path: Path, name: str) -> None:
    """Weights that were altered, or a bundle that is not there: the job fails, and its report says why."""
    bench = make(QualityGate([altered(tmp_path / "bundles")], name, threads=1))
    bench.receive(photograph("a"))
    (report,) = bench.work()

    assert (report.outcome, report.grader) == ("failed", None)
    assert report.remark == "failed: the quality gate cannot be used"
    assert {finding.value for finding in report.findings} == {None}
    (job,) = bench.shelf.trace.jobs(state="failed", limit=2)
    assert job["reason"] == "quality-gate-refused"


def test_an_unknown_eye_needs_no_gate_to_be_said(make: Make) -> None:
    """The eye is unknown, whatever became of the gate."""
    bench = make(QualityGate([], "gone", threads=1))
    bench.receive(photograph("a", eye=""))
    (report,) = bench.work()

    assert report.outcome == "eye-unknown"
    assert bench.shelf.jobs.queue.counts() == {"rejected": 1}


def test_a_bundle_that_is_no_gate_is_refused() -> None:
    """An estimator grades nothing."""
    with pytest.raises(GateRefused, match="family `systemic`"):
        serve_gate([shipped("systemic-demo")], "systemic-demo", 1)


def test_a_gate_serves_no_family() -> None:
    """It estimates nothing: a configuration that asks it to is wrong, and the message names the right setting."""
    with pytest.raises(Misconfigured, match="estimate nothing") as why:
        families(find([])[0], {"quality": "fundus-quality"})
    assert "quality_gate" in why.value.hint


def test_a_gate_that_fails_on_an_image_fails_its_job_only(make: Make) -> None:
    """The neighbour is estimated; the failed job says which network it was."""
    bench = make(StagedGate({300: EstimateFailed("no")}))
    bench.receive(photograph("bad", pixels=np.zeros((300, 300, 3), np.uint8), study="bad"), photograph("fine"))
    outcomes = sorted((report.outcome, report.remark) for report in bench.work())

    assert outcomes == [("complete", ""), ("failed", "failed: the quality gate ended with an error")]
    assert bench.shelf.trace.jobs(state="failed", limit=1)[0]["reason"] == "estimator-failed"


def test_a_gate_without_memory_waits(make: Make) -> None:
    """That is the machine's trouble: the job is tried again later and costs no attempt."""
    gate = StagedGate({320: OutOfMemory("no room")})
    bench = make(gate)
    bench.receive(photograph("a"))
    assert bench.work() == []
    (job,) = bench.shelf.trace.jobs(state=None, limit=1)
    assert (job["state"], job["attempts"], job["hindered"]) == ("queued", 0, 1)

    gate.says = {}
    assert [report.outcome for report in bench.work()] == ["complete"]


def test_an_unknown_eye_is_suggested_and_not_used(make: Make) -> None:
    """The pictures are looked at and graded; what they look like is told, and nothing is estimated from it."""
    bench = make(StagedGate({320: RIGHT, 300: Quality(grade=Grade.GOOD)}))
    bench.receive(photograph("a", eye=""), photograph("b", eye="", pixels=np.full((300, 300, 3), 90, np.uint8)))
    (report,) = bench.work()

    at = 1 + [image.grade for image in report.images].index("limited")
    assert (report.eye, report.outcome, report.quality) == ("U", "eye-unknown", "limited")
    assert f"suggestion only, not used: image {at} looks like a right eye (97 %)" in report.remark
    assert "no laterality in the header" in report.remark
    assert {finding.qualifier for finding in report.findings} == {"not-attempted"}
    assert not any(image.used for image in report.images)


def test_of_many_images_of_an_unknown_eye_some_are_looked_at(make: Make) -> None:
    """As many as the estimator would take; the others are counted."""
    gate = StagedGate({64: LEFT})
    bench = make(gate)
    black = np.zeros((64, 64, 3), np.uint8)
    bench.receive(*(photograph(f"u{n}", eye="", pixels=black) for n in range(10)))
    (report,) = bench.work()

    assert (gate.asked, len(report.images)) == (8, 8)
    assert "2 further images of unknown eyes were left out" in report.remark
    assert "image 8 looks like a left eye (99 %)" in report.remark


def test_an_image_of_an_unknown_eye_that_cannot_be_decoded_is_said(make: Make) -> None:
    """It stays a report on an unknown eye."""
    ds = photograph("a", eye="")
    ds.Rows = ds.Columns = 65535
    bench = make(StagedGate({}))
    bench.receive(ds)
    (report,) = bench.work()

    assert report.outcome == "eye-unknown"
    assert "size-implausible" in report.remark


def test_a_picture_that_contradicts_its_header_is_said(make: Make) -> None:
    """The value stays the header's eye's; a person may look."""
    bench = make(StagedGate({320: LEFT}))
    bench.receive(photograph("a", "R"))
    (report,) = bench.work()

    assert (report.eye, report.outcome) == ("R", "complete")
    assert report.remark == "check image 1: the header says right eye, the picture looks like a left eye (99.3 %)"


@pytest.mark.parametrize(
    ("suggested", "probability", "words"),
    [("R", 0.999, ""), (None, None, ""), ("L", 0.9899, ""), ("L", 0.99, "(99.0 %)"), ("L", 1.0, "(99.9 %)")],
)
def test_only_a_sure_contradiction_is_said(suggested: str | None, probability: float | None, words: str) -> None:
    """Agreement, silence and doubt say nothing; no probability is rounded up to certainty."""
    said = contradiction(2, "R", suggested, probability)

    assert bool(said) is bool(words)
    assert said.endswith(words)


def test_a_suggestion_is_never_certain() -> None:
    """Not even at a probability of 1."""
    assert suggestion(1, "L", 1.0) == "image 1 looks like a left eye (99 %)"
