"""Both eyes of one person in one job: what it reports, and what it amends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from worker_bench import PERSON, Bench, StagedGate, for_persons, photograph

from oculard.inference.estimators import families, find
from oculard.night import next_window
from oculard.report.read import ReadReport
from oculard.settings import Rule, When
from oculard.settings_night import Night
from oculard.upkeep.settling import Settling
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import painted_uid
from oculard_models.quality import Grade, Quality

BLACK = np.zeros((200, 200, 3), np.uint8)
Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a bench whose family averages both eyes."""
    made: list[Bench] = []

    def bench(gate: StagedGate | None = None) -> Bench:
        made.append(Bench(tmp_path, [for_persons()], gate or StagedGate({200: Quality(grade=Grade.UNGRADABLE)})))
        return made[-1]

    yield bench
    for one in made:
        one.shelf.database.close()


def age(report: ReadReport) -> tuple[float | None, float | None]:
    """Value and uncertainty of the age."""
    (found,) = (finding for finding in report.findings if finding.concept == "EST-AGE")
    return found.value, found.uncertainty


def half_width(of: str) -> float:
    """What the manifest states for the age, as a report shows it."""
    (output,) = (output for output in for_persons().manifest.output if output.concept == "EST-AGE")
    return round(float(getattr(output, of)), 1)


def shot(name: str, eye: str, number: int) -> FileDataset:
    """One of several photographs of an eye."""
    return photograph(name, eye, pixels=paint(PERSON, eye, 5, 320, shot=number))


def alone(folder: Path, *images: FileDataset) -> float:
    """What the same images say of one eye alone."""
    folder.mkdir()
    bench = Bench(folder, [for_persons()], StagedGate({}))
    bench.receive(*images)
    (report,) = bench.work()
    bench.shelf.database.close()
    value, uncertainty = age(report)
    assert value is not None
    assert uncertainty == half_width("uncertainty")
    return value


def test_both_eyes_are_one_report(make: Make, tmp_path: Path) -> None:
    """Its values are the mean of the two eyes, however often each was photographed, with the interval of both."""
    right = [shot("r1", "R", 1), shot("r2", "R", 2), shot("r3", "R", 3)]
    left = [shot("l1", "L", 1)]
    bench = make()
    bench.receive(*right, *left)
    (report,) = bench.work()

    assert (report.eye, report.outcome, report.remark) == ("B", "complete", "")
    assert report.title.endswith("fundus R+L")
    assert len([image for image in report.images if image.used]) == 4
    value, uncertainty = age(report)
    eyes = alone(tmp_path / "right", *right), alone(tmp_path / "left", *left)
    assert value == pytest.approx(sum(eyes) / 2, abs=0.06)  # each was rounded to a tenth
    assert abs(eyes[0] - eyes[1]) > 0.3, "the eyes must differ for this to mean anything"
    assert uncertainty == half_width("uncertainty_both")
    assert bench.shelf.trace.jobs(state=None, limit=9)[0]["eye"] == "B"


@pytest.mark.parametrize(("good", "bad", "words"), [("R", "L", ("right", "left")), ("L", "R", ("left", "right"))])
def test_one_ungradable_eye_leaves_the_other(make: Make, good: str, bad: str, words: tuple[str, str]) -> None:
    """The report is on the eye that its values come from, with its interval, and says what became of the other."""
    gate = StagedGate({200: Quality(grade=Grade.UNGRADABLE, reasons=("too-dark",))})
    bench = make(gate)
    bench.receive(photograph("good", good), photograph("bad", bad, pixels=BLACK))
    (report,) = bench.work()

    assert (report.eye, report.outcome) == (good, "complete")
    assert f"from the {words[0]} eye alone, no image of the {words[1]} eye could be used: too-dark" in report.remark
    assert age(report)[1] == half_width("uncertainty")
    assert {image.sop_instance_uid: image.used for image in report.images} == {
        painted_uid("good"): True,
        painted_uid("bad"): False,
    }
    assert {source for finding in report.findings for source in finding.sources} == {painted_uid("good")}


def test_two_ungradable_eyes_are_said_together(make: Make) -> None:
    """One report on both eyes, without values."""
    gate = StagedGate({200: Quality(grade=Grade.UNGRADABLE, reasons=("too-dark",))})
    bench = make(gate)
    bench.receive(photograph("r", "R", pixels=BLACK), photograph("l", "L", pixels=BLACK))
    (report,) = bench.work()

    assert (report.eye, report.outcome) == ("B", "ungradable")
    assert report.remark == "not attempted, image quality is not sufficient: too-dark"


def test_an_unknown_eye_joins_neither(make: Make) -> None:
    """It is a report of its own, as ever; the other eyes are averaged without it."""
    bench = make()
    bench.receive(photograph("r", "R"), photograph("l", "L"), photograph("u", ""))
    reports = {report.eye: report for report in bench.work()}

    assert {eye: report.outcome for eye, report in reports.items()} == {"B": "complete", "U": "eye-unknown"}
    assert painted_uid("u") not in {image.sop_instance_uid for image in reports["B"].images}


def test_a_late_second_eye_amends_the_first(make: Make) -> None:
    """One eye came alone and was reported; the report on both names that one as its predecessor."""
    bench = make()
    bench.receive(photograph("r", "R"))
    (first,) = bench.work()
    bench.receive(photograph("l", "L"))
    _, second = bench.work()

    assert (first.eye, second.eye) == ("R", "B")
    assert second.predecessor is not None
    assert second.predecessor.sop_instance_uid == first.sop_instance_uid
    bench.receive(photograph("r", "R"), photograph("l", "L"))
    assert len(bench.work()) == 2, "the same images again give nothing new"
    bench.receive(shot("l2", "L", 2))
    *_, third = bench.work()
    assert third.predecessor is not None
    assert third.predecessor.sop_instance_uid == second.sop_instance_uid


def test_a_late_second_eye_joins_a_job_that_waits(make: Make) -> None:
    """What waits for the night becomes the job on both eyes: one report, and nothing to amend."""
    bench = make()
    night = bench.settings.model_copy(update={"plan": [Rule(modality="OP", families=["systemic"], when=When.NIGHT)]})
    served = families([for_persons()], {"systemic": "systemic-demo"})
    bench.settling = Settling(night, bench.shelf.studies, served, bench.clock)
    bench.receive(photograph("l", "L"))
    assert bench.work() == []
    bench.receive(photograph("r", "R"))
    assert bench.work() == []
    assert bench.shelf.jobs.queue.counts() == {"waiting": 1}
    bench.shelf.night_jobs.release(next_window(Night(), bench.clock.now(), "UTC"), {})
    (report,) = bench.work()

    assert (report.eye, report.predecessor) == ("B", None)


def test_a_replaced_failure_on_one_eye_is_not_requeued(make: Make) -> None:
    """Once both eyes have a report, the failed job on one of them stays as it is."""
    bench = make()
    bad = photograph("r", "R")
    bad.Rows = bad.Columns = 65535
    bench.receive(bad)
    (first,) = bench.work()
    assert first.outcome == "failed"
    bench.receive(photograph("l", "L"))
    bench.work()

    assert bench.shelf.jobs.requeue(actor="person") == 0


def test_an_upgrade_leaves_jobs_on_both_eyes_with_who_can_do_them(make: Make) -> None:
    """A bundle that reports each eye does not take over a job on both; one that combines them does."""
    bench = make()
    bench.receive(photograph("r", "R"), photograph("l", "L"))
    bench.clock.sleep(60)
    bench.settling.step()
    each = families(find([])[0], {"systemic": "systemic-demo"})["systemic"]
    both = families([for_persons()], {"systemic": "systemic-demo"})["systemic"]

    assert bench.shelf.jobs.adopt("systemic", "newer@2.0.0", eyes=each.eyes, actor="upkeep") == 0
    assert bench.shelf.jobs.adopt("systemic", "newer@2.0.0", eyes=both.eyes, actor="upkeep") == 1
