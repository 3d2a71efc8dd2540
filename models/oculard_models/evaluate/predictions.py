"""What an estimator said about photographs, beside what is true: made by running a bundle, or read from a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Estimator, ImageInput
from oculard_models.data.photographs import Unreadable, read_pixels
from oculard_models.data.table import TARGETS, Photograph
from oculard_models.evaluate.measures import Numbers
from oculard_models.manifest import Manifest, Output, OutputKind

COVARIATES = ("sex", "age")  # what is known of a person without any picture
EYES = ("R", "L", "RL")  # RL: both eyes of one person, averaged
BATCH = 8


class PredictionsWrong(ValueError):
    """Predictions that cannot be evaluated; the message names file, row, column and value."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Truth and estimates of n photographs (or eyes, or persons) for k targets, in the table's units.

    `truth` is NaN where it is not known, `estimate` where the network gave no number. Of sex, `truth` is 0 (F) or
    1 (M) and `estimate` the probability of male. `beside` holds the true sex or age where it was not estimated.
    """

    persons: npt.NDArray[np.str_]  # n
    eyes: npt.NDArray[np.str_]  # n, of EYES
    names: tuple[str, ...]  # k
    truth: Numbers  # n x k
    estimate: Numbers  # n x k
    beside: Mapping[str, Numbers] = field(default_factory=dict)  # n each

    def __post_init__(self) -> None:
        shape = (len(self.persons), len(self.names))
        if not self.names or len(set(self.names)) != len(self.names) or not set(self.names) <= set(TARGETS):
            raise PredictionsWrong(f"predictions are of {self.names}; hint: some of {', '.join(TARGETS)}, each once")
        if self.truth.shape != shape or self.estimate.shape != shape or self.eyes.shape != shape[:1]:
            found = f"{self.eyes.shape}, {self.truth.shape} and {self.estimate.shape}"
            raise PredictionsWrong(f"expected eyes, truth and estimates of {shape}, got {found}")
        if np.isinf(self.truth).any() or not set(np.unique(self.eyes).tolist()) <= set(EYES):
            raise PredictionsWrong(f"a true value is infinite, or an eye is none of {', '.join(EYES)}")
        if not set(self.beside) <= set(COVARIATES) - set(self.names):
            raise PredictionsWrong(f"beside the estimates stands {', '.join(self.beside)}; hint: only sex or age")
        if any(column.shape != shape[:1] or np.isinf(column).any() for column in self.beside.values()):
            raise PredictionsWrong(f"expected {shape[0]} finite values beside the estimates")
        self._check_sex()

    def _check_sex(self) -> None:
        """The truth of a sex is 0 or 1, its estimate a probability."""
        truth = self.known("sex")
        estimate = self.of("sex")[1] if "sex" in self.names else truth
        if not np.isin(truth[np.isfinite(truth)], (0.0, 1.0)).all():
            raise PredictionsWrong("a true sex is neither 0 (F) nor 1 (M); hint: has one person two sexes?")
        known = estimate[~np.isnan(estimate)]
        if ((known < 0.0) | (known > 1.0)).any():
            raise PredictionsWrong("an estimate of sex is no probability of male between 0 and 1")

    def __len__(self) -> int:
        return len(self.persons)

    def of(self, name: str) -> tuple[Numbers, Numbers]:
        """Return truth and estimate of one target."""
        k = self.names.index(name)
        return self.truth[:, k], self.estimate[:, k]

    def known(self, name: str) -> Numbers:
        """Return what is true of one target, whether it was estimated or not; NaN where it is not known."""
        if name in self.names:
            return self.of(name)[0]
        return self.beside.get(name, np.full(len(self), np.nan))

    def where(self, chosen: npt.NDArray[np.bool_]) -> Predictions:
        """Keep some of the rows."""
        return Predictions(
            persons=self.persons[chosen],
            eyes=self.eyes[chosen],
            names=self.names,
            truth=self.truth[chosen],
            estimate=self.estimate[chosen],
            beside={name: column[chosen] for name, column in self.beside.items()},
        )

    def by_eye(self) -> Predictions:
        """Average the photographs of each eye, as the daemon does; one that failed makes its eye fail."""
        groups: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(zip(self.persons.tolist(), self.eyes.tolist(), strict=True)):
            groups.setdefault(key, []).append(row)
        return self._averaged(groups)

    def by_person(self) -> Predictions:
        """Average the photographs of each eye, then both eyes: an eye photographed more often counts no more."""
        eyes = self.by_eye()
        groups: dict[str, list[int]] = {}
        for row, person in enumerate(eyes.persons.tolist()):
            groups.setdefault(person, []).append(row)
        seen = {person: "RL" if len(rows) > 1 else str(eyes.eyes[rows[0]]) for person, rows in groups.items()}
        return eyes._averaged({(person, seen[person]): rows for person, rows in groups.items()})

    def _averaged(self, groups: dict[tuple[str, str], list[int]]) -> Predictions:
        """Make one row of each group: the mean of its estimates, and of what is known of its truth."""
        rows = list(groups.values())
        return Predictions(
            persons=np.array([person for person, _ in groups], dtype=np.str_),
            eyes=np.array([eye for _, eye in groups], dtype=np.str_),
            names=self.names,
            truth=self._shaped([_mean_of_known(self.truth[at]) for at in rows]),
            estimate=self._shaped([self.estimate[at].mean(axis=0) for at in rows]),
            beside={name: np.array([_mean_of_known(v[at]) for at in rows]) for name, v in self.beside.items()},
        )

    def _shaped(self, rows: Sequence[Numbers]) -> Numbers:
        """Make rows a matrix, of no rows too."""
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.names))


def predict(
    estimator: Estimator, manifest: Manifest, photographs: Iterable[Photograph], *, batch: int = BATCH
) -> Predictions:
    """Run a loaded bundle over photographs. Raises Unreadable and EstimateFailed."""

    def refuse(_: Photograph, why: Unreadable) -> None:
        raise why

    return _predicted(estimator, manifest, photographs, refuse, batch)


def predict_readable(
    estimator: Estimator, manifest: Manifest, photographs: Iterable[Photograph], *, batch: int = BATCH
) -> tuple[Predictions, tuple[str, ...]]:
    """Run a loaded bundle over those photographs that can be read; say of the others why they cannot."""
    skipped: list[str] = []

    def skip(_: Photograph, why: Unreadable) -> None:
        skipped.append(str(why))

    return _predicted(estimator, manifest, photographs, skip, batch), tuple(skipped)


def evaluated_outputs(manifest: Manifest) -> tuple[Output, ...]:
    """Return those outputs of a bundle whose truth a table can hold. Raises PredictionsWrong where there is none."""
    outputs = tuple(output for output in manifest.output if output.name in TARGETS)
    if not outputs:
        given = ", ".join(output.name for output in manifest.output)
        raise PredictionsWrong(f"bundle `{manifest.name}` gives {given}; hint: only {', '.join(TARGETS)} are evaluated")
    return outputs


def in_units(output: Output, raw: float) -> float:
    """Turn one raw output into its unit, sex into the probability of male; NaN where it is no number."""
    if not isfinite(raw):
        return float("nan")
    if output.kind is OutputKind.VALUE:
        return raw * output.scale + output.offset
    second = float(1.0 / (1.0 + np.exp(-np.clip(raw, -60.0, 60.0))))
    return 1.0 - second if output.choices[0] == "M" else second


def _predicted(
    estimator: Estimator,
    manifest: Manifest,
    photographs: Iterable[Photograph],
    unreadable: Callable[[Photograph, Unreadable], None],
    batch: int,
) -> Predictions:
    """Prepare photograph by photograph, estimate batch by batch."""
    outputs = evaluated_outputs(manifest)
    seen: list[Photograph] = []
    estimates: list[list[float]] = []
    prepared = _prepared(estimator, photographs, unreadable)
    while some := list(islice(prepared, batch)):
        seen += [photograph for photograph, _ in some]
        raws = estimator.estimate(np.stack([plane for _, plane in some]))
        estimates += [[in_units(output, raw[output.name]) for output in outputs] for raw in raws]
    names = tuple(output.name for output in outputs)
    truth = {name: np.array([p.values.get(name, np.nan) for p in seen], dtype=np.float64) for name in TARGETS}
    return Predictions(
        persons=np.array([photograph.person for photograph in seen], dtype=np.str_),
        eyes=np.array([photograph.eye for photograph in seen], dtype=np.str_),
        names=names,
        truth=np.stack([truth[name] for name in names], axis=1),
        estimate=np.array(estimates, dtype=np.float64).reshape(-1, len(names)),
        beside={name: truth[name] for name in COVARIATES if name not in names},
    )


def _prepared(
    estimator: Estimator, photographs: Iterable[Photograph], unreadable: Callable[[Photograph, Unreadable], None]
) -> Iterator[tuple[Photograph, npt.NDArray[np.float32]]]:
    """Yield every photograph that can be read with what the network sees of it."""
    for photograph in photographs:
        try:
            pixels = read_pixels(photograph.path)
        except Unreadable as why:
            unreadable(photograph, why)
            continue
        image = ImageInput(sop_instance_uid="2.25.0", eye=photograph.eye, pixels=pixels)
        yield photograph, estimator.prepare(image)


def _mean_of_known(rows: Numbers) -> Numbers:
    """Average over rows what is not NaN; NaN where nothing is known."""
    known = np.isfinite(rows)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
