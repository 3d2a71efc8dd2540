"""`oculard-lab paint --octa`: angiographies of eyes that do not exist, their masks, and tables of what is painted."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from oculard_models.data.octa_cohort import FazEye, painted_faz_cohort
from oculard_models.data.paint_octa import PLEXUSES, PaintedOcta, paint_octa
from oculard_models.lab.console import followed

LABELS, COHORT = "labels.csv", "glaucoma.csv"


def write_scans(folder: Path, seeds: Sequence[int], size_px: int, table: Path | None) -> Iterator[Path]:
    """Write both slabs of both eyes of each person as PNG, with masks; yield the pictures' paths, then the table's."""
    rows: list[Mapping[str, object]] = []
    for seed in followed(seeds, "painting"):
        for side, eye in enumerate("RL"):
            for plexus in PLEXUSES:
                octa = paint_octa(2 * seed + side, size_px, plexus=plexus)
                name = f"{plexus}_{seed}_{eye}"
                path = _image(folder, name)
                Image.fromarray(octa.pixels).save(path)
                rows.append(_labelled(folder, path, name, octa) | {"person": f"painted-{seed}", "eye": eye})
                yield path
    yield _write_table(table or folder / LABELS, rows)


def write_studies(folder: Path, seeds: Sequence[int], size_px: int, table: Path | None) -> Iterator[Path]:
    """Write one folder a person with a DICOM study of both eyes and both slabs; masks and table as for pictures."""
    from oculard_models.data.painted_enface import octa_study
    from oculard_models.data.painted_study import write_study

    rows: list[Mapping[str, object]] = []
    for seed in followed(seeds, "painting"):
        study = octa_study(seed, size_px=size_px)
        paths = write_study(folder / str(seed), [scan.ds for scan in study])
        for path, scan in zip(paths, study, strict=True):
            name = f"{scan.octa.plexus}_{seed}_{scan.eye}"
            rows.append(_labelled(folder, path, name, scan.octa) | {"person": f"painted-{seed}", "eye": scan.eye})
            yield path
    yield _write_table(table or folder / LABELS, rows)


def write_cohort(folder: Path, seed: int, people: int, size_px: int, table: Path | None) -> Iterator[Path]:
    """Write the superficial slab of people with and without glaucoma, with masks and two tables.

    `labels.csv` is of the pictures. The other table is what `train faz-glaucoma` reads; `table` is its place.
    """
    cohort = painted_faz_cohort(seed, people)
    rows: list[Mapping[str, object]] = []
    for one in followed(cohort, "painting"):
        octa = paint_eye(one, size_px)
        name = f"superficial_{one.seed // 2}_{one.eye}"
        path = _image(folder, name)
        Image.fromarray(octa.pixels).save(path)
        rows.append(_labelled(folder, path, name, octa) | {"person": one.person, "eye": one.eye})
        yield path
    yield _write_table(folder / LABELS, rows)
    columns = ("person", "eye", "glaucoma", "age", "area", "perimeter", "circularity")
    yield _write_table(table or folder / COHORT, [{name: getattr(one, name) for name in columns} for one in cohort])


def paint_eye(one: FazEye, size_px: int) -> PaintedOcta:
    """Paint the superficial slab of an eye with its own zone."""
    return paint_octa(one.seed, size_px, plexus="superficial", area_mm2=one.area, circularity=one.circularity)


def _image(folder: Path, name: str) -> Path:
    """Return where a picture goes."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    return folder / "images" / f"{name}.png"


def _labelled(folder: Path, path: Path, name: str, octa: PaintedOcta) -> dict[str, object]:
    """Write the mask, and describe one picture in a row."""
    mask = folder / "masks" / f"{name}.png"
    mask.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(octa.mask).convert("L").save(mask)
    return {
        "id": name,
        "image": path.relative_to(folder),
        "mask": mask.relative_to(folder),
        "plexus": octa.plexus,
        "faz_area_px": int(octa.mask.sum()),
        "same_scan_as": "",
        "side_mm": octa.side_mm,
    }


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
