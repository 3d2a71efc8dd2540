"""What `oculard-lab evaluate` works through: read predictions or make them, measure, write the results."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from oculard_models.contract import EstimateFailed
from oculard_models.lab.console import fail, followed, misuse
from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle, read_bundle

if TYPE_CHECKING:
    from oculard_models.data.split import Split
    from oculard_models.data.table import Photograph, Table
    from oculard_models.evaluate.about import About
    from oculard_models.evaluate.baselines import Others
    from oculard_models.evaluate.predictions import Predictions
    from oculard_models.evaluate.report import Part

CROSS_FITTED = "the same persons in five folds: nobody's own value is known to the guess about her"
NO_SPLIT = "No split was given: whether the network was trained on some of these persons is not known here."
ONLY_PREDICTIONS = "Only predictions were read: which network made them, and on whom it was trained, is not known here."
SEEN = {
    "training": "These persons TRAINED the network: the figures say nothing about new people.",
    "tuning": "By these persons the network was chosen: the figures flatter it.",
    "calibration": "By these persons the intervals were set: their coverage is no result.",
}


class PartName(StrEnum):
    """The parts of a split."""

    TRAINING = "training"
    TUNING = "tuning"
    CALIBRATION = "calibration"
    TEST = "test"


class RunnerName(StrEnum):
    """What executes the network."""

    ONNX = "onnx"
    TORCH = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command was asked for."""

    bundle: Path | None
    table: Path | None
    images: Path | None
    split: Path | None
    part: PartName
    saved: Path | None
    out: Path
    runner: RunnerName
    threads: int
    seed: int
    skip_unreadable: bool
    allow_training: bool

    def command(self) -> str:
        """Write the command that gives the same figures again."""
        if self.saved is not None:
            words = ["--from", str(self.saved)]
        else:
            words = [str(self.bundle), "--table", str(self.table), "--runner", self.runner.value]
            words += ["--images", str(self.images)] if self.images else []
            words += ["--split", str(self.split), "--part", self.part.value] if self.split else []
            words += ["--skip-unreadable"] * self.skip_unreadable + ["--allow-training"] * self.allow_training
        return shlex.join(["oculard-lab", "evaluate", *words, "--seed", str(self.seed), "--out", str(self.out)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is reported: the predictions, where they come from, and the people behind the baselines."""

    predictions: Predictions
    about: About
    others: Others | None
    bundle: Bundle | None


def measure(asked: Asked) -> tuple[dict[str, object], tuple[Part, ...]]:
    """Predict or read, measure, write; return what metrics.json holds, and the parts to print."""
    from oculard_models.evaluate.predictions import PredictionsWrong
    from oculard_models.evaluate.report import report_of
    from oculard_models.evaluate.results import write_results

    measured = _read(asked) if asked.saved is not None else _run(asked)
    try:
        parts = report_of(
            measured.predictions,
            outputs=measured.bundle.manifest.output if measured.bundle is not None else (),
            others=measured.others,
            seed=asked.seed,
        )
    except PredictionsWrong as why:  # a person of two sexes
        misuse(str(why))
    try:
        return write_results(asked.out, measured.about, measured.predictions, parts), parts
    except OSError as why:
        fail(f"{asked.out} cannot be written: {why.strerror}; hint: choose another folder with --out")


def _read(asked: Asked) -> Measured:
    """Read predictions."""
    from oculard_models.evaluate.prediction_table import read_csv
    from oculard_models.evaluate.predictions import PredictionsWrong

    assert asked.saved is not None
    try:
        predictions = read_csv(asked.saved)
    except PredictionsWrong as why:
        misuse(str(why))
    digest = hashlib.sha256(asked.saved.read_bytes()).hexdigest()
    about = _about(asked, predictions, table=asked.saved.name, digest=digest)
    return Measured(
        predictions=predictions, about=replace(about, warnings=(ONLY_PREDICTIONS,)), others=None, bundle=None
    )


def _run(asked: Asked) -> Measured:
    """Run the bundle over the photographs of the table, or of those persons that are asked for."""
    from oculard_models.data.split import SplitWrong, read_split
    from oculard_models.data.table import TableWrong, read_table

    assert asked.bundle is not None
    assert asked.table is not None
    try:
        content = read_table(asked.table, images=asked.images)
        split = read_split(asked.split, content) if asked.split is not None else None
    except (TableWrong, SplitWrong) as why:
        misuse(str(why))
    photographs = content.photographs if split is None else content.of(split.of(asked.part))
    if not photographs:
        misuse(f"{asked.split}: nobody is in `{asked.part}`; hint: choose another --part")
    try:
        bundle = read_bundle(asked.bundle)
        predictions, skipped = _predicted(asked, bundle, photographs)
    except (BundleRefused, EstimateFailed) as why:
        fail(str(why))
    others = _others(asked, content, split)
    about = _about(asked, predictions, table=content.name, digest=content.sha256)
    return Measured(
        predictions=predictions,
        about=_of_bundle(about, bundle, asked, others=others, warnings=content.warnings, skipped=skipped),
        others=others,
        bundle=bundle,
    )


def _predicted(
    asked: Asked, bundle: Bundle, photographs: tuple[Photograph, ...]
) -> tuple[Predictions, tuple[str, ...]]:
    """Run the bundle, and say which photographs were skipped because they could not be read."""
    from oculard_models.data.photographs import Unreadable
    from oculard_models.evaluate.predictions import PredictionsWrong, predict, predict_readable
    from oculard_models.runners.load import CPU, load

    estimator = load(bundle, runner=asked.runner.value, choice=CPU, threads=asked.threads)
    estimator.self_test()
    rows = followed(photographs, "estimating")
    try:
        if not asked.skip_unreadable:
            return predict(estimator, bundle.manifest, rows), ()
        predictions, skipped = predict_readable(estimator, bundle.manifest, rows)
    except PredictionsWrong as why:
        misuse(str(why))
    except Unreadable as why:
        fail(f"{why}; hint: --skip-unreadable leaves such photographs out and names them")
    if not len(predictions):
        fail(f"none of {len(skipped)} photographs can be read; the first: {skipped[0]}")
    return predictions, skipped


def _others(asked: Asked, table: Table, split: Split | None) -> Others | None:
    """Return the people who trained, for median and line; nobody where they are the ones who are measured."""
    from oculard_models.data.table import TARGETS
    from oculard_models.evaluate.baselines import others_of

    if split is None or asked.split is None or asked.part is PartName.TRAINING:
        return None
    rows = ((photograph.person, photograph.values) for photograph in table.of(split.training))
    return others_of(rows, TARGETS, f"the persons of `training` in {asked.split.name}")


def _about(asked: Asked, predictions: Predictions, *, table: str, digest: str) -> About:
    """Say where figures come from, as far as predictions alone tell."""
    from oculard_models.evaluate.about import About

    return About(
        table=table,
        table_sha256=digest,
        persons=len(set(predictions.persons.tolist())),
        photographs=len(predictions),
        part="all of the file",
        bundle="",
        weights_sha256="",
        runner="",
        demonstration=None,
        combine="",
        interval=None,
        baselines=CROSS_FITTED,
        command=asked.command(),
        version=f"oculard {version('oculard')}",
        seed=asked.seed,
        date=datetime.now(UTC).date().isoformat(),
    )


def _of_bundle(
    about: About,
    bundle: Bundle,
    asked: Asked,
    *,
    others: Others | None,
    warnings: tuple[str, ...],
    skipped: tuple[str, ...],
) -> About:
    """Add what is known of bundle and split."""
    manifest = bundle.manifest
    warned = list(warnings) if asked.split is not None else [NO_SPLIT, *warnings]
    if asked.split is not None and asked.part.value in SEEN:
        warned.insert(0, SEEN[asked.part.value])
    if skipped:
        warned.append(f"{len(skipped)} photographs could not be read and are left out; they are named at the end.")
    return replace(
        about,
        part=f"`{asked.part}` of {asked.split.name}" if asked.split is not None else about.part,
        bundle=bundle.identity,
        weights_sha256=manifest.weights.sha256,
        runner={"onnx": "onnxruntime", "torch": "torch"}[asked.runner.value],
        demonstration=manifest.demonstration,
        combine=manifest.combine.value,
        interval=manifest.interval,
        baselines=about.baselines
        if others is None
        else f"the persons of `training` in {asked.split.name}"
        if asked.split is not None
        else "",
        warnings=tuple(warned),
        skipped=skipped,
    )
