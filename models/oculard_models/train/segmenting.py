"""What every training of a segmentation network shares: painted pictures, then real ones; folds; and the masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from oculard_models.contract import Measured
from oculard_models.data.dataset import normalised
from oculard_models.data.mask_variation import MaskVariation
from oculard_models.data.masked import Kept, Masked, MaskedSet, as_kept
from oculard_models.data.paint_octa import SIDE_MM, paint_octa
from oculard_models.data.scaling import Scaling
from oculard_models.evaluate.masks import Agreement, agreement
from oculard_models.manifest import Crop, InputSpec, Mask, Structure
from oculard_models.nets.segmenters import STEP_PX, build_segmenter
from oculard_models.structures import measure
from oculard_models.train.checkpoint import MASK, About, read_weights
from oculard_models.train.fitting import Job, fit, take_finished
from oculard_models.train.mask_learner import MaskLearner
from oculard_models.train.settings import Fit, TrainingWrong

SUPERFICIAL, DEEP = "128265", "128269"  # DICOM CID 4271
GREY_MEAN, GREY_STD = 0.25, 0.2  # of en face angiographies, roughly
FAZ = Mask(structure=Structure.FAZ, tensor="mask")
PAINTED_PX = 512  # what is painted, before it becomes what the network sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One network on one set of pictures."""

    net: str  # one of SEGMENTERS
    spec: InputSpec
    variation: MaskVariation
    fit: Fit
    start: Path | None = None  # a checkpoint whose weights it begins with
    keep_last: bool = False  # the last weights, instead of those that were best on what is set aside


def check_sizes(size_px: int, patch_px: int) -> None:
    """See that a network takes pictures and patches of these sides. Raises TrainingWrong."""
    if size_px % STEP_PX or patch_px % STEP_PX or not 2 * STEP_PX <= patch_px <= size_px:
        raise TrainingWrong(
            f"`size_px` and `patch_px` must be multiples of {STEP_PX}, the patch no larger than the picture"
        )


def en_face_spec(size_px: int) -> InputSpec:
    """Return what a network of en face angiographies sees: the whole frame, grey in three channels."""
    return InputSpec(
        kind="en-face",
        slabs=(SUPERFICIAL, DEEP),
        tensor="image",
        size_px=(size_px, size_px),
        mean=(GREY_MEAN,) * 3,
        std=(GREY_STD,) * 3,
        crop=Crop.WHOLE,
        mirror_left=False,
        max_images=1,
    )


def painted(count: int, spec: InputSpec, seed: int) -> Iterator[Kept]:
    """Paint en face angiographies with their zones; the same seed gives the same."""
    for number in range(count):
        one = paint_octa(seed * 1_000_003 + number, PAINTED_PX)
        nowhere = Path(f"painted-{number}")
        about = Masked(
            name=nowhere.name,
            image=nowhere,
            mask=nowhere,
            group=nowhere.name,
            stratum=one.plexus,
            side_mm=SIDE_MM,
        )
        yield as_kept(about, np.repeat(one.pixels[..., None], 3, axis=2), one.mask, spec)


def learn(lesson: Lesson, training: Sequence[Kept], tuning: Sequence[Kept], run: Path, *, resume: bool) -> nn.Module:
    """Train, or continue in `run`, or take what is finished there; return the network in eval mode."""
    about = About(
        architecture=lesson.net,
        trunk=MASK,
        heads=(MASK,),
        spec=lesson.spec,
        scaling=Scaling((MASK,), (0.0,), (1.0,)),
        settings={
            "training": sorted(one.about.name for one in training),
            "variation": {name: getattr(lesson.variation, name) for name in lesson.variation.__slots__},
        },
    )
    torch.manual_seed(lesson.fit.seed)
    net = build_segmenter(lesson.net)
    if lesson.start is not None:
        net.load_state_dict(read_weights(lesson.start))
    if resume and take_finished(net, about, lesson.fit, run):
        return net
    last = run / "last.ckpt"
    seed = lesson.fit.seed
    job = Job(
        net=net,
        about=about,
        training=MaskedSet(training, lesson.spec, variation=lesson.variation, seed=seed),
        tuning=MaskedSet(tuning, lesson.spec, variation=None, seed=seed),
        learner=MaskLearner,
        keep_last=lesson.keep_last,
    )
    torch.set_flush_denormal(True)  # sure pixels have gradients near nothing, which processors are slow with
    try:
        fit(job, lesson.fit, run, resume=last if resume and last.is_file() else None)
    finally:
        torch.set_flush_denormal(False)  # it is the whole process's arithmetic
    return net


def folds(kept: Sequence[Kept], count: int, seed: int) -> list[list[Kept]]:
    """Divide pictures into folds by group, each with its share of every stratum. Raises TrainingWrong."""
    groups: dict[str, list[Kept]] = {}
    for one in kept:
        groups.setdefault(one.about.group, []).append(one)
    if count < 2 or len(groups) < count:
        raise TrainingWrong(f"{len(groups)} groups of pictures cannot be divided into {count} folds")
    rng = np.random.default_rng([seed, count])
    names = [sorted(groups)[k] for k in rng.permutation(len(groups))]
    names.sort(key=lambda name: groups[name][0].about.stratum)  # stable: shuffled within every stratum
    return [[one for name in names[start::count] for one in groups[name]] for start in range(count)]


def set_aside(kept: Sequence[Kept], count: int, seed: int) -> tuple[list[Kept], list[Kept]]:
    """Take about `count` pictures, whole groups, to tune on; return those to learn from, and these."""
    parts = folds(kept, max(2, round(len(kept) / count)), seed)
    return [one for part in parts[1:] for one in part], parts[0]


def probabilities(net: nn.Module, kept: Sequence[Kept], spec: InputSpec) -> list[npt.NDArray[np.float32]]:
    """Run a network on whole pictures, one by one: probabilities, height x width as it sees them."""
    maps = []
    with torch.inference_mode():
        for one in kept:
            image = torch.from_numpy(normalised(one.plane, spec))[None]
            maps.append(torch.sigmoid(net(image))[0, 0].numpy().astype(np.float32))
    return maps


def measured(one: Kept, probability: npt.NDArray[np.float32], mask: Mask) -> Measured:
    """Clean and measure a map exactly as the daemon does."""
    rows, columns = one.truth.shape
    side = one.about.side_mm
    spacing = None if side is None else (side / rows, side / columns)
    return measure(probability, mask=mask, box=one.box, image_size=(rows, columns), spacing_mm=spacing)


def agreements(kept: Sequence[Kept], maps: Sequence[npt.NDArray[np.float32]], mask: Mask = FAZ) -> list[Agreement]:
    """Compare maps with the masks that people drew, at the pictures' own size."""
    found = []
    for one, probability in zip(kept, maps, strict=True):
        shape = measured(one, probability, mask).shape
        found.append(agreement(one.about.name, one.about.stratum, one.truth, None if shape is None else shape.mask))
    return found
