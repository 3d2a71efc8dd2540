"""Train the bundle `disc-demo`: the optic disc on colour photographs, a demonstration from eight outlined photographs.

How to run (needs the extra `lab` and the photographs of ../shared/data):

    oculard-lab train disc --data ../shared/data --gate runs/disc/gate.json
    oculard-lab train disc --data ... --painted 24 --before 1 --epochs 1 --copies 2 --out short/disc   # to try

First this very recipe is cross-validated over the eight photographs; then the shipped weights learn from all of them,
and are measured on photographs of other cameras, which nothing was learnt from. Nothing is set aside: the last weights
are kept, as in the folds. `train disc-gate` makes the file of `--gate` from what this leaves in its run's
folder; without it the card has no word on the quality gate. The same seed on the same machine gives the same weights.
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
import typer
from torch import nn

from oculard_models.data.dataset import normalised
from oculard_models.data.mask_variation import MaskVariation
from oculard_models.data.masked import Kept
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_person
from oculard_models.export import Draft, write_bundle
from oculard_models.manifest import Mask, Output, OutputKind, Structure
from oculard_models.registry import BUNDLES
from oculard_models.structures import MEASURES
from oculard_models.train.disc_card import card
from oculard_models.train.disc_data import disc_spec, in_other_light, painted, photographs
from oculard_models.train.disc_figures import Found, against_mask, csdi, hrf, summed
from oculard_models.train.disc_found import finder
from oculard_models.train.fitting import TRAINED
from oculard_models.train.segmenting import Lesson, folds, learn, measured, probabilities
from oculard_models.train.settings import Fit, TrainingWrong, as_options, asked

# --- settings -------------------------------------------------------------------------------------------------------

NAME, VERSION = "disc-demo", "1.0.0"
NET = "small-unet"
DISC = Mask(structure=Structure.OPTIC_DISC, tensor="mask")
GOLDEN_SEED = 20_000_007  # below every training's seeds
PLACES = ("data", "gate", "out", "run")  # of one machine
TUNING = 8  # painted photographs that tell whether the first lesson is learning
CONCEPTS = {
    "area": "DISC-AREA",
    "area-px": "DISC-AREA-PX",
    "perimeter": "DISC-PERIM",
    "perimeter-px": "DISC-PERIM-PX",
    "circularity": "DISC-CIRC",
    "feret-max": "DISC-FERET-MAX",
    "feret-min": "DISC-FERET-MIN",
    "axial-ratio": "DISC-AXIAL-RATIO",
    "centroid-offset": "DISC-OFFSET",
}
OUTPUTS = tuple(
    Output(name=name, concept=CONCEPTS[name], kind=OutputKind.MEASURED, unit=unit)
    for name, unit in MEASURES[DISC.structure].items()
)
CITATION = (
    "Photographs: IDRiD (Porwal et al. 2018), learnt from; HRF (Budai et al. 2013), CSDI (Peking University Third"
    " Hospital), measured on; all CC BY 4.0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command."""

    data: str
    gate: str = ""  # the figures of `train disc-gate`
    out: str = str(BUNDLES / NAME)
    run: str = "runs/disc"
    seed: int = 1
    size_px: int = 128  # height and width of what the network sees
    patch_px: int = 96  # of the patches that it learns from: some of them show no disc
    folds: int = 4
    painted: int = 160  # painted photographs of the first lesson
    before: int = 5  # epochs of the first lesson
    copies: int = 8  # of every photograph, in other light
    epochs: int = 12  # of the second lesson
    batch: int = 4
    rate: float = 2e-3
    threads: int = 1

    def __post_init__(self) -> None:
        if self.size_px % 16 or self.patch_px % 16 or not 32 <= self.patch_px <= self.size_px:
            raise TrainingWrong(
                "`size_px` and `patch_px` must be multiples of 16, the patch no larger than the picture"
            )
        for name in ("painted", "copies"):
            if getattr(self, name) < 1:
                raise TrainingWrong(f"`{name}` must be at least 1, got {getattr(self, name)}")

    def lesson(self, start: Path | None) -> Lesson:
        """Return the second lesson, or the first where it starts from nothing. None is stopped early."""
        epochs = self.epochs if start else self.before
        return Lesson(
            net=NET,
            spec=disc_spec(self.size_px),
            variation=variation(self.patch_px),
            start=start,
            keep_last=True,
            fit=Fit(
                seed=self.seed,
                epochs=epochs,
                batch=self.batch,
                rate=self.rate,
                decay=1e-3,
                warm_up=min(1.0, epochs / 2),
                patience=epochs,
                threads=self.threads,
            ),
        )


def variation(patch_px: int) -> MaskVariation:
    """Return how photographs are varied: they have an up, light that differs much, and no speckle nor dark rows."""
    return MaskVariation(
        patch_px=patch_px, rotate_deg=15.0, light=0.4, gamma=0.4, bend=0.01, speckle=0.03, bands=0.0, blur=0.3
    )


# --- what is done ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Cross-validate the recipe, train on everything, measure on other cameras, write the bundle."""
    settings = asked(Settings, arguments, "oculard-lab train disc", __doc__ or "")
    gate = _gate(settings)
    fundus, run, spec = Path(settings.data) / "fundus", Path(settings.run), disc_spec(settings.size_px)
    kept = photographs(fundus / "idrid", spec)
    start = _first_lesson(settings, run / "painted")
    found = _cross_validated(settings, kept, start)
    net = _second_lesson(settings, kept, start, run / "all")
    figures = _figures(settings, kept, found, gate) | _elsewhere(fundus, net, settings)
    check = np.stack([normalised(one.plane, spec) for one in kept[:4]])
    exported = write_bundle(Path(settings.out), net, draft_of(settings, figures), check=check, replace=True)
    typer.echo(json.dumps({key: figures[key] for key in ("cross_validation", "hrf", "csdi")}, indent=1))
    typer.echo(f"{exported.bundle.folder}: torch and onnxruntime differ by {exported.largest_difference:.1e}", err=True)


def draft_of(settings: Settings, figures: Mapping[str, Any]) -> Draft:
    """Describe the bundle."""
    return Draft(
        name=NAME,
        family="disc",
        version=VERSION,
        title="Optic disc (demonstration)",
        manufacturer="oculard",
        licence="Apache-2.0",
        citation=CITATION,
        demonstration=True,
        input=disc_spec(settings.size_px),
        outputs=OUTPUTS,
        mask=DISC,
        card=card(figures),
        metrics=figures,
        golden=paint(sample_person(np.random.default_rng(GOLDEN_SEED)), "R", GOLDEN_SEED, settings.size_px),
    )


def _first_lesson(settings: Settings, run: Path) -> Path:
    """Learn from painted eyes; return the checkpoint."""
    lesson = settings.lesson(None)
    whole = list(painted(settings.painted + TUNING, lesson.spec, settings.seed))
    learn(lesson, whole[TUNING:], whole[:TUNING], run, resume=True)
    return run / TRAINED


def _second_lesson(settings: Settings, kept: Sequence[Kept], start: Path, run: Path) -> nn.Module:
    """Learn from photographs in many lights."""
    return learn(settings.lesson(start), in_other_light(kept, settings.copies, settings.seed), kept, run, resume=True)


def _cross_validated(settings: Settings, kept: Sequence[Kept], start: Path) -> list[Found]:
    """Measure the recipe on photographs that it has not seen."""
    parts, found = folds(kept, settings.folds, settings.seed), []
    for number, part in enumerate(parts):
        others = [one for other in parts if other is not part for one in other]
        net = _second_lesson(settings, others, start, Path(settings.run) / f"fold-{number}")
        maps = probabilities(net, part, disc_spec(settings.size_px))
        found += [
            against_mask(one.about.name, one.truth, measured(one, probability, DISC))
            for one, probability in zip(part, maps, strict=True)
        ]
        typer.echo(f"fold {number + 1} of {len(parts)}: {summed(found)['dice']}", err=True)
    return found


def _elsewhere(fundus: Path, net: nn.Module, settings: Settings) -> dict[str, object]:
    """Measure the shipped weights on other cameras."""
    find = finder(net, disc_spec(settings.size_px), DISC)
    return {"hrf": hrf(fundus / "hrf", find), "csdi": csdi(fundus / "csdi", find)}


def _gate(settings: Settings) -> dict[str, Any]:
    """Read the figures of `train disc-gate`; none where none are named."""
    if not settings.gate:
        return {}
    try:
        read: dict[str, Any] = json.loads(Path(settings.gate).read_text(encoding="utf-8"))
        return {key: read[key] for key in ("command", "date", "seed", "people", "kinds", "csdi")}
    except (OSError, ValueError, LookupError) as why:
        raise TrainingWrong(f"{settings.gate} is not what `train disc-gate` writes: {why}") from why


def _figures(
    settings: Settings, kept: Sequence[Kept], found: Sequence[Found], gate: Mapping[str, Any]
) -> dict[str, Any]:
    """Put together what card and metrics.json say."""
    options = as_options(settings, without=(*PLACES, "threads"))
    return {
        "command": f"oculard-lab train disc --data ../shared/data --gate runs/disc/gate.json {options}",
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"{len(kept)} photographs of ../shared/data/fundus/idrid with masks; {settings.painted} painted first",
        "seed": settings.seed,
        "settings": {name: value for name, value in asdict(settings).items() if name not in PLACES},
        "people": {"training": len(kept), "test": len(kept)},
        "cross_validation": summed(found),
        "pictures": [asdict(one) for one in found],
        "gate": dict(gate),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
