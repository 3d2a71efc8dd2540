"""Finding bundles, and refusing what is wrong with them before anything of theirs is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundle_samples import edit_manifest, shipped_copy

from oculard_models.manifest import BundleRefused
from oculard_models.registry import BUNDLES, TEXT_MAX_BYTES, find_bundles, read_bundle


def refusal_of(folder: Path) -> str:
    """Return the message with which reading a bundle is refused."""
    with pytest.raises(BundleRefused) as caught:
        read_bundle(folder)
    return str(caught.value)


def test_shipped_bundles_are_found_without_asking():
    """The shipped folder is always searched, and everything in it is fine."""
    bundles, refusals = find_bundles()

    assert "systemic-demo 1.1.0" in [bundle.identity for bundle in bundles]
    assert refusals == []


def test_extra_folder_adds_its_bundles(tmp_path: Path):
    """A bundle in another folder is found after the shipped ones."""
    edit_manifest(shipped_copy(tmp_path), 'version = "1.1.0"', 'version = "1.1.1"')

    bundles, refusals = find_bundles([tmp_path, BUNDLES])

    assert bundles[-1].identity == "systemic-demo 1.1.1"
    assert bundles[-1].card.startswith("# systemic-demo")
    assert refusals == []


def test_second_bundle_of_the_same_name_and_version_is_refused(tmp_path: Path):
    """Nobody replaces a shipped bundle by putting another of its name and version beside it."""
    folder = shipped_copy(tmp_path)

    bundles, refusals = find_bundles([tmp_path])

    assert [b.folder for b in bundles if b.manifest.name == "systemic-demo"] == [BUNDLES / "systemic-demo"]
    assert [refusal.folder for refusal in refusals] == [folder]
    assert "systemic-demo 1.1.0 is already there" in refusals[0].reason


def test_one_broken_bundle_does_not_hide_the_others(tmp_path: Path):
    """Every folder is judged by itself; hidden ones are left alone."""
    edit_manifest(shipped_copy(tmp_path), 'version = "1.1.0"', 'version = "2.0.0"')
    (tmp_path / "broken").mkdir()
    (tmp_path / ".hidden").mkdir()

    bundles, refusals = find_bundles([tmp_path])

    assert bundles[-1].identity == "systemic-demo 2.0.0"
    assert [refusal.reason for refusal in refusals] == ["bundle `broken` has no manifest.toml"]


def test_folder_that_is_not_there_is_said(tmp_path: Path):
    """A mistyped folder is a refusal, not silence."""
    _, refusals = find_bundles([tmp_path / "nowhere"])

    assert "nowhere` is not a folder; hint: is its path right?" in refusals[0].reason


@pytest.mark.parametrize("missing", ["manifest.toml", "card.md", "model.onnx", "golden.png"])
def test_missing_part_is_named(missing: str, tmp_path: Path):
    """A bundle without one of its four files is refused by the name of the file."""
    folder = shipped_copy(tmp_path)
    (folder / missing).unlink()

    assert refusal_of(folder) == f"bundle `copy` has no {missing}"


def test_empty_card_is_refused(tmp_path: Path):
    """A model without a card says nothing about where it comes from."""
    folder = shipped_copy(tmp_path)
    (folder / "card.md").write_text(" \n", encoding="utf-8")

    assert "card.md is empty" in refusal_of(folder)


@pytest.mark.parametrize("part", ["manifest.toml", "card.md"])
def test_text_that_is_far_too_long_is_refused_unread(part: str, tmp_path: Path):
    """Nobody writes a card of a megabyte."""
    folder = shipped_copy(tmp_path)
    (folder / part).write_bytes(b"#" * (TEXT_MAX_BYTES + 1))

    assert refusal_of(folder) == f"bundle `copy`: {part} has 1048577 bytes, 1048576 are allowed"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = ", b"[" * 100_000, b"a = " + b"[" * 100_000])
def test_unreadable_manifest_is_refused(content: bytes, tmp_path: Path):
    """No bytes, no syntax and no nesting get past the reader as anything but a refusal."""
    folder = shipped_copy(tmp_path)
    (folder / "manifest.toml").write_bytes(content)

    assert "manifest.toml" in refusal_of(folder)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('family = "systemic"', 'family = "systemic"\nfamilly = "x"', "familly: Extra inputs are not permitted"),
        ('file = "model.onnx"', 'file = "../model.onnx"', "weights.file"),
        ('file = "model.onnx"', 'file = "/etc/model.onnx"', "weights.file"),
        ('file = "model.onnx"', 'file = ".onnx"', "weights.file"),
        ('image = "golden.png"', 'image = "a/golden.png"', "golden.image"),
        ("size_px = [160, 160]", "size_px = [160000, 160]", "input.size_px.0"),
        ("std = [0.28, 0.13, 0.07]", "std = [0.28, 0.0, 0.07]", "every `std` must be above 0"),
        ('name = "sbp"', 'name = "dbp"', "two outputs have the same name"),
        ('choices = ["F", "M"]', 'choices = ["F"]', "needs two `choices`"),
        ("tolerance = 0.01", "tolerance = 10.0", "golden.tolerance"),
        ("[golden.expected]", "[golden.expected]\nshoe-size = 1.0", "`golden.expected` must name every output once"),
    ],
)
def test_wrong_manifest_is_refused_by_the_name_of_its_key(old: str, new: str, named: str, tmp_path: Path):
    """Unknown keys, paths that leave the folder and values without sense are refused, each by name."""
    folder = shipped_copy(tmp_path)
    edit_manifest(folder, old, new)

    assert named in refusal_of(folder)


def test_link_out_of_the_folder_is_refused(tmp_path: Path):
    """A bundle's file is a file in the bundle, not a link to somewhere else."""
    folder = shipped_copy(tmp_path)
    shutil.move(folder / "model.onnx", tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")

    assert "model.onnx lies outside the bundle's folder" in refusal_of(folder)


@pytest.mark.parametrize("part", ["manifest.toml", "card.md", "model.onnx", "golden.png"])
def test_links_in_a_circle_are_refused(part: str, tmp_path: Path):
    """A file that only points at itself stops its bundle, not the search."""
    folder = shipped_copy(tmp_path)
    (folder / part).unlink()
    (folder / part).symlink_to(part)

    assert part in refusal_of(folder)


@pytest.mark.parametrize("part", ["manifest.toml", "card.md", "model.onnx", "golden.png"])
def test_folder_in_place_of_a_file_is_refused(part: str, tmp_path: Path):
    """A folder that is called like a file is not one."""
    folder = shipped_copy(tmp_path)
    (folder / part).unlink()
    (folder / part).mkdir()

    assert refusal_of(folder) == f"bundle `copy` has no {part}"


def test_weights_that_change_after_reading_are_refused_when_loaded(tmp_path: Path):
    """The digest is checked on the bytes that are used, not on an earlier look."""
    bundle = read_bundle(shipped_copy(tmp_path))
    (bundle.folder / "model.onnx").write_bytes(b"something else")

    with pytest.raises(BundleRefused, match="hint: was one of them replaced without the other"):
        bundle.load()
