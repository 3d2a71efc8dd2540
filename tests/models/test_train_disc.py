"""Does the training of the optic disc go from photographs to a bundle that serves, with figures that are honest?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

from photographs import fundus_folder, pixels_of

from oculard_models.contract import ImageInput, Measured, Shape
from oculard_models.data.masked import read_mask
from oculard_models.data.paint import paint_with_disc
from oculard_models.data.person import sample_people
from oculard_models.lab import app
from oculard_models.preprocess import Pixels, seen_box
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers
from oculard_models.structures import measure
from oculard_models.train.disc_data import disc_spec, in_other_light, painted
from oculard_models.train.disc_figures import Found, against_circle, against_mask, csdi, hrf, summed

TINY = {"size-px": 64, "patch-px": 48, "painted": 8, "before": 1, "copies": 2, "epochs": 1, "folds": 2, "batch": 2}
SHORT = [f"--{name}={value}" for name, value in TINY.items()]
PX = 200
PEOPLE = sample_people(12, seed=3)


def place_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box of a mask: left, top, right, bottom."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def write_table(folder: Path, header: str, rows: list[list[object]]) -> None:
    """Write a table of labels."""
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paint a folder of data that is laid out like the real one."""
    root = tmp_path_factory.mktemp("data")
    rows: dict[str, list[list[object]]] = {"idrid": [], "hrf": [], "csdi": []}
    for number, person in enumerate(PEOPLE):
        pixels, disc = paint_with_disc(person, "RL"[number % 2], 10**9 + number, PX)
        kind = ("idrid", "hrf", "csdi")[min(2, number // 4)]
        (root / "fundus" / kind).mkdir(parents=True, exist_ok=True)
        name = f"{kind}_{number}.png"
        Image.fromarray(pixels).save(root / "fundus" / kind / name)
        Image.fromarray(disc.astype(np.uint8) * 255).save(root / "fundus" / kind / f"m_{name}")
        left, top, right, bottom = place_of(disc)
        middle = ((left + right) / 2, (top + bottom) / 2)
        rows["idrid"] += [[name, f"m_{name}"]] if kind == "idrid" else []
        rows["hrf"] += [[name, *middle, right - left, *middle, right - left]] if kind == "hrf" else []
        seen = ["visible", left, top, right, bottom] if number < 11 else ["not_visible", -1, -1, -1, -1]
        rows["csdi"] += [[name, *seen]] if kind == "csdi" else []
    write_table(root / "fundus" / "idrid", "image,disc_mask", rows["idrid"])
    experts = ",".join(f"disc_{what}_expert{k}" for k in (1, 2) for what in ("x", "y", "diameter"))
    write_table(root / "fundus" / "hrf", f"image,{experts}", rows["hrf"])
    box = "optic_disc_visible,disc_x1,disc_y1,disc_x2,disc_y2"
    write_table(root / "fundus" / "csdi", f"image,{box}", rows["csdi"])
    return root


def lab(*arguments: object) -> tuple[int, str]:
    """Run `oculard-lab`; return its exit status and all that it said."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_photographs_become_a_bundle(data: Path, tmp_path: Path):
    """A demonstration that says so, with figures from all three sets; what is finished is not trained again."""
    asked = ("--data", data, "--run", tmp_path / "run", *SHORT)
    status, said = lab("train", "disc", *asked, "--out", tmp_path / "one" / "disc-demo")
    assert status == 0, said
    bundle = read_bundle(tmp_path / "one" / "disc-demo")
    OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()
    metrics = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert (bundle.manifest.family, bundle.manifest.demonstration) == ("disc", True)
    assert {output.concept for output in bundle.manifest.output} >= {"DISC-AREA", "DISC-AREA-PX"}
    assert (metrics["cross_validation"]["photographs"], len(metrics["pictures"])) == (4, 4)
    assert (metrics["hrf"]["photographs"], metrics["csdi"]["visible"], metrics["csdi"]["not_visible"]) == (4, 3, 1)
    for words in ("IDRiD", "Kowa VX-10", "CC BY 4.0", "means nothing for any person", "4 photographs"):
        assert words in bundle.card
    assert "画質ゲート" not in bundle.card  # nothing was compared
    assert str(data) not in bundle.card + json.dumps(metrics)

    status, said = lab("train", "disc", *asked, "--out", tmp_path / "two" / "disc-demo")
    assert status == 0, said
    assert "epoch" not in said
    assert read_bundle(tmp_path / "two" / "disc-demo").manifest.weights.sha256 == bundle.manifest.weights.sha256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--patch-px", "50"], "multiples of 16"),
        (["--copies", "0"], "`copies` must be at least 1"),
        (["--folds", "9"], "9 folds"),
        (["--gate", "nowhere.json"], "train disc-gate"),
        (["--data", "nowhere"], "labels.csv"),
    ],
)
def test_wrong_wish_is_refused(data: Path, tmp_path: Path, arguments: list[str], words: str):
    """With 2, and with what to do."""
    short = ["--painted", "2", "--before", "1", "--size-px", "64", "--patch-px", "64", "--batch", "2"]
    status, said = lab("train", "disc", "--data", data, "--run", tmp_path / "run", *short, *arguments)
    assert status == 2, said
    assert words in " ".join(said.split())


def circle(x: float, y: float, radius: float) -> np.ndarray:
    """Return a filled circle in a picture of 100 x 160."""
    rows, columns = np.ogrid[:100, :160]
    return np.asarray((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2)


def found(mask: np.ndarray | None) -> Measured:
    """Return what structures.measure would say of a mask."""
    if mask is None:
        return Measured(reason="no-structure")
    return Measured(shape=Shape(mask=mask, outline=np.zeros((3, 2))))


def test_a_mask_is_measured_against_the_truth():
    """The same circle is perfect; one beside it is off by what it was moved, in disc diameters."""
    truth = circle(50, 50, 20)
    same, moved = (against_mask("a", truth, found(circle(x, 50, 20))) for x in (50, 60))
    assert (same.dice, same.hausdorff95_px, same.centre_dd, same.area_ratio) == (1.0, 0.0, 0.0, 1.0)
    assert moved.centre_dd == pytest.approx(0.25, abs=0.01)
    assert moved.hausdorff95_px == pytest.approx(10.0, abs=1.0)
    assert moved.hausdorff95_dd == pytest.approx(0.25, abs=0.03)
    assert 0.6 < (moved.dice or 0.0) < 0.75


def test_what_was_not_found_counts():
    """It lowers Dice, and is in no mean of lengths."""
    truth = circle(50, 50, 20)
    some = [against_mask("a", truth, found(truth)), against_mask("b", truth, found(None))]
    told = summed(some)
    assert (told["photographs"], told["found"], told["in_place"]) == (2, 1, 1)
    assert told["dice"] == {"mean": 0.5, "sd": 0.7071, "least": 0.0, "most": 1.0}
    assert told["centre_dd"] == {"mean": 0.0, "sd": 0.0, "least": 0.0, "most": 0.0}


def test_a_circle_elsewhere_is_found_and_not_in_place():
    """Finding something is not finding the disc."""
    told = summed([against_circle("a", (50, 50), 40, found(circle(120, 50, 20)))])
    assert (told["found"], told["in_place"]) == (1, 0)


def test_a_slip_of_the_pen_is_left_out(tmp_path: Path):
    """The second expert's centre of 02_g.jpg is not used, his diameter is; the others' centres are averaged."""
    experts = ",".join(f"disc_{what}_expert{k}" for k in (1, 2) for what in ("x", "y", "diameter"))
    rows: list[list[object]] = [["02_g.jpg", 50, 60, 38, 50, 6, 42], ["01_h.jpg", 48, 50, 40, 52, 50, 40]]
    write_table(tmp_path, f"image,{experts}", [*rows, ["01_dr.jpg", *[""] * 6]])
    for name in ("02_g.jpg", "01_h.jpg"):
        Image.fromarray(np.zeros((100, 160, 3), np.uint8)).save(tmp_path / name)
    seen: list[Pixels] = []

    def find(pixels: Pixels) -> Measured:
        seen.append(pixels)
        return found(circle(50, 60 if len(seen) == 1 else 50, 20))

    told = hrf(tmp_path, find)
    assert (told["photographs"], told["in_place"], told["experts_apart_photographs"]) == (2, 2, 1)
    assert told["centre_dd"] == {"mean": 0.0, "sd": 0.0, "least": 0.0, "most": 0.0}
    assert told["experts_apart_dd"] == pytest.approx(0.1)


def test_no_disc_is_counted_by_the_graders_word(tmp_path: Path):
    """Where they saw one and where they did not, and whether the middle lies in their box."""
    header = "image,optic_disc_visible,disc_x1,disc_y1,disc_x2,disc_y2"
    boxes: list[list[object]] = [["visible", 30, 30, 70, 70]] * 3 + [["not_visible", -1, -1, -1, -1]] * 2
    write_table(tmp_path, header, [[f"{number}.png", *box] for number, box in enumerate(boxes)])
    for number in range(5):
        Image.fromarray(np.full((100, 160, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    masks = [circle(50, 50, 20), circle(120, 50, 20), None, None, circle(50, 50, 20)]

    told = csdi(tmp_path, lambda pixels: found(masks[int(pixels[0, 0, 0])]))
    assert (told["visible"], told["visible_and_found"], told["centre_in_box"]) == (3, 2, 1)
    assert (told["not_visible"], told["not_visible_and_none_found"]) == (2, 1)


def test_copies_differ_in_light_alone():
    """The first copy is the photograph; masks stay where they are; the same seed gives the same copies."""
    one = next(iter(painted(1, disc_spec(64), seed=1)))
    copies, again = (in_other_light([one], 4, seed=5) for _ in range(2))
    assert copies[0] is one
    assert len({copy.plane.tobytes() for copy in copies}) == 4
    assert all(np.array_equal(a.plane, b.plane) for a, b in zip(copies, again, strict=True))
    assert all(copy.target is one.target for copy in copies)


def test_painted_masks_cover_the_painted_discs():
    """Right eyes have it on the right of the picture, left ones on the left, where the picture is pale."""
    for number, one in enumerate(painted(4, disc_spec(96), seed=2)):
        inside, green = one.target > 0.9, one.plane[1].astype(float)
        across = np.flatnonzero(inside.any(axis=0)).mean() / 96
        assert (0.7 < across < 0.9) if number % 2 == 0 else (0.1 < across < 0.3)
        assert green[inside].mean() > green[one.target == 0.0].mean() + 30


# --- the shipped bundle ---------------------------------------------------------------------------------------------


def outlined(pixels: Pixels) -> Measured:
    """Run the shipped bundle as the daemon does."""
    bundle = read_bundle(BUNDLES / "disc-demo")
    assert bundle.manifest.mask is not None
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    seen = estimator.prepare(ImageInput(sop_instance_uid="1.2.3", eye="L", pixels=pixels))
    size = pixels.shape[0], pixels.shape[1]
    (probability,) = estimator.segment(seen[None])
    box = seen_box(pixels, bundle.manifest.input)
    return measure(probability, mask=bundle.manifest.mask, box=box, image_size=size, spacing_mm=None)


def test_shipped_bundle_outlines_painted_discs():
    """On eyes that no training painted."""
    for number, person in enumerate(PEOPLE[:4]):
        pixels, disc = paint_with_disc(person, "RL"[number % 2], 10**9 + number, 500)
        assert (against_mask("", disc, outlined(pixels)).dice or 0.0) > 0.75


def test_shipped_bundle_knows_its_own_photographs():
    """The photographs that it learnt from: a wrong file of weights or a wrong preparation would show at once."""
    folder = fundus_folder() / "idrid"
    rows: list[Found] = []
    for name in ("IDRiD_02", "IDRiD_04", "IDRiD_07"):
        truth = read_mask(folder / f"{name}_disc.png")
        rows.append(against_mask(name, truth, outlined(pixels_of(folder / f"{name}.jpg"))))
    assert min(row.dice or 0.0 for row in rows) > 0.85


def test_shipped_bundle_finds_discs_of_other_cameras():
    """What the card says of HRF, measured anew."""
    metrics = json.loads((BUNDLES / "disc-demo" / "metrics.json").read_text(encoding="utf-8"))
    told = hrf(fundus_folder() / "hrf", outlined)
    assert (told["found"], told["in_place"]) == (metrics["hrf"]["found"], metrics["hrf"]["in_place"])


def test_shipped_bundle_is_small_enough():
    """It is a demonstration, and travels with everybody."""
    assert sum(path.stat().st_size for path in (BUNDLES / "disc-demo").iterdir()) < 5_000_000
