"""Trains and measures networks for sex on one split: what figure 1 of JOIR's release of 2023 shows, on other data.

Every network is trained, measured, exported and timed in a folder of its own, and its row is written there: a
comparison that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch

from oculard_models.data.dataset import PhotographSet
from oculard_models.evaluate import measures
from oculard_models.evaluate.figures import figures_of
from oculard_models.evaluate.predictions import Predictions
from oculard_models.export import INPUT, export_onnx
from oculard_models.export.bundle import parity_within_limit
from oculard_models.manifest import Crop, InputSpec
from oculard_models.nets.sixteen import NETS, SIXTEEN, architecture, build
from oculard_models.train.checkpoint import About
from oculard_models.train.estimating import estimate, prepared
from oculard_models.train.fitting import BEST, LAST, Job, fit
from oculard_models.train.material import Material
from oculard_models.train.settings import Fit, TrainingWrong, part_of
from oculard_models.train.systemic import input_spec, keep_small, variation

HEADS = ("sex",)
ROW = "row.json"
ROUNDS, BEFORE = 7, 2  # photographs timed one by one, after some that are not
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network's figures. The intervals are 95 %, bootstrap over persons; None where they cannot be computed."""

    net: str
    title: str
    size_px: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    file_mb: float  # of the ONNX file, float32
    parameters: int
    ms_one_thread: float  # a photograph, without reading and preparing it
    ms_all_threads: float
    threads: int  # all of them
    training_s: float
    persons: int  # tested
    initial: str  # file of initial weights, or nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Fit):
    """What is compared, and how; each is an option of the command."""

    table: str = field(metadata={"help": "CSV or Parquet: path or sop_instance_uid, person, eye, sex"})
    out: str = field(metadata={"help": "folder of the figures; made if it is missing"})
    images: str = field(default="", metadata={"help": "folder of the photographs; the table's if not given"})
    split: str = field(default="", metadata={"help": "split.json of an earlier run, to use the same people"})
    nets: str = field(default=",".join(SIXTEEN), metadata={"help": f"some of {', '.join(NETS)}"})
    size_px: int = field(default=0, metadata={"help": "height and width of the input; 0: what each was made for"})
    crop: str = field(default="circle", metadata={"help": "circle: the illuminated field; whole: the frame"})
    initial: str = field(default="", metadata={"help": "folder of initial weights, NET.safetensors or NET.pt"})
    json: bool = field(default=False, metadata={"help": "print JSON"})

    def __post_init__(self) -> None:
        Fit.__post_init__(self)
        if self.crop not in tuple(Crop):
            raise TrainingWrong(f"`crop` is `{self.crop}`; hint: one of {', '.join(Crop)}")
        if not self.names or len(set(self.names)) != len(self.names):
            raise TrainingWrong(f"`nets` is `{self.nets}`; hint: names with commas, each once")
        if self.initial and not Path(self.initial).is_dir():
            raise TrainingWrong(f"there is no folder {self.initial} of initial weights")

    @property
    def names(self) -> tuple[str, ...]:
        """The networks, in the order that was asked for."""
        return tuple(name.strip() for name in self.nets.split(",") if name.strip())


def compare(settings: Settings, material: Material) -> Iterator[Row]:
    """Yield one row a network, trained now or earlier with the same settings and data."""
    for name in settings.names:
        folder = Path(settings.out) / name
        asked = _asked(settings, material, name)
        row = _done(folder / ROW, asked)
        if row is None:
            row = _made(settings, material, name, folder)
            (folder / ROW).write_text(json.dumps({"asked": asked, "row": asdict(row)}, indent=1), encoding="utf-8")
        yield row


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _asked(settings: Settings, material: Material, name: str) -> dict[str, object]:
    """Say everything that decides a network's row."""
    initial = _initial(settings, name)
    return {
        "net": name,
        "table": material.table.sha256,
        "split": material.digest(),
        "spec": _spec(settings, name).model_dump(mode="json"),
        "fit": asdict(part_of(Fit, settings)),
        "initial": [initial.name, initial.stat().st_size] if initial else [],
    }


def _done(path: Path, asked: Mapping[str, object]) -> Row | None:
    """Return the row that was made of the same, if there is one that is whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Row(**content["row"]) if content["asked"] == asked else None
    except (OSError, ValueError, LookupError, TypeError):  # absent, half written, or of another version
        return None


def _made(settings: Settings, material: Material, name: str, folder: Path) -> Row:
    """Train, measure, export and time one network."""
    spec, initial = _spec(settings, name), _initial(settings, name)
    torch.manual_seed(settings.seed)
    net = build(name, HEADS, initial=initial)
    began = perf_counter()
    _train(net, settings, material, name, folder)
    took_s = perf_counter() - began
    found = estimate(net, material.test, spec, material.scaling, batch=settings.batch, workers=settings.workers)
    right = _figures(found, settings.seed)
    file = folder / "model.onnx"
    export_onnx(net, HEADS, spec.size_px, file)
    picture = prepared(material.test[:1], spec)
    parity_within_limit(net, file, picture)
    threads = os.cpu_count() or 1
    row = Row(
        net=name,
        title=architecture(name).title,
        size_px=spec.size_px[0],
        file_mb=round(file.stat().st_size / MEGABYTE, 2),
        parameters=sum(weights.numel() for weights in net.parameters()),
        ms_one_thread=_ms(file, picture, 1),
        ms_all_threads=_ms(file, picture, threads),
        threads=threads,
        training_s=round(took_s, 1),
        persons=len(np.unique(found.persons)),
        initial=initial.name if initial else "",
        **right,
    )
    for large in (file, folder / BEST, folder / LAST):  # gigabytes; `oculard-lab export` makes a bundle of what stays
        large.unlink()
    return row


def _train(net: torch.nn.Module, settings: Settings, material: Material, name: str, folder: Path) -> None:
    """Train one network."""
    spec = _spec(settings, name)
    said = {"task": "compare", "table": material.table.sha256, "split": material.digest()}
    about = About(architecture=name, trunk="shared", heads=HEADS, spec=spec, scaling=material.scaling, settings=said)
    training = PhotographSet(
        material.training, HEADS, spec, material.scaling, varied=variation(spec), seed=settings.seed
    )
    tuning = PhotographSet(material.tuning, HEADS, spec, material.scaling, varied=None, seed=0)
    keep_small(training, tuning)
    fit(Job(net=net, about=about, training=training, tuning=tuning), part_of(Fit, settings), folder)


def _figures(found: Predictions, seed: int) -> dict[str, float | None]:
    """Measure sex on the test people, one row a photograph; the intervals are over persons."""
    truth, probability = found.of("sex")
    wanted: dict[str, measures.Measure] = {"accuracy": lambda t, p: measures.accuracy(t, p, 0.5), "auc": measures.auc}
    figures = figures_of(wanted, truth, probability, found.persons, seed=seed)
    row: dict[str, float | None] = {}
    for name, figure in figures.items():
        row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return {name: None if value is None else round(value, 4) for name, value in row.items()}


def _ms(file: Path, picture: npt.NDArray[np.float32], threads: int) -> float:
    """Return the median time of one photograph in onnxruntime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    took = []
    for _ in range(BEFORE + ROUNDS):
        began = perf_counter()
        session.run(None, {INPUT: picture})
        took.append(perf_counter() - began)
    return round(1000.0 * median(took[BEFORE:]), 2)


def _spec(settings: Settings, name: str) -> InputSpec:
    """Say what a network sees in this comparison."""
    return input_spec(architecture(name), size_px=settings.size_px, crop=settings.crop, left="mirrored")


def _initial(settings: Settings, name: str) -> Path | None:
    """Find a network's initial weights, if there are any."""
    if not settings.initial:
        return None
    found = [Path(settings.initial) / f"{name}{suffix}" for suffix in (".safetensors", ".pt")]
    return next((path for path in found if path.is_file()), None)
