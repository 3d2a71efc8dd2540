"""Train the bundle `faz` (or `faz-lwbna`): the foveal avascular zone on en face OCT angiography.

How to run (needs the extra `lab`, the table of ../shared/data/octa-faz and the figures of `train faz-compare`):

    oculard-lab train faz --data ../shared/data/octa-faz/labels.csv --compared runs/faz-compare/figures.json
    oculard-lab train faz --net lwbna --name faz-lwbna --data ... --compared ...
    oculard-lab train faz --data ... --painted 24 --before 1 --epochs 2 --folds 2 --out short/faz   # to try

First this very recipe is cross-validated, which is where the card's figures come from; then the shipped weights learn
from all pictures for as many epochs. Nothing is set aside for them: the last weights are kept, as in the folds. The
same seed on the same machine gives the same weights. Progress goes to stderr, figures to stdout and to metrics.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import typer

from oculard_models.data.dataset import normalised
from oculard_models.data.mask_variation import MaskVariation
from oculard_models.data.masked import Kept, read_kept, read_table
from oculard_models.data.paint_octa import paint_octa
from oculard_models.evaluate.masks import Agreement, summary
from oculard_models.export import Draft, write_bundle
from oculard_models.manifest import Output, OutputKind
from oculard_models.nets.segmenters import SEGMENTERS
from oculard_models.registry import BUNDLES
from oculard_models.structures import MEASURES
from oculard_models.train.faz_card import card
from oculard_models.train.faz_compare import by_stratum, first_lesson, without
from oculard_models.train.segmenting import (
    FAZ,
    Lesson,
    agreements,
    check_sizes,
    en_face_spec,
    folds,
    learn,
    probabilities,
)
from oculard_models.train.settings import Fit, TrainingWrong, as_options, asked

# --- settings -------------------------------------------------------------------------------------------------------

VERSION = "1.0.0"
GOLDEN_SEED = 20_000_005  # below every training's seeds
CONCEPTS = {
    "area": "FAZ-AREA",
    "area-px": "FAZ-AREA-PX",
    "perimeter": "FAZ-PERIM",
    "perimeter-px": "FAZ-PERIM-PX",
    "circularity": "FAZ-CIRC",
    "feret-max": "FAZ-FERET-MAX",
    "feret-min": "FAZ-FERET-MIN",
    "axial-ratio": "FAZ-AXIAL-RATIO",
    "centroid-offset": "FAZ-OFFSET",
}
COMPARED = ("command", "date", "seed", "settings", "table", "summary", "int8", "costs")  # what the card may show
STATED = ("seed", "nets", "size_px", "patch_px", "folds", "painted", "epochs", "batch", "rate", "patience", "precision")
PATENTED = "Apache-2.0; patent WO2023062764A1: commercial use needs a licence from its inventors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command."""

    data: str
    compared: str = ""
    out: str = ""
    run: str = ""
    name: str = "faz"
    net: str = "small-unet"
    seed: int = 1
    size_px: int = 320  # height and width of what the network sees
    patch_px: int = 192  # of the patches that it learns from
    folds: int = 3
    painted: int = 500  # painted angiographies of the first lesson
    before: int = 3  # epochs of the first lesson
    epochs: int = 40  # of the second
    first_batch: int = 8
    batch: int = 4  # few pictures: smaller batches are more steps
    rate: float = 1e-3
    ema: float = 0.0
    precision: str = "32-true"
    threads: int = 2

    def __post_init__(self) -> None:
        if self.net not in SEGMENTERS:
            raise TrainingWrong(f"`net`: expected one of {', '.join(SEGMENTERS)}, got {self.net}")
        check_sizes(self.size_px, self.patch_px)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.run or f"runs/{self.name}")

    def lesson(self, start: Path | None) -> Lesson:
        """Return the second lesson, or the first where it starts from nothing.

        Nothing is stopped early, because the shipped weights cannot be.
        """
        epochs = self.epochs if start else self.before
        fit = Fit(
            seed=self.seed,
            epochs=epochs,
            batch=self.batch if start else self.first_batch,
            rate=self.rate,
            decay=1e-3,
            warm_up=min(2.0, epochs / 2),
            patience=epochs,
            ema=self.ema,
            precision=self.precision,
            threads=self.threads,
        )
        variation = MaskVariation(patch_px=self.patch_px)
        spec = en_face_spec(self.size_px)
        return Lesson(net=self.net, spec=spec, variation=variation, fit=fit, start=start, keep_last=True)


# --- what is done ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Cross-validate the recipe, train on everything, write the bundle."""
    settings = asked(Settings, arguments, "oculard-lab train faz", __doc__ or "")
    compared = _compared(settings)
    spec = en_face_spec(settings.size_px)
    kept = read_kept(read_table(Path(settings.data)), spec)
    parts = folds(kept, settings.folds, settings.seed)
    start = first_lesson(settings.lesson(None), settings.painted, settings.folder / "painted")
    found = _cross_validated(settings, parts, start)
    net = learn(settings.lesson(start), kept, kept[:1], settings.folder / "all", resume=True)
    figures = _figures(settings, kept, found, compared)
    exported = write_bundle(
        Path(settings.out) if settings.out else BUNDLES / settings.name,
        net,
        draft_of(settings, figures),
        check=_check(kept, settings),
        replace=True,
    )
    typer.echo(json.dumps(figures["cross_validation"], indent=1))
    typer.echo(f"{exported.bundle.folder}: torch and onnxruntime differ by {exported.largest_difference:.1e}", err=True)


def draft_of(settings: Settings, figures: Mapping[str, Any]) -> Draft:
    """Describe the bundle."""
    golden = paint_octa(GOLDEN_SEED, settings.size_px, plexus="superficial", faults=False)
    return Draft(
        name=settings.name,
        family="faz",
        version=VERSION,
        title="Foveal avascular zone",
        manufacturer="oculard",
        licence=PATENTED if settings.net == "lwbna" else "Apache-2.0",
        citation="Angiographies: Wang et al., Zenodo 5075194 (CC BY 4.0)",
        demonstration=False,
        input=en_face_spec(settings.size_px),
        outputs=OUTPUTS,
        mask=FAZ,
        card=card(figures),
        metrics=figures,
        golden=np.repeat(golden.pixels[..., None], 3, axis=2),
    )


def _output(name: str, unit: str) -> Output:
    """Describe one measure of the zone."""
    return Output(name=name, concept=CONCEPTS[name], kind=OutputKind.MEASURED, unit=unit)


OUTPUTS = tuple(_output(name, unit) for name, unit in MEASURES[FAZ.structure].items())


def _cross_validated(settings: Settings, parts: Sequence[Sequence[Kept]], start: Path) -> list[Agreement]:
    """Measure the recipe on pictures that it has not seen."""
    found: list[Agreement] = []
    for number, part in enumerate(parts):
        lesson = settings.lesson(start)
        net = learn(lesson, without(parts, part), part[:1], settings.folder / f"fold-{number}", resume=True)
        some = agreements(part, probabilities(net, part, lesson.spec))
        typer.echo(f"fold {number + 1} of {len(parts)}: Dice {summary(some).dice_mean:.4f}", err=True)
        found += some
    return found


def _compared(settings: Settings) -> dict[str, Any]:
    """Read the figures of `train faz-compare`; none where none are named."""
    if not settings.compared:
        return {}
    try:
        read: dict[str, Any] = json.loads(Path(settings.compared).read_text(encoding="utf-8"))
        figures = {key: read[key] for key in COMPARED}
        return figures | {"settings": {name: read["settings"][name] for name in STATED}}
    except (OSError, ValueError, LookupError, TypeError) as why:
        raise TrainingWrong(f"{settings.compared} is not what `train faz-compare` writes: {why}") from why


def _figures(
    settings: Settings, kept: Sequence[Kept], found: Sequence[Agreement], compared: Mapping[str, Any]
) -> dict[str, Any]:
    """Put together what card and metrics.json say."""
    left_out = ("data", "compared", "out", "run", "threads")
    return {
        "command": "oculard-lab train faz --data ../shared/data/octa-faz/labels.csv "
        + ("--compared runs/faz-compare/figures.json " if compared else "")
        + as_options(settings, without=left_out),
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"{len(kept)} en face angiographies with masks (Zenodo 5075194); {settings.painted} painted ones first",
        "seed": settings.seed,
        # Nobody knows whose they are: as many people as there are pictures that do not name each other, at most.
        "people": {part: len({one.about.group for one in kept}) for part in ("training", "test")},
        "settings": {name: value for name, value in asdict(settings).items() if name not in left_out},
        "cross_validation": by_stratum(found),
        "pictures": [asdict(one) for one in found],
        "compared": dict(compared),
    }


def _check(kept: Sequence[Kept], settings: Settings) -> npt.NDArray[np.float32]:
    """Return a few pictures on which torch and onnxruntime must agree."""
    spec = en_face_spec(settings.size_px)
    return np.stack([normalised(one.plane, spec) for one in kept[:4]])


if __name__ == "__main__":
    main(sys.argv[1:])
