"""Photographs as a data set: prepared as the daemon does it, varied by seed, epoch and index alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed (extra `lab`)")
pytest.importorskip("polars", reason="polars is not installed (extra `lab`)")

from oculard_models.contract import ImageInput  # noqa: E402  # after the skip
from oculard_models.data.augment import Draw, Variation, VariationWrong, vary  # noqa: E402
from oculard_models.data.dataset import PhotographSet  # noqa: E402
from oculard_models.data.painted_table import paint_table  # noqa: E402
from oculard_models.data.photographs import Unreadable, read_pixels  # noqa: E402
from oculard_models.data.scaling import Scaling, ScalingWrong, scaling_of  # noqa: E402
from oculard_models.data.table import Photograph, Table, read_table  # noqa: E402
from oculard_models.manifest import InputSpec  # noqa: E402
from oculard_models.preprocess import prepare  # noqa: E402

NAMES = ("sex", "age")
SCALING = Scaling(NAMES, (0.0, 55.0), (1.0, 15.0))
STILL = Draw(
    turn_deg=0, size=1, across=0, down=0, upside_down=False, swaps_eye=False, brightness=1, contrast=1, gamma=1
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Four painted people, both eyes."""
    return read_table(paint_table(tmp_path_factory.mktemp("study"), 4, 1, size_px=96))


def spec(**changes: object) -> InputSpec:
    """Describe an input of 48 x 64 pixels, changed as asked."""
    said = {"kind": "fundus", "tensor": "image", "size_px": (48, 64), "mean": (0.5, 0.2, 0.1), "std": (0.3, 0.15, 0.07)}
    return InputSpec.model_validate(said | changes)


def a_set(study: Table, varied: Variation | None, seed: int = 1, **changes: object) -> PhotographSet:
    """Make a data set of the study."""
    return PhotographSet(study.photographs, NAMES, spec(**changes), SCALING, varied=varied, seed=seed)


def images(data: PhotographSet, workers: int = 0) -> np.ndarray:
    """Return all pictures in order."""
    loader = torch.utils.data.DataLoader(data, batch_size=3, num_workers=workers)
    return np.concatenate([item["image"].numpy() for item in loader])


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("mirror_left", [True, False])
def test_unvaried_item_is_what_the_daemon_sees(study: Table, colour: str, mirror_left: bool):
    """To the last bit, kept in memory or not."""
    data = a_set(study, None, colour=colour, mirror_left=mirror_left)
    daemon = [
        prepare(ImageInput(sop_instance_uid="2.25.0", eye=p.eye, pixels=read_pixels(p.path)), data.spec)
        for p in study.photographs
    ]
    fresh = images(data)
    data.keep()

    np.testing.assert_array_equal(fresh, daemon)
    np.testing.assert_array_equal(images(data), daemon)


def test_targets_are_standardised_and_missing_ones_are_nan(study: Table):
    """Sex stays 0 or 1, a value becomes its distance from the mean, and what nobody knows is NaN."""
    first = study.photographs[0]
    without = Photograph(path=first.path, person="x", eye="R", values={"sex": 1.0})
    data = PhotographSet([first, without], NAMES, spec(), SCALING, varied=None, seed=1)

    np.testing.assert_allclose(data[0]["target"], [first.values["sex"], (first.values["age"] - 55.0) / 15.0], rtol=1e-6)
    assert data[1]["target"][0] == 1.0
    assert bool(torch.isnan(data[1]["target"][1]))
    assert data[1]["index"] == 1


def test_chance_follows_from_seed_epoch_and_index_alone(study: Table):
    """Workers change nothing; another epoch or seed changes everything, and an epoch comes back."""
    data = a_set(study, Variation())
    alone, with_workers = images(data), images(data, workers=2)
    data.set_epoch(1)
    later = images(data)
    data.set_epoch(0)
    twice = PhotographSet(study.photographs[:1] * 2, NAMES, spec(), SCALING, varied=Variation(), seed=1)

    assert not torch.equal(twice[0]["image"], twice[1]["image"])
    np.testing.assert_array_equal(alone, with_workers)
    np.testing.assert_array_equal(alone, images(data))
    assert (alone != later).any(axis=(1, 2, 3)).all()
    assert (alone != images(a_set(study, Variation(), seed=2))).any(axis=(1, 2, 3)).all()


def test_workers_that_live_on_hear_of_the_next_epoch(study: Table):
    """A loader that keeps its workers gives what one without workers gives."""
    data = a_set(study, Variation())
    loader = torch.utils.data.DataLoader(data, batch_size=8, num_workers=1, persistent_workers=True)
    first = next(iter(loader))["image"]
    data.set_epoch(1)
    second = next(iter(loader))["image"]

    assert not torch.equal(first, second)
    np.testing.assert_array_equal(second.numpy(), images(data))


def test_photographs_and_data_sets_travel_between_processes(study: Table):
    """Workers that are started afresh get them by pickle."""
    assert pickle.loads(pickle.dumps(study.photographs)) == study.photographs


def test_flip_from_side_to_side_swaps_the_eye(study: Table):
    """With both flips about half of all pictures show the other eye, and say so; the disc lies where the eye says."""
    data = a_set(study, Variation(flip="both", rotate_deg=5.0), mirror_left=False)
    swapped = 0
    for epoch in range(6):
        data.set_epoch(epoch)
        for index, photograph in enumerate(study.photographs):
            item = data[index]
            green = item["image"][1].numpy()
            disc_right = green[:, 40:].max() > green[:, :24].max()
            assert disc_right == (item["eye"] == 0)
            swapped += item["eye"] != "RL".index(photograph.eye)

    assert 12 < swapped < 36


def test_network_of_right_eyes_never_sees_left_ones(study: Table):
    """With mirrored left eyes every picture shows a right one, and a flip from side to side is refused."""
    data = a_set(study, Variation(flip="vertical"))

    assert [data[index]["eye"] for index in range(len(data))] == [0] * 8
    assert [a_set(study, None, mirror_left=False)[index]["eye"] for index in range(2)] == [0, 1]
    with pytest.raises(VariationWrong, match="sees right eyes only"):
        a_set(study, Variation(flip="both"))


def changed(**changes: float) -> Draw:
    """Return a variation that changes nothing else."""
    from dataclasses import replace

    return replace(STILL, **changes)


def test_still_variation_changes_nothing():
    """Turned by nothing, scaled by one, lit as before."""
    picture = torch.rand(3, 40, 60)

    torch.testing.assert_close(vary(picture, STILL), picture, atol=1e-5, rtol=0)


def test_variations_do_what_they_say():
    """Turned counter-clockwise or clockwise, moved, flipped; and what comes from outside is black."""
    picture = torch.zeros(3, 41, 61)
    picture[:, 18:23, 48:53] = 0.5  # right of the middle

    def place(drawn: Draw) -> tuple[int, int]:
        rows, columns = np.nonzero(vary(picture, drawn)[0].numpy() > 0.25)
        return round(float(rows.mean())), round(float(columns.mean()))

    assert place(STILL) == (20, 50)
    assert place(changed(swaps_eye=True)) == (20, 10)
    assert place(changed(upside_down=True)) == (20, 50)
    assert place(changed(size=0.5)) == (20, 40)
    assert abs(place(changed(turn_deg=45.0))[0] - 20) == 14  # 20 px away, in a picture that is not square
    assert place(changed(turn_deg=45.0))[1] == 44
    assert float(vary(torch.ones(3, 40, 60), changed(across=0.3))[:, :, -5:].abs().max()) < 1e-6


@given(
    brightness=st.floats(0.5, 1.5), contrast=st.floats(0.5, 1.5), gamma=st.floats(0.5, 1.5), seed=st.integers(0, 100)
)
def test_light_stays_light_and_black_stays_black(brightness: float, contrast: float, gamma: float, seed: int):
    """Whatever the light does, pixels stay from 0 to 1, and the background stays black."""
    picture = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(seed))
    picture[:, :4] = 0.0
    lit = vary(picture, changed(brightness=brightness, contrast=contrast, gamma=gamma))

    assert float(lit.min()) >= 0.0
    assert float(lit.max()) <= 1.0
    assert float(lit[:, :3].abs().max()) < 1e-6


@pytest.mark.parametrize("change", [{"flip": "left"}, {"rotate_deg": -1.0}, {"scale": 1.0}, {"gamma": float("nan")}])
def test_impossible_variation_is_refused(change: dict[str, object]):
    """A variation is built whole or not at all."""
    with pytest.raises(VariationWrong, match="expected"):
        Variation(**change)  # type: ignore[arg-type]


@given(values=st.lists(st.floats(1.0, 300.0), min_size=3, max_size=30, unique=True))
def test_scaling_there_and_back(values: list[float]):
    """Standardised values have mean 0 and deviation 1, and come back in their unit."""
    photographs = [Photograph(path=Path("x"), person="x", eye="R", values={"age": v, "sex": 1.0}) for v in values]
    photographs.append(Photograph(path=Path("x"), person="y", eye="R", values={"sex": 0.0}))
    scaling = scaling_of(photographs, ["age", "sex"])
    targets = np.stack([scaling.standardised(p.values) for p in photographs])

    np.testing.assert_allclose(scaling.in_units(targets)[:-1, 0], values, rtol=1e-4, atol=1e-3)
    assert abs(np.nanmean(targets[:, 0])) < 1e-3
    assert set(targets[:, 1]) == {0.0, 1.0}


def test_target_that_never_varies_cannot_be_scaled(study: Table):
    """There is nothing to learn, and nothing to divide by."""
    women = [Photograph(path=Path("x"), person="x", eye="R", values={"sex": 0.0})]

    with pytest.raises(ScalingWrong, match="`sex` is always 0"):
        scaling_of(women, ["sex"])
    with pytest.raises(ScalingWrong, match="`age` is not known of anybody"):
        scaling_of(women, ["age"])
    with pytest.raises(ScalingWrong, match="asked were age"):
        PhotographSet(study.photographs, ["age"], spec(), SCALING, varied=None, seed=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_photograph_is_named(tmp_path: Path, workers: int):
    """The file's name comes through, from a worker too."""
    Image.new("L", (32, 32)).save(tmp_path / "grey.png")
    photograph = Photograph(path=tmp_path / "grey.png", person="x", eye="R", values={"sex": 1.0})
    data = PhotographSet([photograph], NAMES, spec(), SCALING, varied=None, seed=1)

    with pytest.raises(Unreadable, match=r"grey\.png is no colour photograph"):
        images(data, workers)
