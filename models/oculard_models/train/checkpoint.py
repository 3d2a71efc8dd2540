"""What a training leaves: weights, and everything that is needed to use them; read as plain values, never unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oculard_models.data.scaling import Scaling
from oculard_models.manifest import InputSpec
from oculard_models.nets.segmenters import build_segmenter
from oculard_models.nets.sixteen import UNREADABLE, NetWrong, Separate, build

ABOUT = "oculard"  # our key in a checkpoint
MASK = "mask"  # instead of a trunk, and the only head, of what segments
PREFIX = "net."  # of the weights in Lightning's checkpoints
FILE_MAX_BYTES = 8 << 30  # seven B7 with the state of their optimiser are 5.4 GB


class CheckpointWrong(ValueError):
    """A file that is no checkpoint of ours, or a broken one. The message names it and says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a checkpoint says beside its weights. `settings` are the training's own, plain values only."""

    architecture: str
    trunk: str  # shared: one network with all heads; separate: one network a head; mask: a segmentation network
    heads: tuple[str, ...]
    spec: InputSpec
    scaling: Scaling
    settings: Mapping[str, object]

    def with_settings(self, more: Mapping[str, object]) -> About:
        """Return the same with further settings."""
        return replace(self, settings={**self.settings, **more})

    def plain(self) -> dict[str, Any]:
        """Return everything as JSON would have it."""
        whole = {
            "architecture": self.architecture,
            "trunk": self.trunk,
            "heads": list(self.heads),
            "spec": self.spec.model_dump(mode="json"),
            "scaling": asdict(self.scaling),
            "settings": dict(self.settings),
        }
        return dict(json.loads(json.dumps(whole)))

    def flat(self) -> dict[str, object]:
        """Return every single value by its path, as in `settings.fit.seed`."""
        return dict(_flat("", self.plain()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained network with everything that is needed to use it."""

    net: nn.Module
    architecture: str
    heads: tuple[str, ...]
    spec: InputSpec
    scaling: Scaling
    settings: Mapping[str, object]


def build_for(about: About) -> nn.Module:
    """Build the network that a checkpoint is of, without weights."""
    if about.trunk == MASK:
        return build_segmenter(about.architecture)
    if about.trunk == "shared":
        return build(about.architecture, about.heads)
    return Separate([build(about.architecture, (head,)) for head in about.heads])


def write_checkpoint(path: Path, net: nn.Module, about: About) -> None:
    """Write weights and what is said about them; a file that is half written never has the name."""
    weights = {PREFIX + name: value.contiguous() for name, value in net.state_dict().items()}
    beside = path.with_name(path.name + ".part")
    torch.save({ABOUT: about.plain(), "state_dict": weights}, beside)
    beside.replace(path)


def read_checkpoint(path: Path) -> Trained:
    """Read a checkpoint, one that `write_checkpoint` or a training wrote. Raises CheckpointWrong."""
    content = _content(path)
    about = _about(content, path)
    try:
        net = build_for(about)
        net.load_state_dict(_weights(content))
    except (NetWrong, RuntimeError) as why:  # torch says with RuntimeError which tensors do not fit
        raise CheckpointWrong(f"{path} does not fit its network: {str(why)[:300]}") from why
    return Trained(
        net=net.eval(),
        architecture=about.architecture,
        heads=about.heads,
        spec=about.spec,
        scaling=about.scaling,
        settings=about.settings,
    )


def read_about(path: Path) -> About:
    """Read only what a checkpoint says beside its weights. Raises CheckpointWrong."""
    return _about(_content(path), path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read only the weights of a checkpoint, by the names that the network gives them. Raises CheckpointWrong."""
    return _weights(_content(path))


def _content(path: Path) -> dict[str, Any]:
    """Read the file, tensors and plain values only: anything else in it is refused, and nothing is executed."""
    if not path.is_file():
        raise CheckpointWrong(f"there is no checkpoint {path}")
    if path.stat().st_size > FILE_MAX_BYTES:
        raise CheckpointWrong(f"{path} has {path.stat().st_size} bytes, {FILE_MAX_BYTES} are allowed")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as why:
        words = str(why).splitlines()[0][:200] if str(why) else type(why).__name__
        raise CheckpointWrong(f"{path} cannot be read as a checkpoint: {words}") from why
    if not isinstance(content, dict) or ABOUT not in content or not isinstance(content.get("state_dict"), dict):
        raise CheckpointWrong(f"{path} is no checkpoint of this laboratory; hint: trainings write best.ckpt")
    return content


def _about(content: Mapping[str, Any], path: Path) -> About:
    """Check what the checkpoint says."""
    said = content[ABOUT]
    try:
        scaling = {key: tuple(value) for key, value in said["scaling"].items()}
        about = About(
            architecture=str(said["architecture"]),
            trunk=str(said["trunk"]),
            heads=tuple(str(head) for head in said["heads"]),
            spec=InputSpec.model_validate(said["spec"]),
            scaling=Scaling(**scaling),
            settings=dict(said["settings"]),
        )
    except (AttributeError, LookupError, TypeError, ValueError) as why:  # pydantic's errors are ValueErrors
        raise CheckpointWrong(f"{path} does not say what it is: {str(why)[:300]}") from why
    if about.trunk not in ("shared", "separate", MASK) or not about.heads:
        raise CheckpointWrong(f"{path} does not say what it is: trunk `{about.trunk}`, heads {about.heads}")
    return about


def _weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take the network's weights out of a checkpoint."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in content["state_dict"].items()
        if isinstance(name, str) and name.startswith(PREFIX) and isinstance(value, Tensor)
    }


def _flat(path: str, value: object) -> list[tuple[str, object]]:
    """List the values below a path."""
    if not isinstance(value, dict):
        return [(path, value)]
    return [pair for key, inner in value.items() for pair in _flat(f"{path}.{key}" if path else str(key), inner)]
