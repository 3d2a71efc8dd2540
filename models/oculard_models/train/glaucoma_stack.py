"""Stacking by support vector machines: what all views said becomes one probability for each class.

One machine with a radial kernel for each class against the rest, all with one C and one gamma, chosen by Cohen's
kappa in folds by person; Platt's sigmoid on decision values of persons that the machine did not learn from; then the
five are scaled to sum 1. scikit-learn fits the machines, the rest is a few lines that a network file can say as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.svm import SVC

from oculard_models.evaluate.kappa import confusion, kappa
from oculard_models.evaluate.measures import Numbers
from oculard_models.train.glaucoma_parts import Rows, folds_of
from oculard_models.train.settings import TrainingWrong

COSTS = (0.1, 0.3, 1.0, 3.0, 10.0)
GAMMAS = (0.003, 0.01, 0.03, 0.1)  # of standardised features; 1/20 is scikit-learn's "scale"
FOLDS = 5
SPREAD_MIN = 1e-3  # of a feature that hardly varies
LEAST = 1e-6  # of a probability, so that five that are nothing can be scaled

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Machine:
    """One class against the rest: `probability = sigmoid(slope * decision + intercept)`."""

    vectors: Numbers  # vectors x features, standardised
    weights: Numbers
    offset: float
    slope: float
    intercept: float

    def decision(self, standard: Numbers, gamma: float) -> Numbers:
        """How far on its side of the border each row lies."""
        apart = np.square(standard[:, None] - self.vectors[None]).sum(2)
        return np.asarray(np.exp(-gamma * apart) @ self.weights + self.offset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """The whole: standardisation, one machine a class, what was chosen for them."""

    mean: Numbers
    spread: Numbers
    machines: tuple[Machine, ...]
    cost: float
    gamma: float

    def probability(self, features: Numbers) -> Numbers:
        """Probabilities, rows x classes; every row sums to 1."""
        standard = (features - self.mean) / self.spread
        raw = np.stack([_sigmoid(one, one.decision(standard, self.gamma)) for one in self.machines], axis=1)
        raw = np.maximum(raw, LEAST)
        return np.asarray(raw / raw.sum(1, keepdims=True))


def fit_stack(features: Numbers, labels: Labels, persons: npt.NDArray[np.str_], classes: int, *, seed: int) -> Stack:
    """Choose C and gamma, fit one machine a class, scale them after Platt. Raises TrainingWrong."""
    mean, spread = features.mean(0), np.maximum(features.std(0), SPREAD_MIN)
    standard = (features - mean) / spread
    everyone: Rows = np.arange(len(labels))
    people = len(np.unique(persons))
    folds = [part for part in folds_of(everyone, persons, labels, min(FOLDS, people), seed=seed) if len(part)]
    held: dict[tuple[float, float], Numbers] = {
        (cost, gamma): _held_out(standard, labels, folds, classes, cost, gamma) for gamma in GAMMAS for cost in COSTS
    }

    def agreement(pair: tuple[float, float]) -> float:
        return kappa(confusion(labels, held[pair].argmax(1), classes))

    cost, gamma = max(held, key=agreement)
    machines = []
    for number in range(classes):
        is_so = labels == number
        fitted = _machine(standard, is_so, cost, gamma)
        slope, intercept = platt(held[cost, gamma][:, number], is_so)
        machines.append(
            Machine(
                vectors=fitted.support_vectors_,
                weights=fitted.dual_coef_[0],
                offset=float(fitted.intercept_[0]),
                slope=slope,
                intercept=intercept,
            )
        )
    return Stack(mean=mean, spread=spread, machines=tuple(machines), cost=cost, gamma=gamma)


def platt(decision: Numbers, is_so: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit Platt's sigmoid with his softened targets (Platt 1999): slope and intercept."""
    ones, zeros = int(is_so.sum()), int((~is_so).sum())
    target = np.where(is_so, (ones + 1.0) / (ones + 2.0), 1.0 / (zeros + 2.0))

    def loss(line: Numbers) -> tuple[float, Numbers]:
        logit = line[0] * decision + line[1]
        error = 1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0))) - target
        value = np.logaddexp(0.0, logit) - target * logit
        return float(value.sum()), np.asarray([(error * decision).sum(), error.sum()])

    start = np.asarray([1.0, np.log((ones + 1.0) / (zeros + 1.0))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return float(found.x[0]), float(found.x[1])


def _held_out(
    standard: Numbers, labels: Labels, folds: Sequence[Rows], classes: int, cost: float, gamma: float
) -> Numbers:
    """Decision values of machines that have not seen the person."""
    found = np.zeros((len(labels), classes))
    for part in folds:
        others = np.setdiff1d(np.arange(len(labels)), part)
        for number in range(classes):
            machine = _machine(standard[others], labels[others] == number, cost, gamma)
            found[part, number] = machine.decision_function(standard[part])
    return found


def _machine(standard: Numbers, is_so: npt.NDArray[np.bool_], cost: float, gamma: float) -> SVC:
    """Fit one machine; both sides weigh alike."""
    if is_so.all() or not is_so.any():
        raise TrainingWrong("a class has too few persons for the stacking's folds; hint: more eyes")
    return SVC(C=cost, gamma=gamma, class_weight="balanced").fit(standard, is_so)


def _sigmoid(machine: Machine, decision: Numbers) -> Numbers:
    """Platt's probability."""
    logit = np.clip(machine.slope * decision + machine.intercept, -60.0, 60.0)
    found: Numbers = 1.0 / (1.0 + np.exp(-logit))
    return found
