"""What a training is made of: the photographs of a table, split by person, and the scaling of its targets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oculard_models.data.scaling import Scaling, scaling_of
from oculard_models.data.split import PARTS, Split, read_split, split_persons, write_split
from oculard_models.data.table import TARGETS, Photograph, Table, must_know, read_table
from oculard_models.train.settings import TrainingWrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Photographs of four groups of people, nobody in two of them, and the scaling that the first group gives."""

    table: Table
    split: Split
    training: tuple[Photograph, ...]
    tuning: tuple[Photograph, ...]
    calibration: tuple[Photograph, ...]
    test: tuple[Photograph, ...]
    scaling: Scaling

    def people(self) -> dict[str, int]:
        """Count the people with photographs in each group."""
        groups = zip(PARTS, (self.training, self.tuning, self.calibration, self.test), strict=True)
        return {part: len({p.person for p in photographs}) for part, photographs in groups}

    def digest(self) -> str:
        """Return a digest of who is in which group."""
        whole = [sorted(self.split.of(part)) for part in PARTS]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def gather(table: Path, images: Path | None, split: Path | None, seed: int, targets: Sequence[str]) -> Material:
    """Read a table and split its people, as a file says or anew; photographs without any target are left out.

    Raises TrainingWrong, TableWrong, SplitWrong or ScalingWrong.
    """
    if not targets or len(set(targets)) != len(targets):
        said = ", ".join(targets) or "nothing"
        raise TrainingWrong(f"the targets are {said}; hint: some of {', '.join(TARGETS)}, each once")
    content = read_table(table, images=images)
    must_know(content, targets)
    parts = read_split(split, content) if split is not None else split_persons(content.persons, seed)
    groups = [_with_any(targets, content.of(parts.of(part))) for part in PARTS]
    empty = [part for part, photographs in zip(PARTS, groups, strict=True) if not photographs]
    if empty:
        raise TrainingWrong(f"nobody with a target is left for {', '.join(empty)}; hint: more people, or another split")
    training, tuning, calibration, test = groups
    return Material(
        table=content,
        split=parts,
        training=training,
        tuning=tuning,
        calibration=calibration,
        test=test,
        scaling=scaling_of(training, targets),
    )


def keep_split(material: Material, run: Path) -> Path:
    """Write the split into a run's folder, so that the same people can be told apart again."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / "split.json"
    write_split(material.split, material.table, path)
    return path


def _with_any(targets: Sequence[str], photographs: Sequence[Photograph]) -> tuple[Photograph, ...]:
    """Leave out the photographs of which no target is known."""
    return tuple(p for p in photographs if any(name in p.values for name in targets))
