"""The quality gate, against real photographs and what becomes of them when they are spoiled."""

from __future__ import annotations

import numpy as np
import pytest
from photographs import csdi_labels, fundus_folder, pixels_of, sharp_photographs
from PIL import Image, ImageFilter

from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.quality import REASONS, Grade, assess

PERSON = sample_people(1, seed=4)[0]


def test_reasons_are_a_fixed_list():
    """The slugs appear in reports and metrics, and do not change."""
    assert REASONS == ("no-field", "too-dark", "too-bright", "blurred", "field-cut")


@pytest.mark.parametrize("size_px", [256, 1024])
def test_painted_photograph_is_good(size_px: int):
    """What the painter makes passes without remarks."""
    found = assess(paint(PERSON, "L", 1, size_px))

    assert (found.grade, found.reasons) == (Grade.GOOD, ())


@pytest.mark.parametrize("kind", ["black", "white", "noise", "plain"])
def test_picture_that_is_no_fundus_is_ungradable(kind: str):
    """Without a field nothing else is measured."""
    pixels = {
        "black": np.zeros((600, 800, 3)),
        "white": np.full((600, 800, 3), 255),
        "noise": np.random.default_rng(2).integers(0, 256, (600, 800, 1)).repeat(3, axis=2),
        "plain": np.full((600, 800, 3), (190, 80, 40)),
    }[kind]
    found = assess(pixels.astype(np.uint8))

    assert (found.grade, found.reasons, dict(found.measures)) == (Grade.UNGRADABLE, ("no-field",), {})


def test_glaring_white_field_is_ungradable():
    """A disc of pure white is too bright, and has nothing in it."""
    rows, columns = np.mgrid[:600, :600]
    lit = np.hypot(rows - 300, columns - 300) < 280
    found = assess((lit[..., None] * np.full(3, 255)).astype(np.uint8))

    assert found.grade is Grade.UNGRADABLE
    assert found.reasons == ("too-bright", "blurred")


def test_field_that_is_mostly_cut_off_is_limited():
    """A strip through the middle of the circle is said to be cut."""
    found = assess(paint(PERSON, "R", 2, 800)[200:600])

    assert (found.grade, found.reasons) == (Grade.LIMITED, ("field-cut",))


def test_sharp_real_photographs_are_never_ungradable():
    """Every photograph of HRF, of IDRiD and of skimage passes."""
    assert {path.name: assess(pixels_of(path)).grade for path in sharp_photographs()} == {
        path.name: Grade.GOOD for path in sharp_photographs()
    }


def test_strongly_blurred_real_photographs_are_ungradable():
    """A blur of a fiftieth of the picture leaves no vessel."""
    for path in sharp_photographs():
        picture = Image.fromarray(pixels_of(path))
        picture.thumbnail((1200, 1200))
        found = assess(np.asarray(picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 50))))

        assert (found.grade, found.reasons) == (Grade.UNGRADABLE, ("blurred",)), path.name


def test_nearly_black_real_photographs_are_ungradable():
    """A tenth of the light is too dark, or no field at all."""
    for path in sharp_photographs():
        found = assess((pixels_of(path) * 0.1).astype(np.uint8))

        assert found.grade is Grade.UNGRADABLE, path.name
        assert {"too-dark", "no-field"} & set(found.reasons), path.name


def test_measures_do_not_depend_on_the_size_of_the_photograph():
    """A quarter of the resolution gives the same grade and nearly the same measures."""
    for path in sharp_photographs():
        pixels = pixels_of(path)
        small = Image.fromarray(pixels).resize((pixels.shape[1] // 4, pixels.shape[0] // 4))
        whole, quarter = assess(pixels), assess(np.asarray(small))

        assert whole.grade == quarter.grade, path.name
        for name, value in whole.measures.items():
            assert quarter.measures[name] == pytest.approx(value, rel=0.03, abs=0.003), (path.name, name)


def test_grade_follows_the_haze_score():
    """On CSDI: hardly hazy photographs are good, the haziest ungradable, and sharpness falls with the score."""
    rows = csdi_labels()
    found = [assess(pixels_of(fundus_folder() / "csdi" / row["image"])) for row in rows]
    haze = np.array([float(row["cataract_haze_score_0_10"]) for row in rows])
    grades = np.array([quality.grade.value for quality in found])

    assert set(grades[haze <= 2.5]) == {"good"}
    assert haze[grades == "good"].max() <= 4.5
    assert set(grades[haze >= 8.0]) == {"ungradable"}
    assert haze[grades == "ungradable"].min() >= 7.5
    ranks = [np.argsort(np.argsort(values)) for values in (haze, [-q.measures["sharpness"] for q in found])]
    assert np.corrcoef(ranks[0], ranks[1])[0, 1] > 0.9
