"""Networks out of Keras files: the same numbers as Keras, and ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from keras_samples import SIXTEEN, Sample, application, fixture, keras, settled

torch = pytest.importorskip("torch", reason="importing Keras files needs the extra `lab`")
pytest.importorskip("h5py", reason="importing Keras files needs the extra `lab`")

from oculard_models.export import export_onnx, parity  # noqa: E402  # after the skips
from oculard_models.importers.keras_file import KerasFile, KerasRefused  # noqa: E402
from oculard_models.importers.keras_head import Unsaid, head_of, logit_net, values_net  # noqa: E402
from oculard_models.importers.keras_input import scales_by_itself  # noqa: E402
from oculard_models.importers.keras_net import KerasNet, read_net  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras 3 with numpy 2
    pytest.mark.filterwarnings("ignore:Constant folding:UserWarning"),  # of padding; onnxruntime folds it
]

CLOSE = 1e-4
KERAS_2 = ("nested", "mobilenet", "efficientnet", "inception_resnet", "inception_resnet_lambda", "shared")


def net_of(path: Path) -> KerasNet:
    """Read a network."""
    with KerasFile(path) as file:
        return read_net(file, None)


def says(net: torch.nn.Module, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run a network on pictures as Keras has them, channels last."""
    with torch.inference_mode():
        return np.asarray(net(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy())


def far(net: torch.nn.Module, sample: Sample) -> float:
    """Give the largest difference from what Keras said."""
    return float(np.abs(says(net, sample.pictures) - sample.said).max())


@pytest.mark.parametrize("name", KERAS_2)
def test_genuine_keras_2_files_say_the_same(name: str):
    """Files of TensorFlow 2.12 and 2.15: nested, shared, depthwise with groups, arithmetic, a known Lambda."""
    sample = fixture(name)

    assert far(net_of(sample.path), sample) < 1e-6


@pytest.mark.parametrize("name", ["MobileNet", "EfficientNetB0"])
def test_keras_3_files_say_the_same(name: str, tmp_path: Path):
    """Two of the sixteen, with random weights, written by Keras 3."""
    sample = application(tmp_path, name, size_px=64)

    assert far(net_of(sample.path), sample) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("name", SIXTEEN)
def test_all_sixteen_say_the_same_and_export(name: str, tmp_path: Path):
    """Every architecture of the press release, at full width: as Keras says it, in torch and as ONNX."""
    sample = application(tmp_path, name, size_px=SIXTEEN[name])
    net = net_of(sample.path)
    export_onnx(net, ["out"], (SIXTEEN[name], SIXTEEN[name]), tmp_path / "net.onnx")

    assert far(net, sample) < CLOSE
    assert parity(net, tmp_path / "net.onnx", sample.pictures.transpose(0, 3, 1, 2).copy()) < CLOSE


def test_nested_keras_3_models_say_the_same(tmp_path: Path):
    """A base behind arithmetic on the pixels, called twice, in a functional model that ends with a Sequential."""
    k = keras()
    base = k.Sequential(
        [k.Input((32, 32, 3)), k.layers.Conv2D(4, 3, padding="same", strides=2), k.layers.BatchNormalization()],
        name="base",
    )
    head = k.Sequential(
        [k.layers.SeparableConv2D(6, 3, activation="gelu"), k.layers.GlobalAveragePooling2D(), k.layers.Dense(2)],
        name="head",
    )
    image = k.Input((32, 32, 3))
    pixels = image / 127.5 - 1.0
    joined = k.layers.Concatenate()([base(pixels), base(k.layers.Rescaling(-1.0)(pixels))])
    sample = settled(tmp_path, k.Model(image, k.layers.Softmax()(head(joined)), name="whole"), 32, 255.0)
    net = net_of(sample.path)

    assert far(net, sample) < 1e-5
    assert str(head_of(net)) == "2 x softmax"


@pytest.mark.parametrize("name", ["mobilenet", "shared"])
def test_networks_export_with_any_number_of_pictures(name: str, tmp_path: Path):
    """The ONNX file takes one picture as well as three, and says what torch says."""
    net = net_of(fixture(name).path)
    export_onnx(net, ["out"], (48, 48), tmp_path / "net.onnx")

    for count in (1, 3):
        batch = np.random.default_rng(count).uniform(0, 1, (count, 3, 48, 48)).astype(np.float32)
        assert parity(net, tmp_path / "net.onnx", batch) < 1e-5


@pytest.mark.parametrize(("name", "turned"), [("nested", False), ("nested", True), ("mobilenet", False)])
def test_a_sex_head_becomes_one_exact_logit(name: str, turned: bool):
    """The logit's logistic function is Keras's probability of the second class, or of the first where turned."""
    sample = fixture(name)
    logit = says(logit_net(net_of(sample.path), turned=turned, trained_on_logits=False), sample.pictures)[:, 0]
    second = sample.said[:, -1]

    assert 1 / (1 + np.exp(-logit)) == pytest.approx(1 - second if turned else second, abs=1e-6)


def test_a_head_without_function_is_a_logit_only_if_somebody_says_so():
    """A linear unit may be a logit or a value: it is asked."""
    net = net_of(fixture("efficientnet").path)

    with pytest.raises(Unsaid, match="1 x linear, neither sigmoid nor softmax; hint: say --logits"):
        logit_net(net, turned=False, trained_on_logits=False)
    assert logit_net(net, turned=False, trained_on_logits=True) is not None


def test_a_head_of_another_width_is_refused():
    """Five units are no sex, and two are not three values."""
    net = net_of(fixture("nested").path)

    with pytest.raises(KerasRefused, match="the network says 2 numbers, 3 were named"):
        values_net(net, 3)


@pytest.mark.parametrize(
    ("name", "scales"), [("mobilenet", True), ("efficientnet", True), ("nested", False), ("shared", False)]
)
def test_scaling_in_the_file_is_found(name: str, scales: bool):
    """Arithmetic, Rescaling and Normalization at the start say that the network takes raw pixels."""
    assert scales_by_itself(net_of(fixture(name).path)) is scales
