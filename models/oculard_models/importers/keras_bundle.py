"""From a Keras file to a bundle. What the file does not say is asked for, tried, or marked as an assumption."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.data.photographs import read_pixels
from oculard_models.data.table import Photograph, Table
from oculard_models.export import Draft, Exported, write_bundle
from oculard_models.importers.imported_card import card
from oculard_models.importers.keras_file import KerasFile
from oculard_models.importers.keras_head import Unsaid, head_of
from oculard_models.importers.keras_input import View
from oculard_models.importers.keras_net import KerasNet, read_net
from oculard_models.importers.keras_probe import Candidate, Tried, probe
from oculard_models.importers.keras_trial import survive
from oculard_models.importers.keras_wishes import (
    Decision,
    Wishes,
    candidates,
    crop_of,
    decisions,
    ended_net,
    outputs_of,
    sides,
)
from oculard_models.manifest import InputSpec
from oculard_models.preprocess import prepare

GOLDEN_SEED, GOLDEN_PX = 20_000_002, 256  # of the painted right eye of the self-test


@dataclass(frozen=True, slots=True)
class Imported:
    """A written bundle and what the import decided: one sentence each, with who said so."""

    exported: Exported
    decisions: tuple[Decision, ...]  # what, value, who says so


def import_keras(
    path: Path,
    folder: Path,
    wishes: Wishes,
    *,
    table: Table | None,
    show: Callable[[Tried], None],
    followed: Callable[[Sequence[Photograph]], Iterable[Photograph]],
) -> Imported:
    """Write the bundle `folder`. Raises KerasRefused, Unsaid (the user must say more) or ExportWrong."""
    survive(path)
    with KerasFile(path) as file:
        net = read_net(file, wishes.size_px)
        facts = {"file": path.name, "sha256": file.sha256(), "keras": file.keras_version, "head": str(head_of(net))}
    facts["layers"] = str(len({part.step.path for part in net.parts[1:]}))
    view = View(size_px=sides(net), crop=crop_of(wishes), mirror_left=wishes.mirror_left)
    ended_net(net, wishes, turned=False)  # a head that cannot be read is refused before anything is asked
    possible = candidates(net, wishes, may_try=table is not None)
    tried = None
    if table is not None:
        tried = probe(possible, table.photographs, wishes.outputs, _Trial(net, view, wishes, followed).run)
        show(tried)
    chosen = _chosen(possible, tried)
    decided = decisions(net, wishes, chosen, was_tried=tried is not None and len(possible) > 1)
    spec = view.spec(chosen.range, chosen.colour)
    draft = _draft(wishes, spec, decided, facts, tried, table)
    ended = ended_net(net, wishes, turned=chosen.turned)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Constant folding")  # of padding: onnxruntime folds it when it loads
        return Imported(write_bundle(folder, ended, draft, check=_check(spec, draft.golden)), decided)


def _chosen(possible: Sequence[Candidate], tried: Tried | None) -> Candidate:
    """Take the only candidate, or the one that is clearly best. Raises Unsaid."""
    if len(possible) == 1:
        return possible[0]
    if tried is None or tried.best is None:
        raise Unsaid("no candidate is clearly best; hint: say --range, --colour and --classes, or label more people")
    return tried.best


@dataclass(frozen=True, slots=True)
class _Trial:
    """Runs photographs through the network as one candidate would; each way to feed it only once."""

    net: KerasNet
    view: View
    wishes: Wishes
    followed: Callable[[Sequence[Photograph]], Iterable[Photograph]]
    seen: dict[tuple[str, str], npt.NDArray[np.float64]] = field(default_factory=dict)

    def run(self, candidate: Candidate, photographs: Sequence[Photograph]) -> npt.NDArray[np.float64]:
        """Give photographs x outputs: values in units, for sex the probability of M."""
        key = (candidate.range, candidate.colour)
        if key not in self.seen:
            self.seen[key] = self._raw(self.view.spec(*key), photographs)
        raw = self.seen[key]
        if self.wishes.outputs == ("sex",):
            sign = -1.0 if candidate.turned else 1.0
            return np.asarray(0.5 * (1.0 + np.tanh(sign * raw / 2.0)))  # the logistic function, without overflow
        return np.asarray(raw * _per_output(self.wishes, "scale") + _per_output(self.wishes, "offset"))

    def _raw(self, spec: InputSpec, photographs: Sequence[Photograph]) -> npt.NDArray[np.float64]:
        """Run the network on every photograph."""
        import torch

        net, rows = ended_net(self.net, self.wishes, turned=False), []
        with torch.inference_mode():
            for one in self.followed(photographs):
                image = ImageInput(sop_instance_uid="2.25.0", eye=one.eye, pixels=read_pixels(one.path))
                rows.append(net(torch.from_numpy(prepare(image, spec)[None]))[0].double().numpy())
        return np.stack(rows)


def _per_output(wishes: Wishes, which: str) -> npt.NDArray[np.float64]:
    """Give scale or offset of every output."""
    return np.array([getattr(one, which) for one in outputs_of(wishes)])


def _draft(
    wishes: Wishes,
    spec: InputSpec,
    decisions: Sequence[Decision],
    facts: Mapping[str, str],
    tried: Tried | None,
    table: Table | None,
) -> Draft:
    """Put together everything of the bundle but its weights."""
    metrics: dict[str, object] = {
        "command": wishes.command,
        "date": datetime.now(UTC).date().isoformat(),
        "data": {"weights": dict(facts)},
        "seed": GOLDEN_SEED,
        "decisions": [dict(zip(("what", "value", "who"), row, strict=True)) for row in decisions],
    }
    if tried is not None and table is not None:
        metrics["probe"] = {
            "table": table.name,
            "sha256": table.sha256,
            "photographs": tried.photographs,
            "persons": tried.persons,
            "rows": list(tried.rows),
        }
    (person,) = sample_people(1, GOLDEN_SEED)
    return Draft(
        name=wishes.name,
        family=wishes.family,
        version=wishes.version,
        title=wishes.title,
        manufacturer=wishes.manufacturer,
        licence=wishes.rights.licence,
        citation=wishes.rights.citation,
        demonstration=wishes.demonstration,
        input=spec,
        outputs=outputs_of(wishes),
        card=card(wishes.name, wishes.outputs, wishes.rights, facts, decisions, demonstration=wishes.demonstration),
        metrics=metrics,
        golden=paint(person, "R", GOLDEN_SEED, GOLDEN_PX),
    )


def _check(spec: InputSpec, golden: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Make the batch on which torch and onnxruntime must agree: the golden eye, and the same upside down."""
    eyes = (golden, np.ascontiguousarray(golden[::-1]))
    return np.stack([prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=one), spec) for one in eyes])
