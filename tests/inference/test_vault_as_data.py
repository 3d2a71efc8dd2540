"""The laboratory reads what the daemon keeps: a table of instances over the vault's own folder."""

from __future__ import annotations

import csv
from pathlib import Path

from worker_bench import Bench, photograph

from oculard_models.data.photographs import read_pixels
from oculard_models.data.table import read_table


def test_a_table_of_instances_is_found_in_the_vault(tmp_path: Path) -> None:
    """By SOP Instance UID, with the eye from the header, while the daemon's reports lie among the images."""
    bench = Bench(tmp_path)
    images = [photograph("a", "R"), photograph("b", "L")]
    bench.receive(*images)
    assert len(bench.work()) == 2
    path = tmp_path / "study.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sop_instance_uid", "person", "eye", "age"])
        writer.writerows([ds.SOPInstanceUID, "one", "", 61] for ds in images)

    bench.shelf.database.close()

    table = read_table(path, images=bench.shelf.vault.folder)

    assert [(p.eye, p.values) for p in table.photographs] == [("R", {"age": 61.0}), ("L", {"age": 61.0})]
    assert {read_pixels(p.path).shape for p in table.photographs} == {(320, 320, 3)}
