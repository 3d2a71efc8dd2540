"""Do tables of pictures and masks say what is wrong with them, and does a patch keep picture and mask together?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

from oculard_models.data.mask_variation import MaskVariation, varied  # noqa: E402  # after the skip
from oculard_models.data.masked import Masked, MaskedSet, MaskedWrong, as_kept, read_kept, read_table  # noqa: E402
from oculard_models.data.photographs import Unreadable  # noqa: E402
from oculard_models.train.segmenting import en_face_spec, folds, set_aside  # noqa: E402
from oculard_models.train.settings import TrainingWrong  # noqa: E402

SPEC = en_face_spec(64)
STILL = MaskVariation(
    patch_px=64, rotate_deg=0, scale=0, stretch=0, shift=0, bend=0, light=0, gamma=0, speckle=0, bands=0, blur=0
)


def write_table(folder: Path, rows: str) -> Path:
    """Write one picture with a bright square as its mask, and a table of these rows."""
    mask = np.zeros((40, 80), dtype=np.uint8)
    mask[10:30, 20:60] = 255
    Image.fromarray(np.where(mask, 20, 120).astype(np.uint8)).save(folder / "a.png")
    Image.fromarray(mask).save(folder / "m.png")
    path = folder / "labels.csv"
    path.write_text(rows, encoding="utf-8")
    return path


def test_table_is_read_with_groups_strata_and_sides(tmp_path: Path):
    """Rows that name the same scan are one group; what is not said stays unknown."""
    path = write_table(
        tmp_path,
        "id,image,mask,plexus,same_scan_as,side_mm\n"
        "x,a.png,m.png,deep,z,3\ny,a.png,m.png,deep,x,\nz,a.png,m.png,deep,,\nalone,a.png,m.png,deep,,\n",
    )
    one, two, three, alone = read_table(path)
    assert one.group == two.group == three.group != alone.group
    assert (one.stratum, one.side_mm, two.side_mm) == ("deep", 3.0, None)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("picture,size\na.png,3\n", "column `image`"),
        ("image,mask\n", "rows"),
        ("image,mask\n,m.png\n", "row 1"),
        ("id,image,mask\nx,a.png,m.png\nx,a.png,m.png\n", "same id"),
        ("image,mask,side_mm\na.png,m.png,wide\n", "side_mm"),
    ],
)
def test_wrong_table_is_refused_by_its_row(tmp_path: Path, rows: str, words: str):
    """Whoever made the table learns where to look."""
    with pytest.raises(MaskedWrong, match=words):
        read_table(write_table(tmp_path, rows))


def test_picture_without_a_mask_cannot_be_learnt_from(tmp_path: Path):
    """It may be measured, though."""
    rows = read_table(write_table(tmp_path, "image,mask\na.png,\n"))
    assert rows[0].mask is None
    with pytest.raises(MaskedWrong, match="no mask"):
        read_kept(rows, SPEC)


def test_broken_picture_is_refused_by_its_name(tmp_path: Path):
    """A file that is no picture, and one that is not there."""
    rows = read_table(write_table(tmp_path, "image,mask\na.png,m.png\n"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(Unreadable, match=r"a\.png"):
        read_kept(rows, SPEC)
    (tmp_path / "a.png").unlink()
    with pytest.raises(Unreadable, match=r"a\.png"):
        read_kept(rows, SPEC)


def test_mask_of_another_size_and_empty_mask_are_refused(tmp_path: Path):
    """Neither could be learnt from."""
    about = Masked(name="x", image=tmp_path, mask=tmp_path, group="x")
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    with pytest.raises(MaskedWrong, match="pixels"):
        as_kept(about, pixels, np.ones((40, 41), dtype=bool), SPEC)
    with pytest.raises(MaskedWrong, match="empty"):
        as_kept(about, pixels, np.zeros((40, 40), dtype=bool), SPEC)


def test_mask_shrinks_with_its_picture(tmp_path: Path):
    """Share by share: the mean of the mask stays, whatever the size that the network sees."""
    (kept,) = read_kept(read_table(write_table(tmp_path, "image,mask\na.png,m.png\n")), SPEC)
    assert kept.target.shape == (64, 64)
    assert kept.target.mean() == pytest.approx(kept.truth.mean(), abs=1e-3)
    dark = kept.plane[0] < 70
    assert (dark == (kept.target > 0.5)).mean() > 0.97


def test_variation_moves_picture_and_mask_together():
    """Whatever is drawn, dark pixels of the patch are those of its mask; and the same seed draws the same."""
    yy, xx = np.mgrid[:128, :128]
    inside = (xx - 60) ** 2 + (yy - 70) ** 2 < 30**2
    picture = torch.from_numpy(np.where(inside, 0.1, 0.7).astype(np.float32)).expand(3, -1, -1)
    target = torch.from_numpy(inside.astype(np.float32))[None]
    how = replace(MaskVariation(patch_px=96), speckle=0.0, light=0.0, gamma=0.0, bands=0.0)
    for seed in range(20):
        light, mask = varied(picture, target, how, np.random.default_rng(seed))
        assert light.shape == (3, 96, 96)
        assert mask.shape == (1, 96, 96)
        assert float(((light[0] < 0.4) == (mask[0] > 0.5)).float().mean()) > 0.98
        again, _ = varied(picture, target, how, np.random.default_rng(seed))
        assert torch.equal(light, again)


def test_no_variation_leaves_all_as_it_is():
    """With every amount at nothing, only the flip remains."""
    picture, target = torch.rand(3, 64, 64), torch.rand(1, 64, 64)
    light, mask = varied(picture, target, STILL, np.random.default_rng(1))
    flipped = [torch.allclose(light, side, atol=1e-4) for side in (picture, picture.flip(2))]
    assert any(flipped)
    assert torch.allclose(mask, target.flip(2) if flipped[1] else target, atol=1e-4)


def test_items_follow_from_seed_epoch_and_index(tmp_path: Path):
    """Two sets of the same seed give the same item; another epoch gives another."""
    kept = read_kept(read_table(write_table(tmp_path, "image,mask\na.png,m.png\n")), SPEC)
    one, two = (MaskedSet(kept, SPEC, variation=MaskVariation(patch_px=32), seed=3) for _ in range(2))
    assert torch.equal(one[0]["image"], two[0]["image"])
    two.set_epoch(1)
    assert not torch.equal(one[0]["image"], two[0]["image"])


def test_folds_keep_groups_whole_and_strata_even(tmp_path: Path):
    """No group is on both sides, every fold has its share of each stratum, and all pictures are there once."""
    pixels, mask = np.zeros((16, 16, 3), dtype=np.uint8), np.ones((16, 16), dtype=bool)
    kept = [
        as_kept(
            Masked(name=f"{k}", image=tmp_path, mask=tmp_path, group=f"{k // 2}", stratum=f"{k % 4 // 2}"),
            pixels,
            mask,
            en_face_spec(16),
        )
        for k in range(48)
    ]
    parts = folds(kept, 3, 1)
    assert sorted(one.about.name for part in parts for one in part) == sorted(f"{k}" for k in range(48))
    groups = [{one.about.group for one in part} for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[1] & groups[2]
    assert [sum(one.about.stratum == "0" for one in part) for part in parts] == [8, 8, 8]
    training, tuning = set_aside(kept, 6, 1)
    assert len(tuning) == 6
    assert not {one.about.group for one in training} & {one.about.group for one in tuning}
    with pytest.raises(TrainingWrong, match="groups"):
        folds(kept[:2], 3, 1)
