"""Photographs as a torch data set: prepared exactly as the daemon prepares them, then varied, with their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from oculard_models.contract import ImageInput
from oculard_models.data.augment import Variation, VariationWrong, draw, vary
from oculard_models.data.photographs import read_pixels
from oculard_models.data.scaling import Scaling, ScalingWrong, scaling_of
from oculard_models.data.table import Photograph
from oculard_models.manifest import InputSpec
from oculard_models.preprocess import prepare, scale_and_shift

__all__ = ["PhotographSet", "Scaling", "ScalingWrong", "Variation", "scaling_of"]

STREAM = 105  # of random numbers: see data/paint.py
NO_UID = "2.25.0"  # a photograph on its way into a network needs none

Plane = npt.NDArray[np.uint8]  # 3 x height x width


class PhotographSet(Dataset[dict[str, Tensor | int]]):  # type: ignore[misc, unused-ignore]  # torch may be untyped
    """Items: `image` (float32, 3 x height x width), `target` (float32, one a name, NaN if unknown), `index`, `eye`.

    `eye` is the eye that the picture shows to the network, 0 right and 1 left: a mirrored left eye shows a right one.
    The chance in an item follows from seed, epoch and index alone, so that any number of workers gives the same. Raises
    Unreadable, from an item, for a file that is no colour photograph.
    """

    def __init__(
        self,
        photographs: Sequence[Photograph],
        names: Sequence[str],
        spec: InputSpec,
        scaling: Scaling,
        *,
        varied: Variation | None,
        seed: int,
    ) -> None:
        if tuple(names) != scaling.names:
            raise ScalingWrong(f"the scaling is of {', '.join(scaling.names)}, asked were {', '.join(names)}")
        if varied is not None and varied.flip == "both" and spec.mirror_left:
            raise VariationWrong(
                "this network sees right eyes only, and a flip from side to side would show it left ones"
            )
        self.photographs, self.spec, self.varied, self.seed = tuple(photographs), spec, varied, seed
        self.targets = torch.from_numpy(
            np.stack([scaling.standardised(photograph.values) for photograph in photographs])
            if photographs
            else np.empty((0, len(scaling.names)), dtype=np.float32)
        )
        # Shared, so that workers that outlive an epoch hear of the next one.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
        self._kept: Tensor | None = None

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        """Return one item."""
        plane = self._kept[index] if self._kept is not None else torch.from_numpy(self._plane(index))
        shows_left = self.photographs[index].eye == "L" and not self.spec.mirror_left
        if self.varied is not None:
            drawn = draw(self.varied, np.random.default_rng([STREAM, self.seed, int(self._epoch), index]))
            plane = vary(plane.float().div(255.0), drawn).mul(255.0)
            shows_left ^= drawn.swaps_eye
        image = torch.from_numpy(normalised(plane.numpy(), self.spec))
        return {"image": image, "target": self.targets[index], "index": index, "eye": int(shows_left)}

    def set_epoch(self, epoch: int) -> None:
        """Draw anew; call it before a loader starts on the epoch."""
        self._epoch.fill_(epoch)

    def keep(self, follow: Callable[[Sequence[int]], Iterable[int]] = iter) -> None:
        """Prepare every photograph now and keep it in memory, 3 bytes a pixel; for sets that fit, before any loader.

        `follow` sees the indices pass: a progress bar.
        """
        kept = torch.empty((len(self), 3, *self.spec.size_px), dtype=torch.uint8)
        for index in follow(range(len(self))):
            kept[index] = torch.from_numpy(self._plane(index))
        self._kept = kept

    def _plane(self, index: int) -> Plane:
        """Read one photograph and prepare it, in bytes still."""
        photograph = self.photographs[index]
        image = ImageInput(sop_instance_uid=NO_UID, eye=photograph.eye, pixels=read_pixels(photograph.path))
        return prepared_bytes(image, self.spec)


def prepared_bytes(image: ImageInput, spec: InputSpec) -> Plane:
    """Prepare as the daemon does, but for the normalisation: the bytes that it starts from."""
    bare = spec.model_copy(update={"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)})
    plane: Plane = np.rint(prepare(image, bare) * np.float32(255.0)).astype(np.uint8)
    return plane


def normalised(plane: npt.NDArray[np.uint8] | npt.NDArray[np.float32], spec: InputSpec) -> npt.NDArray[np.float32]:
    """Normalise prepared bytes (or what became of them, 0 to 255) to the last bit as `preprocess.prepare` does."""
    scale, shift = scale_and_shift(spec)
    return np.asarray(plane * scale[:, None, None] - shift[:, None, None])
