"""Finding the field and preparing the network's input, on painted and on real photographs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from photographs import csdi_labels, fundus_folder, pixels_of, sharp_photographs

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.manifest import Crop, InputSpec
from oculard_models.preprocess import find_field, prepare

PERSON = sample_people(1, seed=3)[0]


def image(pixels: npt.NDArray[np.uint8], eye: str = "R") -> ImageInput:
    """Wrap pixels as the daemon does."""
    return ImageInput(sop_instance_uid="1.2.3", eye=eye, pixels=pixels)


def spec(**changes: object) -> InputSpec:
    """Describe an input of 48 x 64 pixels, changed as asked."""
    return InputSpec.model_validate({"kind": "fundus", "tensor": "image", "size_px": (48, 64)} | changes)


def disc(height: int, width: int, x: float, y: float, radius: float) -> npt.NDArray[np.uint8]:
    """Draw a plain orange disc on black."""
    rows, columns = np.mgrid[:height, :width]
    lit = np.hypot(columns + 0.5 - x, rows + 0.5 - y) < radius
    return (lit[..., None] * np.array((200, 90, 40))).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "x", "y", "radius"),
    [
        (600, 800, 400, 300, 250),  # whole
        (600, 800, 400, 300, 380),  # cut at the top and at the bottom
        (800, 600, 300, 400, 380),  # cut at the sides
        (600, 800, 300, 250, 200),  # off the middle
        (2400, 3200, 1600, 1200, 1150),
    ],
)
def test_field_of_a_disc_is_its_circle(height: int, width: int, x: int, y: int, radius: int):
    """Centre and radius are found within 1 %, also where the frame cuts the circle."""
    field = find_field(disc(height, width, x, y, radius))

    assert field is not None
    np.testing.assert_allclose((*field.centre, field.radius), (x, y, radius), atol=0.01 * radius + 1.5)


@pytest.mark.parametrize("kind", ["black", "white", "noise", "plain", "bars"])
def test_picture_without_a_field_has_none(kind: str):
    """What is no circle of light on black is not taken for one."""
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3))
    pixels = {
        "black": np.zeros((300, 400, 3)),
        "white": np.full((300, 400, 3), 255),
        "noise": noise,
        "plain": np.full((300, 400, 3), (200, 90, 40)),
        "bars": np.repeat((np.arange(400) // 50 % 2 * 255)[None, :, None], 300, axis=0).repeat(3, axis=2),
    }[kind]

    assert find_field(pixels.astype(np.uint8)) is None


def test_real_fields_lie_where_their_table_says():
    """On the photographs of CSDI the field's box is the labelled one within 1 % of its width."""
    for row in csdi_labels():
        field = find_field(pixels_of(fundus_folder() / "csdi" / row["image"]))

        assert field is not None, row["image"]
        labelled = [int(row[f"fundus_{edge}"]) for edge in ("x1", "y1", "x2", "y2")]
        found = (field.left, field.top, field.right, field.bottom)
        np.testing.assert_allclose(found, labelled, atol=0.011 * (labelled[2] - labelled[0]), err_msg=row["image"])


def test_real_fields_that_the_camera_cut_are_whole_circles():
    """HRF and IDRiD photographs are cut at top and bottom; their circle is found beyond the frame."""
    for path in sharp_photographs():
        pixels = pixels_of(path)
        field = find_field(pixels)

        assert field is not None, path.name
        assert 0.8 < field.visible_fraction <= 1.0, path.name
        if path.parent.name == "hrf":
            assert 2 * field.radius > 1.3 * pixels.shape[0], path.name


def test_input_is_normalised_channels_first():
    """A plain disc becomes (pixel / 255 - mean) / std in its middle and black in its corners."""
    wanted = spec(mean=(0.5, 0.25, 0.1), std=(0.5, 0.25, 0.2))
    seen = prepare(image(disc(400, 400, 200, 200, 150)), wanted)

    assert (seen.shape, seen.dtype) == ((3, 48, 64), np.float32)
    np.testing.assert_allclose(
        seen[:, 24, 32], [(200 / 255 - 0.5) / 0.5, (90 / 255 - 0.25) / 0.25, (40 / 255 - 0.1) / 0.2], atol=1e-5
    )
    np.testing.assert_allclose(seen[:, 0, 0], [-1.0, -1.0, -0.5], atol=1e-5)


def test_colour_order_can_be_turned():
    """A network that wants BGR gets blue first."""
    pixels = disc(400, 400, 200, 200, 150)

    np.testing.assert_array_equal(prepare(image(pixels), spec(colour="BGR")), prepare(image(pixels), spec())[::-1])


def test_left_eyes_are_mirrored_and_right_eyes_are_not():
    """The network sees right eyes only, unless its manifest says otherwise."""
    pixels = paint(PERSON, "R", 5, 200)
    flipped = np.ascontiguousarray(pixels[:, ::-1])

    np.testing.assert_allclose(prepare(image(flipped, "L"), spec()), prepare(image(pixels), spec()), atol=0.02)
    kept = prepare(image(flipped, "L"), spec(mirror_left=False))
    np.testing.assert_array_equal(kept, prepare(image(flipped, "R"), spec()))


def test_crop_makes_place_and_size_in_the_frame_irrelevant():
    """The same eye in a wider frame, off its middle, is the same input."""
    pixels = paint(PERSON, "R", 5, 400)
    frame = np.zeros((700, 900, 3), dtype=np.uint8)
    frame[150:550, 420:820] = pixels

    apart = np.abs(prepare(image(frame), spec()) - prepare(image(pixels), spec()))
    assert apart.mean() < 0.005
    assert apart.max() < 0.15  # at the edge of the field, where a tenth of a pixel shows


def test_whole_frame_is_left_as_it_is():
    """`whole` resizes the frame without looking for a field."""
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    pixels[:, :50] = 255
    seen = prepare(image(pixels), spec(crop=Crop.WHOLE))

    assert seen[:, :, :28].min() == 1.0
    assert seen[:, :, 36:].max() == 0.0


def test_picture_without_a_field_is_padded_to_a_square():
    """Without a field the frame is kept in its proportions."""
    seen = prepare(image(np.full((100, 200, 3), 255, dtype=np.uint8)), spec(size_px=(64, 64)))

    assert seen[0, 32].min() == 1.0
    assert seen[0, :12].max() == 0.0


def test_resizing_is_antialiased():
    """A fine chequerboard becomes grey, not a pattern of its own."""
    board = ((np.indices((960, 1280)).sum(axis=0) % 2) * 255).astype(np.uint8)
    seen = prepare(image(np.repeat(board[..., None], 3, axis=2)), spec(crop=Crop.WHOLE))

    assert np.abs(seen - 0.5).max() < 0.05
