"""Topcon's own files go into custody as DICOM, and of its exports is said what is not whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from devices import Site
from oculard.decoders import Decoders
from oculard.intake import topcon
from oculard.intake.topcon import PARTS, exported
from oculard.settings import OCT_EN_FACE, OCT_FLOW_VOLUME, OPHTHALMIC_TOMOGRAPHY
from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import paint_volume
from topcon_samples import fda, fds

PHOTOGRAPHY, LAYERS = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.66.8"
CLASSES = {
    "1.1": OPHTHALMIC_TOMOGRAPHY,
    "2.1": PHOTOGRAPHY,
    "3.1": OCT_FLOW_VOLUME,
    "4.1": "1.2.840.10008.5.1.4.1.1.66.5",
    "5.1": OCT_FLOW_VOLUME,
    **dict.fromkeys(("6.3", "6.4", "6.5", "6.80"), OCT_EN_FACE),
}


@pytest.fixture(scope="module")
def content() -> bytes:
    """An .fda file with volume, layers and photograph."""
    painted = paint_volume(draw_eye(7, "normal", eye="L"), frames=32, depth=100, columns=48, seed=1)
    photograph = np.full((40, 60, 3), 90, dtype=np.uint8)
    return fda(painted.volume.pixels, eye=1, layers=painted.layers, photograph=photograph).content()


def test_an_fda_is_taken_as_three_instances(site: Site, tmp_path: Path, content: bytes) -> None:
    """Volume, photograph and layers, of the eye and the patient that the file says; twice it is a duplicate."""
    path = tmp_path / "export" / "a.FDA"
    path.parent.mkdir()
    path.write_bytes(content)

    done = list(site.importer.run(path.parent))
    again = list(site.importer.run(path.parent))

    assert [one.outcome for one in done] == ["received"] * 3
    assert [one.sop_class_uid for one in done] == [OPHTHALMIC_TOMOGRAPHY, PHOTOGRAPHY, LAYERS]
    assert {one.path for one in done} == {path}
    assert [one.outcome for one in again] == ["duplicate"] * 3
    rows = site.rows()
    assert {json.loads(row["facts"])["patient_id"] for row in rows} == {"0001234"}
    assert [json.loads(row["facts"])["eye"] for row in rows] == ["L", "L", "L"]
    assert len({json.loads(row["facts"])["study_instance_uid"] for row in rows}) == 1
    assert site.spooled() == []
    assert path.read_bytes() == content


def test_an_fds_is_taken(site: Site, tmp_path: Path) -> None:
    """Two instances, for it has no layers."""
    wide = np.arange(32 * 100 * 48, dtype=np.uint32).reshape(32, 100, 48).astype(np.uint16)
    (tmp_path / "a.fds").write_bytes(fds(wide, np.full((40, 60, 3), 90, dtype=np.uint8)).content())

    done = list(site.importer.run(tmp_path / "a.fds"))

    assert [one.sop_class_uid for one in done] == [OPHTHALMIC_TOMOGRAPHY, PHOTOGRAPHY]


def test_what_gives_no_instance_is_refused(site: Site, tmp_path: Path, content: bytes) -> None:
    """A broken file, an empty one and a text under such a name: each says so."""
    root = tmp_path / "export"
    root.mkdir()
    (root / "cut.fda").write_bytes(content[: len(content) // 2])
    (root / "empty.fda").touch()
    (root / "text.fds").write_text("hello")

    done = list(site.importer.run(root))

    refused = [(one.path.name, one.reason) for one in done if one.outcome == "refused"]
    assert {reason for _, reason in refused} == {"topcon-unreadable"}
    assert [name for name, _ in refused] == ["cut.fda", "empty.fda", "text.fds"]
    assert all("DICOM" in one.hint for one in done if one.outcome == "refused")
    assert site.rows() == []


def test_a_file_that_changes_is_left_alone(
    site: Site, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a file is taken that somebody still writes to."""
    path = tmp_path / "a.fda"
    path.write_bytes(content)
    ask: Callable[..., object] = topcon.Decoders.ask

    def grow(*arguments: object, **named: object) -> object:
        with path.open("ab") as end:
            end.write(b"\0")
        return ask(*arguments, **named)

    monkeypatch.setattr(topcon.Decoders, "ask", grow)
    (done,) = site.importer.run(path)

    assert (done.outcome, done.reason) == ("refused", "still-growing")
    assert site.rows() == []


def test_a_file_that_kills_its_reader_is_refused(
    site: Site, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in a process of its own: whoever imports lives on, and the next file is taken."""
    monkeypatch.setattr(topcon, "Decoders", partial(Decoders, module="poison_decoder"))
    root = tmp_path / "export"
    root.mkdir()
    (root / "a.fda").write_bytes(content[:-1] + b"\x07@POISON\0\0\0\0\0")
    (root / "b.fda").write_bytes(content)

    first, *others = site.importer.run(root)

    assert (first.outcome, first.reason) == ("refused", "decoder-died")
    assert [one.outcome for one in others] == ["received"] * 3
    assert site.spooled() == []


def test_a_file_that_is_too_large_is_not_read(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of an instance holds for it before anything of it is read."""
    (tmp_path / "a.fda").write_bytes(b"FOCTFDA" + b"\0" * 100)
    monkeypatch.setattr(site.importer, "_bytes_max", 50)
    (done,) = site.importer.run(tmp_path / "a.fda")

    assert done.reason == "instance-too-large"


def files(*parts: str, name: str = "x", **changed: str) -> list[tuple[Path, str]]:
    """Imported files of an acquisition."""
    classes = CLASSES | changed
    return [(Path("/export") / f"{name}{part}.dcm", classes.get(part, PHOTOGRAPHY)) for part in parts]


@pytest.mark.parametrize("name", ["", "2.25.12.", "0001_20260304_"])
@pytest.mark.parametrize("parts", [("1.1", "2.1"), tuple(PARTS)])
def test_two_files_and_nine_are_whole(parts: tuple[str, ...], name: str) -> None:
    """Whatever they are called before their number."""
    (one,) = exported(files(*parts, name=name))

    assert (one.files, one.wrong, one.name) == (len(parts), "", name)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (files("1.1"), "missing: 2.1 (its photograph)"),
        (files("1.1", "2.1", "3.1"), "missing: 4.1 (the layers), 5.1 (the flow), 6.3 (a slab), 6.4"),
        (files(*list(PARTS)[1:]), "missing: 1.1 (the volume)"),
        (files(*PARTS, "6.6"), "not expected: 6.6"),
        (files("1.1", "2.1", **{"2.1": ""}), "refused: 2.1"),
        (files("1.1", **{"1.1": ""}), "missing: 2.1 (its photograph); refused: 1.1"),
        (files("1.1", "2.1", **{"1.1": PHOTOGRAPHY, "2.1": OPHTHALMIC_TOMOGRAPHY}), "1.1 is no OCT volume"),
    ],
)
def test_anything_else_is_said(given: list[tuple[Path, str]], wrong: str) -> None:
    """One file, three, eight, ten, a refused one, and one that is something else."""
    (one,) = exported(given)

    assert one.wrong.startswith(wrong)


def test_acquisitions_of_one_folder_are_told_apart() -> None:
    """By what stands before the number; and the same names in two folders are two."""
    given = [*files("1.1", "2.1", name="a."), *files("1.1", name="b.")]
    given += [(path.parent / "other" / path.name, uid) for path, uid in files("1.1", "2.1", name="a.")]

    assert [(one.name, bool(one.wrong)) for one in exported(given)] == [("a.", False), ("b.", True), ("a.", False)]


def test_other_files_are_no_acquisitions() -> None:
    """Photographs with numbers in their names are nobody's export, nor are volumes without them."""
    given = [(Path("/d/1.2.3.4.dcm"), PHOTOGRAPHY), (Path("/d/1.2.3.5.dcm"), PHOTOGRAPHY)]
    given += [(Path("/d/volume.dcm"), OPHTHALMIC_TOMOGRAPHY), (Path("/d/2.25.999.dcm"), OPHTHALMIC_TOMOGRAPHY)]

    assert exported(given) == []


def test_what_was_made_is_kept_as_it_was_made(site: Site, tmp_path: Path, content: bytes) -> None:
    """The vault's file of the volume is a whole instance."""
    (tmp_path / "a.fda").write_bytes(content)
    list(site.importer.run(tmp_path / "a.fda"))

    kept = [dcmread(path) for path in sorted(site.vault.folder.rglob("*.dcm"))]
    assert {ds.SOPClassUID for ds in kept} == {OPHTHALMIC_TOMOGRAPHY, PHOTOGRAPHY, LAYERS}
