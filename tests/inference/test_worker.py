"""The worker on real files, with the real bundle: what it reports, and whose trouble stays whose."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import FileDataset
from worker_bench import PERSON, Bench, photograph, shipped

from oculard.inference.estimators import EstimatorRefused, Estimators, name_of
from oculard.job import JobEvent
from oculard_models.contract import EstimateFailed
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import painted_uid
from oculard_models.registry import BUNDLES, Bundle


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh bench."""
    made = Bench(tmp_path)
    yield made
    made.shelf.database.close()


def test_a_photograph_becomes_a_report(bench: Bench) -> None:
    """Seven findings with values and uncertainties, stored and reported alike, owed to the PACS."""
    bench.receive(photograph("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert [finding.concept for finding in report.findings if finding.value is None] == []
    (row,) = bench.shelf.trace.study(1)["reports"]
    stored = {finding["name"]: finding["value"] for finding in row["findings"]}
    assert len(stored) == 7
    assert report.sop_instance_uid == row["sop_instance_uid"]
    assert bench.shelf.deliveries.queue.counts() == {"pending": 1}


def test_both_eyes_are_two_reports(bench: Bench) -> None:
    """One report for each eye, never a value of one eye in the other's."""
    bench.receive(photograph("a"), photograph("b", "L"))

    reports = bench.work()
    assert sorted((report.eye, report.images[0].sop_instance_uid) for report in reports) == [
        ("L", painted_uid("b")),
        ("R", painted_uid("a")),
    ]


def test_an_unknown_eye_is_said_and_not_guessed(bench: Bench) -> None:
    """No value, the reason in words, and the job is rejected rather than failed."""
    bench.receive(photograph("a", eye=""))
    (report,) = bench.work()

    assert (report.eye, report.outcome) == ("U", "eye-unknown")
    assert {finding.value for finding in report.findings} == {None}
    assert {finding.qualifier for finding in report.findings} == {"not-attempted"}
    assert "no laterality in the header" in report.remark
    assert bench.shelf.jobs.queue.counts() == {"rejected": 1}


def test_an_ungradable_image_is_said(bench: Bench) -> None:
    """A black picture gives a report without numbers that says why."""
    bench.receive(photograph("a", pixels=np.zeros((320, 320, 3), np.uint8)))
    (report,) = bench.work()

    assert (report.outcome, report.quality) == ("ungradable", "ungradable")
    assert "no-field" in report.remark
    assert bench.shelf.jobs.queue.counts() == {"rejected": 1}


def test_one_bad_image_does_not_spoil_the_eye(bench: Bench) -> None:
    """The good image is used, the bad one is named with its grade."""
    bench.receive(photograph("a"), photograph("b", pixels=np.zeros((320, 320, 3), np.uint8)))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert {image.sop_instance_uid: image.used for image in report.images} == {
        painted_uid("a"): True,
        painted_uid("b"): False,
    }
    assert {source for finding in report.findings for source in finding.sources} == {painted_uid("a")}


def test_nothing_is_said_of_bytes_that_did_not_come(bench: Bench) -> None:
    """A kept photograph was changed and can still be decoded: its job fails, its neighbour's does not."""
    bench.receive(photograph("altered"), photograph("fine", "L"))
    with bench.shelf.database.read() as connection:
        query = f"SELECT path FROM instance WHERE sop_instance_uid = '{painted_uid('altered')}'"
        path = bench.shelf.vault.path(connection.exec_driver_sql(query).scalar_one())
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    (report,) = bench.work()

    assert report.images[0].sop_instance_uid == painted_uid("fine")
    assert bench.shelf.jobs.queue.counts() == {"reported": 1, "failed": 1}
    assert [alarm.name for alarm in bench.shelf.alarms.standing()] == ["job-without-report"]


def broken_jpeg(name: str) -> FileDataset:
    """A photograph whose pixels are no JPEG at all."""
    from pydicom.encaps import encapsulate

    ds = photograph(name, study="broken")
    ds.PixelData = encapsulate([b"\xff\xd8\xff\xe0 no jpeg" * 40])
    ds["PixelData"].is_undefined_length = True
    return ds


def test_a_poison_image_hurts_its_own_job_only(bench: Bench) -> None:
    """Pixels that cannot be decoded fail their job with a report that says so; the neighbour in the batch is fine."""
    bench.receive(broken_jpeg("poison"), photograph("fine"))
    reports = {report.images[0].sop_instance_uid: report for report in bench.work()}

    assert reports[painted_uid("poison")].outcome == "failed"
    assert "pixels-undecodable" in reports[painted_uid("poison")].remark
    assert {f.qualifier for f in reports[painted_uid("poison")].findings} == {"failure"}
    assert reports[painted_uid("fine")].outcome == "complete"
    assert bench.shelf.jobs.queue.counts() == {"failed": 1, "reported": 1}


def test_an_implausible_size_is_not_decoded(bench: Bench) -> None:
    """A header that promises gigapixels costs no memory."""
    ds = photograph("huge")
    ds.Rows = ds.Columns = 65535
    bench.receive(ds)
    (report,) = bench.work()

    assert report.outcome == "failed"
    assert "size-implausible" in report.remark


def test_a_broken_bundle_fails_its_jobs_and_says_so(tmp_path: Path) -> None:
    """Weights whose digest is wrong are not run; the report says that the estimator cannot be used."""
    altered = tmp_path / "bundles" / "systemic-demo"
    shutil.copytree(BUNDLES / "systemic-demo", altered)
    with (altered / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    whole = shipped("systemic-demo")
    bench = Bench(tmp_path, [Bundle(folder=altered, manifest=whole.manifest, card=whole.card)])
    bench.receive(photograph("a"))
    (report,) = bench.work()

    assert report.outcome == "failed"
    assert "estimator cannot be used" in report.remark
    assert bench.shelf.trace.jobs(state="failed", limit=1)[0]["reason"] == "bundle-refused"


def test_both_runners_report_the_same(bench: Bench) -> None:
    """`[worker] runner = "torch"` gives the values of onnxruntime, to the decimals of the report."""
    pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
    bench.receive(photograph("a"))
    (told,) = bench.work()
    torch = Estimators([shipped("systemic-demo")], providers=["cpu"], threads=1, runner="torch")
    served = torch.get(name_of(shipped("systemic-demo").manifest))
    assert type(served.estimator).__name__ == "TorchEstimator"
    bench.worker = replace(bench.worker, estimators=torch)
    bench.receive(photograph("b", study="other"))
    _, again = bench.work()

    for one, other in zip(told.findings, again.findings, strict=True):
        assert (one.concept, one.choice) == (other.concept, other.choice)
        assert one.value == pytest.approx(other.value, abs=0.1001)


def test_a_report_names_what_ran_its_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the numbers may be others than the card's, the report names runner, precision and drift; else nothing."""
    bench.receive(photograph("a"))
    (plain,) = bench.work()
    served = bench.estimators.get(name_of(shipped("systemic-demo").manifest))
    conditions = ("runner=openvino 1.2.3", "precision=bf16", "drift=0.01 of an interval")
    monkeypatch.setattr(bench.estimators, "get", lambda name: replace(served, conditions=conditions))
    bench.receive(photograph("b", study="other"))
    _, report = bench.work()

    assert set(conditions) <= set(report.model.parameters)
    assert not any(one.startswith(("runner=", "precision=", "drift=")) for one in plain.model.parameters)


def test_a_missing_bundle_fails_without_a_report_and_alarms(tmp_path: Path) -> None:
    """Nothing is known of what should have been estimated: a person must look."""
    bench = Bench(tmp_path, [])
    bench.receive(photograph("a"))

    assert bench.work() == []
    assert bench.shelf.trace.jobs(state="failed", limit=1)[0]["reason"] == "bundle-missing"
    assert [alarm.name for alarm in bench.shelf.alarms.standing()] == ["job-without-report"]


class Moody:
    """The real estimator, which fails whenever a chosen picture is in the batch."""

    def __init__(self, real: Any, dislikes: npt.NDArray[np.float32]) -> None:
        self.real, self.dislikes = real, dislikes

    def prepare(self, image: Any) -> Any:
        return self.real.prepare(image)

    def estimate(self, batch: npt.NDArray[np.float32]) -> Any:
        if any(np.array_equal(tensor, self.dislikes) for tensor in batch):
            raise EstimateFailed("not this one")
        return self.real.estimate(batch)


def test_an_estimator_that_fails_on_one_image_spares_the_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is taken apart: the culprit's job fails, the others get their values."""
    from oculard_models.contract import ImageInput

    served = bench.estimators.get(name_of(shipped("systemic-demo").manifest))
    others = {"x": paint(PERSON, "R", 6, 320), "y": paint(PERSON, "R", 7, 320)}
    bench.receive(
        *(photograph(name, pixels=pixels, study=name) for name, pixels in others.items()), photograph("culprit")
    )
    ds = photograph("culprit")
    from pydicom.pixels import pixel_array

    seen = ImageInput(sop_instance_uid="1", eye="R", pixels=pixel_array(ds))
    moody = Moody(served.estimator, served.estimator.prepare(seen))
    monkeypatch.setattr(bench.estimators, "get", lambda name: type(served)(manifest=served.manifest, estimator=moody))

    outcomes = {report.images[0].sop_instance_uid: report.outcome for report in bench.work()}
    assert outcomes == {painted_uid("x"): "complete", painted_uid("y"): "complete", painted_uid("culprit"): "failed"}


def test_a_job_whose_workers_died_gets_a_report_of_its_failure(bench: Bench) -> None:
    """After the last attempt nothing is decoded any more: the report says that the analysis ended abnormally."""
    bench.receive(photograph("a"))
    bench.clock.sleep(60)
    bench.settling.step()
    for _ in range(2):
        bench.shelf.claim("dies")
        bench.shelf.jobs.queue.reap(dead_owner="dies")
    (report,) = bench.work()

    assert report.outcome == "failed"
    assert "ended abnormally 2 times" in report.remark
    assert bench.shelf.jobs.queue.counts() == {"failed": 1}


def test_a_late_image_amends_the_report(bench: Bench) -> None:
    """The second report names the first as its predecessor and has another UID; the first stays."""
    bench.receive(photograph("a"))
    (first,) = bench.work()
    bench.receive(photograph("b", pixels=paint(PERSON, "R", 5, 320, shot=1)))
    again, amended = bench.work()

    assert again == first
    assert amended.predecessor is not None
    assert amended.predecessor.sop_instance_uid == first.sop_instance_uid
    assert amended.sop_instance_uid != first.sop_instance_uid
    assert len(amended.images) == 2


def test_a_requeued_failure_amends_its_report(bench: Bench) -> None:
    """What failed and was tried again is another report under another UID that names the first."""
    bench.receive(broken_jpeg("a"))
    (first,) = bench.work()
    assert bench.shelf.jobs.requeue(actor="person") == 1
    _, second = bench.work()

    assert second.predecessor is not None
    assert second.predecessor.sop_instance_uid == first.sop_instance_uid


def test_the_same_work_done_twice_has_the_same_uid(bench: Bench, tmp_path: Path) -> None:
    """A report's UID is a function of inputs, estimator and version: another installation makes the same."""
    other = Bench(tmp_path / "other") if (tmp_path / "other").mkdir() is None else None
    assert other is not None
    for one in (bench, other):
        one.receive(photograph("a"))
    (first,), (second,) = bench.work(), other.work()

    assert first.sop_instance_uid == second.sop_instance_uid
    assert [finding.value for finding in first.findings] == [finding.value for finding in second.findings]


def test_a_file_that_cannot_be_read_is_tried_again(bench: Bench) -> None:
    """A vault that is away for a moment is the world's trouble: the job waits and is not failed at once."""
    bench.receive(photograph("a"))
    (image,) = bench.shelf.trace.study(1)["instances"]
    kept = bench.shelf.vault.path(image["path"])
    kept.rename(kept.with_suffix(".away"))
    assert bench.work() == []
    assert bench.shelf.jobs.queue.counts() == {"queued": 1}

    kept.with_suffix(".away").rename(kept)
    bench.clock.sleep(10)
    (report,) = bench.work()
    assert report.outcome == "complete"


def test_a_full_disk_costs_no_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble of the world, for hours: the job waits, and its report comes when the trouble is over."""
    from oculard.store.vault import DiskFull, Vault

    bench.receive(photograph("a"))

    def full(self: Vault, data: bytes) -> tuple[str, str]:
        raise DiskFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(Vault, "write_report", full)
        for _ in range(10):
            bench.clock.sleep(700)
            assert bench.work() == []
        (job,) = bench.shelf.trace.jobs(state=None, limit=1)
        assert (job["state"], job["attempts"], job["hindered"]) == ("queued", 0, 10)
    bench.clock.sleep(700)
    (report,) = bench.work()
    assert report.outcome == "complete"


def test_a_database_that_goes_away_costs_no_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker gives its jobs back when the database answers again."""
    from oculard.store.database import DatabaseDown
    from oculard.store.jobs import Jobs

    bench.receive(photograph("a"))
    bench.clock.sleep(60)
    bench.settling.step()

    def away(*_: object, **__: object) -> None:
        raise DatabaseDown("gone")

    for _ in range(4):
        with monkeypatch.context() as patched:
            patched.setattr(Jobs, "finish", away)
            patched.setattr(Jobs, "hinder", away)
            with pytest.raises(DatabaseDown):
                bench.worker.step()
    (report,) = bench.work()
    assert report.outcome == "complete"
    assert bench.shelf.trace.jobs(state=None, limit=1)[0]["attempts"] == 1


def test_a_file_that_is_gone_is_given_up(bench: Bench) -> None:
    """After some minutes a person must look; nothing is tried for ever."""
    bench.receive(photograph("a"))
    (image,) = bench.shelf.trace.study(1)["instances"]
    bench.shelf.vault.path(image["path"]).unlink()
    for _ in range(9):
        bench.clock.sleep(700)
        assert bench.work() == []

    assert bench.shelf.trace.jobs(state="failed", limit=1)[0]["reason"] == "file-missing"
    assert [alarm.name for alarm in bench.shelf.alarms.standing()] == ["job-without-report"]


def test_an_unknown_eye_after_spent_attempts_is_still_said(bench: Bench) -> None:
    """Workers that died over it do not change what can be said: the eye is unknown."""
    bench.receive(photograph("a", eye=""))
    bench.clock.sleep(60)
    bench.settling.step()
    for _ in range(2):
        bench.shelf.claim("dies")
        bench.shelf.jobs.queue.reap(dead_owner="dies")

    (report,) = bench.work()
    assert report.outcome == "eye-unknown"


def test_a_clock_that_is_set_back_spoils_no_report(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's times never run backwards."""
    from oculard.inference import worker as module

    bench.receive(photograph("a"))
    examine = module.examine

    def late(*arguments: Any, **named: Any) -> None:
        examine(*arguments, **named)
        bench.clock.pass_(-3600)

    monkeypatch.setattr(module, "examine", late)
    (report,) = bench.work()
    assert report.outcome == "complete"


def test_a_bundle_that_no_report_can_carry_is_refused(tmp_path: Path) -> None:
    """An unknown concept or family is found when the bundle is loaded, not when a patient waits."""
    whole = shipped("systemic-demo")
    wrong = whole.manifest.output[0].model_copy(update={"concept": "EST-LUCK"})
    manifest = whole.manifest.model_copy(update={"output": (wrong, *whole.manifest.output[1:])})
    estimators = Estimators(
        [Bundle(folder=whole.folder, manifest=manifest, card=whole.card)], providers=["cpu"], threads=1
    )

    with pytest.raises(EstimatorRefused, match="EST-LUCK"):
        estimators.get(name_of(shipped("systemic-demo").manifest))


def test_what_no_report_can_carry_hurts_its_own_job_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be built fails its job aloud; the worker lives and the neighbour gets its report."""
    from oculard.inference import write

    build = write.build_report

    def picky(request: Any) -> Any:
        if request.sources[0].sop_instance_uid == painted_uid("odd"):
            raise ValueError("a header like none before")
        return build(request)

    monkeypatch.setattr(write, "build_report", picky)
    bench.receive(photograph("odd", study="odd"), photograph("fine"))

    assert [report.images[0].sop_instance_uid for report in bench.work()] == [painted_uid("fine")]
    assert bench.shelf.trace.jobs(state="failed", limit=1)[0]["reason"] == "report-impossible"


def test_a_good_retake_counts_after_many_bad_ones(bench: Bench) -> None:
    """Quality comes before number: nine black pictures do not hide the one that is good."""
    black = np.zeros((200, 200, 3), np.uint8)
    bench.receive(*(photograph(f"bad{n}", pixels=black) for n in range(9)))
    bench.receive(photograph("good"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert [image.sop_instance_uid for image in report.images if image.used] == [painted_uid("good")]


def test_further_images_are_left_out_aloud(bench: Bench) -> None:
    """More images than the manifest takes: the report says how many were not looked at."""
    bench.receive(*(photograph(f"p{n}", pixels=paint(PERSON, "R", 5, 200, shot=n)) for n in range(10)))
    (report,) = bench.work()

    assert len(report.images) == 8
    assert "2 further images of this eye were left out" in report.remark


def test_a_job_is_settled_once(bench: Bench) -> None:
    """A worker that stalled beyond its lease throws its result away: one report, one delivery."""
    bench.receive(photograph("a"))
    bench.clock.sleep(60)
    bench.settling.step()
    (stalled,) = bench.shelf.claim("stalled", lease_s=1)
    bench.clock.sleep(2)
    bench.shelf.jobs.queue.reap()
    assert len(bench.work()) == 1

    from oculard.store.queue import LeaseLost

    with pytest.raises(LeaseLost):
        bench.shelf.finish(stalled, event=JobEvent.DONE)
    assert len(bench.reports()) == 1
