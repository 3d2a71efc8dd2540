"""Fits a network in a run's folder: early stopping, checkpoints that can be continued, metrics as CSV and TensorBoard.

The same seed, data and settings give the same numbers on the same machine, also when the training was interrupted and
continued from `last.ckpt`.
"""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, Dataset

from oculard_models.train.checkpoint import About, read_about, read_weights, write_checkpoint
from oculard_models.train.learner import Learner, Shuffled
from oculard_models.train.lightning_parts import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LightningModule,
    MisconfigurationException,
    ModelCheckpoint,
    RichProgressBar,
    TensorBoardLogger,
    Trainer,
)
from oculard_models.train.settings import PASSING, Fit, TrainingWrong

STDERR = Console(stderr=True)
BEST, LAST = "best.ckpt", "last.ckpt"  # Lightning's, with what it needs to continue
TRAINED = "trained.pt"  # ours, written once a training is over: the weights that were best on the tuning data
MONITORED = "tuning_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: the network, what its checkpoints say about it, and the data (items with `image`, `target`)."""

    net: nn.Module
    about: About
    training: Dataset[Any]
    tuning: Dataset[Any]
    learner: type[Learner] = Learner
    keep_last: bool = False  # where nothing could be set aside to tell which weights are best


def fit(job: Job, settings: Fit, run: Path, *, resume: Path | None = None) -> Path:
    """Train `job.net` and leave it with the weights that were best on the tuning data; return their checkpoint.

    `resume` continues from a checkpoint of the same training. Raises TrainingWrong.
    """
    sizes = _length(job.training), _length(job.tuning)
    if sizes[0] < settings.batch or sizes[1] == 0:
        raise TrainingWrong(
            f"{sizes[0]} photographs to train on and {sizes[1]} to tune on are too few for batches of {settings.batch};"
            " hint: more people, or a smaller --batch"
        )
    about = fitted(job.about, settings)
    if resume is not None:
        _must_continue(about, read_about(resume), resume)
    torch.set_num_threads(settings.threads)
    run.mkdir(parents=True, exist_ok=True)
    (run / TRAINED).unlink(missing_ok=True)
    learner = job.learner(job.net, about.heads, settings, about.plain())
    with _quiet():
        trainer = _trainer(settings, run)
        trainer.fit(learner, *_loaders(job, settings), ckpt_path=resume, weights_only=True)
    if not trainer.is_global_zero:
        raise SystemExit(0)  # the other processes of a training on several devices have done their part
    _take_best(job.net, trainer, run / BEST, run / LAST if job.keep_last else run / BEST)
    write_checkpoint(run / TRAINED, job.net, about)
    return run / TRAINED


def fitted(about: About, settings: Fit) -> About:
    """Return what the checkpoints of a training say: about the network, and how it was fitted."""
    return about.with_settings({"fit": asdict(settings)})


def take_finished(net: nn.Module, about: About, settings: Fit, run: Path) -> bool:
    """Load what the same training left in a run's folder, if it was finished; say whether. Raises TrainingWrong."""
    path = run / TRAINED
    if not path.is_file():
        return False
    _must_continue(fitted(about, settings), read_about(path), path)
    net.load_state_dict(read_weights(path))
    net.eval()
    return True


def _take_best(net: nn.Module, trainer: Trainer, best: Path, kept: Path) -> None:
    """Give the network the weights that are kept; those that were best on the tuning data tell that it has learnt."""
    keeper = trainer.checkpoint_callback
    score = keeper.best_model_score if isinstance(keeper, ModelCheckpoint) else None
    if score is None or not best.is_file() or not isfinite(float(score)):
        raise TrainingWrong("the loss is no number any more; hint: a lower --rate, or --precision 32-true")
    net.load_state_dict(read_weights(kept))
    net.to("cpu").eval()


def _trainer(settings: Fit, run: Path) -> Trainer:
    """Set Lightning up; nothing of it writes elsewhere than into the run's folder and to stderr."""
    callbacks: list[Callback] = [
        EarlyStopping(MONITORED, patience=settings.patience, check_finite=True, strict=False),
        ModelCheckpoint(run, _stem(BEST), MONITORED, enable_version_counter=False),
        ModelCheckpoint(run, _stem(LAST), enable_version_counter=False),  # its `save_last` skips what is no better
        Diary(run / "metrics.csv", settings.epochs),
    ]
    if settings.ema:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    if STDERR.is_terminal:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    try:
        return _made(settings, run, callbacks)
    except (MisconfigurationException, ValueError) as why:
        raise TrainingWrong(f"this machine cannot train so: {why}; hint: --accelerator, --devices, --strategy") from why


def _stem(name: str) -> str:
    """Name a checkpoint as Lightning wants it."""
    return name.removesuffix(".ckpt")


def _made(settings: Fit, run: Path, callbacks: list[Callback]) -> Trainer:
    """Make Lightning's trainer; it raises where a device or a strategy is not there."""
    return Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,  # type: ignore[arg-type]  # one of PRECISIONS
        max_epochs=settings.epochs,
        callbacks=callbacks,
        logger=TensorBoardLogger(run, name=None, version="tensorboard"),
        default_root_dir=run,
        deterministic="warn",
        enable_model_summary=False,
        enable_progress_bar=STDERR.is_terminal,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
    )


def _loaders(job: Job, settings: Fit) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Load the training data in shuffled order, whole batches only, and the tuning data as they are."""
    more = {"batch_size": settings.batch, "num_workers": settings.workers}
    shuffled = Shuffled(job.training, settings.seed)  # type: ignore[arg-type]  # `fit` saw that they have a length
    return DataLoader(job.training, sampler=shuffled, drop_last=True, **more), DataLoader(job.tuning, **more)  # type: ignore[arg-type]  # two ints


class Diary(Callback):  # type: ignore[misc, unused-ignore]  # lightning may be missing where types are checked
    """Writes one row an epoch into a CSV file, and one line to stderr where no progress bar is seen."""

    def __init__(self, path: Path, epochs: int) -> None:
        self.path, self.epochs = path, epochs

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Begin anew, unless a training is continued: then what came after its checkpoint goes."""
        kept = [row for row in self._rows() if int(row["epoch"]) <= trainer.current_epoch]
        self._write(kept)

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Note the losses."""
        losses = {name: f"{float(value):.6f}" for name, value in sorted(trainer.callback_metrics.items())}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._write([*self._rows(), {"epoch": str(trainer.current_epoch + 1), "rate": f"{rate:.3e}", **losses}])
        if not STDERR.is_terminal:
            said = " ".join(f"{name} {losses[name]}" for name in ("training_loss", MONITORED) if name in losses)
            typer.echo(f"epoch {trainer.current_epoch + 1}/{self.epochs}: {said}", err=True)

    def _rows(self) -> list[dict[str, str]]:
        """Read what is written."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[dict[str, str]]) -> None:
        """Write all rows."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def _must_continue(now: About, then: About, path: Path) -> None:
    """Refuse to continue another training than this one."""
    ours, theirs = now.flat(), then.flat()
    differing = sorted(
        key
        for key in ours.keys() | theirs.keys()
        if key.rpartition(".")[2] not in PASSING and ours.get(key) != theirs.get(key)
    )
    if differing:
        key = differing[0]
        raise TrainingWrong(
            f"{path} is of another training: `{key}` was {theirs.get(key)}, now it is {ours.get(key)};"
            f" {len(differing)} settings differ; hint: continue with the options that it began with"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and its advice on workers and loggers off the console."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", module="torch.*", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _length(data: Dataset[Any]) -> int:
    """Return how many items there are; 0 where the data do not say."""
    return len(data) if isinstance(data, Sized) else 0
