"""Train estimators of sex, age, blood pressure, glucose, waist and BMI from a table of photographs; write a bundle.

How to run (needs the extra `lab`):

    oculard-lab train systemic --table T.csv --images DIR --net efficientnet-b7 --targets sex,age,sbp --out my-bundle
    oculard-lab train systemic --table T.csv --targets sex --net mobilenet --out sex-bundle          # one estimator
    oculard-lab train systemic ... --trunk separate                                  # one network a target, as JOIR's

It reads top to bottom: settings, data, networks, intervals, measures, bundle. People are split into those who train,
tune, calibrate and test, and the split is written down (split.json in the run's folder); `--split` takes one that is
there. The same seed on the same machine gives the same numbers. `--resume RUN/last.ckpt` continues (with separate
trunks: `--resume RUN`). Progress goes to stderr, the figures to stdout and into the bundle's metrics.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
import typer
from torch import nn

from oculard_models.data.augment import Variation
from oculard_models.data.dataset import PhotographSet
from oculard_models.data.scaling import Scaling
from oculard_models.data.table import TARGETS, Photograph
from oculard_models.evaluate.baselines import others_of
from oculard_models.evaluate.report import report_of
from oculard_models.export import Draft, write_bundle
from oculard_models.export.bundle import METRICS
from oculard_models.manifest import Combine, Crop, InputSpec
from oculard_models.nets.sixteen import Architecture, Separate, architecture, build
from oculard_models.train.card_table import figures_json, figures_table
from oculard_models.train.checkpoint import About, write_checkpoint
from oculard_models.train.estimating import estimate, prepared
from oculard_models.train.fitting import LAST, TRAINED, Job, fit, take_finished
from oculard_models.train.intervals import LEVEL, half_widths
from oculard_models.train.material import Material, gather, keep_split
from oculard_models.train.outputs import outputs_of
from oculard_models.train.settings import Fit, TrainingWrong, as_options, asked, part_of
from oculard_models.train.systemic_card import golden_eye, systemic_card

# --- settings -------------------------------------------------------------------------------------------------------

PLACES = ("table", "images", "split", "out", "run", "resume", "initial")  # of one machine: not in the command we note
KEPT_MAX_BYTES = 4 << 30  # 27,000 photographs at 224 pixels
CHECKED = 4  # photographs on which torch and onnxruntime are compared
WORDS = "Train estimators of systemic attributes from a table of photographs, and write them as a bundle."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Fit):
    """Everything that decides what comes out; each is an option of the command, and all travel in the checkpoint."""

    table: str = field(metadata={"help": "CSV or Parquet: path or sop_instance_uid, person, eye, targets"})
    out: str = field(metadata={"help": "folder of the bundle; must not be there"})
    images: str = field(default="", metadata={"help": "folder of the photographs; the table's if not given"})
    split: str = field(default="", metadata={"help": "split.json of an earlier run, to use the same people"})
    run: str = field(
        default="", metadata={"help": "folder of checkpoints and metrics; `_NAME-run` beside the bundle if not given"}
    )
    resume: str = field(default="", metadata={"help": "last.ckpt of an interrupted run, or its folder"})
    net: str = "efficientnet-b7"
    targets: str = "sex,age,sbp,dbp,glucose,waist,bmi"
    trunk: str = field(default="shared", metadata={"help": "shared: one network; separate: one a target"})
    size_px: int = field(
        default=0, metadata={"help": "height and width of the input; 0: what the network was made for"}
    )
    crop: str = field(default="circle", metadata={"help": "circle: the illuminated field; whole: the frame"})
    left: str = field(default="mirrored", metadata={"help": "left eyes: mirrored, or kept and flips of both trained"})
    initial: str = field(default="", metadata={"help": "file of weights to begin with; nothing is ever downloaded"})
    combine: str = field(default="eye", metadata={"help": "what the report states: eye by eye, or person"})
    demonstration: str = field(default="no", metadata={"help": "yes: the values mean nothing for people"})
    name: str = "systemic"
    version: str = "1.0.0"
    title: str = "Systemic attributes (research)"
    manufacturer: str = "own training"
    licence: str = "not stated: ask those who trained it"
    citation: str = ""
    data_words: str = field(default="", metadata={"help": "who the people are and where the photographs come from"})

    def __post_init__(self) -> None:
        Fit.__post_init__(self)
        choices = {
            "trunk": ("shared", "separate"),
            "crop": tuple(Crop),
            "left": ("mirrored", "kept"),
            "combine": tuple(Combine),
            "demonstration": ("yes", "no"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise TrainingWrong(f"`{name}` is `{getattr(self, name)}`; hint: one of {', '.join(allowed)}")

    @property
    def heads(self) -> tuple[str, ...]:
        """The targets, in the order that was asked for."""
        return tuple(name.strip() for name in self.targets.split(",") if name.strip())

    @property
    def pixels(self) -> int:
        """Height and width of what the network sees."""
        return self.size_px or architecture(self.net).size_px

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.run) if self.run else Path(self.out).with_name(f"_{Path(self.out).name}-run")


def input_spec(chosen: Architecture, *, size_px: int, crop: str, left: str) -> InputSpec:
    """Say what the network wants to see. Raises TrainingWrong for a size that leaves nothing of the picture."""
    size = size_px or chosen.size_px
    if not chosen.least_px <= size <= 4096:
        raise TrainingWrong(f"`{chosen.name}` takes {chosen.least_px} to 4096 pixels, got {size}")
    return InputSpec(
        kind="fundus",
        tensor="image",
        size_px=(size, size),
        mean=chosen.mean,
        std=chosen.std,
        crop=Crop(crop),
        mirror_left=left == "mirrored",
    )


def variation(spec: InputSpec) -> Variation:
    """Say how photographs vary in training: a little of everything; flips only where both eyes are seen as they are."""
    return Variation(
        flip="none" if spec.mirror_left else "both",
        rotate_deg=10.0,
        scale=0.1,
        shift=0.02,
        brightness=0.1,
        contrast=0.1,
        gamma=0.1,
    )


# --- networks -------------------------------------------------------------------------------------------------------


def learn(settings: Settings, material: Material, spec: InputSpec) -> nn.Module:
    """Train what was asked for: one network of all heads, or one a head."""
    if settings.trunk == "shared":
        return learn_one(settings, material, spec, settings.heads, settings.folder)
    nets = [learn_one(settings, material, spec, (head,), settings.folder / head) for head in settings.heads]
    net = Separate(nets).eval()
    write_checkpoint(settings.folder / TRAINED, net, _about(settings, spec, settings.heads, material.scaling))
    return net


def learn_one(settings: Settings, material: Material, spec: InputSpec, heads: tuple[str, ...], run: Path) -> nn.Module:
    """Train one network; take it as it is where an interrupted run has finished it already."""
    fitting = part_of(Fit, settings)
    torch.manual_seed(settings.seed)
    initial = Path(settings.initial) if settings.initial else None
    net = build(settings.net, heads, initial=initial)
    scaling = _some_of(material.scaling, heads)
    said = {"targets": list(heads), "table": material.table.sha256, "split": material.digest()}
    about = About(architecture=settings.net, trunk="shared", heads=heads, spec=spec, scaling=scaling, settings=said)
    if settings.resume and take_finished(net, about, fitting, run):
        return net
    training = PhotographSet(material.training, heads, spec, scaling, varied=variation(spec), seed=settings.seed)
    tuning = PhotographSet(material.tuning, heads, spec, scaling, varied=None, seed=settings.seed)
    keep_small(training, tuning)
    fit(Job(net=net, about=about, training=training, tuning=tuning), fitting, run, resume=_resumed(settings, run))
    return net


def keep_small(*sets: PhotographSet) -> None:
    """Keep prepared photographs in memory where all of them fit: they are read once instead of once an epoch."""
    size = sum(3 * data.spec.size_px[0] * data.spec.size_px[1] * len(data) for data in sets)
    if size <= KEPT_MAX_BYTES:
        for data in sets:
            data.keep()


def _about(settings: Settings, spec: InputSpec, heads: tuple[str, ...], scaling: Scaling) -> About:
    """Say what the checkpoint of several networks together is."""
    return About(
        architecture=settings.net,
        trunk=settings.trunk,
        heads=heads,
        spec=spec,
        scaling=scaling,
        settings={"command": command(settings)},
    )


def _some_of(scaling: Scaling, heads: tuple[str, ...]) -> Scaling:
    """Take the scaling of some targets."""
    at = [scaling.names.index(head) for head in heads]
    return Scaling(names=heads, mean=tuple(scaling.mean[k] for k in at), std=tuple(scaling.std[k] for k in at))


def _resumed(settings: Settings, run: Path) -> Path | None:
    """Return the checkpoint to continue from. Raises TrainingWrong where none is meant."""
    if not settings.resume:
        return None
    path = Path(settings.resume)
    if settings.trunk == "separate":
        if not path.is_dir() or path.resolve() != settings.folder.resolve():
            raise TrainingWrong(f"separate networks continue from their run's folder {settings.folder}, not {path}")
        return run / LAST if (run / LAST).is_file() else None
    return path / LAST if path.is_dir() else path


# --- bundle ---------------------------------------------------------------------------------------------------------


def command(settings: Settings) -> str:
    """Write the command that gives the same again, without the places of one machine."""
    return "oculard-lab train systemic " + as_options(settings, without=PLACES)


def seen(training: Sequence[Photograph], heads: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the range of every value among those who trained: what lies beyond was never seen, and is not reported."""
    known = {name: [p.values[name] for p in training if name in p.values] for name in heads if name != "sex"}
    return {name: (min(values), max(values)) for name, values in known.items()}


def draft_of(settings: Settings, material: Material, net: nn.Module, spec: InputSpec) -> Draft:
    """Calibrate the intervals, measure on the test people, and describe the bundle."""
    run = partial(estimate, net, spec=spec, scaling=material.scaling, batch=settings.batch, workers=settings.workers)
    widths = half_widths(run(material.calibration))
    outputs = outputs_of(material.scaling, widths, seen(material.training, settings.heads))
    everybody = ((p.person, p.values) for p in material.training)
    others = others_of(everybody, TARGETS, "the people who trained")
    parts = report_of(run(material.test), outputs=outputs, others=others, seed=settings.seed)
    return Draft(
        name=settings.name,
        family="systemic",
        version=settings.version,
        title=settings.title,
        manufacturer=settings.manufacturer,
        licence=settings.licence,
        citation=settings.citation,
        demonstration=settings.demonstration == "yes",
        combine=Combine(settings.combine),
        interval=LEVEL,
        input=spec,
        outputs=outputs,
        card=systemic_card(settings, material, figures_table(parts, outputs), command=command(settings), level=LEVEL),
        metrics=metrics_of(settings, material) | figures_json(parts),
        golden=golden_eye(),
    )


def metrics_of(settings: Settings, material: Material) -> dict[str, object]:
    """Say where the figures come from."""
    return {
        "command": command(settings),
        "date": datetime.now(UTC).date().isoformat(),
        "data": settings.data_words or f"{material.table.name}, which nobody described",
        "table_sha256": material.table.sha256,
        "seed": settings.seed,
        "people": material.people(),
        "intervals": "of estimates: conformal, from the calibration people; of figures: 95 %, bootstrap over persons",
    }


def main(arguments: Sequence[str]) -> None:
    """Train, calibrate, measure, export."""
    settings = asked(Settings, arguments, "oculard-lab train systemic", WORDS)
    out, heads = Path(settings.out), settings.heads
    if out.exists():
        raise TrainingWrong(f"{out} is already there; hint: name another folder with --out")
    spec = input_spec(architecture(settings.net), size_px=settings.size_px, crop=settings.crop, left=settings.left)
    split = Path(settings.split) if settings.split else None
    images = Path(settings.images) if settings.images else None
    material = gather(Path(settings.table), images, split, settings.seed, heads)
    for warning in material.table.warnings:
        typer.echo(warning, err=True)
    keep_split(material, settings.folder)
    net = learn(settings, material, spec)
    check = prepared(material.test[:CHECKED], spec)
    exported = write_bundle(out, net, draft_of(settings, material, net, spec), check=check)
    typer.echo(f"torch and onnxruntime differ by at most {exported.largest_difference:.1e}", err=True)
    typer.echo((exported.bundle.folder / METRICS).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
