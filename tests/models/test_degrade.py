"""Spoiling a photograph by a known amount does what it says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from oculard_models.data import degrade
from oculard_models.data.degrade import NoField, Scene, scene_of, visible_share
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.preprocess import find_field

PIXELS = paint(sample_people(1, seed=4)[0], "R", 4, 500)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The field of a painted right eye."""
    return scene_of(PIXELS, 320)


def test_scene_fills_the_square_but_for_a_margin(scene: Scene):
    """The field's circle is where the scene says."""
    field = find_field(scene.pixels)

    assert field is not None
    assert field.radius == pytest.approx(scene.diameter_px / 2, rel=0.02)
    assert visible_share(scene) > 0.85


def test_picture_without_a_field_is_refused_with_a_hint():
    """Nothing is guessed where there is no circle of light."""
    with pytest.raises(NoField, match="hint: give a whole one"):
        scene_of(np.zeros((300, 300, 3), np.uint8), 320)


def test_blur_takes_detail_and_leaves_light_and_edge(scene: Scene):
    """A blurred retina has the same brightness and the same sharp rim."""
    blurred = degrade.defocused(scene, 0.02)
    inside = scene.inside > 0.99

    assert detail(blurred) < 0.3 * detail(scene)
    assert blurred.pixels[inside].mean() == pytest.approx(scene.pixels[inside].mean(), rel=0.03)
    assert blurred.pixels[scene.inside == 0].max() == 0


def test_shaking_smears_along_its_line(scene: Scene):
    """Detail across the line stays, detail along it goes."""
    shaken = degrade.shaken(scene, 0.08, 0.0).pixels.astype(float)
    inside = (scene.inside > 0.99)[1:, 1:]
    along, across = np.abs(np.diff(shaken[..., 1], axis=1))[1:], np.abs(np.diff(shaken[..., 1], axis=0))[:, 1:]

    assert along[inside].mean() < 0.75 * across[inside].mean()


def test_veil_takes_contrast_step_by_step(scene: Scene):
    """More scattered light, less contrast."""
    left = [detail(degrade.veiled(scene, strength, (110, 120, 70), (0.0, 0.0))) for strength in (0.0, 0.5, 1.0, 2.0)]

    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.3 * left[0]


def test_exposure_doubles_light_and_loses_what_is_too_bright(scene: Scene):
    """One stop is twice the light."""
    brighter = degrade.exposed(scene, 1.0).pixels.astype(int)

    assert np.array_equal(brighter, np.minimum(255, 2 * scene.pixels.astype(int)))


def test_shade_and_glare_stay_at_their_side(scene: Scene):
    """A shadow on the right darkens the right, a crescent at the bottom lights the bottom."""
    shaded = degrade.shaded(scene, -4.0, (0.7, 0.0), 0.3).pixels.astype(float).mean(axis=(0, 2))
    glared = degrade.glared(scene, np.pi / 2, 0.4, (220, 220, 120)).pixels.astype(float).mean(axis=(1, 2))
    before = scene.pixels.astype(float)

    assert shaded[230:280].mean() < 0.5 * before.mean(axis=(0, 2))[230:280].mean()
    assert shaded[40:90].mean() > 0.9 * before.mean(axis=(0, 2))[40:90].mean()
    assert glared[270:300].mean() > 1.3 * before.mean(axis=(1, 2))[270:300].mean()
    assert glared[20:60].mean() == pytest.approx(before.mean(axis=(1, 2))[20:60].mean(), rel=0.02)


def test_cut_leaves_the_share_that_was_asked_for(scene: Scene):
    """Half of the diameter is half of the circle."""
    assert visible_share(degrade.cut_off(scene, 0.5, 0.0)) == pytest.approx(0.5 * visible_share(scene), abs=0.02)


def test_reframing_moves_the_middle_and_enlarges(scene: Scene):
    """The disc of a right eye, photographed anew, lies in the middle of the new field."""
    near = degrade.reframed(scene, (0.60, -0.05), 0.4, 320)
    x, y = near.places()
    away, green = np.hypot(x, y), near.pixels[..., 1]

    assert visible_share(near) > 0.85
    assert green[away < 0.2].mean() > 1.3 * green[(away > 0.6) & (away < 0.9)].mean()


def test_mirror_twice_is_the_same(scene: Scene):
    """Nothing is lost."""
    assert np.array_equal(degrade.flipped(degrade.flipped(scene)).pixels, scene.pixels)


def test_noise_is_the_same_for_the_same_random_numbers(scene: Scene):
    """Everything that is random comes from the generator."""
    one, two = (degrade.noisy(scene, 3.0, np.random.default_rng(5)).pixels for _ in range(2))

    assert np.array_equal(one, two)
    assert not np.array_equal(one, scene.pixels)


def detail(scene: Scene) -> float:
    """Contrast between neighbours well inside the field."""
    x, y = scene.places()
    inner = (np.hypot(x, y) < 0.8) & (scene.inside > 0.99)
    green = scene.pixels[..., 1].astype(float)
    fine = green - np.asarray(degrade.blurred(scene.pixels[..., 1].copy(), 4.0), dtype=float)
    return float(fine[inner].std())
