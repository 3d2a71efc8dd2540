"""Geometry: frame order, spacing and kind of a scan out of a header, or the reason why nothing may be believed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset

from oculard_models.dicom_geometry import Unfit, read_geometry
from oculard_models.volumes.volume import Scan
from volume_samples import COLUMNS, FRAMES, ROWS, drawn, item, opt, painted

UP, DOWN = tuple(range(FRAMES)), tuple(reversed(range(FRAMES)))


def measures(ds: Dataset) -> Dataset:
    """The pixel measures that all frames share."""
    found: Dataset = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return found


def moved(ds: Dataset, place: Callable[[int], list[float]]) -> None:
    """Put each frame somewhere else."""
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = place(number)


def turned(ds: Dataset, *cosines: float) -> None:
    """Turn all frames."""
    ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = list(cosines)


def test_positions_say_the_order() -> None:
    """The frame next to the head is the uppermost; where they are stored the other way, they are turned round."""
    found = read_geometry(opt())
    assert (found.rows, found.columns, found.order, found.mirrored) == (ROWS, COLUMNS, UP, False)
    assert (found.scan, found.corner_mm) == (Scan.UNKNOWN, (-3.0, 0.0, 3.0))
    assert found.spacing.frame_um == pytest.approx(187.5)
    assert found.spacing.depth_um == pytest.approx(11.5)
    assert found.spacing.column_um == pytest.approx(150.0)

    ds = opt()
    moved(ds, lambda number: [-3.0, 0.0, 0.1875 * number])
    assert read_geometry(ds).order == DOWN


def test_the_photograph_says_the_order_first() -> None:
    """Where a frame is drawn on the photograph is believed before its position in the patient."""
    ds = opt()
    drawn(ds, lambda number: (900 - 8 * number, 100, 900 - 8 * number, 700))

    assert read_geometry(ds).order == DOWN


def test_columns_from_right_to_left_are_told() -> None:
    """By the photograph or by the patient's axes."""
    ds = opt()
    drawn(ds, lambda number: (100 + 8 * number, 700, 100 + 8 * number, 100))
    assert read_geometry(ds).mirrored

    ds = opt()
    turned(ds, -1, 0, 0, 0, 1, 0)
    assert read_geometry(ds).mirrored


def test_shuffled_frames_find_their_order() -> None:
    """Frames that a device stored in any order."""
    ds = opt()
    moved(ds, lambda number: [-3.0, 0.0, 3.0 - 0.1875 * (number * 5 % FRAMES)])

    order = read_geometry(ds).order
    assert [number * 5 % FRAMES for number in order] == list(UP)


def test_coarse_photographs_are_enough() -> None:
    """Several frames in one row of a small photograph keep the order in which they are stored."""
    ds = opt()
    drawn(ds, lambda number: (number // 2, 0, number // 2, 60))

    assert read_geometry(ds).order == UP


def test_zeros_are_no_place_in_the_photograph() -> None:
    """Devices that fill the coordinates with zeros say nothing by them."""
    ds = opt()
    drawn(ds, lambda number: (0, 0, 0, 0))

    assert read_geometry(ds).order == UP


@pytest.mark.parametrize(
    ("keyword", "code", "side_mm", "scan"),
    [
        ("AnatomicRegionSequence", ("SCT", "81016008"), 6.0, Scan.DISC),
        ("AnatomicRegionSequence", ("SRT", "T-AA630"), 6.0, Scan.DISC),
        ("AnatomicRegionSequence", ("SCT", "82859000"), 6.0, Scan.MACULA),
        ("AnatomicRegionSequence", ("SCT", "5665001"), 6.0, Scan.UNKNOWN),
        ("AnatomicRegionSequence", ("SCT", "5665001"), 9.0, Scan.WIDE),
        ("AnatomicRegionSequence", ("99X", "81016008"), 6.0, Scan.UNKNOWN),
    ],
)
def test_what_a_scan_is_centred_on(keyword: str, code: tuple[str, str], side_mm: float, scan: Scan) -> None:
    """Its size says wide, its coded region disc or macula; and 6 mm of an uncoded retina say nothing."""
    ds = opt()
    ds.ProtocolName = "3D Disc(H)"  # not reliable, never looked at
    setattr(ds, keyword, [item(CodingSchemeDesignator=code[0], CodeValue=code[1], CodeMeaning="x")])
    measures(ds).PixelSpacing = [0.0115, side_mm / COLUMNS]
    measures(ds).SliceThickness = side_mm / FRAMES
    moved(ds, lambda number: [0, 0, -side_mm / FRAMES * number])

    assert read_geometry(ds).scan is scan


def test_two_regions_that_contradict_each_other() -> None:
    """Say nothing."""
    ds = opt()
    codes = [item(CodingSchemeDesignator="SCT", CodeValue=value, CodeMeaning="x") for value in ("81016008", "82859000")]
    ds.AnatomicRegionSequence = codes

    assert read_geometry(ds).scan is Scan.UNKNOWN


def cut(ds: FileDataset, *frames: int) -> None:
    """Take frames out."""
    for frame in sorted(frames, reverse=True):
        del ds.PerFrameFunctionalGroupsSequence[frame]
    ds.NumberOfFrames = len(ds.PerFrameFunctionalGroupsSequence)


def one(ds: FileDataset) -> None:
    cut(ds, *range(1, FRAMES))


def few(ds: FileDataset) -> None:
    cut(ds, *range(20, FRAMES))


def one_not_described(ds: FileDataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[-1]


def none_described(ds: FileDataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence


def one_of_three_parts(ds: FileDataset) -> None:
    ds.InConcatenationTotalNumber = 3


def a_gap(ds: FileDataset) -> None:
    moved(ds, lambda number: [-3.0, 0.0, 3.0 - 0.1875 * (number + (number > 20))])


def a_gap_in_the_photograph(ds: FileDataset) -> None:
    drawn(ds, lambda number: (100 + 8 * (number + (number > 20)), 100, 100 + 8 * (number + (number > 20)), 700))


def twice_the_same_place(ds: FileDataset) -> None:
    moved(ds, lambda number: [-3.0, 0.0, 3.0 - 0.1875 * (number - (number == 20))])


def all_at_one_place(ds: FileDataset) -> None:
    moved(ds, lambda number: [-3.0, 0.0, 3.0])


def no_positions(ds: FileDataset) -> None:
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence


def one_without_position(ds: FileDataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def no_orientation(ds: FileDataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def vertical(ds: FileDataset) -> None:
    turned(ds, 0, 0, -1, 0, 1, 0)


def from_above(ds: FileDataset) -> None:
    turned(ds, 1, 0, 0, 0, 0, -1)


def upside_down(ds: FileDataset) -> None:
    turned(ds, 1, 0, 0, 0, -1, 0)


def sideways(ds: FileDataset) -> None:
    moved(ds, lambda number: [0.1875 * number, 0.0, 3.0 - 0.1875 * number])


def radial(ds: FileDataset) -> None:
    drawn(ds, lambda number: (500 - 20 * number, 100, 500 + 20 * number, 700))


def drifting_in_the_photograph(ds: FileDataset) -> None:
    drawn(ds, lambda number: (100 + 8 * number, 100 + 20 * number, 100 + 8 * number, 700 + 20 * number))


def vertical_in_the_photograph(ds: FileDataset) -> None:
    drawn(ds, lambda number: (100, 100 + 8 * number, 700, 100 + 8 * number))


def there_and_back(ds: FileDataset) -> None:
    ends = (100, 700), (700, 100)
    drawn(ds, lambda number: (100 + 8 * number, ends[number % 2][0], 100 + 8 * number, ends[number % 2][1]))


def no_spacing(ds: FileDataset) -> None:
    del measures(ds).PixelSpacing


def no_step(ds: FileDataset) -> None:
    drawn(ds, lambda number: (100 + 8 * number, 100, 100 + 8 * number, 700))
    no_positions(ds)
    del measures(ds).SliceThickness


def swapped(ds: FileDataset) -> None:
    measures(ds).PixelSpacing = [0.15, 0.0115]


def nothing(ds: FileDataset) -> None:
    measures(ds).PixelSpacing = [0, 0]


def not_a_number(ds: FileDataset) -> None:
    measures(ds)["PixelSpacing"].value = ["0.0115", "1e400"]


def micrometres(ds: FileDataset) -> None:
    measures(ds).PixelSpacing = [11.5, 150.0]


def another_step(ds: FileDataset) -> None:
    measures(ds).SliceThickness = 0.047


def negative_step(ds: FileDataset) -> None:
    measures(ds).SliceThickness = -0.1875


def another_spacing_at_the_root(ds: FileDataset) -> None:
    ds.PixelSpacing = [0.0115, 0.1]


BROKEN = [
    (one, "one-frame"),
    (few, "too-few-frames"),
    (one_not_described, "frames-missing"),
    (none_described, "frames-missing"),
    (one_of_three_parts, "frames-missing"),
    (a_gap, "frames-missing"),
    (a_gap_in_the_photograph, "frames-missing"),
    (twice_the_same_place, "frames-unordered"),
    (all_at_one_place, "frames-unordered"),
    (no_positions, "frames-unordered"),
    (one_without_position, "frames-unordered"),
    (no_orientation, "frames-unordered"),
    (vertical, "not-a-raster"),
    (from_above, "not-a-raster"),
    (upside_down, "not-a-raster"),
    (sideways, "not-a-raster"),
    (radial, "not-a-raster"),
    (drifting_in_the_photograph, "not-a-raster"),
    (vertical_in_the_photograph, "not-a-raster"),
    (there_and_back, "not-a-raster"),
    (no_spacing, "spacing-missing"),
    (no_step, "spacing-missing"),
    (swapped, "spacing-implausible"),
    (nothing, "spacing-implausible"),
    (not_a_number, "spacing-implausible"),
    (micrometres, "spacing-implausible"),
    (another_step, "spacing-implausible"),
    (negative_step, "spacing-implausible"),
    (another_spacing_at_the_root, "spacing-implausible"),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=[broken.__name__ for broken, _ in BROKEN])
def test_what_cannot_be_believed(broken: Callable[[FileDataset], None], reason: str) -> None:
    """Each way of being wrong has its reason; nothing is guessed in its place."""
    ds = opt()
    broken(ds)

    with pytest.raises(Unfit) as caught:
        read_geometry(ds)

    assert caught.value.reason == reason


def test_the_step_without_positions_is_the_thickness() -> None:
    """A device that draws its frames on the photograph and gives no positions says their distance so."""
    ds = opt()
    drawn(ds, lambda number: (100 + 8 * number, 100, 100 + 8 * number, 700))
    no_positions(ds)

    assert read_geometry(ds).spacing.frame_um == pytest.approx(187.5)


def test_spacing_between_slices_is_said_before_thickness() -> None:
    """A beam thicker than the frames' distance contradicts nothing."""
    ds = opt()
    measures(ds).SpacingBetweenSlices, measures(ds).SliceThickness = 0.1875, 0.02

    assert read_geometry(ds).spacing.frame_um == pytest.approx(187.5)


@given(st.integers(32, 64), st.lists(st.integers(0, 63), max_size=6), st.booleans())
def test_any_frames_missing_in_the_middle_are_told(frames: int, missing: list[int], turned_round: bool) -> None:
    """Whichever frames are missing between the first and the last."""
    ds = opt(painted(frames + 8, 100, 8))
    inner = {1 + number % (frames + 6) for number in missing}
    if turned_round:
        ds.PerFrameFunctionalGroupsSequence = list(reversed(ds.PerFrameFunctionalGroupsSequence))
    cut(ds, *inner)
    if not inner:
        assert len(read_geometry(ds).order) == frames + 8
        return

    with pytest.raises(Unfit) as caught:
        read_geometry(ds)
    assert caught.value.reason == "frames-missing"
