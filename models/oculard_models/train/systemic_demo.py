"""Train the bundle `systemic-demo`: seven attributes of invented people from their painted eyes.

How to run (needs the extra `lab`; about 25 minutes on one core):

    oculard-lab train systemic-demo --seed 1
    python -m oculard_models.train.systemic_demo --seed 1 --people 400 --epochs 2 --out short/systemic-demo   # to try

What it makes means nothing for people: the eyes are painted, and what is planted in them is invented (data/traits.py).
Every person is painted once, so that the split by picture is the split by person. The same seed on the same machine
gives the same weights. Progress goes to stderr, the measures to stdout and into the bundle's metrics.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import CENTRE, VALUES, Person, sample_person
from oculard_models.evaluate import measures
from oculard_models.evaluate.report import value_report
from oculard_models.export import export_onnx, parity
from oculard_models.manifest import InputSpec
from oculard_models.nets.mobile import MobileHeads
from oculard_models.preprocess import prepare
from oculard_models.registry import BUNDLES
from oculard_models.train.systemic_bundle import write_bundle

# --- settings -------------------------------------------------------------------------------------------------------

HEADS = ("sex", *VALUES)
LEVEL = 0.9  # of the intervals
STREAM = 103  # of random numbers, for the people and the sizes of their pictures: see data/paint.py
TRAINING_SEEDS = 10**9  # trainings paint from here on: what is painted with smaller seeds was never trained on
STDERR = Console(stderr=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides what comes out; each is an option of the command, and all travel in the checkpoint."""

    seed: int = 1
    size_px: int = 160  # height and width of what the network sees
    people: int = 4500  # to train on
    calibration: int = 700  # other people, for the width of the intervals
    test: int = 700  # other people again, for the measures
    epochs: int = 11
    batch: int = 32
    rate: float = 3e-3  # highest learning rate of the cycle
    decay: float = 1e-2
    threads: int = 1
    out: str = str(BUNDLES / "systemic-demo")
    checkpoint: str = "systemic-demo.pt"


def input_spec(size_px: int) -> InputSpec:
    """Say what the network wants to see: the field, right eyes and mirrored left eyes, roughly standardised."""
    return InputSpec(
        kind="fundus", tensor="image", size_px=(size_px, size_px), mean=(0.50, 0.21, 0.12), std=(0.28, 0.13, 0.07)
    )


# --- data -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Eyes:
    """One prepared picture a person: images x 3 x rows x columns, uint8, and images x heads, standardised."""

    pictures: Tensor
    targets: Tensor


def first_seed(settings: Settings) -> int:
    """Return the first of the million paint seeds of a training; `oculard-lab paint` and the tests use others."""
    return TRAINING_SEEDS + settings.seed * 1_000_000


def paint_eyes(first: int, count: int, spec: InputSpec) -> Eyes:
    """Paint `count` people, right and left eyes in turn, at many sizes, prepared exactly as the daemon does it."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    pictures = np.empty((count, 3, *spec.size_px), dtype=np.uint8)
    targets = np.empty((count, len(HEADS)), dtype=np.float32)
    for index in track(range(count), "painting", console=STDERR, disable=not STDERR.is_terminal):
        rng = np.random.default_rng([STREAM, first + index])
        person = sample_person(rng)
        eye = "RL"[index % 2]
        pixels = paint(person, eye, first + index, int(rng.integers(180, 330)))
        seen = prepare_one(pixels, eye, spec)
        pictures[index] = np.rint((seen * std[:, None, None] + mean[:, None, None]) * 255.0)
        targets[index] = standardised(person)
    return Eyes(torch.from_numpy(pictures), torch.from_numpy(targets))


def prepare_one(pixels: npt.NDArray[np.uint8], eye: str, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Prepare one picture as the daemon does it."""
    return prepare(ImageInput(sop_instance_uid="2.25.0", eye=eye, pixels=pixels), spec)


def standardised(person: Person) -> list[float]:
    """Return a person as the network's targets: 1 for male, then every value in standard deviations."""
    return [float(person.sex == "M"), *(person.standard(name) for name in VALUES)]


# --- net and loss ---------------------------------------------------------------------------------------------------


def loss_of(out: Tensor, target: Tensor) -> Tensor:
    """Cross entropy for sex, a smooth L1 for the values, each over the people who have the value (not NaN)."""
    known = ~torch.isnan(target)
    target = torch.where(known, target, torch.zeros_like(target))
    sex = nn.functional.binary_cross_entropy_with_logits(out[:, 0], target[:, 0], reduction="none")
    values = nn.functional.smooth_l1_loss(out[:, 1:], target[:, 1:], reduction="none", beta=1.0)
    each = torch.cat([sex[:, None], 2.0 * values], dim=1) * known
    return each.sum() / known.sum().clamp(min=1)


# --- loop -----------------------------------------------------------------------------------------------------------


def learn(eyes: Eyes, settings: Settings) -> MobileHeads:
    """Train one network from scratch; the same eyes and settings give the same network."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    spec = input_spec(settings.size_px)
    net = MobileHeads(HEADS)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
    steps = len(eyes.pictures) // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=steps * settings.epochs, pct_start=0.15
    )
    for epoch in range(settings.epochs):
        net.train()
        total = 0.0
        order = torch.randperm(len(eyes.pictures))
        for step in range(steps):
            rows = order[step * settings.batch : (step + 1) * settings.batch]
            loss = loss_of(net(varied(eyes.pictures[rows], spec)), eyes.targets[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
            total += loss.item()
        typer.echo(f"epoch {epoch + 1}/{settings.epochs}: loss {total / steps:.4f}", err=True)
    net.eval()
    return net


def varied(pictures: Tensor, spec: InputSpec) -> Tensor:
    """Normalise a batch and vary it: brightness, upside down, a few pixels to the side. Nothing planted changes."""
    x = normalised(pictures, spec)
    x = x * (1.0 + 0.04 * torch.randn(len(x), 1, 1, 1))
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, x.flip(2))
    down, right = (int(n) for n in torch.randint(-3, 4, (2,)))
    return x.roll((down, right), (2, 3))


def normalised(pictures: Tensor, spec: InputSpec) -> Tensor:
    """Turn prepared bytes into the network's input."""
    x = pictures.float().div(255.0).to(memory_format=torch.channels_last)
    return (x - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1)


def predict(net: MobileHeads, eyes: Eyes, spec: InputSpec) -> npt.NDArray[np.float64]:
    """Return the raw outputs, images x heads."""
    with torch.inference_mode():
        parts = [net(normalised(eyes.pictures[at : at + 64], spec)) for at in range(0, len(eyes.pictures), 64)]
    return np.asarray(torch.cat(parts).double().numpy())


# --- calibration, measures, export ----------------------------------------------------------------------------------


def in_units(column: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """Turn standardised values into the attribute's unit."""
    mean, deviation = CENTRE[name]
    return column * deviation + mean


def half_widths(eyes: Eyes, raw: npt.NDArray[np.float64], level: float) -> dict[str, float]:
    """Return the half width of the interval of every value, in its unit, from people the network never saw."""
    truth = eyes.targets.double().numpy()
    return {
        name: measures.conformal_half_width(in_units(truth[:, k], name), in_units(raw[:, k], name), level)
        for k, name in enumerate(VALUES, start=1)
    }


def measured(eyes: Eyes, raw: npt.NDArray[np.float64], widths: dict[str, float], seed: int) -> dict[str, object]:
    """Measure every output on people never seen; see evaluate/report.py."""
    truth = eyes.targets.double().numpy()
    sex = truth[:, 0], raw[:, 0]
    report: dict[str, object] = {
        "sex": {
            "auc": measures.with_interval(measures.auc, *sex, seed=seed),
            "accuracy": measures.with_interval(measures.accuracy, *sex, seed=seed),
        }
    }
    for k, name in enumerate(VALUES, start=1):
        known = truth[:, [0]] if name == "age" else truth[:, :2]  # sex, and age where it is not the question
        pair = in_units(truth[:, k], name), in_units(raw[:, k], name)
        report[name] = value_report(*pair, known, widths[name], seed=seed)
    return report


def asked(arguments: Sequence[str]) -> Settings:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(prog="systemic-demo", description="Train the bundle systemic-demo.")
    for field in fields(Settings):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, help=f"default: {field.default}")
    return Settings(**vars(parser.parse_args(arguments)))


def as_options(settings: Settings) -> str:
    """Write settings as the options that give them again, without the paths of one machine."""
    kept = {name: value for name, value in asdict(settings).items() if name not in ("out", "checkpoint")}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in kept.items())


def main(arguments: Sequence[str]) -> None:
    """Train, calibrate, measure, export."""
    settings = asked(arguments)
    spec = input_spec(settings.size_px)
    first = first_seed(settings)
    net = learn(paint_eyes(first, settings.people, spec), settings)
    torch.save({"settings": asdict(settings), "net": net.state_dict()}, settings.checkpoint)

    calibration = paint_eyes(first + settings.people, settings.calibration, spec)
    widths = half_widths(calibration, predict(net, calibration, spec), LEVEL)
    test = paint_eyes(first + settings.people + settings.calibration, settings.test, spec)

    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(net, HEADS, spec.size_px, out / "model.onnx")
    difference = parity(net, out / "model.onnx", normalised(test.pictures[:16], spec).contiguous().numpy())
    typer.echo(f"torch and onnxruntime differ by at most {difference:.1e}", err=True)

    report = {
        "command": "oculard-lab train systemic-demo " + as_options(settings),
        "date": datetime.now(UTC).date().isoformat(),
        "data": "painted eyes of invented people, one picture each; 95 % bootstrap intervals over persons",
        "people": {"training": settings.people, "calibration": settings.calibration, "test": settings.test},
        "largest_difference_torch_onnx": difference,
        **measured(test, predict(net, test, spec), widths, settings.seed),
    }
    write_bundle(out, spec, widths, report, seed=settings.seed)
    typer.echo(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
