"""The ONNX runner: what it refuses, what it gives, and where it runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_samples import edit_manifest, mean_model, model_with_initializer, shipped_copy, tiny_bundle

from oculard_models.contract import ImageInput
from oculard_models.manifest import BundleRefused
from oculard_models.registry import read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

CPU = choose_providers(["cpu"], ["CPUExecutionProvider"])


def load(folder: Path) -> OnnxEstimator:
    """Load a bundle on the processor."""
    return OnnxEstimator(read_bundle(folder), CPU, threads=1)


def refusal_of(folder: Path) -> str:
    """Return the message with which a bundle is refused while loading or in its self-test."""
    with pytest.raises(BundleRefused) as caught:
        load(folder).self_test()
    return str(caught.value)


def renew_digest(folder: Path) -> None:
    """Write the digest of the present weights into the manifest."""
    bundle = read_bundle(folder)
    digest = hashlib.sha256((folder / bundle.manifest.weights.file).read_bytes()).hexdigest()
    edit_manifest(folder, bundle.manifest.weights.sha256, digest)


def test_wanted_provider_that_is_there_is_used_first():
    """Providers keep the wanted order, each with its reason, and the processor comes last."""
    choice = choose_providers(["tensorrt", "cuda"], ["CPUExecutionProvider", "CUDAExecutionProvider"])

    assert choice.providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert choice.why == (
        "tensorrt is not used because the installed onnxruntime does not offer it.",
        "cuda is used because it is wanted and the installed onnxruntime offers it.",
        "cpu is used as the last resort, as always.",
    )


def test_unknown_provider_is_an_error_that_names_the_known_ones():
    """A word that is no provider is refused with the list of those that are."""
    with pytest.raises(ValueError, match="`gpu` is no provider; hint: choose from cpu, cuda, tensorrt, openvino"):
        choose_providers(["gpu"], ["CPUExecutionProvider"])


def test_batch_gives_one_dict_of_floats_per_image(tmp_path: Path):
    """Every image of a batch gets its own raw outputs, by output name."""
    estimator = load(tiny_bundle(tmp_path, mean_model))
    batch = np.stack([np.full((3, 16, 16), level, dtype=np.float32) for level in (0.0, 0.25, 1.0)])

    assert estimator.estimate(batch) == [{"age": 0.0}, {"age": 0.25}, {"age": 1.0}]
    assert estimator.providers == ("CPUExecutionProvider",)


def test_batch_of_another_shape_is_a_bug(tmp_path: Path):
    """A batch that was not prepared by the estimator is refused before it reaches the network."""
    with pytest.raises(ValueError, match=r"expected images x 3 x \(16, 16\) of float32"):
        load(tiny_bundle(tmp_path, mean_model)).estimate(np.zeros((1, 3, 8, 8), dtype=np.float32))


def test_shipped_bundle_reads_left_and_right_eyes_alike():
    """A mirrored picture of a left eye gives what the right eye gives."""
    estimator = load(shipped_folder())
    pixels = np.random.default_rng(1).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    right = estimator.prepare(ImageInput(sop_instance_uid="1.2", eye="R", pixels=pixels))
    left = estimator.prepare(ImageInput(sop_instance_uid="1.2", eye="L", pixels=pixels[:, ::-1].copy()))

    np.testing.assert_allclose(right, left, atol=1e-6)


def shipped_folder() -> Path:
    """Return the shipped demonstration bundle."""
    from oculard_models.registry import BUNDLES

    return BUNDLES / "systemic-demo"


def test_altered_weights_are_refused(tmp_path: Path):
    """One changed byte in the weights is found by the digest."""
    folder = shipped_copy(tmp_path)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)

    assert "model.onnx has the digest" in refusal_of(folder)


@pytest.mark.parametrize(
    ("kept", "said"),
    [(0.0, "cannot load model.onnx"), (0.5, "model.onnx is not ONNX"), (0.999, "model.onnx is not ONNX")],
)
def test_truncated_weights_are_refused(kept: float, said: str, tmp_path: Path):
    """A part of a file is refused, even with the right digest of the part."""
    folder = shipped_copy(tmp_path)
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: int(kept * len(content))])
    renew_digest(folder)

    assert said in refusal_of(folder)


def test_weights_that_are_also_something_else_are_refused(tmp_path: Path):
    """A protobuf message that onnxruntime would read as a file of its own format is not let through to it."""
    folder = shipped_copy(tmp_path)
    (folder / "model.onnx").write_bytes(b"\x0a\x46\0\0ORTM" + b"\0" * 64)
    renew_digest(folder)

    assert "model.onnx is not ONNX: it is in onnxruntime's own format" in refusal_of(folder)


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\xff" * 64, b"\x0b" * 64])
def test_weights_that_are_no_onnx_are_refused(content: bytes, tmp_path: Path):
    """Any other file with the name of weights is refused."""
    folder = shipped_copy(tmp_path)
    (folder / "model.onnx").write_bytes(content)
    renew_digest(folder)

    assert "model.onnx" in refusal_of(folder)


def outside_tensor(onnx: Any, location: str, width: int) -> Any:
    """Make an initializer that lies in another file."""
    tensor = onnx.TensorProto(name="bias", data_type=onnx.TensorProto.FLOAT, dims=[1, width])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(4 * width))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


@pytest.mark.parametrize("width", [1, 200])  # onnxruntime itself refuses the first and reads the second
@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "{absolute}"])
def test_weights_that_read_other_files_are_refused(
    location: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """External data is never read, wherever the model says it lies: beside it, above it, in the working folder."""
    place = location.format(absolute=tmp_path / "secret.bin")
    folder = tiny_bundle(tmp_path / "bundles", lambda o: model_with_initializer(o, outside_tensor(o, place, width)))
    for parent in (tmp_path, tmp_path / "bundles", folder):
        (parent / "secret.bin").write_bytes(np.zeros(width, dtype=np.float32).tobytes())
    monkeypatch.chdir(folder)

    assert refusal_of(folder) == "bundle `tiny`: model.onnx reads other files; hint: export it as one file"


def test_weights_that_hide_other_files_in_a_branch_are_refused(tmp_path: Path):
    """A tensor in the graph of an attribute is found as well."""

    def hostile(onnx: Any) -> Any:
        tensor = outside_tensor(onnx, "secret.bin", 1)
        branch = onnx.helper.make_graph(
            [], "branch", [], [onnx.helper.make_tensor_value_info("bias", tensor.data_type, [1, 1])], [tensor]
        )
        model = mean_model(onnx)
        model.graph.node.append(
            onnx.helper.make_node("If", ["whether"], ["unused"], then_branch=branch, else_branch=branch)
        )
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "whether"))
        return model

    assert "reads other files" in refusal_of(tiny_bundle(tmp_path, hostile))


def test_network_that_gives_no_number_fails_its_self_test(tmp_path: Path):
    """NaN comes out of `estimate` as it is, and never passes the self-test."""

    def hostile(onnx: Any) -> Any:
        return model_with_initializer(onnx, onnx.numpy_helper.from_array(np.full((1, 1), np.nan, np.float32), "bias"))

    folder = tiny_bundle(tmp_path, hostile)

    assert isnan(load(folder).estimate(np.zeros((1, 3, 16, 16), dtype=np.float32))[0]["age"])
    assert "self-test failed: `age` of golden.png is nan" in refusal_of(folder)


def test_golden_image_that_deviates_is_refused(tmp_path: Path):
    """A picture that gives something else than expected stops the bundle, and the message has both numbers."""
    folder = tiny_bundle(tmp_path, mean_model)
    edit_manifest(folder, "age = 0.5", "age = 0.6")

    assert "`age` of golden.png is 0.5020, expected 0.6000 +- 0.01" in refusal_of(folder)


def test_golden_image_that_is_no_picture_is_refused(tmp_path: Path):
    """A broken golden picture is named."""
    folder = tiny_bundle(tmp_path, mean_model)
    (folder / "golden.png").write_bytes((folder / "golden.png").read_bytes()[:40])

    assert "golden.png cannot be decoded" in refusal_of(folder)


def test_missing_output_tensor_is_refused(tmp_path: Path):
    """A manifest that names a tensor the network does not give is refused with what there is."""
    folder = tiny_bundle(tmp_path, lambda onnx: mean_model(onnx, output="years"))

    assert "no output tensor `age`; there are ['years']" in refusal_of(folder)


def test_other_input_tensor_is_refused(tmp_path: Path):
    """The network must take the tensor that the manifest names."""
    folder = tiny_bundle(tmp_path, mean_model)
    edit_manifest(folder, 'tensor = "image"', 'tensor = "picture"')

    assert "input tensors are ['image'], the manifest says `picture`" in refusal_of(folder)


def test_fixed_batch_size_is_refused(tmp_path: Path):
    """A network for exactly one image cannot be batched."""
    folder = tiny_bundle(tmp_path, lambda onnx: mean_model(onnx, images=1))

    assert "takes 1 images; hint: export a free batch size" in refusal_of(folder)


def test_other_image_size_is_refused(tmp_path: Path):
    """The manifest and the network must agree on height and width."""
    folder = tiny_bundle(tmp_path, lambda onnx: mean_model(onnx, size=32))

    assert "the manifest says images x [3, 16, 16]" in refusal_of(folder)


LOADED = """
import sys
from pathlib import Path
from oculard_models.registry import read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

choice = choose_providers(["cpu"], ["CPUExecutionProvider"])
OnnxEstimator(read_bundle(Path(sys.argv[1])), choice, threads=1).self_test()
"""


def test_onnxruntime_tells_nobody_what_it_runs(tmp_path: Path):
    """As it comes it reports networks to its maker, and keeps a mark of the machine and what is unsent at home."""
    folder, home = tiny_bundle(tmp_path / "bundles", mean_model), tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(folder)],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},  # none of a CI
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
