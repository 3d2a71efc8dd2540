"""Bundles that classify views: what a manifest may say, what runners give, and what the self-test finds."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydantic import ValidationError

from glaucoma_bundle import CELLS, SIDE_PX, VIEWS, expected, glaucoma_bundle
from oculard_models.contract import Classified, EstimateFailed, OutOfMemory, Qualifier, said_alone
from oculard_models.export import manifest_toml
from oculard_models.findings import of_classes, raw_of_classes
from oculard_models.manifest import BundleRefused, Manifest, read_manifest
from oculard_models.registry import BUNDLES, Bundle, read_bundle
from oculard_models.runners.golden import self_test
from oculard_models.runners.guards import FLOAT, Port, check_ports, to_classified
from oculard_models.runners.load import Runner, choose, load
from oculard_models.runners.sparing import Sparing

Change = Callable[[dict[str, Any]], None]


def eyes(count: int = 3) -> npt.NDArray[np.float32]:
    """Views of some eyes, brighter from eye to eye."""
    noise = np.random.default_rng(2).random((count, len(VIEWS), SIDE_PX, SIDE_PX), dtype=np.float32)
    return noise * np.linspace(0.4, 1.6, count, dtype=np.float32)[:, None, None, None].clip(0, 1)


def sure(winner: int = 1, **changes: Any) -> Classified:
    """What a network says that is sure of one class in every view."""
    row = np.full(5, 0.05, dtype=np.float32)
    row[winner] = 0.8
    fields = {
        "probability": row,
        "by_view": np.stack([row] * len(VIEWS)),
        "activation": np.zeros((len(VIEWS), CELLS, CELLS), dtype=np.float32),
    }
    return Classified(**(fields | changes))


@pytest.mark.parametrize("runner", ["onnx", "torch"])
def test_runners_give_classes_views_and_activation(runner: Runner, tmp_path: Path) -> None:
    """Every eye has its probabilities, those of every view alone, and a map of every view, the same by both runners."""
    loaded = load(glaucoma_bundle(tmp_path), runner=runner, choice=choose(runner, ["cpu"]), threads=1)
    loaded.self_test()

    for views, said in zip(eyes(), loaded.classify(eyes()), strict=True):
        whole, by_view = expected(views)
        np.testing.assert_allclose(said.probability, whole, atol=1e-4)
        np.testing.assert_allclose(said.by_view, by_view, atol=1e-4)
        assert said.activation.shape == (len(VIEWS), CELLS, CELLS)
        assert said.activation.max(axis=(1, 2)) == pytest.approx(1.0)
        assert said.is_sound


def test_only_classes_are_asked_of_it(tmp_path: Path) -> None:
    """To estimate or to segment with it is a bug, and so is a batch of colour images."""
    loaded = load(glaucoma_bundle(tmp_path), runner="onnx", choice=choose("onnx", ["cpu"]), threads=1)

    with pytest.raises(ValueError, match="classify"):
        loaded.estimate(eyes())
    with pytest.raises(ValueError, match="no mask"):
        loaded.segment(eyes())
    with pytest.raises(ValueError, match="x 4 x"):
        loaded.classify(eyes()[:, :3])


def test_little_memory_gives_the_same(tmp_path: Path) -> None:
    """A batch that does not fit is run in pieces, in order."""
    loaded = load(glaucoma_bundle(tmp_path), runner="onnx", choice=choose("onnx", ["cpu"]), threads=1)

    class Small:
        bundle, devices = loaded.bundle, ("cuda",)

        def classify(self, batch: npt.NDArray[np.float32]) -> Any:
            if len(batch) > 1:
                raise OutOfMemory("one at a time")
            return loaded.classify(batch)

    spared = Sparing(Small(), lambda: loaded).classify(eyes())  # type: ignore[arg-type]  # it only classifies

    assert [one.winner for one in spared] == [one.winner for one in loaded.classify(eyes())]


def test_findings_name_the_class_and_every_probability(tmp_path: Path) -> None:
    """The class with its probability, then all five, in percent, of the given sources."""
    manifest = glaucoma_bundle(tmp_path).manifest

    found = of_classes(manifest, ["1.2", "1.3"], sure(2))

    assert [finding.value for finding in found] == [80.0, 5.0, 5.0, 80.0, 5.0, 5.0]
    assert [finding.choice for finding in found] == ["generalized-enlargement", *[None] * 5]
    assert {finding.sources for finding in found} == {("1.2", "1.3")}
    assert raw_of_classes(manifest, sure(2))["class"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": np.full(5, np.nan, dtype=np.float32)},
        {"probability": np.full(5, 0.3, dtype=np.float32)},
        {"probability": np.array([-0.2, 1.2, 0, 0, 0], dtype=np.float32)},
        {"by_view": np.full((4, 5), 0.3, dtype=np.float32)},
        {"activation": np.full((4, CELLS, CELLS), 7.0, dtype=np.float32)},
        {"activation": np.full((4, CELLS, CELLS), np.nan, dtype=np.float32)},
    ],
    ids=["not a number", "sum", "negative", "by view", "activation", "activation not a number"],
)
def test_no_probabilities_are_no_findings(wrong: dict[str, Any], tmp_path: Path) -> None:
    """What is no probability, or no map, is a failure of every finding."""
    found = of_classes(glaucoma_bundle(tmp_path).manifest, ["1.2"], sure(**wrong))

    assert {finding.qualifier for finding in found} == {Qualifier.FAILURE}


@pytest.mark.parametrize(("dissent", "certainty"), [(0, 0.8), (1, 0.6), (2, 0.4), (4, 0.0)])
def test_disagreement_lowers_the_certainty(dissent: int, certainty: float) -> None:
    """Ours: the probability of the class that was found, times the share of the views that alone say the same."""
    said = sure()
    said.by_view[:dissent] = sure(4).by_view[:dissent]

    assert said.certainty == pytest.approx(certainty)


def test_tensors_of_other_shapes_are_a_failure(tmp_path: Path) -> None:
    """A network that breaks its own shape while it runs fails the batch."""
    bundle = glaucoma_bundle(tmp_path)
    good = [np.zeros((1, 5)), np.zeros((1, 4, 5)), np.zeros((1, 4, 8, 8))]

    assert len(to_classified(bundle, 1, good)) == 1
    for at, wrong in enumerate((np.zeros((1, 4)), np.zeros((1, 5, 4)), np.zeros((1, 3, 8, 8)))):
        with pytest.raises(EstimateFailed, match="for 1 eyes"):
            to_classified(bundle, 1, [wrong if at == number else part for number, part in enumerate(good)])


def changed(bundle: Bundle, change: Change) -> Manifest:
    """The manifest with a change."""
    values = tomllib.loads((bundle.folder / "manifest.toml").read_text(encoding="utf-8"))
    change(values)
    return Manifest.model_validate(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["input"].update(kind="fundus"), "belong to the kind"),
        (lambda m: m["input"].update(views=[]), "belong to the kind"),
        (lambda m: m["input"].update(views=["en-face"] * 4), "named once"),
        (lambda m: m["input"].update(views=["En Face"]), "pattern"),
        (lambda m: m["input"].update(views=[f"v{k}" for k in range(9)]), "8 items"),
        (lambda m: m["input"].update(size_px=[32, 64]), "square"),
        (lambda m: m.update(combine="person"), "combines `eye`"),
        (lambda m: m.update(mask={"structure": "faz", "tensor": "mask"}), "golden.expected"),
        (lambda m: m["output"][0].update(choices=["normal"]), "two `choices` or more"),
        (lambda m: m["output"][0].update(choices=["normal"] * 5), "twice"),
        (lambda m: m["output"][0].update(tensor="by_view"), "of one tensor"),
        (lambda m: m["output"][1].update(tensor="other"), "of one tensor"),
        (lambda m: m["output"][1].update(index=5), "that of a choice"),
        (lambda m: m["output"][1].pop("index"), "`index`"),
        (lambda m: m["output"][0].update(index=0), "`index`"),
        (lambda m: m["output"].pop(0) and m["golden"]["expected"].pop("class"), "one class output"),
        (lambda m: m["output"][1].update(kind="value") or m["output"][1].pop("index"), "one class output"),
    ],
)
def test_contradictions_are_refused(change: Change, words: str, tmp_path: Path) -> None:
    """A manifest that contradicts itself says where."""
    with pytest.raises(ValidationError, match=words):
        changed(glaucoma_bundle(tmp_path), change)


def test_manifest_survives_being_written_again(tmp_path: Path) -> None:
    """What is written of a manifest with views is read as the same."""
    manifest = glaucoma_bundle(tmp_path / "a").manifest
    (tmp_path / "manifest.toml").write_text(manifest_toml(manifest), encoding="utf-8")

    assert read_manifest(tmp_path) == manifest


def refused(folder: Path) -> str:
    """Why a bundle is refused when it is read, loaded and tested."""
    with pytest.raises(BundleRefused) as why:
        load(read_bundle(folder), runner="onnx", choice=choose("onnx", ["cpu"]), threads=1).self_test()
    return str(why.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('views = ["rnfl-thickness", ', "views = [", "has the shape"),
        ('tensor = "probability"', 'tensor = "chance"', "no output tensor `chance`"),
        (', "senile-sclerosis"]', "]", "must be that of a choice"),
        ("size_px = [32, 32]", "size_px = [64, 64]", "has the shape"),
        ("focal-ischemia = 0.", "focal-ischemia = 0.9", "self-test failed"),
    ],
)
def test_networks_that_do_not_fit_are_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    """Another number of views or classes, another tensor, size or result than the manifest's."""
    bundle = glaucoma_bundle(tmp_path)
    path = bundle.folder / "manifest.toml"
    assert old in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    assert words in refused(bundle.folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("probability", (None, 4)),
        ("probability", (None, 5, 1)),
        ("probability", (3, 5)),
        ("by_view", (None, 5, 4)),
        ("activation", (None, 3, 8, 8)),
        ("activation", (None, 4, 8)),
    ],
)
def test_outputs_of_other_shapes_are_refused(name: str, shape: tuple[int | None, ...], tmp_path: Path) -> None:
    """Before anything runs: a number a class, a row a view, a map a view, and any number of eyes."""
    good = {"probability": (None, 5), "by_view": (None, 4, 5), "activation": (None, 4, None, None)}
    images = [Port(name="images", type=FLOAT, shape=(None, 4, SIDE_PX, SIDE_PX))]
    bundle = glaucoma_bundle(tmp_path)

    check_ports(bundle, images, [Port(name=one, type=FLOAT, shape=its) for one, its in good.items()])
    with pytest.raises(BundleRefused, match=f"output `{name}` has the shape"):
        check_ports(
            bundle, images, [Port(name=one, type=FLOAT, shape=its) for one, its in (good | {name: shape}).items()]
        )


@pytest.mark.parametrize("part", ["probability", "by_view", "activation"])
def test_self_test_finds_what_is_no_probability(part: str, tmp_path: Path) -> None:
    """A network that gives something else than probabilities and maps is refused before it serves."""
    bundle = glaucoma_bundle(tmp_path)

    class Wrong:
        def classify(self, batch: npt.NDArray[np.float32]) -> list[Classified]:
            return [sure(**{part: 3.0 * getattr(sure(), part) + 2.0})] * len(batch)

    with pytest.raises(BundleRefused, match="no probabilities"):
        self_test(bundle, Wrong())  # type: ignore[arg-type]  # it only classifies


def test_ordinary_bundles_do_not_classify() -> None:
    """To ask a bundle that reads photographs for classes of views is a bug."""
    loaded = load(read_bundle(BUNDLES / "systemic-demo"), runner="onnx", choice=choose("onnx", ["cpu"]), threads=1)

    with pytest.raises(ValueError, match="reads no views"):
        loaded.classify(eyes())


def test_golden_picture_has_all_views_side_by_side(tmp_path: Path) -> None:
    """A golden picture of another width is refused with the size that is wanted."""
    bundle = glaucoma_bundle(tmp_path)
    Image.new("L", (SIDE_PX, SIDE_PX)).save(bundle.folder / "golden.png")

    assert "4 views side by side have 128 x 32" in refused(bundle.folder)


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [((0.6, 0.1, 0.1, 0.1, 0.1), 0), ((0.4, 0.3, 0.1, 0.1, 0.1), 1), ((0.3, 0.1, 0.2, 0.1, 0.3), 4)],
)
def test_a_view_says_normal_before_it_says_a_type(probabilities: tuple[float, ...], said: int) -> None:
    """Four types share what is not normal: the largest number alone is not what a view says."""
    assert said_alone(probabilities) == said
