"""An EfficientNet-B7 out of a Keras file, served by the real daemon."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daemons import Daemon, paint_study
from oculard.delivery.files import send_files
from oculard.delivery.practice_pacs import PracticePacs
from oculard.delivery.scu import Target
from oculard.report.read import read_report

pytest.importorskip("torch", reason="importing Keras files needs the extra `lab`")
pytest.importorskip("h5py", reason="importing Keras files needs the extra `lab`")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3 with numpy 2

SIDE = 128  # of the pictures; the network is B7 at its full width and depth
EXTRA = """
[worker]
bundles = ["{folder}"]
estimators = {{ systemic = "joir-b7" }}

[[peers]]
name = "pacs"
ae_title = "PRACTICE"
host = "127.0.0.1"
port = {port}
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bundle: a B7 with random weights, written by Keras and imported."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="writing Keras files needs keras (requirements-dev.lock)")
    import typer
    from typer.testing import CliRunner

    from oculard_models.lab.importing import import_keras

    folder = tmp_path_factory.mktemp("imported")
    keras.utils.set_random_seed(1)
    net = keras.applications.EfficientNetB7(
        input_shape=(SIDE, SIDE, 3), weights=None, classes=2, classifier_activation="softmax"
    )
    net.save(folder / "b7.h5")
    app = typer.Typer()
    app.command()(import_keras)
    options = ["--output", "sex", "--classes", "F,M", "--demonstration"]
    done = CliRunner().invoke(app, [str(folder / "b7.h5"), "--out", str(folder / "bundles" / "joir-b7"), *options])
    assert done.exit_code == 0, done.output
    return folder / "bundles"


def test_the_daemon_serves_an_imported_b7(bundles: Path, make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A painted study in, a report for each eye out, with the sex, the bundle's name and the digest of its weights."""
    from oculard_models.registry import read_bundle

    with PracticePacs(tmp_path / "pacs") as pacs:
        daemon = make_daemon(EXTRA.format(folder=bundles, port=pacs.port))
        daemon.start()
        target = Target(name="oculard", host="127.0.0.1", port=daemon.port(), called_ae="OCULARD", calling_ae="TOPCON")
        sent = list(send_files(target, paint_study(tmp_path / "study", seed=7)))
        assert [one.is_taken for one in sent] == [True, True]
        daemon.wait_for(daemon.ended(2))
        reports = [read_report(pacs.path(uid).read_bytes()) for uid in sorted(pacs.uids())]

    manifest = read_bundle(bundles / "joir-b7").manifest
    assert sorted(report.eye for report in reports) == ["L", "R"]
    for report in reports:
        assert (report.model.name, report.model.version) == ("joir-b7", "1.0.0")
        assert report.model.weights_sha256 == manifest.weights.sha256
        assert report.model.demonstration
        (found,) = report.findings
        assert (found.concept, found.unit, found.qualifier) == ("EST-SEX", "%", None)
        assert found.choice in ("F", "M")
        assert found.value is not None
        assert 50 <= found.value <= 100
