"""Networks for layers on disk: a folder with manifest, card and weights, like a bundle that estimates nothing.

`registry` does not find them: they belong to no family, and serve every bundle that reads OCT volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from oculard_models.manifest import SLUG, Strict, Weights, read_as
from oculard_models.registry import MANIFEST, TEXT_MAX_BYTES, checked_weights, part, read_card

NETWORKS: Final = Path(__file__).parent / "layer_networks"  # what we ship
SHIPPED: Final = "oct-layers"
SEARCH: Final = "search"  # the graph search instead of any network
WEIGHTS_MAX_BYTES: Final = 50_000_000


class LayerManifest(Strict):
    """Identity, licence, what it learnt from, and weights; the weights hold their own self-test."""

    name: Annotated[str, Field(pattern=SLUG, max_length=48)]
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    licence: Annotated[str, Field(min_length=1)]
    learnt_from: Annotated[str, Field(pattern=r"^[ -~]{1,64}$")]  # ASCII: reports say it
    weights: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFolder:
    """A folder with a checked manifest and a card; its weights are checked when they are loaded."""

    folder: Path
    manifest: LayerManifest
    card: str

    def load(self) -> bytes:
        """Read the weights once and check their digest on the bytes that are returned. Raises BundleRefused."""
        part(self.folder, self.manifest.weights.file, WEIGHTS_MAX_BYTES)
        return checked_weights(self.folder, self.manifest.weights)


def network_path(named: str) -> Path | None:
    """What a name means: nothing for SEARCH, what we ship for its name, else a path."""
    if named == SEARCH:
        return None
    return NETWORKS / SHIPPED if named == SHIPPED else Path(named)


def read_layer_folder(folder: Path) -> LayerFolder:
    """Read manifest and card. Raises BundleRefused, naming the part that is wrong."""
    part(folder, MANIFEST, TEXT_MAX_BYTES)
    return LayerFolder(folder=folder, manifest=read_as(LayerManifest, folder), card=read_card(folder))
