"""Who finds layers for the laboratory's commands: the network that comes with oculard, one of yours, or the search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard_models.lab.console import misuse
from oculard_models.layer_manifest import SEARCH, network_path

if TYPE_CHECKING:
    from oculard_models.evaluate.layer_study import Finder

NamedNetwork = Annotated[
    str,
    typer.Option(
        "--network",
        help="Finds layers: `oct-layers`, which comes with oculard, a folder or file of yours, or `search`.",
    ),
]


def finder(named: str) -> Finder:
    """What finds layers, as the daemon's `[glaucoma] layer_network` names it."""
    from oculard_models.runners.layer_network import NetworkWrong, load_layer_folder, load_layer_network
    from oculard_models.volumes.learned import learned_layers
    from oculard_models.volumes.segment import segment_layers

    path = network_path(named)
    if path is None:
        return segment_layers
    try:
        network = load_layer_folder(path) if path.is_dir() else load_layer_network(path)
    except NetworkWrong as why:
        misuse(str(why))
    return lambda volume: learned_layers(volume, network)


def finders(named: str) -> dict[str, Finder]:
    """The search, and the network if one is named, by the name in the table."""
    found = {SEARCH: finder(SEARCH)}
    if network_path(named) is not None:
        found["network"] = finder(named)
    return found


def bare_file(named: str) -> Path | None:
    """The network's file, where it is none that has its folder already."""
    path = network_path(named)
    return path if path is not None and path.is_file() else None
