"""What variants are calibrated and measured with: the photographs of a study's persons, or a list of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oculard_models.lab.console import followed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from oculard_models.data.split import Split
    from oculard_models.data.table import Photograph, Table
    from oculard_models.manifest import InputSpec

COLUMNS = ("image", "id", "same_scan_as")
HALVES = (0.0, 0.0, 0.5, 0.5)  # one half calibrates, the other measures


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """A table, its split, and whether the split is the training's own rather than one made here for the variants."""

    table: Table
    split: Split
    of_training: bool

    def photographs(self, spec: InputSpec, part: str, most: int) -> list[npt.NDArray[np.float32]]:
        """Prepare photographs of one part as the daemon does it. Raises Unreadable."""
        from oculard_models.contract import ImageInput
        from oculard_models.data.photographs import read_pixels
        from oculard_models.preprocess import prepare

        chosen: Sequence[Photograph] = self.table.of(self.split.of(part))[:most]
        return [
            prepare(ImageInput(sop_instance_uid="2.25.0", eye=one.eye, pixels=read_pixels(one.path)), spec)
            for one in followed(chosen, f"{part} photographs")
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """En face pictures, whose persons nobody knows, by who belongs together; and which calibrate and which measure."""

    groups: Mapping[str, Sequence[Path]]
    split: Split

    def photographs(self, spec: InputSpec, part: str, most: int) -> list[npt.NDArray[np.float32]]:
        """Prepare pictures of one part as the daemon does it. Raises Unreadable."""
        from oculard_models.contract import ImageInput
        from oculard_models.data.masked import read_picture
        from oculard_models.preprocess import prepare

        paths = [path for group in self.split.of(part) for path in self.groups[group]][:most]
        pixels = (read_picture(path) for path in followed(paths, f"{part} pictures"))
        return [prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=one), spec) for one in pixels]


def read_people(table: Path, images: Path | None, split: Path | None, seed: int) -> People:
    """Read a table of photographs and its training's split, or halve its persons. Raises TableWrong, SplitWrong."""
    from oculard_models.data.split import read_split, split_persons
    from oculard_models.data.table import read_table

    content = read_table(table, images=images)
    if split is not None:
        return People(table=content, split=read_split(split, content), of_training=True)
    halves = split_persons(content.persons, seed, HALVES)
    return People(table=content, split=halves, of_training=False)


def read_pictures(table: Path, images: Path | None, seed: int) -> Pictures:
    """Read a table with the column `image`, and perhaps `id` and `same_scan_as`; halve it.

    Pictures that name each other in `same_scan_as` stay together. Raises TableWrong, SplitWrong.
    """
    from oculard_models.data.masked import groups_of
    from oculard_models.data.split import split_persons
    from oculard_models.data.table_file import TableWrong, read_cells

    cells = read_cells(table, COLUMNS)
    if "image" not in cells.columns:
        raise TableWrong(table.name, "the column is not there", column="image", hint="a row a picture, its path")
    files = cells.columns["image"]
    nothing = [""] * cells.rows
    names, fellows = (cells.columns.get(column, nothing) for column in COLUMNS[1:])
    folder = images or table.parent
    for row, file in enumerate(files, start=1):
        if not file:
            raise TableWrong(table.name, "names no picture", row=row, column="image", hint="a row a picture, its path")
    groups: dict[str, list[Path]] = {}
    named = [name or file for name, file in zip(names, files, strict=True)]
    for file, group in zip(files, groups_of(named, fellows), strict=True):
        groups.setdefault(group, []).append(folder / file)
    return Pictures(groups=groups, split=split_persons(groups, seed, HALVES))
