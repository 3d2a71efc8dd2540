"""The import of a folder: the same custody as a C-STORE, and the originals stay as they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from devices import Site, encode, photograph, sha256
from oculard.intake.folder import copy_part, read_layout
from oculard.store.spool import Spooler
from oculard.store.vault import DiskFull


def write(path: Path, syntax: str = ExplicitVRLittleEndian, **values: str) -> bytes:
    """A Part 10 file; gives the bytes of its data set."""
    ds = photograph(**values)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return encode(ds, syntax)


def test_every_file_below_a_folder_is_taken(site: Site, tmp_path: Path) -> None:
    """Each file gives one result, in order, and the data sets are kept bit for bit."""
    root = tmp_path / "export"
    whole = write(root / "a.dcm", SOPInstanceUID="1.2.3")
    other = write(root / "sub" / "b", ImplicitVRLittleEndian, SOPInstanceUID="1.2.4")
    write(root / "sub" / "c.dcm", SOPInstanceUID="1.2.3", ImageComments="edited")
    (root / "again.dcm").write_bytes((root / "a.dcm").read_bytes())
    (root / "cut.dcm").write_bytes((root / "a.dcm").read_bytes()[:-1])
    (root / "notes.txt").write_text("none of this is DICOM")
    (root / "empty").touch()

    results = [(result.path.name, result.outcome, result.reason) for result in site.importer.run(root)]

    assert results == [
        ("a.dcm", "received", ""),
        ("again.dcm", "duplicate", ""),
        ("cut.dcm", "refused", "truncated"),
        ("empty", "refused", "not-dicom"),
        ("notes.txt", "refused", "not-dicom"),
        ("b", "received", ""),
        ("c.dcm", "differing-duplicate", ""),
    ]
    assert [site.stored_data_set(row) for row in site.rows()[:2]] == [whole, other]
    assert {(row["sender"], row["address"]) for row in site.rows()} == {("import", "")}
    assert site.spooled() == []
    assert (root / "a.dcm").exists()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_bare_data_set_is_taken(site: Site, tmp_path: Path, syntax: str) -> None:
    """Without preamble and file meta information the data set is still kept bit for bit, in a file that has both."""
    path, ds = tmp_path / "bare", photograph()
    path.write_bytes(encode(ds, syntax))

    [result] = site.importer.run(path)

    assert (result.outcome, result.sop_instance_uid) == ("received", ds.SOPInstanceUID)
    [row] = site.rows()
    assert (row["transfer_syntax_uid"], site.stored_data_set(row)) == (syntax, path.read_bytes())


def test_no_link_is_followed(site: Site, tmp_path: Path) -> None:
    """A link may lead out of the folder, to a device or in a circle."""
    root = tmp_path / "export"
    write(root / "a.dcm")
    write(tmp_path / "outside" / "b.dcm")
    (root / "link.dcm").symlink_to(tmp_path / "outside" / "b.dcm")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe")

    assert [result.path.name for result in site.importer.run(root)] == ["a.dcm"]


def test_a_full_disk_ends_the_import(make_site: Callable[..., Site], tmp_path: Path) -> None:
    """Where one file finds no room no other does: the import says so and stops."""
    site = make_site(store={"disk_free_min_gib": 1e9})
    write(tmp_path / "export" / "a.dcm")

    with pytest.raises(DiskFull):
        list(site.importer.run(tmp_path / "export"))
    assert site.spooled() == []


def test_the_real_files_are_taken_as_they_are(site: Site, data: Path) -> None:
    """Files of many makers: each has one result, and what is taken is bit for bit the original's data set."""
    results = list(site.importer.run(data / "dicom"))

    outcomes = Counter(result.outcome for result in results)
    assert outcomes.total() - outcomes["refused"] > 50
    taken = {row["sha256"]: site.stored_data_set(row) for row in site.rows()}
    for result in results:
        if result.outcome != "refused":
            with result.path.open("rb") as file:
                begins_at = read_layout(file).begins_at
            original = result.path.read_bytes()[begins_at:]
            assert taken[sha256(original)] == original
    assert {result.path.name for result in results if result.reason == "truncated"} == {
        "MR_truncated.dcm",
        "rtplan_truncated.dcm",
        "emri_small_jpeg_2k_lossless_too_short.dcm",
    }


def test_a_file_that_grows_while_it_is_copied_is_not_followed(site: Site, tmp_path: Path) -> None:
    """No more of it is read than there was when it was opened."""
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    spool = Spooler(site.vault, site.settings.store).open_file()
    with path.open("rb") as file:
        copy_part(file, 2, 6, spool)

    assert spool.path.read_bytes() == b"2345"
    spool.discard()
