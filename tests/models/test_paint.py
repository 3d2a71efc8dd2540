"""Painted eyes: repeatable, rightly oriented, and as variable as their people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from oculard_models.data.paint import paint, paint_with_disc
from oculard_models.data.person import LIMITS, VALUES, Person, sample_people, sample_person
from oculard_models.preprocess import find_field
from oculard_models.registry import BUNDLES

PEOPLE = sample_people(2000, seed=11)
AVERAGE = Person(age=55.0, sex="F", sbp=125.0, dbp=76.0, glucose=99.0, waist=83.5, bmi=23.2)


def disc_x(pixels: npt.NDArray[np.uint8]) -> float:
    """Return where the optic disc is, 0 at the left edge to 1 at the right one: the palest spot of the field."""
    red, green, _ = np.moveaxis(np.asarray(Image.fromarray(pixels).reduce(8), dtype=float), 2, 0)
    pale = np.where(red > 60, green / (red + 1), 0.0)
    return float(pale.max(axis=0).argmax() / pale.shape[1])


def test_same_call_gives_the_same_bytes():
    """Nothing but its arguments decides what is painted."""
    np.testing.assert_array_equal(paint(PEOPLE[0], "R", 5, 200), paint(PEOPLE[0], "R", 5, 200))


def test_pictures_stay_what_they_were():
    """The golden picture of a shipped bundle was painted long ago: the same call paints it still."""
    with Image.open(BUNDLES / "fundus-quality" / "golden.png") as picture:
        golden = np.asarray(picture).astype(int)
    seed = 20_000_003  # of train/quality_bundle.py
    painted = paint(sample_person(np.random.default_rng(seed)), "R", seed, 256).astype(int)

    assert np.abs(painted - golden).max() <= 1  # processors may differ in the last bit


@pytest.mark.parametrize("eye", ["R", "L"])
def test_disc_is_known_where_it_was_painted(eye: str):
    """The mask lies on the pale spot, is about as large as a disc is, and the picture is that of `paint`."""
    pixels, disc = paint_with_disc(AVERAGE, eye, 5, 200)

    np.testing.assert_array_equal(pixels, paint(AVERAGE, eye, 5, 200))
    columns = np.flatnonzero(disc.any(axis=0))
    assert columns[0] / 200 < disc_x(pixels) < columns[-1] / 200
    assert 0.006 < disc.mean() < 0.015
    green = pixels[..., 1].astype(float)
    ring = ndimage.binary_dilation(disc, iterations=8) & ~ndimage.binary_dilation(disc, iterations=3)
    assert green[disc].mean() > green[ring].mean() + 25


def test_another_seed_eye_or_shot_gives_another_picture():
    """Each argument counts."""
    pictures = [paint(AVERAGE, "R", 5, 96), paint(AVERAGE, "R", 6, 96), paint(AVERAGE, "L", 5, 96)]
    pictures.append(paint(AVERAGE, "R", 5, 96, shot=1))

    assert len({picture.tobytes() for picture in pictures}) == 4


def test_other_size_is_the_same_eye():
    """A picture scaled down is nearly the picture painted small."""
    large = Image.fromarray(paint(AVERAGE, "R", 5, 800)).resize((200, 200), Image.Resampling.BOX)
    small = paint(AVERAGE, "R", 5, 200)

    assert np.abs(np.asarray(large, dtype=float) - small).mean() < 3.0


@pytest.mark.parametrize("seed", range(30))
def test_disc_lies_on_the_nasal_side(seed: int):
    """In a right eye the disc is on the right of the picture, in a left eye on the left."""
    assert 0.7 < disc_x(paint(PEOPLE[seed], "R", seed, 200)) < 0.9
    assert 0.1 < disc_x(paint(PEOPLE[seed], "L", seed, 200)) < 0.3


def test_field_is_a_circle_on_black():
    """The field can be found, and the corners are dark."""
    pixels = paint(AVERAGE, "R", 8, 300)
    field = find_field(pixels)

    assert field is not None
    assert 0.44 < field.radius / 300 < 0.5
    assert pixels[:20, :20].max() < 16


def test_each_attribute_changes_the_picture_in_many_places():
    """No attribute hides in one pixel: each changes a hundred and more."""
    plain = paint(AVERAGE, "R", 9, 160).astype(int)
    changed = [replace(AVERAGE, sex="M")]
    changed += [replace(AVERAGE, **{name: getattr(AVERAGE, name) + 0.2 * np.ptp(LIMITS[name])}) for name in VALUES]

    for person in changed:
        moved = np.abs(paint(person, "R", 9, 160).astype(int) - plain).max(axis=2) > 4
        assert moved.sum() > 100, person


def test_longer_list_of_people_begins_with_the_shorter_one():
    """More people with the same seed are the same people and some more."""
    assert sample_people(5, seed=11) == PEOPLE[:5]


def test_people_resemble_a_health_check():
    """Means, spread and the obvious relations are roughly those of adults; nobody is outside the limits."""
    columns = {name: np.array([getattr(person, name) for person in PEOPLE]) for name in VALUES}
    wanted = {
        "age": (55, 15), "sbp": (125, 16), "dbp": (76, 10), "glucose": (99, 16), "waist": (83.5, 10), "bmi": (23.3, 3.6)
    }  # fmt: skip

    for name, (mean, deviation) in wanted.items():
        assert columns[name].mean() == pytest.approx(mean, abs=0.15 * deviation), name
        assert columns[name].std() == pytest.approx(deviation, rel=0.2), name
    assert np.corrcoef(columns["waist"], columns["bmi"])[0, 1] > 0.7
    assert np.corrcoef(columns["sbp"], columns["dbp"])[0, 1] > 0.4
    assert np.mean(columns["glucose"]) > np.median(columns["glucose"]) + 1.0


def test_person_outside_the_limits_cannot_be_made():
    """A wrong number is named."""
    with pytest.raises(ValueError, match="`age` must be within 20 to 90, got 7"):
        replace(AVERAGE, age=7.0)


def test_unknown_eye_cannot_be_painted():
    """There are two eyes."""
    with pytest.raises(ValueError, match="expected eye `R` or `L`, got `B`"):
        paint(AVERAGE, "B", 1, 100)
