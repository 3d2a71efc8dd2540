"""From what the networks of all views said to one answer an eye, and how good it is: arms, shares, splits, ablation."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from oculard_models.data.disc_eyes import Eyes
from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.kappa import Trial, confusion, difference, figures, kappa
from oculard_models.evaluate.measures import Numbers
from oculard_models.nets.stacked import Machines, Stacked
from oculard_models.nets.vgg import Vgg, build_vgg
from oculard_models.train.glaucoma_cell import (
    ARMS,
    CLASSES,
    FLAT,
    GLAUCOMA,
    TAUGHT,
    Cell,
    Told,
    features_of,
    read_told,
    weights_path,
)
from oculard_models.train.glaucoma_stack import Stack, fit_stack

TYPES = CLASSES[FLAT]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What one arm said of the test eyes of one split."""

    test: npt.NDArray[np.int64]  # rows of the eyes
    probability: Numbers

    def trial(self, truth: npt.NDArray[np.int64]) -> Trial:
        """Put it beside what the eyes are."""
        return Trial(rows=self.test, truth=truth[self.test], said=self.probability.argmax(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which arm, share and split, and which views are looked at."""

    arm: str
    share: float
    split: int
    views: tuple[int, ...]

    @property
    def name(self) -> str:
        """What its file is called."""
        views = "".join(map(str, self.views))
        return f"{self.arm}-{round(1000 * self.share):04d}-split-{self.split}-views-{views}"


def judge(run: Path, eyes: Eyes, question: Question, *, seed: int) -> Judged:
    """Stack what the views said, and answer for the test eyes; what was answered before is read."""
    path = run / "judged" / f"{question.name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return Judged(test=file["test"], probability=file["probability"])
    told = told_of(run, question)
    stack = stack_of(told, eyes, question.arm, seed=seed)
    tested = np.concatenate([features_of(question.arm, one.tested) for one in told], axis=1)
    found = Judged(test=told[0].test, probability=stack.probability(tested))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(4)}.npz")
    np.savez(beside, test=found.test, probability=found.probability)
    beside.replace(path)
    return found


def told_of(run: Path, question: Question) -> list[Told]:
    """Read what the networks of the views said."""
    cells = [Cell(split=question.split, share=question.share, view=view) for view in question.views]
    return [read_told(run, cell) for cell in cells]


def stack_of(told: Sequence[Told], eyes: Eyes, arm: str, *, seed: int) -> Stack:
    """Fit the stacking on what was said of training eyes by networks that did not see their persons."""
    rows = told[0].training
    held = np.concatenate([features_of(arm, one.held) for one in told], axis=1)
    return fit_stack(held, eyes.labels[rows], eyes.persons[rows], TYPES, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the study asks: all arms at all shares in all splits, and parts of the views at the largest share."""

    run: Path
    eyes: Eyes
    shares: tuple[float, ...]
    splits: int
    seed: int

    @property
    def views(self) -> tuple[int, ...]:
        """All views."""
        return tuple(range(len(self.eyes.names)))

    def trials(
        self, arm: str, share: float, views: tuple[int, ...] | None = None, truth: str = "labels"
    ) -> list[Trial]:
        """Answer in every split."""
        chosen = views or self.views
        asked = [Question(arm=arm, share=share, split=split, views=chosen) for split in range(self.splits)]
        against = getattr(self.eyes, truth)
        return [judge(self.run, self.eyes, one, seed=self.seed).trial(against) for one in asked]


def trained(asked: Asked, net: str, model: str, split: int, view: int) -> Vgg:
    """Read Model 2 or Model 4 of a view, which learnt from all training eyes of a split."""
    built = build_vgg(net, CLASSES[model])
    path = weights_path(asked.run, Cell(split=split, share=asked.shares[0], view=view), model)
    built.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return built.eval()


def shipped(asked: Asked, net: str) -> Stacked:
    """The whole classifier of the first split: what the bundle holds."""
    question = Question(arm="transfer", share=asked.shares[0], split=0, views=asked.views)
    stack = stack_of(told_of(asked.run, question), asked.eyes, question.arm, seed=asked.seed)
    pairs = [(trained(asked, net, GLAUCOMA, 0, view), trained(asked, net, TAUGHT, 0, view)) for view in asked.views]
    return Stacked(pairs, Machines(stack)).eval()


def study(asked: Asked) -> dict[str, Any]:
    """Measure everything; plain values for figures.json."""
    cells = {(arm, share): asked.trials(arm, share) for arm in ARMS for share in asked.shares}
    return {
        "arms": {
            arm: {_share(share): _measured(asked, cells[arm, share], arm, share) for share in asked.shares}
            for arm in ARMS
        },
        "differences": {
            f"transfer - {other}": {
                _share(share): _plain(_apart(asked, cells["transfer", share], cells[other, share]))
                for share in asked.shares
            }
            for other in ("hierarchical", "flat")
        },
        "less_data": {
            arm: _plain(_apart(asked, cells[arm, asked.shares[0]], cells[arm, asked.shares[-1]])) for arm in ARMS
        },
        "ablation": {arm: _ablation(asked, arm) for arm in ARMS},
    }


def _measured(asked: Asked, trials: Sequence[Trial], arm: str, share: float) -> dict[str, Any]:
    """Measure one arm at one share."""
    found = figures(trials, asked.eyes.persons, TYPES, seed=asked.seed)
    true = figures(asked.trials(arm, share, truth="truth"), asked.eyes.persons, TYPES, seed=asked.seed)
    tables = [confusion(one.truth, one.said, TYPES) for one in trials]
    return {
        **{name: _plain(figure) for name, figure in found.items()},
        "kappa_by_split": [round(kappa(table), 4) for table in tables],
        "kappa_against_truth": _plain(true["kappa"]),
        "confusion": np.sum(tables, axis=0).astype(int).tolist(),
    }


def _ablation(asked: Asked, arm: str) -> dict[str, Any]:
    """Let each view alone answer, then all but one."""
    share, found = asked.shares[0], {}
    for view in asked.views:
        others = tuple(one for one in asked.views if one != view)
        alone = figures(asked.trials(arm, share, (view,)), asked.eyes.persons, TYPES, seed=asked.seed)["kappa"]
        found[asked.eyes.names[view]] = {"alone": _plain(alone)}
        if others:
            without = figures(asked.trials(arm, share, others), asked.eyes.persons, TYPES, seed=asked.seed)["kappa"]
            found[asked.eyes.names[view]]["without"] = _plain(without)
    return found


def _apart(asked: Asked, first: Sequence[Trial], second: Sequence[Trial]) -> Figure:
    """Kappa of the first less that of the second, paired by eye."""
    return difference(first, second, asked.eyes.persons, TYPES, seed=asked.seed)


def _plain(figure: Figure) -> Mapping[str, float | str]:
    """As JSON has it."""
    return figure.to_json()


def _share(share: float) -> str:
    """Name a share in a table: `1`, `0.5`."""
    return f"{share:g}"
