"""Who finds the layers of OCT volumes where no device did: a network, tested before its first job, or the search."""

from __future__ import annotations

from collections.abc import Callable

from oculard import log
from oculard.errors import Misconfigured
from oculard.inference.estimators import EstimatorRefused
from oculard.settings import Glaucoma
from oculard_models.contract import EstimateFailed
from oculard_models.layer_manifest import SHIPPED, network_path
from oculard_models.runners.layer_network import LayerNetwork, NetworkWrong, load_layer_folder
from oculard_models.volumes.learned import learned_layers
from oculard_models.volumes.segment import segment_layers
from oculard_models.volumes.volume import Layers, Volume

OURS = "found by oculard"
BY_SEARCH = f"{OURS} by graph search"
logger = log.get("inference")


class LayerFinder:
    """Loads on first use and keeps: a refused network is looked at again only after a restart."""

    def __init__(self, load: Callable[[], LayerNetwork | None]) -> None:
        """`load` gives the network, or None for the search; it raises EstimatorRefused."""
        self._load = load
        self._loaded: tuple[LayerNetwork | None] | EstimatorRefused | None = None

    def load(self) -> None:
        """Load what the first volume will ask for. A refused network is said, not raised."""
        try:
            self._loaded = (self._load(),)
        except EstimatorRefused as why:
            logger.error("network for layers refused", reason=why.reason, why=str(why), hint=why.hint)
            self._loaded = why

    @property
    def is_refused(self) -> bool:
        """Whether it was loaded in vain."""
        return isinstance(self._loaded, EstimatorRefused)

    def find(self, volume: Volume, *, job: int) -> tuple[Layers, str]:
        """The layers of a volume, and in words by what they were found. Raises EstimatorRefused."""
        network = self._network()
        if network is None:
            return segment_layers(volume), BY_SEARCH
        try:
            return learned_layers(volume, network), f"{OURS} with the network {words_of(network)}"
        except EstimateFailed as why:
            logger.error("layer network failed", job=job, reason="estimator-failed", exc_info=why)
            return segment_layers(volume), f"{BY_SEARCH}, because the network for layers ended with an error"

    def _network(self) -> LayerNetwork | None:
        """What was loaded. A refused network never gives way to the search: a person must decide that."""
        if self._loaded is None:
            self.load()
        if isinstance(self._loaded, EstimatorRefused):
            raise self._loaded
        assert self._loaded is not None
        return self._loaded[0]


def layer_finder(settings: Glaucoma, threads: int) -> LayerFinder:
    """The finder that is configured; nothing is loaded yet. Raises Misconfigured where a folder is none."""
    named = settings.layer_network
    path = network_path(named)
    if path is not None and named != SHIPPED and not path.is_dir():
        raise Misconfigured(
            f"[glaucoma] layer_network: `{named}` is not a folder",
            hint="`oct-layers` comes with oculard, `search` needs none, `oculard-lab layers --bundle` makes one",
        )
    return LayerFinder(lambda: read_named_network(named, threads))


def read_named_network(named: str, threads: int = 1) -> LayerNetwork | None:
    """Load the named network and run its self-test; None for the search. Raises EstimatorRefused."""
    path = network_path(named)
    try:
        return None if path is None else load_layer_folder(path, threads)
    except NetworkWrong as why:
        raise EstimatorRefused(
            f"[glaucoma] layer_network: {why}",
            hint="put the folder back as it was delivered, and restart; `search` works without a network",
        ) from why


def words_of(network: LayerNetwork) -> str:
    """A network as reports and people name it: name, version, digest, what it learnt from."""
    return f"{network.name}, sha256 {network.sha256}, learnt from {network.learnt_from}"
