"""Train a light network for the layers of OCT volumes on painted ones: how `oct-layers` was made.

How to run (needs the extra `lab`; about eight minutes of one processor):

    oculard-lab train layers --out layers.onnx
    oculard-lab layers --painted 10 --network layers.onnx --bundle oct-ours
    oculard-lab train layers --eyes 2 --steps 4 --out short.onnx      # to try

Every eye is fresh: it is painted, a few hundred pieces are taken from it and from those before it, and it is gone. The
painter that teaches is the painter that judges: only `foreign` volumes of the table tell something of others.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional

from oculard_models.nets.layer_net import LayerNet, Places, places
from oculard_models.runners.layer_network import INPUT, OUTPUTS, LayerNetwork, golden
from oculard_models.train.layers_data import COLUMNS, ROWS, Pieces
from oculard_models.train.settings import TrainingWrong, as_options, asked

# --- settings -------------------------------------------------------------------------------------------------------

EVERY = 100  # steps between two lines
SIZES = {0: "scans", 2: "columns"}  # of what comes out; any


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command."""

    out: str = "layers.onnx"
    seed: int = 1
    eyes: int = 60  # painted ones
    steps: int = 40  # for each of them
    batch: int = 8
    rate: float = 4e-3  # highest, of AdamW; it rises and falls once
    decay: float = 1e-3
    threads: int = 1

    def __post_init__(self) -> None:
        if min(self.eyes, self.steps, self.batch, self.threads) < 1 or not 0 <= self.seed < 10_000:
            raise TrainingWrong("`eyes`, `steps`, `batch` and `threads` must be 1 at least, `seed` within 0 and 9999")


# --- what is done ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Train, and write the network as ONNX."""
    settings = asked(Settings, arguments, "oculard-lab train layers", __doc__ or "")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    net = LayerNet()
    typer.echo(f"{sum(weight.numel() for weight in net.parameters())} parameters", err=True)
    _train(net, settings)
    write_network(net, Path(settings.out), as_options(settings, without=("out", "threads")))
    typer.echo(settings.out)


def _train(net: LayerNet, settings: Settings) -> None:
    """Paint, draw, step."""
    rng = np.random.default_rng([settings.seed, 1])
    pieces = Pieces(seed=settings.seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
    whole = settings.eyes * settings.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=whole, pct_start=0.15)
    net.train()
    told: list[dict[str, float]] = []
    for step in range(whole):
        if step % settings.steps == 0:
            pieces.paint()
        seen, rows = (torch.from_numpy(part) for part in pieces.batch(rng, settings.batch))
        logits, presence = net(seen)
        loss, parts = loss_of(logits, presence, rows)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        told.append(parts)
        if len(told) == EVERY or step + 1 == whole:
            means = {name: round(float(np.mean([one[name] for one in told])), 3) for name in parts}
            typer.echo(f"step {step + 1} of {whole}: {json.dumps(means)}", err=True)
            told = []
    net.eval()


def loss_of(logits: Tensor, presence: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, float]]:
    """How wrong surfaces and presence are: cross entropy of the place, its distance in rows, presence."""
    known = torch.isfinite(rows)
    at = torch.where(known, rows, torch.zeros_like(rows))
    half = ((at - 0.5) / 2.0).clamp(0.0, logits.shape[2] - 1.001)
    low = half.floor().long()
    share = (half - low)[..., None].transpose(2, 3)
    likely = functional.log_softmax(logits, dim=2)
    first, second = (likely.gather(2, (low + more)[:, :, None]) for more in (0, 1))
    entropy = -((1.0 - share) * first + share * second)[:, :, 0][known].mean()
    away = functional.smooth_l1_loss(places(logits)[known], at[known])
    there = torch.stack([known[:, 0], known[:, 1:].any(dim=1)], dim=1).float()
    weight = torch.stack([torch.ones_like(there[:, 0]), there[:, 0]], dim=1)  # without a retina nobody asks further
    present = functional.binary_cross_entropy_with_logits(presence, there, weight=weight)
    loss = entropy + 0.5 * away + present
    off = (places(logits)[known] - at[known]).abs().mean()
    parts = {"entropy": entropy, "rows": off, "presence": present}
    return loss, {name: float(part.detach()) for name, part in parts.items()}


def write_network(net: LayerNet, path: Path, options: str) -> None:
    """Write the network as one ONNX file that says how it was trained."""
    import onnx
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter writes one plain file, and is quick
        torch.onnx.export(
            Places(net).eval(),
            (torch.zeros(2, 3, ROWS, COLUMNS),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={INPUT: {0: "scans", 2: "rows", 3: "columns"}, **dict.fromkeys(OUTPUTS, SIZES)},
        )
    model = onnx.load(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    told = golden(LayerNetwork(session=session, sha256="", command=""))
    about = {
        "command": f"oculard-lab train layers {options}",
        "golden": " ".join(f"{number:.4f}" for number in told),
        "licence": "Apache-2.0",
        "data": "painted OCT volumes of nobody",
    }
    onnx.helper.set_model_props(model, about)
    onnx.save(model, path)


if __name__ == "__main__":
    main(sys.argv[1:])
