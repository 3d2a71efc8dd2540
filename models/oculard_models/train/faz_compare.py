"""Cross-validate the segmentation networks on the foveal avascular zone, all alike, beside two baselines.

How to run (needs the extra `lab` and the table of ../shared/data/octa-faz):

    oculard-lab train faz-compare --data ../shared/data/octa-faz/labels.csv --run runs/faz-compare
    oculard-lab train faz-compare --data ... --run short --nets small-unet --painted 24 --before 1 --epochs 2   # to try

Every network first sees the same painted angiographies, then learns from all folds but one, of which a part is set
aside to stop early on; it is measured on the fold that it has not seen, as it is and with its convolutions in 8 bits.
The masks are cleaned as the daemon cleans them, and compared at the pictures' own size. A run that was interrupted goes
on where it was. The table goes to stdout and to `table.md`, all figures to `figures.json` in the run's folder.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer

from oculard_models.data.mask_variation import MaskVariation
from oculard_models.data.masked import Kept, read_kept, read_table
from oculard_models.evaluate.masks import Agreement, summary
from oculard_models.nets.segmenters import SEGMENTERS
from oculard_models.train.faz_baselines import blurred_threshold, constant_mask
from oculard_models.train.fitting import TRAINED
from oculard_models.train.segmenting import (
    Lesson,
    agreements,
    check_sizes,
    en_face_spec,
    folds,
    learn,
    painted,
    probabilities,
    set_aside,
)
from oculard_models.train.segmenting_int8 import int8_probabilities
from oculard_models.train.segmenting_table import cost_of, table
from oculard_models.train.settings import Fit, TrainingWrong, asked

# --- settings -------------------------------------------------------------------------------------------------------

PAINTED_TUNING = 24  # painted pictures that the first lesson is tuned on


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command."""

    data: str
    run: str
    seed: int = 1
    nets: str = "small-unet,deeplabv3plus,lwbna,unet"
    size_px: int = 160  # height and width of what the networks see
    patch_px: int = 96  # of the patches that they learn from
    folds: int = 3
    tuning: int = 6  # pictures of every fold's training part that it is stopped early on
    painted: int = 300  # painted angiographies of the first lesson
    before: int = 2  # epochs of the first lesson
    epochs: int = 24  # of the second
    first_batch: int = 8
    batch: int = 4  # few pictures: smaller batches are more steps
    rate: float = 1e-3
    patience: int = 12
    precision: str = "32-true"
    threads: int = 2

    def __post_init__(self) -> None:
        unknown = set(self.names) - set(SEGMENTERS)
        if unknown or not self.names:
            raise TrainingWrong(f"`nets`: expected some of {', '.join(SEGMENTERS)}, got {', '.join(sorted(unknown))}")
        check_sizes(self.size_px, self.patch_px)

    @property
    def names(self) -> list[str]:
        """Which networks."""
        return [name for name in self.nets.split(",") if name]

    def lesson(self, net: str, start: Path | None) -> Lesson:
        """Return a network's second lesson, or its first where it starts from nothing."""
        return Lesson(
            net=net,
            spec=en_face_spec(self.size_px),
            variation=MaskVariation(patch_px=self.patch_px),
            start=start,
            fit=Fit(
                seed=self.seed,
                epochs=self.epochs if start else self.before,
                batch=self.batch if start else self.first_batch,
                rate=self.rate,
                decay=1e-3,
                patience=self.patience,
                precision=self.precision,
                threads=self.threads,
            ),
        )


# --- what is done ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Cross-validate, print the table, write the figures."""
    settings = asked(Settings, arguments, "oculard-lab train faz-compare", __doc__ or "")
    run, spec = Path(settings.run), en_face_spec(settings.size_px)
    kept = read_kept(read_table(Path(settings.data)), spec)
    parts = folds(kept, settings.folds, settings.seed)
    rows: dict[str, list[Agreement]] = {
        "constant mask": [one for part in parts for one in constant_mask(without(parts, part), part)],
        "blur and threshold": [one for part in parts for one in blurred_threshold(without(parts, part), part)],
    }
    quantised: dict[str, list[Agreement]] = {}
    for net in settings.names:
        rows[net], quantised[net] = _cross_validated(net, settings, parts, run)
        said = summary(rows[net])
        typer.echo(f"{net}: Dice {said.dice_mean:.4f} (SD {said.dice_sd:.4f}) on {said.pictures} pictures", err=True)
    costs = {net: cost_of(net, run) for net in settings.names}
    written = table(rows, costs, quantised)
    (run / "table.md").write_text(written, encoding="utf-8")
    figures = {
        "command": "oculard-lab train faz-compare " + shlex.join(arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"{len(kept)} pictures of {Path(settings.data).parent.name}",
        "seed": settings.seed,
        "settings": asdict(settings),
        "costs": costs,
        "table": written,
        "summary": {name: by_stratum(found) for name, found in rows.items()},
        "int8": {name: by_stratum(found) for name, found in quantised.items()},
        "pictures": {name: [asdict(one) for one in found] for name, found in rows.items()},
    }
    (run / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    typer.echo(written)


def _cross_validated(
    net: str, settings: Settings, parts: Sequence[Sequence[Kept]], run: Path
) -> tuple[list[Agreement], list[Agreement]]:
    """Let one network learn from all folds but one, and measure it on that one: as it is, and quantised."""
    start = first_lesson(settings.lesson(net, None), settings.painted, run / net / "painted")
    found: list[Agreement] = []
    quantised: list[Agreement] = []
    for number, part in enumerate(parts):
        training, tuning = set_aside(without(parts, part), settings.tuning, settings.seed)
        lesson = settings.lesson(net, start)
        learnt = learn(lesson, training, tuning, run / net / f"fold-{number}", resume=True)
        found += agreements(part, probabilities(learnt, part, lesson.spec))
        quantised += agreements(part, int8_probabilities(learnt, training, part, lesson.spec))
    return found, quantised


def first_lesson(lesson: Lesson, count: int, run: Path) -> Path:
    """Learn from painted angiographies; return the checkpoint."""
    whole = list(painted(count + PAINTED_TUNING, lesson.spec, lesson.fit.seed))
    learn(lesson, whole[PAINTED_TUNING:], whole[:PAINTED_TUNING], run, resume=True)
    return run / TRAINED


def without(parts: Sequence[Sequence[Kept]], part: Sequence[Kept]) -> list[Kept]:
    """Return all folds but one."""
    return [one for other in parts if other is not part for one in other]


def by_stratum(found: Sequence[Agreement]) -> dict[str, object]:
    """Summarise all pictures, and those of every stratum."""
    strata = sorted({one.stratum for one in found})
    some: dict[str, object] = {name: asdict(summary([one for one in found if one.stratum == name])) for name in strata}
    return {"all": asdict(summary(found))} | some


if __name__ == "__main__":
    main(sys.argv[1:])
