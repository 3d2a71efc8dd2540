"""Train and study the classifier of disc types on views of OCT volumes: three arms, shares of the data, splits.

How to run (needs the extra `lab`; without a table, eyes are painted):

    oculard-lab train glaucoma --run runs/glaucoma                                   # the study; goes on where it was
    oculard-lab train glaucoma --run runs/glaucoma --out bundles/glaucoma-demo --second bundles      # and the bundles
    oculard-lab train glaucoma --eyes eyes.csv --net vgg16 --initial vgg16.pth --size-px 224 --device cuda --run ...
    oculard-lab train glaucoma --run short --count 120 --test 30 --size-px 32 --epochs 1 --splits 1 --folds 2   # to try

For every view a VGG16: Model 1 (five classes), Model 2 (normal or glaucoma), Model 3 (four types from the same
start), Model 4 (four types from Model 2's weights); what they say of persons that they have not seen is stacked by
support vector machines. `figures.json` and `page.html` in the run's folder hold kappa with intervals by person,
confusion matrices, what each view adds, and the published figures beside ours. The bundle holds the networks of the
first split, all of whose training eyes they learnt from; its test eyes measured them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import typer

from oculard_models.data.disc_eyes import Eyes, read_eyes
from oculard_models.nets.vgg import STEP_PX, VGGS
from oculard_models.train.glaucoma_bundle import FOREST, write_forest, write_types
from oculard_models.train.glaucoma_cell import GLAUCOMA, MODELS, TAUGHT, Cell, Plan, path_of, work
from oculard_models.train.glaucoma_cost import cost_of, passes
from oculard_models.train.glaucoma_eyes import EYES, keep_eyes, load_eyes, painted_eyes
from oculard_models.train.glaucoma_fit import Course
from oculard_models.train.glaucoma_forest import forest_figures
from oculard_models.train.glaucoma_judge import Asked, study
from oculard_models.train.glaucoma_nine import nine_figures, write_nine
from oculard_models.train.glaucoma_page import page_of
from oculard_models.train.glaucoma_probe import probes
from oculard_models.train.glaucoma_words import table
from oculard_models.train.settings import TrainingWrong, as_options, asked

# --- settings -------------------------------------------------------------------------------------------------------

NINE = "glaucoma-nine"
VIEWS = "rnfl-thickness,gcc-thickness,en-face,bscan-disc"  # ours: the paper names four kinds of image, not which
PLACES = ("run", "out", "second", "eyes")  # of one machine: not in the figures
FIGURES, PAGE, SETTINGS = "figures.json", "page.html", "settings.json"
PASSING = (
    "run",
    "out",
    "second",
    "workers",
    "name",
    "splits",
    "shares",
    "device",
    "data_words",
)  # may differ when continued


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command."""

    run: str = field(metadata={"help": "folder of the study; what is done there is not done again"})
    eyes: str = field(default="", metadata={"help": "CSV: image (views side by side), person, label; else painted"})
    out: str = field(default="", metadata={"help": "folder of the bundle; none is written if not given"})
    second: str = field(default="", metadata={"help": "folder for the second opinions; none are written if not given"})
    name: str = "glaucoma-demo"
    seed: int = 1
    count: int = field(default=954, metadata={"help": "painted eyes; as many as the paper has"})
    test: int = field(default=215, metadata={"help": "eyes of every split that test"})
    splits: int = 3
    shares: str = field(default="1,0.5,0.25", metadata={"help": "of the training eyes"})
    views: str = VIEWS
    net: str = field(default="vgg16-eighth", metadata={"help": f"one of {', '.join(VGGS)}"})
    initial: str = field(default="", metadata={"help": "file of ImageNet's weights of torchvision; never downloaded"})
    size_px: int = 32
    folds: int = 3
    epochs: int = field(default=40, metadata={"help": "at the whole data; fewer eyes are seen more often"})
    batch: int = 32
    rate: float = 3e-3
    rate_taught: float = 3e-3
    rate_imagenet: float = field(
        default=1e-4, metadata={"help": "of blocks 4 and 5 with --initial; the first three stay"}
    )
    workers: int = field(default=2, metadata={"help": "cells at once, each on one thread"})
    device: str = "cpu"
    data_words: str = field(default="", metadata={"help": "who the people are and how they were scanned"})

    def __post_init__(self) -> None:
        if self.net not in VGGS:
            raise TrainingWrong(f"`net`: expected one of {', '.join(VGGS)}, got {self.net}")
        if self.size_px % STEP_PX or self.size_px < 2 * STEP_PX:
            raise TrainingWrong(f"`size_px` must be a multiple of {STEP_PX}, at least {2 * STEP_PX}")
        if not self.fractions or not all(0.0 < share <= 1.0 for share in self.fractions):
            raise TrainingWrong("`shares`: expected shares of the training eyes within (0, 1], with commas")
        if len(set(self.names)) != len(self.names) or not self.names:
            raise TrainingWrong("`views`: expected names of views, each once")
        for name, low in (("splits", 1), ("folds", 2), ("epochs", 1), ("batch", 2), ("workers", 1), ("test", 1)):
            if getattr(self, name) < low:
                raise TrainingWrong(f"`{name}` must be at least {low}, got {getattr(self, name)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Which views, in their order."""
        return tuple(name for name in self.views.split(",") if name)

    @property
    def fractions(self) -> tuple[float, ...]:
        """The shares, the largest first."""
        try:
            return tuple(sorted({float(share) for share in self.shares.split(",") if share}, reverse=True))
        except ValueError:
            return ()

    @property
    def plan(self) -> Plan:
        """What all cells have in common."""
        course = Course(
            net=self.net,
            epochs=self.epochs,
            seed=self.seed,
            batch=self.batch,
            rate=self.rate,
            rate_taught=self.rate_taught,
            rate_imagenet=self.rate_imagenet,
            initial=Path(self.initial) if self.initial else None,
            device=self.device,
        )
        return Plan(seed=self.seed, test=self.test, folds=self.folds, course=course)


# --- what is done ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Train every cell that is not done, judge, write figures and page, and the bundles where they are asked for."""
    settings = asked(Settings, arguments, "oculard-lab train glaucoma", __doc__ or "")
    run = Path(settings.run)
    run.mkdir(parents=True, exist_ok=True)
    _must_continue(settings, run)
    eyes = _eyes(settings, run)
    _train(settings, run)
    question = Asked(run=run, eyes=eyes, shares=settings.fractions, splits=settings.splits, seed=settings.seed)
    typer.echo("stacking and measuring", err=True)
    second: dict[str, Any] = {"forest": forest_figures(question, settings.net)}
    if eyes.numbers is not None:
        second["nine"] = nine_figures(question)
    figures = _about(settings, eyes) | study(question) | {"second": second, "probes": probes(question, settings.net)}
    (run / FIGURES).write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (run / PAGE).write_text(page_of(question, figures, settings.net), encoding="utf-8")
    typer.echo(table(figures))
    if settings.out:
        bundle = write_types(Path(settings.out), question, settings.net, figures, name=settings.name)
        typer.echo(f"{bundle.folder}: {bundle.identity}", err=True)
    if settings.second:
        _write_second(Path(settings.second), question, settings, figures)


def _write_second(folder: Path, question: Asked, settings: Settings, figures: dict[str, Any]) -> None:
    """Write the second opinions."""
    bundle = write_forest(folder / FOREST, question, settings.net, figures)
    typer.echo(f"{bundle.folder}: {bundle.identity}", err=True)
    if question.eyes.numbers is not None:
        typer.echo(f"{write_nine(folder / NINE, question, figures)}", err=True)


def _train(settings: Settings, run: Path) -> None:
    """Do the cells, some at once; the largest first."""
    cells = [cell for cell in _cells(settings) if not path_of(run, cell).is_file()]
    if not cells:
        return
    keep = (GLAUCOMA, TAUGHT)
    context = get_context("spawn")
    with ProcessPoolExecutor(max_workers=settings.workers, mp_context=context, initializer=_one_thread) as pool:
        asked_for = {
            pool.submit(_work, run, cell, settings.plan, keep if cell.share == settings.fractions[0] else ()): cell
            for cell in cells
        }
        for number, done in enumerate(as_completed(asked_for), 1):
            done.result()
            typer.echo(f"{number} of {len(cells)}: {asked_for[done].name}", err=True)


def _one_thread() -> None:
    """Let a worker have one thread: other numbers of threads give other last digits, and small networks gain little."""
    torch.set_num_threads(1)


def _work(run: Path, cell: Cell, plan: Plan, keep: tuple[str, ...]) -> None:
    """Do one cell in a process of its own."""
    work(load_eyes(run / EYES), cell, plan, run, keep=keep)


def _cells(settings: Settings) -> Iterator[Cell]:
    """All cells, the largest share first."""
    for share in settings.fractions:
        for split in range(settings.splits):
            for view in range(len(settings.names)):
                yield Cell(split=split, share=share, view=view)


def _eyes(settings: Settings, run: Path) -> Eyes:
    """Read, or paint, the eyes; once, for all processes see the same."""
    path = run / EYES
    if not path.is_file():
        if settings.eyes:
            eyes = read_eyes(Path(settings.eyes), settings.names, settings.size_px)
        else:
            eyes = painted_eyes(settings.seed, settings.count, settings.names, settings.size_px)
        keep_eyes(eyes, path)
    return load_eyes(path)


def _must_continue(settings: Settings, run: Path) -> None:
    """Refuse to continue another study than this one. Raises TrainingWrong."""
    ours = {key: value for key, value in asdict(settings).items() if key not in PASSING}
    path = run / SETTINGS
    if path.is_file():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        if differing:
            key = differing[0]
            raise TrainingWrong(
                f"{run} is another study: `{key}` was {theirs.get(key)}, now it is {ours.get(key)};"
                " hint: continue with the options that it began with, or name another --run"
            )
    path.write_text(json.dumps(ours, indent=1) + "\n", encoding="utf-8")


def _about(settings: Settings, eyes: Eyes) -> dict[str, Any]:
    """Say where the figures come from."""
    return {
        "command": "oculard-lab train glaucoma "
        + as_options(settings, without=("run", "out", "second", "eyes", "initial", "workers")),
        "date": datetime.now(UTC).date().isoformat(),
        "data": settings.data_words or ("eyes of a table" if settings.eyes else "painted eyes, of nobody"),
        "painted": not settings.eyes,
        "seed": settings.seed,
        "settings": {key: value for key, value in asdict(settings).items() if key not in PLACES}
        | {"initial": Path(settings.initial).name},
        "eyes": len(eyes.labels),
        "persons": len(set(eyes.persons.tolist())),
        "by_type": [int((eyes.labels == k).sum()) for k in range(5)],
        "mislabelled": int((eyes.labels != eyes.truth).sum()),
        "models": list(MODELS),
        "cost": _cost(settings, len(eyes.labels) - settings.test),
    }


def _cost(settings: Settings, training: int) -> dict[str, float]:
    """Count what a network costs, and all of the study: a pass forward and backward is three forward."""
    one = cost_of(settings.net, settings.size_px)
    views = passes(
        training,
        len(settings.names),
        splits=settings.splits,
        shares=settings.fractions,
        folds=settings.folds,
        epochs=settings.epochs,
    )
    return one | {"views_learnt_from": views, "pflop": round(3.0 * views * one["gflop"] / 1e6, 4)}


if __name__ == "__main__":
    main(sys.argv[1:])
