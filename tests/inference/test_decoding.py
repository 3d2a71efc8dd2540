"""Decoding in a process that may die: the same arrays as at once, and every kind of death is the image's alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from worker_bench import Bench, photograph

from oculard.decoders import DIED, SLOW, Answer, DecoderDown, Limits
from oculard.inference.decoding import Decoder, Decoding, Here
from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import paint_volume
from oculard_models.data.painted_layers import wrap_height_map
from oculard_models.data.painted_study import Visit, painted_uid
from oculard_models.data.painted_volume import wrap_volume
from oculard_models.decoder import MEMORY_SPENT
from oculard_models.dicom_geometry import Unfit, read_geometry
from oculard_models.dicom_layers import NAMES
from oculard_models.dicom_pixels import Undecodable, read_header
from volume_samples import opt, written

LIMITS = Limits(seconds=60.0, memory_bytes=2 << 30)
PIXELS_MAX = 50_000_000


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """A decoder as the program has it."""
    made = Decoder(LIMITS)
    yield made
    made.close()


@pytest.fixture
def poisoned() -> Iterator[Decoder]:
    """A decoder that does what the comment of an image says."""
    made = Decoder(replace(LIMITS, seconds=3.0), module="poison_decoder")
    yield made
    made.close()


def poison(what: str, folder: Path) -> Path:
    """A photograph with which something happens to its decoder."""
    path = folder / f"{what}.dcm"
    poisonous(what).save_as(path, enforce_file_format=True)
    return path


def poisonous(what: str) -> FileDataset:
    """The same, not in a file yet."""
    ds = photograph(what, study=what)
    ds.ImageComments = what
    return ds


def said_by(decoding: Decoding, what: str, path: Path) -> object:
    """The array, or the reason why there is none."""
    try:
        return getattr(decoding, what)(path, pixels_max=PIXELS_MAX).result()
    except Undecodable as why:
        return why.reason, str(why)


def test_every_file_gives_the_same_as_at_once(decoder: Decoder, data: Path) -> None:
    """Arrays and reasons are those of the functions that the process calls, for all sample files."""
    arrays = 0
    for path in sorted((data / "dicom").glob("*.dcm")):
        for what in ("rgb", "values"):
            apart, here = said_by(decoder, what, path), said_by(Here(), what, path)
            if isinstance(here, np.ndarray):
                np.testing.assert_array_equal(apart, here)
                arrays += 1
            else:
                assert apart == here
    assert arrays > 40


def test_a_volume_and_its_layers_are_the_same_as_at_once(decoder: Decoder, tmp_path: Path) -> None:
    """Voxels with their scaling, and four layers with their gaps."""
    painted = paint_volume(draw_eye(5, "normal"), frames=32, depth=220, columns=64, seed=1)
    ds = wrap_volume(painted, Visit(study_uid="2.25.11", series_uid="2.25.12"), uid="2.25.13")
    ds.save_as(tmp_path / "volume.dcm", enforce_file_format=True)
    layers = wrap_height_map(painted, ds, Visit(study_uid="2.25.11", series_uid="2.25.14"), uid="2.25.15")
    layers.save_as(tmp_path / "layers.dcm", enforce_file_format=True)
    deep = written(opt(), tmp_path / "deep.dcm")
    known = read_geometry(read_header(tmp_path / "volume.dcm"))
    uids = {"volume_uid": "2.25.13", "frame_of_reference_uid": ""}

    apart, here = (one.layers(tmp_path / "layers.dcm", known, **uids).result() for one in (decoder, Here()))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(apart, name), getattr(here, name))
    for path in (tmp_path / "volume.dcm", deep):
        geometry = read_geometry(read_header(path))
        voxels, there = (one.voxels(path, geometry, voxels_max=10**8).result() for one in (decoder, Here()))
        np.testing.assert_array_equal(voxels.pixels, there.pixels)
        assert voxels.scaled == there.scaled
    with pytest.raises(Unfit, match="layers-of-another"):
        decoder.layers(tmp_path / "layers.dcm", known, volume_uid="2.25.99", frame_of_reference_uid="").result()


def test_the_array_is_the_askers_own(decoder: Decoder, tmp_path: Path) -> None:
    """It may be written to, and outlives the next question."""
    path = poison("nothing", tmp_path)
    first = decoder.rgb(path, pixels_max=PIXELS_MAX).result()
    kept = first.copy()
    first[0, 0] = 255 - first[0, 0]
    second = decoder.rgb(path, pixels_max=PIXELS_MAX).result()

    np.testing.assert_array_equal(second, kept)
    np.testing.assert_array_equal(first[1:], kept[1:])


def test_a_missing_file_is_the_vaults_trouble(decoder: Decoder, tmp_path: Path) -> None:
    """What the file system says comes out as it would at once."""
    with pytest.raises(FileNotFoundError):
        decoder.rgb(tmp_path / "none.dcm", pixels_max=PIXELS_MAX).result()


@pytest.mark.parametrize(
    ("what", "reason"), [("dies", DIED), ("fails", DIED), ("lies", DIED), ("hangs", SLOW), ("eats", MEMORY_SPENT)]
)
def test_what_kills_a_decoder_has_its_reason_and_the_next_is_decoded(
    poisoned: Decoder, tmp_path: Path, what: str, reason: str
) -> None:
    """A crash, a bug, an answer without sense, an endless loop and a hunger for memory cost one image its pixels."""
    poisoning = poisoned.rgb(poison(what, tmp_path), pixels_max=PIXELS_MAX)
    sound = poisoned.rgb(poison("nothing", tmp_path), pixels_max=PIXELS_MAX)

    with pytest.raises(Undecodable) as why:
        poisoning.result()
    assert why.value.reason == reason
    assert sound.result().shape[2] == 3


@pytest.mark.parametrize("said", [{"dtype": "|u1", "shape": [3, 3]}, {"dtype": "|O", "shape": [1]}])
def test_an_answer_that_does_not_fit_its_memory_is_none(said: dict[str, Any]) -> None:
    """A decoder that somebody took over cannot make the worker read beyond what it was given."""
    handle = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(handle, bytes(8))
    with Answer(said=said, files=[handle]) as answer, pytest.raises(Undecodable) as why:
        answer.array()
    assert why.value.reason == DIED


def test_shared_memory_cannot_be_shortened_afterwards() -> None:
    """Reading what is gone would kill the worker, and a decoder may keep its end."""
    handle = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(handle, bytes(8))
    with Answer(said={"dtype": "|u1", "shape": [2, 4]}, files=[handle]) as answer:
        assert answer.array().shape == (2, 4)
        with pytest.raises(PermissionError):
            os.ftruncate(handle, 0)
        with pytest.raises(PermissionError):
            os.pwrite(handle, b"x", 0)


def test_an_image_is_tried_again_where_a_decoder_died_once(poisoned: Decoder, tmp_path: Path) -> None:
    """Somebody else may have killed it, or what it decoded before."""
    assert poisoned.rgb(poison("dies-once", tmp_path), pixels_max=PIXELS_MAX).result().shape[2] == 3


def test_a_decoder_that_cannot_start_is_the_machines_trouble(tmp_path: Path) -> None:
    """With too little memory for the program itself no image is to blame."""
    made = Decoder(Limits(seconds=5.0, memory_bytes=1 << 20))
    with pytest.raises(DecoderDown):
        made.rgb(poison("nothing", tmp_path), pixels_max=PIXELS_MAX).result()
    made.close()


def test_closing_does_not_wait_for_what_hangs(tmp_path: Path) -> None:
    """A worker that is told to stop ends its decoders, and nobody gets a wrong reason."""
    made = Decoder(replace(LIMITS, seconds=600.0), module="poison_decoder")
    hanging = made.rgb(poison("hangs", tmp_path), pixels_max=PIXELS_MAX)
    while not made.processes.asked:
        time.sleep(0.01)  # the process starts
    made.close()

    with pytest.raises(DecoderDown):
        hanging.result(timeout=60)


def test_a_decoder_ends_with_its_worker(tmp_path: Path) -> None:
    """When the other end of its socket is gone nobody asks any more."""
    code = (
        "import sys; from pathlib import Path; from oculard.inference.decoding import *\n"
        "from oculard.decoders import Limits; d = Decoder(Limits(seconds=60, memory_bytes=2 << 30))\n"
        "d.rgb(Path(sys.argv[1]), pixels_max=10**8).result()\n"
        "(one,) = d.processes.idle(); print(one, flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, poison("nothing", tmp_path)], capture_output=True, text=True, check=False
    )
    decoder_pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{decoder_pid}").exists() and "(zombie)" not in status_of(decoder_pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def status_of(pid: int) -> str:
    """What the kernel says of a process; "(zombie)" when it is gone meanwhile."""
    try:
        return Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return "(zombie)"


def test_a_decoder_knows_no_secrets_and_loads_no_network(decoder: Decoder, tmp_path: Path) -> None:
    """Its environment holds nothing of the worker's, its memory neither the runtime nor the daemon."""
    decoder.rgb(poison("nothing", tmp_path), pixels_max=PIXELS_MAX).result()
    (pid,) = decoder.processes.idle()
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in environment if entry}
    mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")

    assert names == {b"PYTHONPATH", b"OMP_NUM_THREADS", b"OPENBLAS_NUM_THREADS"}
    assert "onnxruntime" not in mapped
    assert "torch" not in mapped
    assert next(line for line in limits.splitlines() if "core" in line).split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{pid}/fd/2").readlink() == Path(os.devnull)


def test_a_poison_image_costs_its_job_and_no_worker(tmp_path: Path) -> None:
    """The report says the reason, its neighbours in the batch are estimated, and the worker lives."""
    bench = Bench(tmp_path)
    poisoned = Decoder(LIMITS, module="poison_decoder")
    bench.worker = replace(bench.worker, decoder=poisoned)
    bench.receive(poisonous("dies"), poisonous("eats"), photograph("fine", study="fine"))
    reports = {report.images[0].sop_instance_uid: report for report in bench.work()}
    poisoned.close()
    bench.shelf.database.close()

    for what, reason in (("dies", DIED), ("eats", MEMORY_SPENT)):
        assert reports[painted_uid(what)].outcome == "failed"
        assert reason in reports[painted_uid(what)].remark
    assert reports[painted_uid("fine")].outcome == "complete"
    assert bench.shelf.jobs.queue.counts() == {"failed": 2, "reported": 1}


def test_what_a_codestream_hides_from_the_header_is_bounded_by_memory(tmp_path: Path, data: Path) -> None:
    """65535 x 65535 pixels in one tile of few bytes: no header said so, and the limit holds all the same."""
    ds = dcmread(data / "dicom" / "examples_jpeg2k.dcm")
    stream = bytearray(ds.PixelData)
    at = stream.index(b"\xff\x4f\xff\x51")
    for offset in (8, 12, 24, 28):  # the reference grid and its one tile (ISO 15444-1 A.5.1)
        stream[at + offset : at + offset + 4] = (65535).to_bytes(4, "big")
    ds.PixelData, ds.Rows, ds.Columns = bytes(stream), 65535, 65535
    ds["PixelData"].is_undefined_length = True
    path = tmp_path / "bomb.dcm"
    ds.save_as(path)
    made = Decoder(Limits(seconds=60.0, memory_bytes=1 << 30))
    with pytest.raises(Undecodable):
        made.rgb(path, pixels_max=2**32).result()
    made.close()
