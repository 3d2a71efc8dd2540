"""The bundles of the study: `glaucoma-demo`, and as a second opinion the forest of 2019.

They hold what learnt from all training eyes of the first split, so that the split's test eyes have measured exactly
them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from oculard_models.data.disc_eyes import as_strip
from oculard_models.export.bundle import GOLDEN, WEIGHTS, ExportWrong, must_be_free, put_in_place, write_text
from oculard_models.export.toml import manifest_toml
from oculard_models.manifest import OCT_VOLUME, Golden, InputSpec, Manifest, Output, OutputKind, Weights
from oculard_models.nets.forest import Forest
from oculard_models.nets.stacked import OUTPUTS, Screened
from oculard_models.registry import MANIFEST, Bundle
from oculard_models.train.glaucoma_card import card_of, forest_card
from oculard_models.train.glaucoma_cell import GLAUCOMA, Told
from oculard_models.train.glaucoma_forest import forest_of, vectors_of
from oculard_models.train.glaucoma_judge import Asked, Question, judge, shipped, told_of, trained
from oculard_models.volumes.types import DISC_TYPES

VERSION = "1.0.0"
INPUT = "images"
LARGEST_DIFFERENCE = 1e-3  # between torch and onnxruntime
BYTES_MAX = 25 << 20  # of a bundle that is shipped
FOREST = "glaucoma-forest"
P_CONCEPTS = ("GL-P-NO", "GL-P-FI", "GL-P-GE", "GL-P-MY", "GL-P-SS")
TWO = ("normal", "glaucomatous")


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a bundle is called, and which classes it tells apart, each with the concept of its probability."""

    name: str
    title: str
    output: str
    concept: str
    classes: tuple[str, ...]
    p_concepts: tuple[str, ...]
    demonstration: bool


def write_types(folder: Path, asked: Asked, net: str, figures: Mapping[str, Any], *, name: str) -> Bundle:
    """Write the classifier of the five classes: arm `transfer`, all views, the largest share. Raises ExportWrong."""
    question = Question(arm="transfer", share=asked.shares[0], split=0, views=asked.views)
    judged = judge(asked.run, asked.eyes, question, seed=asked.seed)
    naming = Naming(
        name=name,
        title="Glaucoma disc types from OCT",
        output="disc-type",
        concept="GL-CLASS",
        classes=DISC_TYPES,
        p_concepts=P_CONCEPTS,
        demonstration=bool(figures["painted"]),
    )
    return _write(
        folder, shipped(asked, net), naming, asked, judged.test, card_of(figures, name), figures, judged.probability
    )


def write_forest(folder: Path, asked: Asked, net: str, figures: Mapping[str, Any]) -> Bundle:
    """Write the forest's bundle: normal or glaucoma. Raises ExportWrong."""
    told: Told = told_of(asked.run, Question(arm="transfer", share=asked.shares[0], split=0, views=(0,)))[0]
    vectors = vectors_of(asked, net, 0)
    forest = forest_of(vectors[told.training], asked.eyes.labels[told.training], seed=asked.seed)
    nets = [trained(asked, net, GLAUCOMA, 0, view) for view in asked.views]
    naming = Naming(
        name=FOREST,
        title="Glaucoma or normal from OCT",
        output="disc",
        concept="GL-DISC",
        classes=TWO,
        p_concepts=("GL-P-NO", "GL-P-GL"),
        demonstration=bool(figures["painted"]),
    )
    whole = Screened(nets, Forest(forest)).eval()
    said = forest.predict_proba(vectors[told.test])
    return _write(folder, whole, naming, asked, told.test, forest_card(figures, FOREST), figures, said)


def _write(
    folder: Path,
    net: nn.Module,
    naming: Naming,
    asked: Asked,
    test: npt.NDArray[np.int64],
    card: str,
    figures: Mapping[str, Any],
    said: npt.NDArray[np.float64],
) -> Bundle:
    """Export, compare with torch and with what the study said, write; whole or not at all. Raises ExportWrong."""
    must_be_free(folder, naming.name, replace=True)
    views = asked.eyes.views[test]
    sure = int(said.max(1).argmax())  # the golden eye is one of which it is sure: processors differ in the last digits

    def fill(inside: Path) -> None:
        batch = views.astype(np.float32) / np.float32(255.0)
        export(net, batch.shape[1:], inside / WEIGHTS)
        got = run(inside / WEIGHTS, batch)
        difference = _parity(net, got, batch, said)
        if (inside / WEIGHTS).stat().st_size > BYTES_MAX and naming.demonstration:
            raise ExportWrong(f"`{naming.name}` is larger than {BYTES_MAX >> 20} MiB; hint: a narrower --net")
        Image.fromarray(as_strip(views[sure])).save(inside / GOLDEN, "PNG", optimize=True)
        manifest = manifest_of(naming, asked, inside / WEIGHTS, got[0][sure])
        (inside / MANIFEST).write_text(manifest_toml(manifest), encoding="utf-8")
        more = {"people": _people(asked, test), "largest_difference_torch_onnx": difference}
        write_text(inside, card, dict(figures) | more)

    return put_in_place(folder, fill)


def _people(asked: Asked, test: npt.NDArray[np.int64]) -> dict[str, int]:
    """How many persons of the split the weights learnt from, and how many measured them."""
    rest = np.setdiff1d(np.arange(len(asked.eyes.persons)), test)
    return {name: len(np.unique(asked.eyes.persons[rows])) for name, rows in (("training", rest), ("test", test))}


def manifest_of(naming: Naming, asked: Asked, weights: Path, probability: npt.NDArray[np.float32]) -> Manifest:
    """Say everything about a bundle whose golden eye has these probabilities."""
    side = asked.eyes.views.shape[-1]
    outputs = [
        Output(
            name=naming.output,
            concept=naming.concept,
            tensor=OUTPUTS[0],
            kind=OutputKind.CLASS,
            unit="%",
            choices=naming.classes,
        )
    ]
    expected = {naming.output: float(probability.max())}
    for index, (choice, concept) in enumerate(zip(naming.classes, naming.p_concepts, strict=True)):
        name = f"p-{choice}"
        outputs.append(
            Output(name=name, concept=concept, tensor=OUTPUTS[0], kind=OutputKind.PROBABILITY, unit="%", index=index)
        )
        expected[name] = float(probability[index])
    return Manifest(
        name=naming.name,
        family="glaucoma",
        version=VERSION,
        title=f"{naming.title} (demonstration)" if naming.demonstration else naming.title,
        manufacturer="oculard",
        licence="Apache-2.0",
        demonstration=naming.demonstration,
        citation="Method: An et al., Sci Rep 11:4250 (2021)",
        weights=Weights(file=weights.name, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()),
        input=InputSpec(kind=OCT_VOLUME, views=asked.eyes.names, tensor=INPUT, size_px=(side, side), max_images=1),
        output=tuple(outputs),
        golden=Golden(image=GOLDEN, expected={name: round(value, 5) for name, value in expected.items()}),
    )


def export(net: nn.Module, shape: Sequence[int], path: Path) -> None:
    """Write a network of views as one ONNX file; any number of eyes."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the older exporter is deprecated and traces constants; it writes one plain file
        torch.onnx.export(
            net,
            (torch.rand(2, *shape),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "eyes"} for name in (INPUT, *OUTPUTS)},
        )


def run(path: Path, batch: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Run an exported file: probability, by_view, activation."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(list(OUTPUTS), {INPUT: batch}))


def _parity(
    net: nn.Module,
    got: Sequence[npt.NDArray[np.float32]],
    batch: npt.NDArray[np.float32],
    said: npt.NDArray[np.float64],
) -> float:
    """Return the largest difference to torch, and see that the study said the same. Raises ExportWrong."""
    with torch.inference_mode():
        ours = [tensor.numpy() for tensor in net(torch.from_numpy(batch))]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(ours, got, strict=True))
    to_study = float(np.abs(got[0] - said).max())
    if not max(difference, to_study) <= LARGEST_DIFFERENCE:
        raise ExportWrong(
            f"torch and onnxruntime differ by {difference:g}, the file and the study by {to_study:g};"
            f" {LARGEST_DIFFERENCE:g} is allowed"
        )
    return difference
