"""Train the bundle `systemic-demo`: seven attributes of invented people from their painted eyes.

How to run (needs the extra `lab`; about 30 minutes on one core):

    oculard-lab train systemic-demo --seed 1
    python -m oculard_models.train.systemic_demo --seed 1 --people 400 --epochs 2 --out short/systemic-demo   # to try

What it makes means nothing for people: the eyes are painted, and what is planted in them is invented (data/traits.py).
People who train, tune, calibrate and test are different people. The same seed on the same machine gives the same
weights. Progress goes to stderr, the measures to stdout and into the bundle's metrics.json; the run's folder keeps the
checkpoints, and `--resume` continues from one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import CENTRE, LIMITS, VALUES, Person, sample_person
from oculard_models.data.scaling import Scaling
from oculard_models.evaluate import measures
from oculard_models.evaluate.baselines import Others, others_of
from oculard_models.evaluate.predictions import Predictions
from oculard_models.evaluate.report import report_of
from oculard_models.export import write_bundle
from oculard_models.export.bundle import METRICS
from oculard_models.manifest import InputSpec
from oculard_models.nets.sixteen import SMALL, build
from oculard_models.preprocess import prepare
from oculard_models.registry import BUNDLES
from oculard_models.train.checkpoint import About
from oculard_models.train.estimating import predictions_of
from oculard_models.train.fitting import Job, fit, take_finished
from oculard_models.train.intervals import half_widths
from oculard_models.train.outputs import outputs_of
from oculard_models.train.settings import Fit, as_options, asked
from oculard_models.train.systemic_bundle import draft_of

# --- settings -------------------------------------------------------------------------------------------------------

HEADS = ("sex", *VALUES)
STREAM = 103  # of random numbers, for the people and how they are photographed: see data/paint.py
FILE_PEOPLE, FILE_SIZES_PX = 300, (256, 512)  # of the figures by kind of file
TRAINING_SEEDS = 10**9  # trainings paint from here on: what is painted with smaller seeds was never trained on
SCALING = Scaling(  # what the painter means by a standard deviation
    names=HEADS,
    mean=(0.0, *(CENTRE[name][0] for name in VALUES)),
    std=(1.0, *(CENTRE[name][1] for name in VALUES)),
)
STDERR = Console(stderr=True)

Pixels = npt.NDArray[np.uint8]  # rows x columns x 3, RGB
Shoot = Callable[[Person, str, int, np.random.Generator], Pixels]  # person, eye, seed, chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides what comes out; each is an option of the command, and all travel in the checkpoint."""

    seed: int = 1
    size_px: int = 160  # height and width of what the network sees
    people: int = 5000  # to train on, one eye each
    tuning: int = 300  # other people, one eye each: the epoch that is best on them is kept
    calibration: int = 700  # other people, both eyes: the width of the intervals
    test: int = 700  # other people again, both eyes: the measures
    epochs: int = 12
    batch: int = 32
    rate: float = 3e-3
    decay: float = 1e-2
    threads: int = 1
    out: str = str(BUNDLES / "systemic-demo")
    run: str = "systemic-demo-run"
    resume: str = ""

    def fit(self) -> Fit:
        """Return how the network is fitted; it is never stopped early: its cosine ends at nothing."""
        return Fit(
            seed=self.seed,
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            decay=self.decay,
            warm_up=0.15 * self.epochs,
            patience=self.epochs,
            threads=self.threads,
            accelerator="cpu",
        )


def input_spec(size_px: int) -> InputSpec:
    """Say what the network wants to see: the field, right eyes and mirrored left eyes, roughly standardised."""
    return InputSpec(kind="fundus", tensor="image", size_px=(size_px, size_px), mean=SMALL.mean, std=SMALL.std)


# --- data -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Eyes:
    """Prepared pictures: images x 3 x rows x columns, uint8; their people and eyes; images x heads, standardised."""

    pictures: Tensor
    persons: tuple[str, ...]
    eyes: tuple[str, ...]
    targets: Tensor


class Variations(Dataset[dict[str, Tensor]]):  # type: ignore[misc, unused-ignore]  # torch may be missing
    """Items to train on: brightness, upside down, a few pixels to the side. Nothing planted changes by it."""

    def __init__(self, eyes: Eyes, spec: InputSpec, seed: int) -> None:
        self.eyes, self.spec, self.seed, self.epoch = eyes, spec, seed, 0

    def __len__(self) -> int:
        return len(self.eyes.pictures)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([STREAM, self.seed, self.epoch, index])
        x = normalised(self.eyes.pictures[index], self.spec) * float(1.0 + 0.04 * rng.standard_normal())
        x = x.flip(1) if rng.random() < 0.5 else x
        down, right = (int(n) for n in rng.integers(-3, 4, 2))
        return {"image": x.roll((down, right), (1, 2)), "target": self.eyes.targets[index]}

    def set_epoch(self, epoch: int) -> None:
        """Vary anew, as this epoch does."""
        self.epoch = epoch


class Plain(Dataset[dict[str, Tensor]]):  # type: ignore[misc, unused-ignore]  # torch may be missing
    """Items as the daemon would see them."""

    def __init__(self, eyes: Eyes, spec: InputSpec) -> None:
        self.eyes, self.spec = eyes, spec

    def __len__(self) -> int:
        return len(self.eyes.pictures)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": normalised(self.eyes.pictures[index], self.spec), "target": self.eyes.targets[index]}


def first_seed(settings: Settings) -> int:
    """Return the first of the million paint seeds of a training; `oculard-lab paint` and the tests use others."""
    return TRAINING_SEEDS + settings.seed * 1_000_000


def paint_eyes(first: int, count: int, spec: InputSpec) -> Eyes:
    """Paint one eye of each of `count` people, right and left in turn."""
    return painted([(first + index, "RL"[index % 2]) for index in range(count)], spec, as_cameras)


def paint_pairs(first: int, count: int, spec: InputSpec) -> Eyes:
    """Paint both eyes of each of `count` people."""
    return painted([(first + index, eye) for index in range(count) for eye in "RL"], spec, as_cameras)


def painted(wanted: Sequence[tuple[int, str]], spec: InputSpec, shoot: Shoot) -> Eyes:
    """Paint eyes (seed, R or L), photographed by `shoot` and prepared exactly as the daemon does it."""
    mean, std = np.array(spec.mean)[:, None, None], np.array(spec.std)[:, None, None]
    pictures = np.empty((len(wanted), 3, *spec.size_px), dtype=np.uint8)
    targets = np.empty((len(wanted), len(HEADS)), dtype=np.float32)
    for row, (seed, eye) in enumerate(track(wanted, "painting", console=STDERR, disable=not STDERR.is_terminal)):
        rng = np.random.default_rng([STREAM, seed, 1 + "RL".index(eye)])  # numpy takes a trailing 0 for nothing
        person = sample_person(np.random.default_rng([STREAM, seed]))
        pixels = shoot(person, eye, seed, rng)
        pictures[row] = np.rint((prepare_one(pixels, eye, spec) * std + mean) * 255.0)
        targets[row] = standardised(person)
    persons, eyes = tuple(str(seed) for seed, _ in wanted), tuple(eye for _, eye in wanted)
    return Eyes(torch.from_numpy(pictures), persons, eyes, torch.from_numpy(targets))


def as_cameras(person: Person, eye: str, seed: int, rng: np.random.Generator) -> Pixels:
    """Paint at many sizes, half of the pictures through JPEG."""
    return through_jpeg(paint(person, eye, seed, int(rng.integers(180, 380))), rng)


def through_jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Write every second picture as JPEG and read it again: quality and chroma subsampling as cameras have them."""
    if rng.random() < 0.5:
        return pixels
    return jpeg(pixels, quality=int(rng.integers(80, 98)), subsampling=int(rng.integers(0, 3)))


def jpeg(pixels: Pixels, *, quality: int, subsampling: int) -> Pixels:
    """Write as JPEG and read again; subsampling 0, 1, 2 is 4:4:4, 4:2:2, 4:2:0."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file).convert("RGB"))


def prepare_one(pixels: Pixels, eye: str, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Prepare one picture as the daemon does it."""
    return prepare(ImageInput(sop_instance_uid="2.25.0", eye=eye, pixels=pixels), spec)


def standardised(person: Person) -> list[float]:
    """Return a person as the network's targets: 1 for male, then every value in standard deviations."""
    return [float(person.sex == "M"), *(person.standard(name) for name in VALUES)]


def normalised(picture: Tensor, spec: InputSpec) -> Tensor:
    """Turn prepared bytes, one picture's, into the network's input."""
    mean, std = torch.tensor(spec.mean).view(3, 1, 1), torch.tensor(spec.std).view(3, 1, 1)
    return (picture.float() / 255.0 - mean) / std


# --- training -------------------------------------------------------------------------------------------------------


def about(settings: Settings) -> About:
    """Say what the checkpoints are of."""
    return About(
        architecture=SMALL.name,
        trunk="shared",
        heads=HEADS,
        spec=input_spec(settings.size_px),
        scaling=SCALING,
        settings={"task": "systemic-demo", "people": settings.people},
    )


def learn(training: Eyes, tuning: Eyes, settings: Settings) -> nn.Module:
    """Train one network from scratch; the same eyes and settings give the same network."""
    torch.manual_seed(settings.seed)
    net, spec = build(SMALL.name, HEADS), input_spec(settings.size_px)
    data = Variations(training, spec, settings.seed), Plain(tuning, spec)
    job = Job(net=net, about=about(settings), training=data[0], tuning=data[1])
    fit(job, settings.fit(), Path(settings.run), resume=Path(settings.resume) if settings.resume else None)
    return net


def trained(settings: Settings) -> nn.Module:
    """Paint and train, or take what an interrupted run had finished already."""
    net, spec, first = build(SMALL.name, HEADS), input_spec(settings.size_px), first_seed(settings)
    if settings.resume and take_finished(net, about(settings), settings.fit(), Path(settings.run)):
        return net
    training = paint_eyes(first, settings.people, spec)
    return learn(training, paint_eyes(first + settings.people, settings.tuning, spec), settings)


# --- intervals and measures -----------------------------------------------------------------------------------------


def predict(net: nn.Module, eyes: Eyes, spec: InputSpec) -> Predictions:
    """Estimate, in the units of the report."""
    data = DataLoader(Plain(eyes, spec), batch_size=64)
    with torch.inference_mode():
        raw = np.concatenate([net(item["image"]).double().numpy() for item in data])
    known = dict(zip(HEADS, SCALING.in_units(eyes.targets.numpy()).T, strict=True))
    return predictions_of(raw, known, eyes.persons, eyes.eyes, SCALING)


def by_file(net: nn.Module, settings: Settings) -> dict[str, dict[str, float]]:
    """Return what is explained (R2; sex: AUC) by size and kind of file, on right eyes of some of the test people."""
    spec, first = input_spec(settings.size_px), test_seed(settings)
    wanted = [(first + index, "R") for index in range(min(FILE_PEOPLE, settings.test))]
    found = {}
    for size_px in FILE_SIZES_PX:
        for kind, shoot in (("png", as_png(size_px)), ("jpeg", as_jpeg(size_px))):
            seen = predict(net, painted(wanted, spec, shoot), spec)
            figures = {name: measures.auc if name == "sex" else measures.r2 for name in HEADS}
            found[f"{kind}-{size_px}"] = {name: round(figures[name](*seen.of(name)), 3) for name in HEADS}
    return found


def as_png(size_px: int) -> Shoot:
    """Paint at one size."""
    return lambda person, eye, seed, _: paint(person, eye, seed, size_px)


def as_jpeg(size_px: int) -> Shoot:
    """Paint at one size, through JPEG of quality 92 with half of the colours' columns (4:2:2)."""
    return lambda person, eye, seed, _: jpeg(paint(person, eye, seed, size_px), quality=92, subsampling=1)


def test_seed(settings: Settings) -> int:
    """Return the first seed of the people who are only ever tested on."""
    return first_seed(settings) + settings.people + settings.tuning + settings.calibration


def main(arguments: Sequence[str]) -> None:
    """Train, calibrate, measure, export."""
    settings = asked(Settings, arguments, "oculard-lab train systemic-demo", "Train the bundle systemic-demo.")
    spec, first = input_spec(settings.size_px), first_seed(settings)
    net = trained(settings)
    calibration = paint_pairs(first + settings.people + settings.tuning, settings.calibration, spec)
    outputs = outputs_of(SCALING, half_widths(predict(net, calibration, spec)), LIMITS)
    test = paint_pairs(test_seed(settings), settings.test, spec)
    parts = report_of(predict(net, test, spec), outputs=outputs, others=known_of(calibration), seed=settings.seed)
    draft = draft_of(spec, outputs, parts, by_file(net, settings), noted(settings))
    check = np.stack([Plain(test, spec)[k]["image"].numpy() for k in range(min(16, len(test.persons)))])
    exported = write_bundle(Path(settings.out), net, draft, check=check, replace=True)
    typer.echo(f"torch and onnxruntime differ by at most {exported.largest_difference:.1e}", err=True)
    typer.echo((exported.bundle.folder / METRICS).read_text(encoding="utf-8"))


def known_of(eyes: Eyes) -> Others:
    """Return what is known of other people than those tested on: for the median, and the line through sex and age."""
    truth = SCALING.in_units(eyes.targets.numpy())
    rows = zip(eyes.persons, (dict(zip(HEADS, row.tolist(), strict=True)) for row in truth), strict=True)
    return others_of(rows, HEADS, "the people who calibrated")


def noted(settings: Settings) -> dict[str, object]:
    """Say where the figures come from."""
    return {
        "command": "oculard-lab train systemic-demo " + as_options(settings, without=("out", "run", "resume")),
        "date": datetime.now(UTC).date().isoformat(),
        "data": "painted eyes of invented people; both eyes of those who calibrate and test; half of them through JPEG",
        "seed": settings.seed,
        "people": {
            "training": settings.people,
            "tuning": settings.tuning,
            "calibration": settings.calibration,
            "test": settings.test,
        },
        "file_people": min(FILE_PEOPLE, settings.test),
        "intervals": "of estimates: conformal, from the calibration people; of figures: 95 %, bootstrap over persons",
    }


if __name__ == "__main__":
    main(sys.argv[1:])
