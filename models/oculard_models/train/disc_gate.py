"""Does the network of the optic disc make the quality gate's "no disc" better?

How to run, after `train disc` has left its networks in its run's folder (about 15 minutes on one core):

    oculard-lab train disc-gate --data ../shared/data --run runs/disc

The gate is trained as shipped, without a third of the patients at a time; the network of the disc has learnt from IDRiD
alone, and there from other folds. Both then see the same pictures of patients that they never saw: photographs with
their disc, cropped anew so that the disc is outside, and with the disc cut away. The figures go to stdout and to
`gate.json` in the run's folder, which `train disc --gate` puts into the card. A run that was interrupted goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import atan2, hypot, log, nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import nn

from oculard_models.data import degrade
from oculard_models.evaluate.delong import areas_of, auc_figure, difference
from oculard_models.evaluate.figures import Figure
from oculard_models.nets.gate import HEADS, GateNet
from oculard_models.nets.segmenters import build_segmenter
from oculard_models.train import quality_gate
from oculard_models.train.checkpoint import read_weights
from oculard_models.train.disc import DISC, NET
from oculard_models.train.disc import Settings as DiscSettings
from oculard_models.train.disc_data import disc_spec, photographs
from oculard_models.train.disc_found import Sight, look
from oculard_models.train.fitting import TRAINED
from oculard_models.train.quality_case import Case, measured_case
from oculard_models.train.quality_cases import LABELS, as_taken, case_of
from oculard_models.train.quality_learning import Cases, learn, predict
from oculard_models.train.quality_sources import Source, real_sources, seen
from oculard_models.train.segmenting import folds
from oculard_models.train.settings import TrainingWrong, as_options, asked

TAKEN, CLEAN = "as-taken", "clean"
CROPPED, CUT = "cropped so that it is outside", "cut away"
HAZY = 4.5  # CSDI's score: a hazier photograph may have no visible disc of its own
EDGE = 0.30  # radii between the disc's middle and where it is cut away: the whole disc goes
UNSURE = 1e-4  # a probability is kept off 0 and 1 by this, before it becomes a logit
OURS, SHIPPED = DiscSettings(data=""), quality_gate.Settings()  # the defaults of both trainings
STREAM = 108  # of random numbers: see data/paint.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command: where `train disc` ran and how, and how the gate is trained."""

    data: str
    run: str = "runs/disc"
    seed: int = 1
    size_px: int = OURS.size_px
    folds: int = OURS.folds
    copies: int = SHIPPED.copies
    painted: int = SHIPPED.painted
    others: int = SHIPPED.others
    epochs: int = SHIPPED.epochs
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What both said of one picture: the gate's logit that a disc is to be seen, and what the network saw."""

    kind: str
    group: str
    gate: float
    sight: Sight
    visible: float  # the label: 1 to be seen, 0 not, NaN nobody knows
    haze: float

    @property
    def network(self) -> float:
        """The network's logit."""
        sure = min(max(self.sight.surest, UNSURE), 1.0 - UNSURE)
        return log(sure / (1.0 - sure))


def main(arguments: Sequence[str]) -> None:
    """Train the gate without each part of the patients, let both look, compare."""
    settings = asked(Settings, arguments, "oculard-lab train disc-gate", __doc__ or "")
    torch.set_num_threads(settings.threads)
    fundus = Path(settings.data) / "fundus"
    real = real_sources(fundus)
    gates, nets = _gates(real, settings), _networks(fundus, settings)
    rows = [_seen_by_both(case, gates, nets, settings.size_px) for case in cases(real, settings.seed)]
    told = {
        "command": f"oculard-lab train disc-gate --data ../shared/data"
        f" {as_options(settings, without=('data', 'run', 'threads'))}",
        "date": datetime.now(UTC).date().isoformat(),
        "seed": settings.seed,
        "people": len({source.group for source in real}),
        "kinds": {kind: compared(rows, kind) for kind in (CROPPED, CUT)},
        "csdi": csdi(rows),
    }
    (Path(settings.run) / "gate.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(told, indent=1))


def cases(real: Sequence[Source], seed: int) -> Iterator[Case]:
    """Photograph everything anew: as it was, with the disc in the picture, outside of it, and cut away."""
    for number, source in enumerate(real):
        yield _called(as_taken(source), TAKEN, float(source.disc is not None))
        rngs = [np.random.default_rng([STREAM, seed, number, 1 + part]) for part in range(2)]
        yield case_of(source, CLEAN, rngs[0])
        if source.disc is not None:
            yield _called(case_of(source, "no-disc", rngs[1]), CROPPED, 0.0)
            yield cut_away(source)


def cut_away(source: Source) -> Case:
    """Black out the side of a photograph where its disc lies, as a lid or a badly placed frame does."""
    assert source.disc is not None, "only what has a disc can lose it"
    x, y = source.disc
    share = (1.0 + hypot(x, y) - EDGE) / 2.0
    scene = degrade.cut_off(source.scene, share, atan2(y, x))
    labels = dict.fromkeys(LABELS, nan) | {"disc": 0.0}
    return Case(picture=seen(scene.pixels), labels=labels, group=source.group, kind=CUT)


def compared(rows: Sequence[Row], kind: str) -> dict[str, Any]:
    """Tell pictures without the disc from clear ones with it: areas with DeLong's intervals, and plain decisions."""
    absent = [row for row in rows if row.kind == kind]
    present = [row for row in rows if row.kind == CLEAN and row.haze <= HAZY and row.visible == 1.0]
    both = [*absent, *present]
    gate, network = (np.array([getattr(row, name) for row in both]) for name in ("gate", "network"))
    truth = np.array([1.0] * len(absent) + [0.0] * len(present))
    areas = areas_of(truth, -np.stack([gate, network, gate + network]))
    gain = difference(areas, 2, 0)
    return {
        "without": len(absent),
        "with": len(present),
        "auc": {name: _plain(auc_figure(areas, k)) for k, name in enumerate(("gate", "network", "both"))},
        "gain_of_both": _plain(gain.auc) | {"p": gain.p},
        "said_no_disc_without": _decided(absent),
        "said_no_disc_with": _decided(present),
    }


def csdi(rows: Sequence[Row]) -> dict[str, Any]:
    """Say what both decided on CSDI's photographs as they were taken, by the graders' word."""
    taken = [row for row in rows if row.kind == TAKEN and row.group.startswith("csdi-")]
    visible, hidden = ([row for row in taken if row.visible == label] for label in (1.0, 0.0))
    return {
        "visible": len(visible),
        "not_visible": len(hidden),
        "said_no_disc_visible": _decided(visible),
        "said_no_disc_not_visible": _decided(hidden),
    }


# --- both networks --------------------------------------------------------------------------------------------------


def _gates(real: Sequence[Source], settings: Settings) -> list[tuple[list[str], GateNet]]:
    """Train the gate without each part of the patients, or take what was finished: who was held out, and the gate."""
    asked_of = quality_gate.Settings(
        seed=settings.seed,
        data=settings.data,
        copies=settings.copies,
        painted=settings.painted,
        others=settings.others,
        epochs=settings.epochs,
    )
    parts = quality_gate.parts_of(real, asked_of)
    paths = [Path(settings.run) / f"gate-{number}.pt" for number in range(len(parts))]
    learnt = None
    for held, path in zip(parts, paths, strict=True):
        if path.is_file():
            continue
        learnt = learnt or quality_gate.made(quality_gate.learning_jobs(real, asked_of), asked_of, "to learn from")
        typer.echo(f"without {', '.join(held)}", err=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(learn(learnt.of(~np.isin(learnt.groups, held)), asked_of).state_dict(), path)
    return [(held, _gate(path)) for held, path in zip(parts, paths, strict=True)]


def _gate(path: Path) -> GateNet:
    """Read a trained gate."""
    net = GateNet()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()


def _networks(fundus: Path, settings: Settings) -> dict[str, nn.Module]:
    """Read what `train disc` left: for each of its photographs the network that has not seen it, "" for all others."""
    run = Path(settings.run)
    parts = folds(photographs(fundus / "idrid", disc_spec(settings.size_px)), settings.folds, settings.seed)
    nets = {"": _network(run / "all")}
    for number, part in enumerate(parts):
        net = _network(run / f"fold-{number}")
        nets |= {one.about.name.lower(): net for one in part}
    return nets


def _network(folder: Path) -> nn.Module:
    """Read a trained network of the disc. Raises TrainingWrong."""
    path = folder / TRAINED
    if not path.is_file():
        raise TrainingWrong(f"{path} is not there; hint: `oculard-lab train disc --run {folder.parent}` comes first")
    net = build_segmenter(NET)
    net.load_state_dict(read_weights(path))
    return net.eval()


def _seen_by_both(
    case: Case, gates: Sequence[tuple[list[str], GateNet]], nets: Mapping[str, nn.Module], size_px: int
) -> Row:
    """Let a gate and a network look that have never seen this patient."""
    gate = next(net for held, net in gates if case.group in held)
    net = nets.get(case.group, nets[""])
    small = Image.fromarray(case.picture.transpose(1, 2, 0)).resize((size_px, size_px), Image.Resampling.BICUBIC)
    plane = np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
    return Row(
        kind=case.kind,
        group=case.group,
        gate=_logit(gate, case),
        sight=look(net, plane, disc_spec(size_px), DISC),
        visible=case.labels["disc"],
        haze=case.labels["haze"],
    )


def _logit(net: GateNet, case: Case) -> float:
    """Return the gate's logit that a disc is to be seen."""
    one = measured_case(lambda: case)
    few = Cases(
        pictures=torch.from_numpy(one.half)[None],
        found=torch.from_numpy(one.found)[None],
        labels={},
        groups=np.array([case.group]),
        kinds=np.array([case.kind]),
    )
    return float(predict(net, few)[0, HEADS.index("disc")])


# --- figures --------------------------------------------------------------------------------------------------------


def _decided(rows: Sequence[Row]) -> dict[str, int]:
    """Count who says that there is no disc: the gate below even odds, the network where it finds none."""
    gate, network = [row.gate < 0.0 for row in rows], [not row.sight.found for row in rows]
    return {
        "pictures": len(rows),
        "gate": sum(gate),
        "network": sum(network),
        "both": sum(one and two for one, two in zip(gate, network, strict=True)),
        "either": sum(one or two for one, two in zip(gate, network, strict=True)),
    }


def _plain(figure: Figure) -> dict[str, float | None]:
    """Round a figure with its interval."""
    ends = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {name: None if number is None else round(number, 4) for name, number in ends.items()}


def _called(case: Case, kind: str, visible: float) -> Case:
    """Rename a case, and say whether a disc is to be seen."""
    return replace(case, kind=kind, labels=case.labels | {"disc": visible})


if __name__ == "__main__":
    main(sys.argv[1:])
