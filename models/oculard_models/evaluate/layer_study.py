"""The layers of painted volumes as several finders see them: errors by condition, everywhere and near the disc."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from oculard_models.data.drawn_layers import Picture, drawn_volume
from oculard_models.data.foreign_volume import paint_foreign
from oculard_models.data.harder_volume import CONDITIONS
from oculard_models.data.paint_oct import draw_eye, paint_volume
from oculard_models.data.second_foreign import paint_second_foreign
from oculard_models.evaluate.layer_errors import Compared, LayerError, compare_layers, layer_errors, near_disc
from oculard_models.volumes.centres import Centres, Place, find_centres
from oculard_models.volumes.types import DISC_TYPES
from oculard_models.volumes.volume import Layers, Volume

Finder = Callable[[Volume], Layers]
FOREIGN: Final = {"foreign": paint_foreign, "foreign 2": paint_second_foreign}
EVERYWHERE, NEAR = "everywhere", "near the disc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One error of one finder in one kind of volumes."""

    volumes: str
    finder: str
    where: str
    error: LayerError


@dataclass(slots=True, kw_only=True)
class Study:
    """Measures eye after eye; rows and pictures come in the end. The last finder's layers are drawn."""

    finders: Mapping[str, Finder]
    pictures: list[Picture] = field(default_factory=list)
    _compared: defaultdict[tuple[str, str, str], list[Compared]] = field(default_factory=lambda: defaultdict(list))
    _took_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def measure(self, number: int, seed: int, frames: int) -> None:
        """Paint one eye, make it harder in every way, paint it as others would, find the layers of all; draw one."""
        disc_type, eye = DISC_TYPES[number % len(DISC_TYPES)], "RL"[number // 5 % 2]
        painted = paint_volume(draw_eye(seed, disc_type, eye=eye), frames=frames)
        drawn = [*CONDITIONS, *FOREIGN][number] if number < len(CONDITIONS) + len(FOREIGN) else ""
        for name, harder in CONDITIONS.items():
            volume, truth = harder(painted.volume, painted.layers, number)
            self._find(name, volume, truth, painted.disc_centre, draws=name == drawn)
        for name, paint in FOREIGN.items():
            other = paint(seed, disc_type, eye=eye)
            self._find(name, other.volume, other.layers, other.disc_centre, draws=name == drawn)

    def rows(self) -> Iterator[Row]:
        """All errors."""
        for (volumes, finder, where), eyes in self._compared.items():
            for error in layer_errors(eyes):
                yield Row(volumes=volumes, finder=finder, where=where, error=error)

    def took_s(self) -> dict[str, float]:
        """Seconds of processor time a volume, by finder."""
        return {name: float(np.mean(took)) for name, took in self._took_s.items()}

    def _find(self, name: str, volume: Volume, truth: Layers, disc: Place | None, *, draws: bool) -> None:
        near = near_disc(truth, volume.spacing)
        found, centres = truth, Centres()
        for finder, find in self.finders.items():
            start = time.process_time()
            found = find(volume)
            self._took_s[finder].append(time.process_time() - start)
            centres = find_centres(volume, found)
            for where, asked in ((EVERYWHERE, None), (NEAR, near)):
                off = (centres.disc, disc) if asked is None else (None, None)
                self._compared[name, finder, where].append(
                    compare_layers(found, truth, volume.spacing, off, where=asked)
                )
        if draws:
            self.pictures.append(drawn_volume(volume, found, centres))
