"""The shape of a painted eye: how deep each boundary of its retina lies at any place, in micrometres.

Places are in millimetres from the disc's centre, x to the nasal side and y downwards: a right eye's photograph. Depths
are from an arbitrary plane, downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
import numpy.typing as npt

from oculard_models.data.oct_eye import Cup, Disc, Fibres, Gap, PaintedEye

Plane = npt.NDArray[np.float32]
CIRCLE_MM = 1.73  # radius of the circle on which thickness is usually told
LEAST_UM = 28.0  # what is left on that circle when all fibres are lost: vessels and glia
AT_EDGE = 0.12  # of the outer retina is left at the edge of the disc
RISE_UM = 150.0  # how high fibres that turn into the nerve stand up at the edge of a disc without a cup


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """Depths in um; where `inside` is true there is a disc, and only `ilm` and `lamina` mean something."""

    ilm: Plane
    rnfl_gcl: Plane
    ipl_inl: Plane
    bm: Plane
    lamina: Plane
    inside: npt.NDArray[np.bool_]
    bare: Plane  # 0 to 1: no pigment epithelium here
    taper: Plane  # 0 at the disc's edge to 1 where all layers are whole


def shape_of(eye: PaintedEye, x: Plane, y: Plane, vessels: Plane | float = 0.0) -> Shape:
    """Work out the boundaries at places. `vessels` (0 to 1) lift the inner limiting membrane a little."""
    radius, angle = np.hypot(x, y), np.arctan2(-y, -x)
    edge = edge_mm(eye.disc, angle)
    beyond = np.maximum(radius - edge, 0.0)
    crescent = _crescent_mm(eye.disc, angle)
    bare = 1.0 - _step((beyond - crescent) / 0.10 + 0.5)
    taper = _step(beyond / 0.30)
    apart = np.hypot(x - eye.wall.fovea_mm[0], y - eye.wall.fovea_mm[1])
    start = angle + _bend(angle, beyond)
    lost = loss_at(eye.fibres, start)
    wide = cup_edge(eye.cup, angle)
    rnfl = _fibres_um(eye.fibres, start, lost, np.maximum(radius, edge), apart)
    rnfl = rnfl + RISE_UM * (1.0 - wide) * (1.0 - 0.6 * lost) * np.exp(-beyond / 0.30)
    gcl = _ganglion_um(apart, lost) * np.float32(eye.wall.ganglion) * _step(beyond / 0.55 - 0.1)
    outer = (152.0 + 28.0 * np.exp(-((apart / 0.5) ** 2))) * eye.wall.retina
    outer = outer * (AT_EDGE + (1.0 - AT_EDGE) * taper) * (1.0 - 0.45 * bare * taper)
    bm = _bowl(eye, x, y)
    rim = _bowl(eye, -edge * np.cos(angle), -edge * np.sin(angle)) - AT_EDGE * 152.0 * eye.wall.retina - rnfl
    lift = np.where(radius > 0.9 * edge, 18.0, 45.0) * vessels
    cup, lamina = _cup(eye, x, y, radius / edge, wide, rim)
    inside = radius < edge
    ilm = np.where(inside, cup, bm - outer - gcl - rnfl) - lift
    fields = {"ilm": ilm, "rnfl_gcl": bm - outer - gcl, "ipl_inl": bm - outer, "bm": bm, "lamina": lamina}
    return Shape(
        **{name: np.asarray(field, dtype=np.float32) for name, field in fields.items()},
        inside=np.asarray(inside),
        bare=np.where(inside, 0.0, bare).astype(np.float32),
        taper=np.asarray(taper, dtype=np.float32),
    )


def edge_mm(disc: Disc, angle: Plane) -> Plane:
    """How far the disc's edge is from its centre."""
    high, wide = disc.radius_mm * np.sqrt(disc.oval), disc.radius_mm / np.sqrt(disc.oval)
    turned = angle - disc.turn
    return np.asarray(high * wide / np.hypot(high * np.cos(turned), wide * np.sin(turned)), dtype=np.float32)


def loss_at(fibres: Fibres, start: Plane) -> Plane:
    """The share of the fibres that is lost, by the angle at which they enter the disc."""
    above = _step(0.5 + np.sin(start) / 0.6)
    left = 1.0 - (above * fibres.loss[0] + (1.0 - above) * fibres.loss[1])
    for gap in fibres.defects:
        left = left * (1.0 - bell(start, gap))
    return np.asarray(1.0 - left, dtype=np.float32)


def bell(angle: Plane, gap: Gap) -> Plane:
    """A gap around the disc: steep at its sides, as bundles are."""
    away = np.abs((angle - gap.angle + pi) % (2.0 * pi) - pi) / gap.width
    return np.asarray(gap.depth * np.exp(-0.5 * away**3), dtype=np.float32)


def _bend(angle: Plane, beyond: Plane) -> Plane:
    """How much further from temporal a fibre entered the disc that passes here: arcs around the macula."""
    far = np.abs(angle)
    return np.asarray(
        np.sign(angle) * 0.30 * np.sin(np.minimum(far, 2.0) * (pi / 2.0)) * np.minimum(beyond, 4.0) ** 1.2 / 1.6,
        dtype=np.float32,
    )


def _fibres_um(fibres: Fibres, start: Plane, lost: Plane, radius: Plane, apart: Plane) -> Plane:
    """Thickness of the nerve fibre layer: two humps around the disc, thinner with distance, none at the fovea."""
    superior = np.exp(-0.5 * (_turn(start - fibres.poles[0]) / fibres.spread) ** 2)
    inferior = np.exp(-0.5 * (_turn(start - fibres.poles[1]) / fibres.spread) ** 2)
    full = fibres.scale * (62.0 + 74.0 * superior + 80.0 * inferior - 14.0 * np.cos(start / 2.0) ** 8 + 6.0)
    whole = LEAST_UM + (full - LEAST_UM) * (1.0 - lost)
    whole = whole * (CIRCLE_MM / radius) ** 0.85
    return np.asarray(whole * (1.0 - 0.9 * np.exp(-((apart / 1.1) ** 2))), dtype=np.float32)


def _ganglion_um(apart: Plane, lost: Plane) -> Plane:
    """Thickness of ganglion cell and inner plexiform layers: a ring around the fovea."""
    ring = 30.0 + 55.0 * np.exp(-(((apart - 1.0) / 1.25) ** 2))
    pit = 1.0 - np.exp(-((apart / 0.55) ** 2))
    return np.asarray(ring * pit * (1.0 - 0.55 * lost), dtype=np.float32)


def _bowl(eye: PaintedEye, x: Plane, y: Plane) -> Plane:
    """Depth of Bruch's membrane: the eyeball, how it lies in the scan, and the tilt of the disc."""
    far2 = x**2 + y**2
    right, down = eye.wall.slope_um_mm
    tilt = -eye.disc.tilt_um_mm * x * np.exp(-far2 / (1.5**2))
    return np.asarray(right * x + down * y - eye.wall.curve_um_mm2 * far2 + tilt, dtype=np.float32)


def _cup(
    eye: PaintedEye, x: Plane, y: Plane, part: npt.NDArray[np.floating], wide: Plane, rim: npt.NDArray[np.floating]
) -> tuple[Plane, Plane]:
    """Depth of the inner limiting membrane and of the lamina cribrosa within the disc; `part` is 1 at its edge."""
    cup = eye.cup
    slope = np.minimum(cup.slope, 2.0 * np.minimum(wide, 1.02 - wide) + 0.06)
    down = _step(0.5 + (wide - part) / slope)
    inside = part < 1.0
    mean = float(rim[inside].mean()) if inside.any() else 0.0
    top = mean + (rim - mean) * np.minimum(part, 1.0)
    trunk = 110.0 * np.exp(-((x - 0.18) ** 2 + y**2) / 0.22**2)
    floor = _bowl(eye, x, y) + cup.depth_um - trunk
    ilm = top * (1.0 - down) + floor * down
    lamina = np.maximum(ilm + 70.0, floor + 90.0)
    return np.asarray(ilm, dtype=np.float32), np.asarray(lamina, dtype=np.float32)


def cup_edge(cup: Cup, angle: Plane) -> Plane:
    """Where the cup's wall is half way down, as a share of the disc's radius; at a notch it is near the disc's edge."""
    wide = cup.ratio * (1.0 + cup.temporal * np.cos(angle) - cup.vertical * np.cos(2.0 * angle))
    for notch in cup.notches:
        wide = wide + (0.97 - wide) * bell(angle, notch)
    return np.asarray(np.clip(wide, 0.0, 0.97), dtype=np.float32)


def _crescent_mm(disc: Disc, angle: Plane) -> Plane:
    """How far the zone without pigment epithelium reaches beyond the disc's edge."""
    toward = np.maximum(np.cos(angle - disc.crescent_angle), 0.0)
    share = disc.crescent_round * (0.65 + 0.35 * toward) + (1.0 - disc.crescent_round) * toward**0.8
    return np.asarray(disc.crescent_mm * share, dtype=np.float32)


def _turn(angle: Plane) -> Plane:
    """An angle within -pi to pi."""
    return np.asarray((angle + pi) % (2.0 * pi) - pi, dtype=np.float32)


def _step(at: npt.NDArray[np.floating]) -> Plane:
    """From 0 to 1 without a kink."""
    flat = np.clip(at, 0.0, 1.0)
    return np.asarray(flat * flat * (3.0 - 2.0 * flat), dtype=np.float32)
