"""How the quality gate learns: severities and haze from measures, the map of the disc from small pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor, nn

from oculard_models.nets.gate import CELLS, DETAILS, MEASURES, SEVERITIES, DiscMap, GateNet, Readings

READING_STEPS, READING_BATCH = 1500, 256
HAZE_SHRINK = 0.3  # of the slopes, in deviations: from 0.1 to 1 the patients left out say the same
SPREAD = 0.8  # cells: how sharply the disc's place is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What decides how a network learns from given cases."""

    seed: int = 1
    epochs: int = 8  # of the map; the readings always take READING_STEPS steps
    batch: int = 32
    rate: float = 4e-3  # highest learning rate of the cycle


@dataclass(frozen=True, slots=True)
class Cases:
    """Many cases: half-size pictures (uint8), measures, labels by name, whose they are and of which kind."""

    pictures: Tensor
    found: Tensor
    labels: dict[str, Tensor]
    groups: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]

    def of(self, rows: npt.NDArray[np.bool_]) -> Cases:
        """Return some of them."""
        chosen = torch.from_numpy(np.flatnonzero(rows))
        labels = {name: column[chosen] for name, column in self.labels.items()}
        return Cases(self.pictures[chosen], self.found[chosen], labels, self.groups[rows], self.kinds[rows])


def learn(cases: Cases, settings: Learning) -> GateNet:
    """Learn readings and map from the same cases."""
    net = GateNet()
    net.readings = learn_readings(cases, settings.seed)
    net.discs = learn_map(cases, net.readings, settings)
    return net.eval()


def predict(net: GateNet, cases: Cases) -> Tensor:
    """Return the raw outputs, cases x heads, from the half-size pictures and the measures."""
    parts = []
    with torch.inference_mode():
        for at in range(0, len(cases.found), 128):
            found = cases.found[at : at + 128]
            pictures = cases.pictures[at : at + 128].float() / 255.0
            fundus, cells = net.discs(pictures, net.readings.standard(found))
            parts.append(torch.cat([fundus[:, None], net.readings(found), net.discs.told(cells)], dim=1))
    return torch.cat(parts)


# --- readings: severities and haze from measures ---------------------------------------------------------------------


def learn_readings(cases: Cases, seed: int) -> Readings:
    """Fit severities and haze to measures."""
    torch.manual_seed(seed)
    net = Readings()
    net.mean.copy_(cases.found.mean(0))
    net.spread.copy_(cases.found.std(0) + 0.05)
    z = net.standard(cases.found)
    target = torch.stack([cases.labels[name] for name in SEVERITIES], dim=1)
    optimiser = torch.optim.AdamW(net.severities.parameters(), lr=1e-2, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=READING_STEPS)
    for _ in range(READING_STEPS):
        rows = torch.randint(len(z), (READING_BATCH,))
        out = net.severities(z[rows] + 0.05 * torch.randn(READING_BATCH, MEASURES))
        known = ~torch.isnan(target[rows])
        loss = nn.functional.smooth_l1_loss(out[known], target[rows][known], beta=0.3)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
        optimiser.step()
        schedule.step()
    fit_haze(net, cases)
    return net.eval()


def fit_haze(net: Readings, cases: Cases) -> None:
    """Put the straight line of haze over contrast of detail: least squares with shrunk slopes, in closed form."""
    rows = cases.labels["haze_weight"] > 0
    weight = (cases.labels["haze_weight"][rows] / cases.labels["haze_weight"][rows].sum()).double()
    z, haze = net.standard(cases.found[rows])[:, :DETAILS].double(), cases.labels["haze"][rows].double()
    mean, middle = weight @ z, weight @ haze
    spread = (weight @ (z - mean).square()).sqrt() + 0.01
    x = (z - mean) / spread
    shrink = HAZE_SHRINK * torch.eye(DETAILS, dtype=torch.float64)
    slopes = torch.linalg.solve(x.T @ (weight[:, None] * x) + shrink, x.T @ (weight * (haze - middle))) / spread
    with torch.no_grad():
        net.haze.weight.zero_()
        net.haze.weight[0, :DETAILS] = slopes.float()
        net.haze.bias.fill_(float(middle - mean @ slopes))


# --- map: fundus or not, and where the disc is -----------------------------------------------------------------------


def learn_map(cases: Cases, readings: Readings, settings: Learning) -> DiscMap:
    """Train the map from scratch; the same cases and settings give the same map."""
    torch.manual_seed(settings.seed)
    net = DiscMap()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]  # torch's own stub lacks it
    standard = readings.standard(cases.found).detach()
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=2e-2)
    steps = max(1, len(cases.pictures) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=steps * settings.epochs, pct_start=0.2
    )
    for epoch in range(settings.epochs):
        total = 0.0
        order = torch.randperm(len(cases.pictures))
        for step in range(steps):
            rows = order[step * settings.batch : (step + 1) * settings.batch]
            x, disc_x, disc_y = varied(cases, rows)
            fundus, cells = net(x, standard[rows])
            labels = {name: cases.labels[name][rows] for name in ("fundus", "disc")}
            loss = fundus_loss(fundus, labels["fundus"]) + place_loss(cells, labels["disc"], disc_x, disc_y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
            optimiser.step()
            schedule.step()
            total += loss.item()
        typer.echo(f"epoch {epoch + 1}/{settings.epochs}: loss {total / steps:.4f}", err=True)
    return net.eval()


def varied(cases: Cases, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vary a batch: mirrored both ways, a few pixels to the side, other light. The disc's place follows."""
    x = cases.pictures[rows].float().to(memory_format=torch.channels_last) / 255.0
    side, up = (torch.where(torch.rand(len(rows)) < 0.5, -1.0, 1.0) for _ in range(2))
    x = torch.where(side[:, None, None, None] < 0, x.flip(3), x)
    x = torch.where(up[:, None, None, None] < 0, x.flip(2), x)
    down, right = (int(n) for n in torch.randint(-5, 6, (2,)))
    x = x.roll((down, right), (2, 3)) * (1.0 + 0.08 * torch.randn(len(rows), 3, 1, 1))
    shift = 2.0 / x.shape[-1]
    return x, cases.labels["disc_x"][rows] * side + right * shift, cases.labels["disc_y"][rows] * up + down * shift


def fundus_loss(out: Tensor, target: Tensor) -> Tensor:
    """Cross entropy over what is known."""
    known = ~torch.isnan(target)
    return nn.functional.binary_cross_entropy_with_logits(out[known], target[known])


def place_loss(cells: Tensor, disc: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cross entropy over all places of the disc, "nowhere" among them."""
    known = ~torch.isnan(disc)
    if not known.any():
        return cells.sum() * 0.0
    at = (torch.arange(CELLS) + 0.5) / (CELLS / 2) - 1.0
    reach = 2.0 * SPREAD / CELLS
    bell_x, bell_y = (torch.exp(-0.5 * ((at - torch.nan_to_num(v)[:, None]) / reach) ** 2) for v in (x, y))
    bell = (bell_y[:, :, None] * bell_x[:, None, :]).flatten(1) + 1e-12
    target = torch.cat([bell / bell.sum(1, keepdim=True) * disc[:, None], 1.0 - disc[:, None]], dim=1)[known]
    logits = torch.cat([cells, torch.zeros(len(cells), 1)], dim=1)[known]
    return 0.5 * nn.functional.cross_entropy(logits, target)
