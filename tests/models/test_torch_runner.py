"""The torch runner: the same guards as onnxruntime's, and what it says when it cannot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
pytest.importorskip("onnx", reason="the torch runner needs the extra `lab`")

from bundle_samples import edit_manifest, mean_model, model_with_initializer, shipped_copy, tiny_bundle  # noqa: E402

from oculard_models.contract import EstimateFailed  # noqa: E402  # after the skips
from oculard_models.manifest import BundleRefused  # noqa: E402
from oculard_models.registry import read_bundle  # noqa: E402
from oculard_models.runners.torch_runner import TorchEstimator, available_devices  # noqa: E402

Z = np.zeros((1, 3, 16, 16), dtype=np.float32)


def load(folder: Path, device: str = "cpu") -> TorchEstimator:
    """Load a bundle with torch."""
    return TorchEstimator(read_bundle(folder), device, threads=1)


def refusal_of(folder: Path, device: str = "cpu") -> str:
    """Return the message with which a bundle is refused while loading or in its self-test."""
    with pytest.raises(BundleRefused) as caught:
        load(folder, device).self_test()
    return str(caught.value)


def test_batch_gives_one_dict_of_floats_per_image(tmp_path: Path):
    """Every image of a batch gets its own raw outputs, by output name."""
    estimator = load(tiny_bundle(tmp_path, mean_model))
    batch = np.stack([np.full((3, 16, 16), level, dtype=np.float32) for level in (0.0, 0.25, 1.0)])

    assert estimator.estimate(batch) == [{"age": 0.0}, {"age": 0.25}, {"age": 1.0}]
    assert estimator.devices == ("cpu",)


def test_batch_of_another_shape_is_a_bug(tmp_path: Path):
    """A batch that was not prepared by the estimator is refused before it reaches the network."""
    with pytest.raises(ValueError, match=r"expected images x 3 x \(16, 16\) of float32"):
        load(tiny_bundle(tmp_path, mean_model)).estimate(np.zeros((1, 3, 8, 8), dtype=np.float32))


def test_altered_weights_are_refused(tmp_path: Path):
    """One changed byte in the weights is found by the digest."""
    folder = shipped_copy(tmp_path)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)

    assert "model.onnx has the digest" in refusal_of(folder)


def test_weights_that_read_other_files_are_refused(tmp_path: Path):
    """External data is never read."""

    def hostile(onnx: Any) -> Any:
        tensor = onnx.TensorProto(name="bias", data_type=1, dims=[1, 1], data_location=1)
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "secret.bin"
        return model_with_initializer(onnx, tensor)

    assert "reads other files; hint: export it as one file" in refusal_of(tiny_bundle(tmp_path, hostile))


def test_tensor_of_fewer_bytes_than_its_shape_is_refused(tmp_path: Path):
    """A tensor that lies about its size is named."""

    def hostile(onnx: Any) -> Any:
        tensor = onnx.TensorProto(name="bias", data_type=1, dims=[7, 7], raw_data=b"\0" * 4)
        return model_with_initializer(onnx, tensor)

    assert "torch cannot load model.onnx: tensor `bias` cannot be read" in refusal_of(tiny_bundle(tmp_path, hostile))


def test_node_that_nobody_knows_is_refused_by_name(tmp_path: Path):
    """An operator that the table does not have is named with its node, and the other runner is offered."""

    def other(onnx: Any) -> Any:
        model = mean_model(onnx)
        model.graph.node.append(onnx.helper.make_node("NonZero", ["age"], ["places"], name="n7"))
        return model

    assert "there is no operator NonZero `n7`; hint: the onnx runner knows more" in refusal_of(
        tiny_bundle(tmp_path, other)
    )


def test_node_that_reads_what_is_not_there_is_refused(tmp_path: Path):
    """The order of the nodes must be one that works."""

    def disordered(onnx: Any) -> Any:
        model = mean_model(onnx)
        nodes = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend(reversed(nodes))
        return model

    assert "Flatten `age` reads `mean` before it is there" in refusal_of(tiny_bundle(tmp_path, disordered))


def test_node_that_fails_while_running_is_named(tmp_path: Path):
    """What goes wrong with an image is an EstimateFailed that says at which node."""

    def misshapen(onnx: Any) -> Any:
        bias = onnx.numpy_helper.from_array(np.zeros((3, 5, 7), dtype=np.float32), "bias")
        model = model_with_initializer(onnx, bias)
        model.graph.node.insert(0, onnx.helper.make_node("MatMul", ["image", "bias"], ["unused"], name="m1"))
        return model

    with pytest.raises(EstimateFailed, match="cannot run on 1 images: MatMul `m1`: "):
        load(tiny_bundle(tmp_path, misshapen)).estimate(Z)


def test_network_that_breaks_its_own_shape_fails(tmp_path: Path):
    """More numbers than images are never dealt out."""

    def doubled(onnx: Any) -> Any:
        return model_with_initializer(onnx, onnx.numpy_helper.from_array(np.zeros((2, 1), np.float32), "bias"))

    with pytest.raises(EstimateFailed, match=r"gave \(2, 1\) for 1 images"):
        load(tiny_bundle(tmp_path, doubled)).estimate(Z)


def test_golden_image_that_deviates_is_refused(tmp_path: Path):
    """The self-test is that of the other runner, and has its words."""
    folder = tiny_bundle(tmp_path, mean_model)
    edit_manifest(folder, "age = 0.5", "age = 0.6")

    assert "`age` of golden.png is 0.5020, expected 0.6000 +- 0.01" in refusal_of(folder)


def test_missing_output_tensor_is_refused(tmp_path: Path):
    """A manifest that names a tensor the network does not give is refused with what there is."""
    folder = tiny_bundle(tmp_path, lambda onnx: mean_model(onnx, output="years"))

    assert "no output tensor `age`; there are ['years']" in refusal_of(folder)


def test_fixed_batch_is_refused(tmp_path: Path):
    """The number of images must be free."""
    assert "takes 1 images; hint: export a free batch size" in refusal_of(
        tiny_bundle(tmp_path, lambda onnx: mean_model(onnx, images=1))
    )


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cuda:-1", "cuda:x", "cpu:0", ""])
def test_device_that_is_not_there_is_refused_with_those_that_are(device: str, tmp_path: Path):
    """A word that is no device of this torch is refused, with what there is."""
    words = refusal_of(tiny_bundle(tmp_path, mean_model), device)

    assert f"torch has no device `{device}`; it has cpu" in words


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installation without torch is told what to install, and has no devices to choose from."""
    folder = tiny_bundle(tmp_path, mean_model)
    monkeypatch.setitem(sys.modules, "torch", None)

    assert "the torch runner needs `torch`; hint: install the extra with  pip install 'oculard[lab]'" in refusal_of(
        folder
    )
    assert available_devices() == []
