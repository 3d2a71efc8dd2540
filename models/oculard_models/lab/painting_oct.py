"""`oculard-lab paint --oct`: eyes that do not exist, with the four types of disc, as views or as whole OCT volumes.

The table, `labels.csv`, is what `train glaucoma` reads: `image`, `person`, `eye`, `label` (a few are wrong, as with
doctors), `disc_type` (what was painted).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from oculard_models.data.oct_cohort import OctEye, glaucoma_cohort
from oculard_models.data.oct_views import paint_views
from oculard_models.data.paint_oct import paint_volume
from oculard_models.data.painted_study import MORNING, Visit, painted_uid, write_study
from oculard_models.data.painted_volume import SYNTAXES, volume_study
from oculard_models.lab.console import followed, misuse
from oculard_models.volumes.views import DEFAULT_VIEWS

LABELS = "labels.csv"
FULL_SIZE = (128, 885, 512)  # frames, rows, columns, as a Maestro2 writes them


def write_views(folder: Path, seed: int, eyes: int, size_px: int, table: Path | None) -> Iterator[Path]:
    """Write the views of each eye side by side as a grey PNG; yield their paths, then the table's."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, object]] = []
    for one in followed(glaucoma_cohort(seed, eyes), "painting"):
        views = paint_views(one.draw(), size_px=size_px, seed=one.seed)
        strip = np.concatenate([views[name] for name in DEFAULT_VIEWS], axis=1)
        path = folder / "images" / f"{one.eye_id}.png"
        Image.fromarray(np.round(strip * 255.0).astype(np.uint8)).save(path)
        rows.append(_row(one, path.relative_to(folder)))
        yield path
    yield _write_table(table or folder / LABELS, rows)


def write_volumes(folder: Path, seed: int, eyes: int, table: Path | None, syntax: str) -> Iterator[Path]:
    """Write a volume of each eye at full size with photograph and surfaces, a folder a person; then the table."""
    known = {str(name): name for name in SYNTAXES}
    if syntax not in known:
        misuse(f"`{syntax}` is no syntax; hint: {', '.join(known)}")
    rows: list[Mapping[str, object]] = []
    frames, depth, columns = FULL_SIZE
    for one in followed(glaucoma_cohort(seed, eyes), "painting"):
        painted = paint_volume(one.draw(), frames=frames, depth=depth, columns=columns, seed=one.seed)
        study = volume_study(painted, _visit(one), syntax=known[syntax], segmented=True)
        paths = write_study(folder / one.person, study)
        rows.append(_row(one, paths[0].relative_to(folder)))
        yield from paths
    yield _write_table(table or folder / LABELS, rows)


def _visit(one: OctEye) -> Visit:
    """The visit of an invented person: both eyes have one."""
    return Visit(
        study_uid=painted_uid("oct-study", one.person),
        series_uid=painted_uid("oct-photographs", one.person),
        patient_id=f"{one.person_seed % 10**7:07d}",
        accession_number=f"G{one.person_seed % 10**9:09d}",
        birth_date=f"{MORNING.year - 45 - one.person_seed % 40}0102",
        sex="FM"[one.person_seed % 2],
        description="OCT",
    )


def _row(one: OctEye, path: Path) -> Mapping[str, object]:
    """What the table says of an eye."""
    return {"image": path, "person": one.person, "eye": one.eye, "label": one.label, "disc_type": one.disc_type}


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
