"""The painted eyes of the study, and the one file in which all its processes see the same eyes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oculard_models.data.disc_eyes import Eyes, as_bytes
from oculard_models.data.nine_numbers import nine_numbers
from oculard_models.data.oct_cohort import glaucoma_cohort
from oculard_models.data.oct_views import paint_views
from oculard_models.volumes.types import DISC_TYPES

EYES = "eyes.npz"


def painted_eyes(seed: int, count: int, names: Sequence[str], size_px: int) -> Eyes:
    """Paint a cohort; the same arguments give the same eyes."""
    rows = glaucoma_cohort(seed, eyes=count)
    drawn = [row.draw() for row in rows]
    painted = [paint_views(eye, size_px=size_px, seed=eye.seed, names=names) for eye in drawn]
    views = [np.stack([of_eye[name] for name in names]) for of_eye in painted]
    return Eyes(
        names=tuple(names),
        views=np.stack([as_bytes(of_eye) for of_eye in views]),
        persons=np.asarray([row.person for row in rows]),
        labels=np.asarray([DISC_TYPES.index(row.label) for row in rows], dtype=np.int64),
        truth=np.asarray([DISC_TYPES.index(row.disc_type) for row in rows], dtype=np.int64),
        numbers=np.stack([nine_numbers(eye) for eye in drawn]),
    )


def keep_eyes(eyes: Eyes, path: Path) -> None:
    """Write eyes; a file that is half written never has the name."""
    beside = path.with_name(f".{secrets.token_hex(4)}.npz")
    more = {} if eyes.numbers is None else {"numbers": eyes.numbers}
    np.savez(
        beside,
        allow_pickle=False,
        names=np.asarray(eyes.names),
        views=eyes.views,
        persons=eyes.persons,
        labels=eyes.labels,
        truth=eyes.truth,
        **more,
    )
    beside.replace(path)


def load_eyes(path: Path) -> Eyes:
    """Read what was kept."""
    with np.load(path, allow_pickle=False) as file:
        return Eyes(
            names=tuple(str(name) for name in file["names"]),
            views=file["views"],
            persons=file["persons"],
            labels=file["labels"],
            truth=file["truth"],
            numbers=file.get("numbers"),
        )
