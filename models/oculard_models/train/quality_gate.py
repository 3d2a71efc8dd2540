"""Train the bundle `fundus-quality`: is this a fundus photograph, can it be read, and what does it show?

How to run (needs the extra `lab` and the photographs of ../shared/data; about 20 minutes on one core):

    oculard-lab train quality --seed 1 --data ../shared/data
    oculard-lab train quality --copies 4 --painted 20 --others 60 --epochs 1 --folds 2 --out short/g   # to try

Every photograph is spoiled again and again by known amounts (data/degrade.py, train/quality_cases.py): the amounts are
the labels. What is measured is measured on patients that were not learnt from: the haze score leaves one patient out
at a time, everything else one fold of patients. The shipped weights then learn from all of them. The same seed on the
same machine gives the same weights. Progress goes to stderr, the figures to stdout and into the bundle's metrics.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from oculard_models.nets.gate import HEADS, SEVERITIES
from oculard_models.registry import BUNDLES
from oculard_models.train.quality_bundle import OUTPUTS, write_gate
from oculard_models.train.quality_case import Case, MeasuredCase, measured_case
from oculard_models.train.quality_cases import LABELS, as_mirrored, as_taken, case_of, detail, other_case, painted_case
from oculard_models.train.quality_figures import Measured, figures
from oculard_models.train.quality_learning import Cases, Learning, learn, learn_readings, predict
from oculard_models.train.quality_sources import DataWrong, Source, real_sources
from oculard_models.train.settings import as_options

# --- settings -------------------------------------------------------------------------------------------------------

LEARNT = (
    *("clean", "clean", "clean", "disc-centred", "no-disc", "no-disc", "darkened", "brightened", "uneven", "uneven"),
    *("defocused", "defocused", "defocused", "defocused", "shaken", "shaken", "veiled", "veiled", "cut"),
    *("mixed", "mixed"),
)
MEASURED = (
    *("clean", "disc-centred", "no-disc", "uneven", "shaken"),
    *("defocused!", "veiled!", "darkened!", "brightened!", "cut!"),
)
PAINTED_COPIES = 3  # cases of every painted eye
BANDS = 3  # further cases of every photograph that are cut at both ends
Job = Callable[[], Case]
STDERR = Console(stderr=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Learning):
    """Everything that decides what comes out; each is an option of the command, and all travel in the checkpoint."""

    data: str = "../shared/data"  # holds fundus/ and, if it is there, octa-faz/
    copies: int = 42  # cases of every photograph to learn from
    painted: int = 100  # painted eyes to learn from
    others: int = 700  # pictures of other things to learn from
    measured: int = 1  # cases of every photograph and kind to measure on
    folds: int = 3  # of patients, for the figures of the map
    threads: int = 1
    workers: int = 1  # processes that make the cases; any number makes the same
    out: str = str(BUNDLES / "fundus-quality")
    checkpoint: str = "fundus-quality.pt"


# --- data -----------------------------------------------------------------------------------------------------------


def learning_jobs(real: Sequence[Source], settings: Settings) -> list[Job]:
    """Say what is learnt from: photographs and painted eyes spoiled in every way, and other things."""
    jobs: list[Job] = [partial(as_taken, source) for source in real]
    kinds = [(source, LEARNT[k % len(LEARNT)]) for source in real for k in range(settings.copies)]
    jobs += [partial(case_of, source, kind, random(settings, 1, k)) for k, (source, kind) in enumerate(kinds)]
    for k in range(settings.painted):
        rng = random(settings, 2, k)
        for kind in ("clean", *rng.choice(LEARNT, PAINTED_COPIES - 1)):
            jobs.append(partial(painted_case, settings.seed * 100_000 + k, str(kind), random(settings, 6, len(jobs))))
    jobs += other_jobs(real, settings, settings.others, 3)
    bands = [source for source in real for _ in range(BANDS)]
    jobs += [partial(case_of, source, "band", random(settings, 7, k)) for k, source in enumerate(bands)]
    for k in range(settings.painted):
        jobs.append(partial(painted_case, settings.seed * 100_000 + k, "band", random(settings, 8, k)))
    return jobs


def measuring_jobs(real: Sequence[Source], settings: Settings) -> list[Job]:
    """Say what is measured on: other random numbers, and strong forms that must not pass."""
    jobs: list[Job] = [partial(as_taken, source) for source in real]
    jobs += [partial(as_mirrored, source) for source in real]
    kinds = [(source, kind) for source in real for kind in MEASURED for _ in range(settings.measured)]
    jobs += [partial(case_of, source, kind, random(settings, 4, k)) for k, (source, kind) in enumerate(kinds)]
    return jobs + other_jobs(real, settings, max(20, settings.others // 4), 5)


def other_jobs(real: Sequence[Source], settings: Settings, count: int, stream: int) -> list[Job]:
    """Say which other things are drawn; false retinas are of the group of the photograph that they are made of."""
    faces = en_face(Path(settings.data) / "octa-faz" / "images")[
        stream == 5 :: 2
    ]  # measured on others than learnt from
    drawn: list[Job] = []
    for k in range(count):
        rng = random(settings, stream, k)
        source = real[int(rng.integers(len(real)))]
        drawn.append(partial(other_case, source, faces, rng))
    return drawn


def made(jobs: Sequence[Job], settings: Settings, words: str) -> Cases:
    """Do the jobs, several at a time if that is asked for; every job has random numbers of its own."""
    if settings.workers > 1:
        with ProcessPoolExecutor(settings.workers, mp_context=get_context("forkserver")) as pool:
            parts = _followed(pool.map(measured_case, jobs, chunksize=8), len(jobs), words)
    else:
        parts = _followed(map(measured_case, jobs), len(jobs), words)
    table = torch.tensor([[part.labels[name] for name in LABELS] for part in parts], dtype=torch.float32)
    return Cases(
        pictures=torch.from_numpy(np.stack([part.half for part in parts])),
        found=torch.from_numpy(np.stack([part.found for part in parts])),
        labels={name: table[:, k].clone() for k, name in enumerate(LABELS)},
        groups=np.array([part.group for part in parts]),
        kinds=np.array([part.kind for part in parts]),
    )


def _followed(work: Iterable[MeasuredCase], count: int, words: str) -> list[MeasuredCase]:
    """Wait for work while a progress bar follows it."""
    return list(track(work, words, count, console=STDERR, disable=not STDERR.is_terminal))


def en_face(folder: Path) -> list[npt.NDArray[np.uint8]]:
    """Read en face images of angiography, if there are any."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.*g"))]


def random(settings: Settings, stream: int, index: int) -> np.random.Generator:
    """Every case has random numbers of its own."""
    return np.random.default_rng([106, settings.seed, stream, index])


# --- measures, export -----------------------------------------------------------------------------------------------


def out_of_fold(learnt: Cases, measured: Cases, real: Sequence[Source], settings: Settings) -> Tensor:
    """Estimate every case to measure on by a network that never saw its patient."""
    out = torch.full((len(measured.found), len(HEADS)), float("nan"))
    for held in parts_of(real, settings):
        typer.echo(f"without {', '.join(held)}", err=True)
        rows = np.isin(measured.groups, held)
        net = learn(learnt.of(~np.isin(learnt.groups, held)), settings)
        out[torch.from_numpy(rows)] = predict(net, measured.of(rows))
    return out


def parts_of(real: Sequence[Source], settings: Settings) -> list[list[str]]:
    """Part the patients into folds."""
    groups = sorted({source.group for source in real})
    order = np.random.default_rng(settings.seed).permutation(len(groups))
    return [[groups[k] for k in order[fold :: settings.folds]] for fold in range(settings.folds)]


def leave_one_out(learnt: Cases, measured: Cases, real: Sequence[Source], settings: Settings) -> Tensor:
    """Read severities and haze of every case by readings that never saw its patient; one fit a patient."""
    out = torch.full((len(measured.found), len(SEVERITIES) + 1), float("nan"))
    for group in sorted({source.group for source in real}):
        rows = measured.groups == group
        net = learn_readings(learnt.of(learnt.groups != group), settings.seed)
        with torch.inference_mode():
            out[torch.from_numpy(rows)] = net(measured.found[torch.from_numpy(rows)])
    return out


def estimated(learnt: Cases, measured: Cases, real: Sequence[Source], settings: Settings) -> Measured:
    """Estimate what is measured on, always without its patient."""
    raw = out_of_fold(learnt, measured, real, settings)
    raw[:, 1 : 2 + len(SEVERITIES)] = leave_one_out(learnt, measured, real, settings)
    labels = {name: column.double().numpy() for name, column in measured.labels.items()}
    return Measured(kinds=measured.kinds, groups=measured.groups, labels=labels, raw=raw.double().numpy())


def report(learnt: Cases, measured: Cases, real: Sequence[Source], settings: Settings) -> dict[str, object]:
    """Return every figure, with how to make it again."""
    sharpness = {source.name: detail(source.scene) for source in real if source.haze is not None}
    patients = len({source.group for source in real})
    return {
        "command": "oculard-lab train quality " + as_options(settings, without=("data", "out", "checkpoint")),
        "date": datetime.now(UTC).date().isoformat(),
        "data": "38 photographs of ../shared/data/fundus (HRF, IDRiD, CSDI, scikit-image), spoiled by known amounts; "
        "every figure from a network that never saw the patient",
        "seed": settings.seed,
        "people": {"training": patients, "test": patients},
        "cases": {"training": len(learnt.found), "test": len(measured.found)},
        **figures(estimated(learnt, measured, real, settings), OUTPUTS, sharpness),
    }


def asked(arguments: Sequence[str]) -> Settings:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(prog="quality", description="Train the bundle fundus-quality.")
    for field in fields(Settings):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, help=f"default: {field.default}")
    settings = Settings(**vars(parser.parse_args(arguments)))
    for name in ("copies", "painted", "others", "measured", "epochs", "batch", "threads"):
        if getattr(settings, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(settings, name)}")
    if not 2 <= settings.folds <= 14:
        parser.error(f"--folds must be from 2 to 14, got {settings.folds}")
    return settings


def main(arguments: Sequence[str]) -> None:
    """Measure without every patient in turn, then learn from all, and export. Exit 2 without the photographs."""
    settings = asked(arguments)
    torch.set_num_threads(settings.threads)
    try:
        real = real_sources(Path(settings.data) / "fundus")
    except DataWrong as why:
        typer.echo(why, err=True)
        raise SystemExit(2) from why
    learnt = made(learning_jobs(real, settings), settings, "to learn from")
    measured = made(measuring_jobs(real, settings), settings, "to measure on")
    told = report(learnt, measured, real, settings)
    net = learn(learnt, settings)
    torch.save({"settings": asdict(settings), "net": net.state_dict()}, settings.checkpoint)

    check = np.stack([source.seen for source in real[:8]]).astype(np.float32) / np.float32(255.0)
    written = write_gate(Path(settings.out), net, told, check)
    typer.echo(f"torch and onnxruntime differ by at most {written.largest_difference:.1e}", err=True)
    typer.echo(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
