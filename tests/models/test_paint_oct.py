"""Painted OCT eyes are repeatable, have true layers, look like their volumes, and are no easy problem."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from oculard_models.data.oct_cohort import COUNTS, WRONG, OctEye, glaucoma_cohort
from oculard_models.data.oct_eye import PaintedEye
from oculard_models.data.oct_scan import layers_of
from oculard_models.data.oct_shape import shape_of
from oculard_models.data.oct_views import paint_thickness
from oculard_models.data.paint_oct import draw_eye, paint_views, paint_volume
from oculard_models.volumes.centres import Centres
from oculard_models.volumes.normative import make_normative
from oculard_models.volumes.types import DISC_TYPES, NORMAL
from oculard_models.volumes.views import DEFAULT_VIEWS, make_views
from oculard_models.volumes.volume import Scan

AT = np.linspace(-1.6, 1.6, 97, dtype=np.float32)
X, Y = np.meshgrid(AT, AT)
ALIKE = {"rnfl-thickness": 0.88, "gcc-thickness": 0.88, "en-face": 0.7, "bscan-disc": 0.9}  # correlation, at least
EASY = 0.6  # kappa that no simple rule on one map may reach


def cohort_views(rows: tuple[OctEye, ...], name: str) -> npt.NDArray[np.float32]:
    """Paint one view of every eye."""
    return np.stack([paint_views(one.draw(), size_px=48, names=(name,))[name] for one in rows])


def clock_hours(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What a doctor reads off a map: the means of twelve hours in two rings around the disc, its size, the mean."""
    at = (np.arange(maps.shape[1]) + 0.5) / maps.shape[1] * 6.0 - 3.0
    x, y = np.meshgrid(at, at)
    radius, hour = np.hypot(x, y), ((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 12).astype(int) % 12
    sectors = [
        maps[:, (radius > near) & (radius <= far) & (hour == which)].mean(axis=1)
        for near, far in ((1.2, 2.0), (2.0, 2.9))
        for which in range(12)
    ]
    empty = (maps[:, radius < 1.3] == 0.0).mean(axis=1)
    return np.stack([*sectors, empty, maps.mean(axis=(1, 2))], axis=1)


def kappa_of(model: object, features: npt.NDArray[np.float64], rows: tuple[OctEye, ...]) -> float:
    """Cohen's kappa between labels and what a model says of eyes whose person it did not learn from."""
    from sklearn.metrics import cohen_kappa_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    labels, persons = [one.label for one in rows], [one.person for one in rows]
    said = cross_val_predict(model, features, labels, groups=persons, cv=GroupKFold(4))
    return float(cohen_kappa_score(labels, said))


def geometry(eye: PaintedEye) -> list[float]:
    """What is really there of an eye, without noise."""
    deepest = max(gap.depth for gap in eye.fibres.defects)
    cup = [eye.cup.ratio, eye.cup.depth_um, eye.cup.slope, eye.cup.notches[0].depth]
    disc = [eye.disc.oval, eye.disc.crescent_mm, eye.disc.crescent_round, eye.disc.tilt_um_mm]
    return [*cup, *disc, *eye.fibres.loss, eye.fibres.scale, deepest, eye.wall.choroid_um]


def test_same_call_paints_the_same():
    """An eye, its volume and its views can be made twice."""
    eyes = [draw_eye(7, "myopic", person=3) for _ in range(2)]
    volumes = [paint_volume(eye, frames=3, depth=120, columns=64, seed=2) for eye in eyes]
    views = [paint_views(eye, size_px=32, seed=2) for eye in eyes]

    assert eyes[0] == eyes[1]
    np.testing.assert_array_equal(volumes[0].volume.pixels, volumes[1].volume.pixels)
    for name in DEFAULT_VIEWS:
        np.testing.assert_array_equal(views[0][name], views[1][name])
    assert draw_eye(8, "myopic", person=3) != eyes[0]


def test_unknown_type_eye_and_view_are_refused():
    """There are five types and two eyes, and a view of the fovea needs a volume with one."""
    with pytest.raises(ValueError, match="expected a type"):
        draw_eye(1, "glaucoma")
    with pytest.raises(ValueError, match="expected eye"):
        draw_eye(1, NORMAL, eye="B")
    with pytest.raises(ValueError, match="hint: paint a volume"):
        paint_views(draw_eye(1, NORMAL), size_px=32, names=("bscan-fovea",))


@pytest.mark.parametrize("disc_type", DISC_TYPES)
def test_layers_are_in_order_and_missing_in_the_disc(disc_type: str):
    """Outside of the disc all four boundaries are there, one below the other; within it only the first."""
    painted = paint_volume(draw_eye(11, disc_type), frames=24, depth=443, columns=96)
    layers = painted.layers
    bounds = np.stack([layers.ilm, layers.rnfl_gcl, layers.ipl_inl, layers.bm])

    assert painted.disc_centre is not None
    frame, column = (round(at) for at in painted.disc_centre)
    assert np.isnan(bounds[1:, frame, column]).all()
    assert np.isfinite(bounds[0, frame, column])
    whole = np.isfinite(bounds).all(axis=0)
    assert 0.85 < whole.mean() < 0.97
    assert (np.diff(bounds[:, whole], axis=0) >= 0.0).all()


def test_boundaries_are_where_brightness_changes():
    """The vitreous is dark down to the first boundary; the pigment epithelium shines just above the last."""
    painted = paint_volume(replace(draw_eye(5, NORMAL), clarity=1.0), frames=8, depth=885, columns=128)
    pixels, layers = painted.volume.pixels.astype(np.float32), painted.layers
    above, below, shining = [], [], []
    for frame, column in zip(*np.nonzero(np.isfinite(layers.bm)), strict=True):
        top, floor = round(float(layers.ilm[frame, column])), round(float(layers.bm[frame, column]))
        above.append(pixels[frame, top - 12 : top - 4, column].mean())
        below.append(pixels[frame, top + 4 : top + 9, column].mean())
        shining.append(pixels[frame, floor - 5 : floor - 2, column].mean())

    assert np.median(above) < 45.0
    assert np.median(below) > 120.0
    assert np.median(shining) > 130.0


def test_boundaries_outside_of_the_picture_are_missing():
    """What lies above the first row or below the last has no row."""
    shape = shape_of(draw_eye(5, NORMAL), X, Y)
    cut = layers_of(shape, -float(np.median(shape.ilm)), 2.6, 40)

    assert 0.2 < np.isnan(cut.ilm).mean() < 0.8
    assert float(np.nanmin(cut.ilm)) >= 0.0
    assert float(np.nanmax(cut.ilm)) <= 39.0
    assert np.isnan(cut.bm).all()


def test_left_eyes_are_mirrored():
    """A left eye's disc lies on the other side, and its volume as a right one's is that of the same eye."""
    right, left = (paint_volume(draw_eye(9, "myopic", eye=eye), frames=4, depth=200, columns=64) for eye in "RL")

    np.testing.assert_array_equal(left.volume.as_right().pixels, right.volume.pixels)
    np.testing.assert_array_equal(left.layers.as_right("L").ilm, right.layers.ilm)
    assert right.disc_centre is not None
    assert left.disc_centre == (right.disc_centre[0], 63 - right.disc_centre[1])


def test_scans_show_what_they_are_aimed_at():
    """A disc scan has no fovea in it, a macula scan no disc, a wide one both; spacing is the field over the steps."""
    eye = draw_eye(12, NORMAL)
    disc, macula = (paint_volume(eye, frames=4, depth=64, columns=32, scan=scan) for scan in (Scan.DISC, Scan.MACULA))
    wide = paint_volume(eye, frames=6, depth=64, columns=32, side_mm=12.0, scan=Scan.WIDE)

    assert (disc.fovea_centre, macula.disc_centre) == (None, None)
    assert wide.disc_centre is not None
    assert wide.fovea_centre is not None
    assert wide.fovea_centre[1] < wide.disc_centre[1]
    assert (wide.volume.spacing.column_um, wide.volume.spacing.frame_um) == (375.0, 1500.0)


def test_signs_are_where_they_belong():
    """On average the types differ as they are named: notch, wide cup, tilt and crescent, shallow cup in a halo."""
    eyes = {name: [draw_eye(seed, name) for seed in range(80)] for name in DISC_TYPES}

    def most(value: dict[str, float]) -> str:
        return max(value, key=value.__getitem__)

    assert most({name: np.mean([e.cup.notches[0].depth for e in eyes[name]]) for name in eyes}) == "focal-ischemia"
    assert most({name: np.mean([e.cup.depth_um for e in eyes[name]]) for name in eyes}) == "generalized-enlargement"
    assert most({name: np.mean([e.disc.tilt_um_mm for e in eyes[name]]) for name in eyes}) == "myopic"
    assert most({name: np.mean([e.disc.crescent_round for e in eyes[name]]) for name in eyes}) == "senile-sclerosis"
    assert most({name: np.mean([-e.cup.depth_um for e in eyes[name]]) for name in eyes}) == "senile-sclerosis"


def test_glaucoma_thins_rim_and_fibres():
    """What tells glaucoma from health is a matter of degree, and shared by all four types: they overlap with it."""

    def thin(disc_type: str) -> npt.NDArray[np.float64]:
        maps = []
        for seed in range(60):
            shape = shape_of(draw_eye(seed, disc_type), X, Y)
            ring = ~shape.inside & (np.hypot(X, Y) > 1.4)
            maps.append(float((shape.rnfl_gcl - shape.ilm)[ring].mean()))
        return np.array(maps)

    healthy = thin(NORMAL)
    for disc_type in DISC_TYPES[1:]:
        ill = thin(disc_type)
        assert ill.mean() < healthy.mean() - 5.0
        assert ill.max() > np.percentile(healthy, 10.0)


@pytest.mark.parametrize("disc_type", DISC_TYPES)
def test_painted_views_are_those_of_painted_volumes(disc_type: str):
    """Without painting a volume the same views come out, but for noise and the errors of a segmentation."""
    eye = replace(draw_eye(33, disc_type), clarity=0.9)
    painted = paint_volume(eye, frames=64, depth=885, columns=256, seed=5)
    found = Centres(disc=painted.disc_centre, fovea=painted.fovea_centre)
    made = make_views(painted.volume, painted.layers, found, DEFAULT_VIEWS, 64)
    views = paint_views(eye, size_px=64, seed=5)

    for name in DEFAULT_VIEWS:
        assert views[name].shape == (64, 64)
        assert views[name].dtype == np.float32
        assert 0.0 <= views[name].min() < views[name].max() <= 1.0
        assert np.corrcoef(views[name].ravel(), made[name].ravel())[0, 1] > ALIKE[name], name
        assert abs(float(views[name].mean() - made[name].mean())) < 0.08, name


def test_deviation_and_photograph_views_are_painted():
    """Healthy eyes deviate by nothing on average, a focal loss by much; the disc is bright on its photograph."""
    normative = make_normative([paint_thickness(draw_eye(seed, NORMAL)) for seed in range(25)])
    names = ("rnfl-deviation", "gcc-deviation", "photograph")
    healthy = paint_views(draw_eye(70, NORMAL), size_px=48, names=names, normative=normative)
    focal = paint_views(draw_eye(71, "focal-ischemia"), size_px=48, names=names, normative=normative)

    for name in names[:2]:
        assert 0.35 < float(np.median(healthy[name])) < 0.65
        assert float(np.percentile(focal[name], 15.0)) < float(np.percentile(healthy[name], 15.0))
    assert np.percentile(healthy["photograph"][20:28, 20:28], 70) > 1.2 * np.median(healthy["photograph"][:8])


def test_cohort_is_like_the_papers():
    """954 eyes, 156 of them healthy, types out of balance; some people have both eyes in it; some labels are wrong."""
    rows = glaucoma_cohort(1)
    people = Counter(one.person for one in rows)
    wrong = [one for one in rows if one.label != one.disc_type]

    assert len(rows) == len({one.eye_id for one in rows}) == len({one.seed for one in rows}) == 954
    assert Counter(one.label for one in rows) == Counter(one.disc_type for one in rows) == COUNTS
    assert set(people.values()) == {1, 2}
    assert 0.35 < sum(count == 2 for count in people.values()) / len(people) < 0.6
    assert len(wrong) == round(WRONG * 954 / 2) * 2
    assert glaucoma_cohort(1) == rows != glaucoma_cohort(2)
    for person in people:
        both = [one for one in rows if one.person == person]
        assert len({one.eye for one in both}) == len(both)
        assert len({one.disc_type == NORMAL for one in both}) == 1


def test_small_cohort_has_all_types():
    """Few eyes are divided as evenly as the counts allow."""
    assert {one.disc_type for one in glaucoma_cohort(1, 5)} == set(DISC_TYPES)


def test_both_eyes_of_a_person_are_alike():
    """Discs of one person resemble each other, so that a split by eye would leak."""
    rows = glaucoma_cohort(1)
    sizes: dict[str, list[float]] = {}
    for one in rows:
        sizes.setdefault(one.person, []).append(one.draw().disc.radius_mm)
    pairs = np.array([both for both in sizes.values() if len(both) == 2])

    assert np.corrcoef(pairs.T)[0, 1] > 0.6


def test_no_simple_rule_on_one_map_is_good():
    """A doctor-like rule (a small tree on the clock hours of one map) stays below kappa 0.6."""
    from sklearn.tree import DecisionTreeClassifier

    rows = glaucoma_cohort(2, 318)
    for name in DEFAULT_VIEWS:
        rule = DecisionTreeClassifier(max_depth=4, min_samples_leaf=8, random_state=0)
        kappa = kappa_of(rule, clock_hours(cohort_views(rows, name)), rows)
        assert 0.1 < kappa < EASY, name


def test_problem_can_be_solved():
    """Whoever sees the geometry itself tells the types apart: what is left are mild eyes and wrong labels."""
    from sklearn.ensemble import RandomForestClassifier

    rows = glaucoma_cohort(2)
    features = np.array([geometry(one.draw()) for one in rows])
    kappa = kappa_of(RandomForestClassifier(150, min_samples_leaf=2, random_state=0), features, rows)

    assert 0.75 < kappa < 0.95
