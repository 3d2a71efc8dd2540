"""The network of the quality gate: fixed measures of contrast and light, and a small map of where the disc may be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oculard_models.nets.mobile import InvertedResidual, convolution

SIZE_PX = 320  # height and width of what the gate sees; the field fills it
LEVELS = 5  # of detail: blurs of about 1.4, 2.8, 5.7, 11 and 23 pixels
FLOOR = 0.04  # added to local brightness (0..1): darkness is no contrast
INNER = 0.88  # of the radius; the rim is left out, where cameras glare and blur
CELLS = 20  # rows and columns of the map: one cell is a tenth of the radius
ASIDE = 0.15  # of the radius: a disc this far right or left of the middle tells the eye
NEAR = 0.28  # of the radius: a disc nearer to the middle was aimed at
SEVERITIES = ("dark", "bright", "blur", "cut")  # 0 nothing, 1 where limited begins, 2 where ungradable does
HEADS = ("fundus", *SEVERITIES, "haze", "disc", "eye", "centred")  # as forward gives them
DETAILS = 25  # measures of detail: they come first
MEASURES = DETAILS + 8 + 6  # then those of light, then those of the field


class GateNet(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """All heads of the gate: what is read off the measures, and what a map of the disc says."""

    def __init__(self) -> None:
        super().__init__()
        self.measures = Measures()
        self.readings = Readings()
        self.discs = DiscMap()

    def forward(self, x: Tensor) -> Tensor:
        """Images x 3 x rows x columns (0..1) to images x HEADS: logits, severities, and haze on CSDI's scale."""
        found = self.measures(x)
        read = self.readings(found)
        fundus, cells = self.discs(nn.functional.avg_pool2d(x, 2), self.readings.standard(found))
        severities = read[:, : len(SEVERITIES) + 1]
        return torch.cat([fundus[:, None], severities, self.discs.told(cells)], dim=1)


class Readings(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Severities by a small network, haze by a straight line: 23 scored photographs bear no more."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(MEASURES))
        self.register_buffer("spread", torch.ones(MEASURES))
        self.severities = nn.Sequential(nn.Linear(MEASURES, 64), nn.SiLU(), nn.Linear(64, len(SEVERITIES)))
        self.haze = nn.Linear(MEASURES, 1)

    def standard(self, found: Tensor) -> Tensor:
        """Standardise measures; what lies far outside of everything learnt from is drawn in."""
        return ((found - self.mean) / self.spread).clamp(-4.0, 4.0)

    def forward(self, found: Tensor) -> Tensor:
        """Images x measures to images x (severities, haze)."""
        z = self.standard(found)
        return torch.cat([self.severities(z), self.haze(z)], dim=1)


class DiscMap(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """A map of where the optic disc may be, and whether this is a retina at all.

    Every cell has a logit for "the disc lies here", against 0 for "nowhere": one softmax over CELLS x CELLS + 1 places.
    Which eye it is and what was aimed at are sums over parts of that map, and are learnt from nothing else.
    """

    right: Tensor
    left: Tensor
    near: Tensor
    far: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            convolution(6, 24, 5, 4),  # one coarse step: quick on a processor, and a disc is large
            InvertedResidual(24, 24, 2, 1),
            convolution(24, 40, 3, 2),
            *(InvertedResidual(40, 40, 2, 1) for _ in range(4)),
        )
        self.context = nn.Linear(80, 40)
        self.cell = nn.Sequential(nn.Conv2d(40, 40, 1), nn.ReLU(), nn.Conv2d(40, 1, 1))
        self.fundus = nn.Sequential(nn.Dropout(0.2), nn.Linear(80 + MEASURES, 32), nn.ReLU(), nn.Linear(32, 1))
        at = (torch.arange(CELLS) + 0.5) / (CELLS / 2) - 1.0
        x, away = at.repeat(CELLS), torch.hypot(at[None, :], at[:, None]).flatten()
        for name, part in (("right", x > ASIDE), ("left", x < -ASIDE), ("near", away < NEAR), ("far", away >= NEAR)):
            self.register_buffer(name, torch.where(part, 0.0, -1e4))

    def forward(self, x: Tensor, standard: Tensor) -> tuple[Tensor, Tensor]:
        """Half-size images (0..1) and standardised measures to logits: fundus (images), cells (images x cells)."""
        colour = x / (x.mean((2, 3), keepdim=True) + 0.02)
        features = self.trunk(torch.cat([4.0 * (x - 0.3), colour - 1.0], dim=1))
        flat = features.flatten(2)
        mean = flat.mean(dim=2)
        spread = ((flat - mean[..., None]).square().mean(dim=2) + 1e-4).sqrt()
        pooled = torch.cat([mean, spread], dim=1)
        cells = self.cell(nn.functional.relu(features + self.context(pooled)[..., None, None])).flatten(1)
        return self.fundus(torch.cat([pooled, standard], dim=1))[:, 0], cells

    def told(self, cells: Tensor) -> Tensor:
        """Return logits, images x 3: a disc is to be seen; right rather than left eye; aimed at the disc."""
        disc = torch.logsumexp(cells, dim=1)
        sides = torch.logsumexp(cells + self.right, dim=1) - torch.logsumexp(cells + self.left, dim=1)
        centred = torch.logsumexp(cells + self.near, dim=1) - torch.logsumexp(cells + self.far, dim=1)
        return torch.stack([disc, sides, centred], dim=1)


class Measures(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """What is measured the same way on every picture: nothing here is learnt.

    Contrast of detail at five scales and in three colours, over the field and at its calmest and busiest place; light,
    its evenness, and how much of the circle is lit, burnt out or black.
    """

    down: Tensor
    across: Tensor
    circle: Tensor
    inner: Tensor

    def __init__(self) -> None:
        super().__init__()
        tap = torch.tensor([1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0]) / 256.0  # deviation 1.4 pixels
        self.register_buffer("down", tap.view(1, 1, 9, 1))
        self.register_buffer("across", tap.view(1, 1, 1, 9))
        place = (torch.arange(SIZE_PX) + 0.5) / (SIZE_PX / 2) - 1.0
        away = torch.hypot(place[None, :], place[:, None])
        self.register_buffer("circle", (away < 1.0).float()[None, None])
        self.register_buffer("inner", (away < INNER).float()[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Images x 3 x rows x columns (0..1) to images x measures."""
        light = x.amax(dim=1, keepdim=True)
        lit = ((light - 0.03) * 50.0).clamp(0.0, 1.0)
        within = self._kept(lit) * self.inner
        return torch.cat([self._detail(x, within), self._light(x, within), self._field(x, lit)], dim=1)

    def _kept(self, lit: Tensor) -> Tensor:
        """Draw back from everything unlit, where the picture is cut, by seven pixels; at half the size, for speed."""
        dark = nn.functional.max_pool2d(1.0 - lit, 2)
        dark = nn.functional.max_pool2d(nn.functional.max_pool2d(dark, (7, 1), 1, (3, 0)), (1, 7), 1, (0, 3))
        return 1.0 - nn.functional.interpolate(dark, scale_factor=2.0, mode="nearest")

    def _blurred(self, x: Tensor) -> Tensor:
        """Blur every channel by itself."""
        planes = x.flatten(0, 1)[:, None]
        planes = nn.functional.pad(planes, (4, 4, 4, 4), mode="replicate")
        planes = nn.functional.conv2d(nn.functional.conv2d(planes, self.down), self.across)
        return planes.view(-1, 3, x.shape[2], x.shape[3])

    def _detail(self, x: Tensor, within: Tensor) -> Tensor:
        """Return the logarithm of the contrast at every level: over all, and at the calmest and the busiest place."""
        found = []
        for _ in range(LEVELS):
            smooth = self._blurred(x)
            power = ((x - smooth) / (smooth + FLOOR)).square() * within
            found.append(_log_root(power.sum((2, 3)) / (within.sum((2, 3)) + 1.0)))
            places = _ninths(power[:, 1:2]) / (_ninths(within) + 1e-3)
            found += [_log_root(places.amin((2, 3))), _log_root(places.amax((2, 3)))]
            x, within = nn.functional.avg_pool2d(smooth, 2), nn.functional.avg_pool2d(within, 2)
        return torch.cat(found, dim=1)

    def _light(self, x: Tensor, within: Tensor) -> Tensor:
        """Return the mean colour, and the luminance of the darkest and the brightest place."""
        colour = (x * within).sum((2, 3)) / (within.sum((2, 3)) + 1.0)
        places = _ninths(x.mean(1, keepdim=True) * within) / (_ninths(within) + 1e-3)
        ends = torch.cat([places.amin((2, 3)), places.amax((2, 3))], dim=1)
        return torch.cat([colour, torch.log(colour + 0.02), torch.log(ends + 0.02)], dim=1)

    def _field(self, x: Tensor, lit: Tensor) -> Tensor:
        """Return how much of the circle is lit, dim, or burnt out, and how much is lit outside of it."""
        area, green = self.circle.sum(), x[:, 1:2]
        luminance = x.mean(1, keepdim=True)
        shares = [
            lit * self.circle,
            ((luminance - 0.06) * 30.0).clamp(0.0, 1.0) * self.circle,
            ((luminance - 0.14) * 30.0).clamp(0.0, 1.0) * self.circle,
            ((green - 0.95) * 30.0).clamp(0.0, 1.0) * self.inner,
            ((x.amin(1, keepdim=True) - 0.95) * 30.0).clamp(0.0, 1.0) * self.inner,
        ]
        outside = (lit * (1.0 - self.circle)).sum((2, 3)) / (1.0 - self.circle).sum()
        return torch.cat([*(share.sum((2, 3)) / area for share in shares), outside], dim=1)


def _log_root(power: Tensor) -> Tensor:
    return 0.5 * torch.log(power + 1e-6)


def _ninths(x: Tensor) -> Tensor:
    """Return the mean of the nine middle places, each a fifth of the picture wide."""
    rows = nn.functional.avg_pool2d(x, x.shape[-1] // 5)
    return rows[:, :, 1:4, 1:4]
