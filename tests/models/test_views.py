"""Views of an eye: what a network sees is cropped, scaled and oriented alike, whatever the volume is like."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.volumes import normative as sets
from oculard_models.volumes.centres import Centres
from oculard_models.volumes.maps import en_face, thickness_um
from oculard_models.volumes.normative import (
    FEWEST_EYES,
    NORMATIVE_MAPS,
    NORMATIVE_PX,
    Normative,
    NormativeWrong,
    make_normative,
    read_bytes,
    read_normative,
    to_bytes,
)
from oculard_models.volumes.view_specs import VIEWS
from oculard_models.volumes.views import DEFAULT_VIEWS, ViewMissing, make_views, thickness_maps
from oculard_models.volumes.volume import Layers, Spacing, Volume

SPACING = Spacing(frame_um=100.0, depth_um=4.0, column_um=50.0)
FRAMES, DEPTH, COLUMNS = 60, 500, 120  # 6 x 6 mm


def flat(frames: int = FRAMES, columns: int = COLUMNS) -> Layers:
    """Layers of an even retina: RNFL 100 um, GCL+ 60 um, 300 um in all."""
    shape = (frames, columns)
    rows = {"ilm": 100.0, "rnfl_gcl": 125.0, "ipl_inl": 140.0, "bm": 175.0}
    return Layers(**{name: np.full(shape, row, dtype=np.float32) for name, row in rows.items()})


def empty(frames: int = FRAMES, columns: int = COLUMNS, eye: str = "R") -> Volume:
    """A volume of black pixels."""
    pixels = np.zeros((frames, DEPTH, columns), dtype=np.uint8)
    return Volume(pixels=pixels, spacing=SPACING, eye=eye)


CENTRES = Centres(disc=(29.5, 59.5), fovea=(29.5, 20.0))


def even(rnfl: float, gcc: float, sd: float) -> Normative:
    """A normative set that is the same everywhere."""
    square = np.ones((NORMATIVE_PX, NORMATIVE_PX), dtype=np.float32)
    mean = {"rnfl-thickness": rnfl * square, "gcc-thickness": gcc * square}
    return Normative(mean=mean, sd=dict.fromkeys(NORMATIVE_MAPS, sd * square), eyes=30, digest="")


@cache
def painted(eye: str = "R") -> PaintedVolume:
    """A painted volume of one eye, and the same as the other eye."""
    return paint_volume(draw_eye(5, "focal-ischemia", eye=eye), frames=48, depth=300, columns=128)


def views_of(one: PaintedVolume, size_px: int = 48) -> dict[str, np.ndarray]:
    """The default views with the true layers and centres."""
    found = Centres(disc=one.disc_centre, fovea=one.fovea_centre)
    return make_views(one.volume, one.layers, found, DEFAULT_VIEWS, size_px)


def test_views_are_squares_from_0_to_1_without_gaps():
    """Every view is float32, of the asked size, within 0 and 1, and shows something."""
    for name, view in views_of(painted()).items():
        assert (view.shape, view.dtype) == ((48, 48), np.float32), name
        assert np.isfinite(view).all(), name
        assert view.min() >= 0.0, name
        assert view.max() <= 1.0, name
        assert view.std() > 0.03, name


def test_a_left_eye_is_seen_as_a_right_one():
    """The mirrored volume of a left eye gives the views of the right eye that it mirrors."""
    right, left = views_of(painted("R")), views_of(painted("L"))

    assert (painted("L").volume.pixels != painted("R").volume.pixels).any()
    for name in DEFAULT_VIEWS:
        np.testing.assert_allclose(left[name], right[name], atol=0.02)


def test_thickness_has_a_fixed_scale():
    """100 um of RNFL are 0.5, 160 um of GCC 0.64, 60 um of GCL+ 0.4, in every eye."""
    views = make_views(empty(), flat(), CENTRES, ["rnfl-thickness", "gcc-thickness", "gcl-thickness"], 16)

    for name, value in (("rnfl-thickness", 0.5), ("gcc-thickness", 0.64), ("gcl-thickness", 0.4)):
        np.testing.assert_allclose(views[name], value, atol=1e-5)


def test_what_is_not_known_is_black():
    """The opening of Bruch's membrane, where there are no layers, is 0, and does not darken what is around it."""
    layers = flat()
    for name in ("rnfl_gcl", "ipl_inl", "bm"):
        getattr(layers, name)[20:40, 40:80] = np.nan
    view = make_views(empty(), layers, CENTRES, ["rnfl-thickness"], 30)["rnfl-thickness"]

    assert set(np.round(np.unique(view), 4)) == {0.0, 0.5}
    assert (view == 0.0).mean() == pytest.approx(1 / 9, abs=0.02)


def test_a_larger_volume_is_cropped_around_the_disc():
    """Of 12 x 12 mm, 6 x 6 mm around the disc are shown; at the edge the crop stays within the volume."""
    layers = flat(120, 240)
    layers.rnfl_gcl[:] = 100.0 + np.arange(240) / 8.0  # RNFL is thicker by 0.5 um a column
    for column, first in ((120.0, 60.5), (20.0, 0.0), (230.0, 120.0)):
        found = Centres(disc=(60.0, column))
        row = thickness_maps(empty(120, 240), layers, found, ["rnfl-thickness"], 60)["rnfl-thickness"][30]

        assert row[0] == pytest.approx(0.5 * (first + 0.5), abs=0.4)
        assert row[-1] - row[0] == pytest.approx(0.5 * 118, abs=1.0)


def test_the_b_scan_is_the_disc_s_and_begins_above_its_retina():
    """The frame through the centre is shown, 1400 um in depth, of which 250 um are above the retina."""
    volume = empty()
    volume.pixels[29, 100:, :] = 255
    volume.pixels[30] = 90
    found = Centres(disc=(29.2, 60.0))
    view = make_views(volume, flat(), found, ["bscan-disc"], 140)["bscan-disc"]

    surface = 250 // 10
    assert view[: surface - 1].max() == 0.0
    assert view[surface + 1 :].min() == 1.0


def test_a_b_scan_that_ends_early_is_black_below():
    """Where the volume is not as deep as the view, nothing is invented; nor above its first row."""
    volume = empty()
    volume.pixels[:] = 255
    deep = replace(flat(), **{name: getattr(flat(), name) + 250.0 for name in ("ilm", "rnfl_gcl", "ipl_inl", "bm")})
    shallow = replace(flat(), **{name: getattr(flat(), name) - 90.0 for name in ("ilm", "rnfl_gcl", "ipl_inl", "bm")})

    low = make_views(volume, deep, CENTRES, ["bscan-disc"], 140)["bscan-disc"]
    high = make_views(volume, shallow, CENTRES, ["bscan-disc"], 140)["bscan-disc"]

    assert low[:80].min() == 1.0
    assert low[90:].max() == 0.0
    assert high[:20].max() == 0.0
    assert high[23:].min() == 1.0


def test_en_face_is_the_mean_between_ilm_and_bruch():
    """What is above ILM and below Bruch's membrane does not count."""
    volume = empty()
    volume.pixels[:] = 250
    volume.pixels[:, 100:175] = np.arange(75)[:, None]
    projected = en_face(volume, flat())

    np.testing.assert_allclose(projected, 37.0)


def test_thickness_is_never_negative_and_unknown_where_a_boundary_is():
    """A boundary that a device wrote above another makes no negative retina; a gap stays a gap."""
    layers = flat()
    layers.rnfl_gcl[0, 0] = 50.0
    layers.ilm[1, 1] = np.nan
    thickness = thickness_um(layers, "rnfl", SPACING)

    assert thickness[0, 0] == 0.0
    assert np.isnan(thickness[1, 1])
    assert np.nanmax(thickness) == 100.0


@pytest.mark.parametrize(
    ("name", "found", "reason"),
    [
        ("rnfl-thickness", Centres(), "no-disc"),
        ("bscan-disc", Centres(fovea=(1.0, 1.0)), "no-disc"),
        ("bscan-fovea", Centres(disc=(29.0, 60.0)), "no-fovea"),
        ("rnfl-deviation", CENTRES, "no-normative"),
        ("photograph", CENTRES, "no-photograph"),
    ],
)
def test_a_view_that_cannot_be_made_says_why(name: str, found: Centres, reason: str):
    """Nothing is made of what is not there."""
    with pytest.raises(ViewMissing) as raised:
        make_views(empty(), flat(), found, [name], 16)

    assert (raised.value.view, raised.value.reason) == (name, reason)


def test_every_view_can_be_made():
    """With disc, fovea, a normative set and a photograph there is every view of the table."""
    photograph = np.full((40, 40), 51, dtype=np.uint8)
    views = make_views(empty(), flat(), CENTRES, list(VIEWS), 16, even(100.0, 160.0, 5.0), photograph)

    assert list(views) == list(VIEWS)
    np.testing.assert_allclose(views["photograph"], 0.2, atol=1e-6)


def test_deviation_is_in_standard_deviations():
    """Two deviations too thin are 0.25; as thick as healthy eyes is 0.5; more than four too thick is 1."""
    for mean, value in ((110.0, 0.25), (100.0, 0.5), (60.0, 1.0)):
        view = make_views(empty(), flat(), CENTRES, ["rnfl-deviation"], 20, even(mean, 160.0, 5.0))["rnfl-deviation"]
        np.testing.assert_allclose(view, value, atol=1e-5)


def healthy(count: int) -> list[dict[str, np.ndarray]]:
    """Thickness maps of healthy eyes."""
    rng = np.random.default_rng(2)
    square = (NORMATIVE_PX, NORMATIVE_PX)
    return [{name: rng.normal(100.0, 10.0, square).astype(np.float32) for name in NORMATIVE_MAPS} for _ in range(count)]


def test_a_normative_set_is_mean_and_deviation_of_healthy_eyes(tmp_path: Path):
    """Mean and deviation are those of the eyes, the file gives them back, and the same eyes give the same bytes."""
    eyes = healthy(40)
    for eye in eyes[:30]:
        eye["rnfl-thickness"][0, 0] = np.nan
    made = make_normative(eyes)
    path = tmp_path / "healthy.npz"
    path.write_bytes(to_bytes(made))
    again = read_normative(path, made.digest)

    stack = np.stack([eye["gcc-thickness"] for eye in eyes])
    np.testing.assert_allclose(again.mean["gcc-thickness"], stack.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(again.sd["gcc-thickness"], np.maximum(stack.std(axis=0, ddof=1), 3.0), rtol=1e-4)
    assert np.isfinite(again.mean["rnfl-thickness"]).all()
    assert (again.eyes, again.digest) == (40, make_normative(eyes).digest)


def test_a_place_that_few_eyes_have_is_no_norm():
    """Where most healthy eyes have no layer, as in the disc, there is no deviation."""
    eyes = healthy(30)
    for eye in eyes[:25]:
        eye["rnfl-thickness"][3, 4] = np.nan

    assert np.isnan(make_normative(eyes).mean["rnfl-thickness"][3, 4])


def test_a_deviation_is_never_less_than_a_measurement_repeats():
    """Eyes that happen to agree do not make every other eye abnormal."""
    same = [{name: np.full((NORMATIVE_PX, NORMATIVE_PX), 90.0, dtype=np.float32) for name in NORMATIVE_MAPS}] * 25

    assert make_normative(same).sd["rnfl-thickness"].min() == sets.SD_FLOOR_UM


def test_few_eyes_are_no_normative_set():
    """With fewer eyes than are asked for there is none."""
    with pytest.raises(NormativeWrong, match="too few"):
        make_normative(healthy(FEWEST_EYES - 1))


def archive(**changes: np.ndarray) -> bytes:
    """The file of a set with some arrays changed; None leaves one out."""
    square = np.ones((NORMATIVE_PX, NORMATIVE_PX), dtype=np.float32)
    arrays = {f"{kind}/{name}": square for kind in ("mean", "sd") for name in NORMATIVE_MAPS}
    arrays |= {"format": np.int64(1), "eyes": np.int64(30)} | changes
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


def broken() -> bytes:
    """The file of a set whose compressed bytes are damaged."""
    whole = bytearray(to_bytes(make_normative(healthy(FEWEST_EYES))))
    whole[2000:2100] = bytes(100)
    return bytes(whole)


SQUARE = np.ones((NORMATIVE_PX, NORMATIVE_PX), dtype=np.float32)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip file",
        archive()[:-40],
        archive(format=np.int64(9)),
        archive(**{"mean/rnfl-thickness": None}),
        archive(**{"sd/gcc-thickness": 0.0 * SQUARE}),
        archive(**{"sd/gcc-thickness": SQUARE[:9]}),
        archive(**{"mean/gcc-thickness": np.array([["a"]])}),
        archive(**{"mean/gcc-thickness": np.array([{}])}),
        archive(**{"mean/gcc-thickness": np.inf * SQUARE}),
        archive(eyes=np.array([1, 2])),
        broken(),
    ],
    ids=[
        "empty",
        "no zip",
        "cut",
        "format",
        "missing",
        "no spread",
        "size",
        "text",
        "object",
        "infinite",
        "eyes",
        "broken",
    ],
)
def test_a_file_that_is_no_normative_set_is_refused(content: bytes):
    """Whatever is wrong with it, it is said, and nothing in it is run."""
    with pytest.raises(NormativeWrong):
        read_bytes(content)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused():
    """A few thousand bytes of zeros in a zip file do not fill the memory."""
    file = io.BytesIO()
    np.savez_compressed(file, **{"mean/rnfl-thickness": np.zeros(2 * sets.MOST_BYTES, dtype=np.uint8)})

    with pytest.raises(NormativeWrong, match="unpacks to"):
        read_bytes(file.getvalue())


def test_another_file_than_the_stated_one_is_refused(tmp_path: Path):
    """The digest is that of the file; a large file is not read at all, a missing one is said."""
    path = tmp_path / "set.npz"
    path.write_bytes(archive())
    assert read_normative(path).eyes == 30

    with pytest.raises(NormativeWrong, match="sha256"):
        read_normative(path, "0" * 64)
    path.write_bytes(b"0" * (sets.MOST_BYTES + 1))
    with pytest.raises(NormativeWrong, match="are not read"):
        read_normative(path)
    with pytest.raises(NormativeWrong, match="cannot be read"):
        read_normative(tmp_path / "none.npz")
