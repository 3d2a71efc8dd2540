"""Keras files that must be refused: broken, foreign, or made to do harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_samples import FIXTURES

pytest.importorskip("torch", reason="importing Keras files needs the extra `lab`")
h5py = pytest.importorskip("h5py", reason="importing Keras files needs the extra `lab`")

from oculard_models.importers import keras_file, keras_graph, keras_trial  # noqa: E402  # after the skips
from oculard_models.importers.keras_file import KerasFile, KerasRefused  # noqa: E402
from oculard_models.importers.keras_net import read_net  # noqa: E402

Config = dict[str, Any]
KERNEL = "model_weights/dense/dense/kernel:0"
BASE = "model_weights/base/conv2d/kernel:0"


def copy(folder: Path, name: str = "nested") -> Path:
    """Copy one of the good files into `folder`, which its caller may then spoil."""
    return Path(shutil.copy(FIXTURES / f"{name}.h5", folder))


def describe(path: Path, change: Callable[[Config], object]) -> Path:
    """Change a file's description of its network."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def layers(config: Config) -> list[Config]:
    """The layers of the base in the nested file: input, padding, convolution, ..."""
    found: list[Config] = config["config"]["layers"][1]["config"]["layers"]
    return found


def refusal(path: Path) -> str:
    """Read a file that must be refused, and give the words."""
    with pytest.raises(KerasRefused) as why, KerasFile(path) as file:
        read_net(file, None)
    return str(why.value)


def test_what_is_no_hdf5_file_is_refused(tmp_path: Path):
    """Text, a .keras archive, a folder and half a file: each is told apart."""
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "new.keras").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "half.h5").write_bytes((FIXTURES / "nested.h5").read_bytes()[:10_000])

    assert "is no HDF5 file" in refusal(tmp_path / "text.h5")
    assert "is a .keras archive; hint: load it in Keras and save it as name.h5" in refusal(tmp_path / "new.keras")
    assert "hint: a SavedModel folder must be saved again" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "half.h5")
    assert "cannot be read" in refusal(tmp_path / "missing.h5")


def test_a_file_of_weights_only_is_refused():
    """Without a description nobody knows what the arrays are for."""
    assert "has no model_config: it holds weights only" in refusal(FIXTURES / "weights_only.h5")


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its size is looked at first."""
    monkeypatch.setattr(keras_file, "FILE_MAX_BYTES", 1000)

    assert "bytes, 1000 are allowed" in refusal(copy(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "model_config is not JSON"),
        ("[" * 200_000, "model_config is not JSON"),
        ("[]", "is not a description of a network"),
        ("{}", "describes a `None`"),
        ('{"class_name": "Sequential", "config": 7}', "lists no layers"),
        ('{"class_name": "Functional", "config": {"layers": [7]}}', "without class or description"),
        (" " * (9 << 20), "bytes, 8388608 are allowed"),
    ],
)
def test_a_broken_description_is_refused(text: str, words: str, tmp_path: Path):
    """JSON that is none, too deep, too long or of something else."""
    path = copy(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = text

    assert words in refusal(path)


def test_code_in_a_lambda_is_refused_and_never_run():
    """A genuine Lambda layer with a function of its author's."""
    assert refusal(FIXTURES / "with_code.h5").startswith("layer `own_code`, a `Lambda`: it holds code of its own")


@pytest.mark.parametrize(
    "change",
    [
        lambda block: block["config"].update(name="own_block"),
        lambda block: block["config"]["arguments"].update(more=1),
        lambda block: block["config"]["arguments"].update(scale="0.1"),
        lambda block: block["config"].update(arguments=None),
    ],
)
def test_only_the_known_lambda_is_read(change: Callable[[Config], None], tmp_path: Path):
    """Another name or other arguments than Inception-ResNet-V2's: refused, by name."""

    def spoil(config: Config) -> None:
        block = next(one for one in config["config"]["layers"] if one["class_name"] == "Lambda")
        old = block["name"]
        change(block)
        block["name"] = block["config"]["name"]
        text = json.dumps(config["config"]).replace(f'"{old}", 0, 0', f'"{block["name"]}", 0, 0')
        config["config"] = json.loads(text)

    words = refusal(describe(copy(tmp_path, "inception_resnet_lambda"), spoil))

    assert "a `Lambda`: it holds code of its own, which is never executed" in words


def put(key: str, value: object, *, at: int) -> Callable[[Config], None]:
    """Set one setting of a layer of the base."""

    def change(config: Config) -> None:
        layers(config)[at]["config"][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: layers(c)[2].update(class_name="Conv3D"),
            "layer `base/conv2d`, a `Conv3D`: this class is not known",
        ),
        (put("filters", 1 << 40, at=2), "layer `base/conv2d`, a `Conv2D`: `filters` is 1099511627776"),
        (put("filters", "8", at=2), "`filters` is '8', not a whole number"),
        (put("filters", 9, at=2), "layer `base/conv2d`: its `kernel` has the shape (3, 3, 3, 8), the layer's"),
        (put("kernel_size", [3], at=2), "`kernel_size` is [3], not two whole numbers"),
        (put("data_format", "channels_first", at=2), "only channels_last is supported"),
        (put("activation", "mystery", at=2), "its activation `mystery` is not known"),
        (put("padding", [[4096, 4096], [4096, 4096]], at=1), "layer `base/zero_padding2d`, a `ZeroPadding2D`, makes"),
        (put("axis", [1], at=3), "layer `base/batch_normalization`, a `BatchNormalization`: it does not normalise"),
        (put("scale", True, at=3), "layer `base/batch_normalization`: the file has no `gamma` for it"),
        (put("epsilon", float("inf"), at=3), "`epsilon` holds inf, not a finite number"),
        (put("threshold", 1.0, at=4), "a slope or a threshold is not supported"),
        (put("axis", 1, at=9), "layer `base/concatenate`, a `Concatenate`: it does not join channels"),
        (put("strides", [2, 2], at=7), "layer `base/concatenate`, a `Concatenate`, cannot work on"),
    ],
)
def test_a_layer_that_cannot_be_read_is_named(change: Callable[[Config], None], words: str, tmp_path: Path):
    """Unknown classes, wrong settings, shapes that do not fit: the layer's name and class are in the message."""
    assert words in refusal(describe(copy(tmp_path), change))


def call(name: str, *, of: int) -> Callable[[Config], None]:
    """Let a layer of the base be called with another one's result."""

    def change(config: Config) -> None:
        layers(config)[of]["inbound_nodes"] = [[[name, 0, 0, {}]]]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (call("nobody", of=2), "layer `base/nobody` is used, and is not there"),
        (call("concatenate", of=2), "waits for itself"),
        (lambda c: layers(c)[2].update(inbound_nodes=7), "layer `base/conv2d`: its calls are not a list"),
        (
            lambda c: layers(c)[2].update(inbound_nodes=[7]),
            "layer `base/conv2d`, a `Conv2D`, is called in an unknown way",
        ),
        (
            lambda c: layers(c)[3].update(inbound_nodes=[[["conv2d", 0, 0, {"training": True}]]]),
            "layer `base/batch_normalization`, a `BatchNormalization`, is called in an unknown way: with `training`",
        ),
        (lambda c: layers(c)[2].update(inbound_nodes=[[["zero_padding2d", 0, 1, {}]]]), "with result 1 of a layer"),
        (
            lambda c: c["config"]["layers"][1]["config"].update(output_layers=[["conv2d", 0, 0], ["re_lu", 0, 0]]),
            "model `base` has 2 outputs; exactly one is supported",
        ),
        (
            lambda c: c["config"]["layers"][0]["config"].update(batch_input_shape=[None, 48, 48, 1]),
            "has the shape [None, 48, 48, 1]; expected [None, height, width, 3]",
        ),
        (
            lambda c: c["config"]["layers"][0]["config"].update(batch_input_shape=[None, None, None, 3]),
            "leaves the size of its pictures open; hint: say it with --size",
        ),
        (
            lambda c: c["config"]["layers"][0]["config"].update(batch_input_shape=[None, 90_000, 90_000, 3]),
            "wants pictures of 90000 x 90000; 16 to 4096 are supported",
        ),
    ],
)
def test_a_network_that_does_not_hang_together_is_refused(change: Callable[[Config], None], words: str, tmp_path: Path):
    """Calls in circles or of nobody, several outputs, pictures of no colour or size."""
    assert words in refusal(describe(copy(tmp_path), change))


def test_models_that_call_models_do_not_multiply_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Fourteen models that each call the next one twice would be sixteen thousand layers: it stops in time."""
    monkeypatch.setattr(keras_graph, "STEPS_MAX", 1000)
    model: Config = {"class_name": "ReLU", "config": {"name": "m0"}}
    for level in range(1, 15):
        inner = model | {"inbound_nodes": [[["i", 0, 0, {}]], [[model["config"]["name"], 0, 0, {}]]]}
        start = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 48, 48, 3]}}
        ends = {"input_layers": [["i", 0, 0]], "output_layers": [[model["config"]["name"], 1, 0]]}
        model = {"class_name": "Functional", "config": {"name": f"m{level}", "layers": [start, inner], **ends}}

    assert "is step 1000: the network is too long" in refusal(describe(copy(tmp_path), lambda c: c.update(model)))


def test_models_are_not_nested_without_end(tmp_path: Path):
    """Depth has a limit of its own."""
    model: Config = {"class_name": "ReLU", "config": {"name": "m"}}
    for _ in range(40):
        model = {"class_name": "Sequential", "config": {"name": "m", "layers": [model]}}

    assert "models are nested more than 16 deep" in refusal(describe(copy(tmp_path), lambda c: c.update(model)))


def swap(path: Path, name: str, make: Callable[[Any, str], object]) -> Path:
    """Replace an array of a file by something else."""
    with h5py.File(path, "r+") as file:
        del file[name]
        make(file, name)
    return path


def outside(file: Any, name: str) -> None:
    """Put an array's numbers into another file, as HDF5 allows."""
    file.create_dataset(name, (24, 2), "f4", external=[("/etc/passwd", 0, 192)])


def virtual(file: Any, name: str) -> None:
    """Make an array out of another file's."""
    layout = h5py.VirtualLayout((24, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (24, 2))
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f, n: f.__setitem__(n, h5py.ExternalLink("/etc/other.h5", "/x")), "is a link to somewhere else"),
        (lambda f, n: f.__setitem__(n, h5py.SoftLink("/model_weights")), "is a link to somewhere else"),
        (outside, "lies in another file, which is never opened"),
        (virtual, "lies in another file, which is never opened"),
        (lambda f, n: f.create_group(n), "is no array"),
        (lambda f, n: None, "the file has no `kernel:0`"),
        (lambda f, n: f.create_dataset(n, (1 << 40, 1 << 20), "f4", chunks=(64, 64)), "(1099511627776, 1048576)"),
        (lambda f, n: f.create_dataset(n, (24, 2), "f4", compression="gzip"), "is compressed"),
        (lambda f, n: f.create_dataset(n, (24, 2), "i4"), "holds int32, not floating-point numbers"),
        (lambda f, n: f.create_dataset(n, (24, 2), "f4", fillvalue=np.nan), "holds a number that is not finite"),
        (
            lambda f, n: f.create_dataset(n, (2, 24), "f4"),
            "has the shape (2, 24), the layer's description says (24, 2)",
        ),
    ],
)
def test_an_array_that_is_not_what_it_should_be_is_refused(
    make: Callable[[Any, str], object], words: str, tmp_path: Path
):
    """Links out of the file, arrays elsewhere, of another shape or type, too large, unfinished: never read."""
    said = refusal(swap(copy(tmp_path), KERNEL, make))

    assert words in said
    assert "dense" in said or "kernel" in said


def test_arrays_have_a_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Many arrays of a good size are too much, too."""
    monkeypatch.setattr(keras_file, "ARRAYS_MAX_BYTES", 2000)

    assert "makes more than 2000 bytes of arrays" in refusal(copy(tmp_path))


def more_arrays(path: Path, model: str, names: list[str]) -> Path:
    """Give a layer or model of a file more arrays, all with the numbers of the first convolution."""
    with h5py.File(path, "r+") as file:
        group = file[f"model_weights/{model}"]
        for name in names:
            file.copy(file[BASE], group, name)
        group.attrs["weight_names"] = np.array([*group.attrs["weight_names"], *names], dtype="S")
    return path


def test_an_array_that_nothing_takes_is_refused(tmp_path: Path):
    """What it is for is not known, so the network is not known either."""
    path = more_arrays(copy(tmp_path), "dense", ["dense/more:0"])

    assert "nothing takes the array `dense: dense/more` (one of 1)" in refusal(path)


def test_an_array_of_a_nested_layer_may_not_be_ambiguous(tmp_path: Path):
    """Two arrays that could both be the layer's own are one too many."""
    path = more_arrays(copy(tmp_path), "base", ["one/conv2d/kernel:0", "two/conv2d/kernel:0"])
    with h5py.File(path, "r+") as file:
        names = [
            name
            for name in file["model_weights/base"].attrs["weight_names"]
            if name not in ("conv2d/kernel:0", b"conv2d/kernel:0")
        ]
        file["model_weights/base"].attrs["weight_names"] = np.array(names, dtype="S")

    assert "layer `base/conv2d`: the file has several arrays called `kernel` that could be its own" in refusal(path)


def test_spoilt_bytes_are_refused_or_harmless(tmp_path: Path):
    """Whatever byte is hit, the file is read or refused; nothing else is raised."""
    whole = (FIXTURES / "shared.h5").read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "spoilt.h5"
    refused = 0
    for _ in range(18):
        spoilt = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            spoilt[at] = int(rng.integers(0, 256))
        path.write_bytes(spoilt)
        try:
            with KerasFile(path) as file:
                read_net(file, None)
        except KerasRefused:
            refused += 1
    assert refused > 5


def test_a_file_that_makes_the_library_loop_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """HDF5 2.0 never comes back from this one (a few bytes of `shared.h5` were changed): a child finds out."""
    monkeypatch.setattr(keras_trial, "LIMIT_S", 3.0)

    with pytest.raises(KerasRefused, match=r"`looping.h5` cannot be read: it took more than 3 s"):
        keras_trial.survive(FIXTURES / "looping.h5")


@pytest.mark.parametrize("name", ["nested", "weights_only", "with_code"])
def test_a_file_that_can_be_read_or_refused_passes_the_trial(name: str):
    """The child only says whether reading ends; what is wrong with a file is said afterwards."""
    keras_trial.survive(FIXTURES / f"{name}.h5")
