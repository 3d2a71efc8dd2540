"""The quality gate that this process serves: no image is estimated that it has not graded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from oculard import log
from oculard.errors import Permanent
from oculard.inference.estimators import name_of, newest
from oculard.report.request import Grader
from oculard_models.discs import DiscFinder, load_disc_finder
from oculard_models.manifest import BundleRefused
from oculard_models.quality import Gate, load_gate
from oculard_models.registry import Bundle
from oculard_models.runners.onnx import Choice, available_providers, choose_providers

SURE = 0.99  # from here on a picture that contradicts its header is worth a person's look
SIDES = {"R": "right", "L": "left"}
logger = log.get("inference")


class GateRefused(Permanent):
    """The quality gate cannot be used: every job fails, because none may be estimated ungraded."""

    reason = "quality-gate-refused"
    hint = "`oculard models` names the part that is wrong; put the bundle back, restart, `oculard retry --all-jobs`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedGate:
    """A loaded gate and how reports name it."""

    name: str  # name@version
    grader: Grader
    gate: Gate
    discs: DiscFinder | None = None  # of `[worker] disc_finder`


class QualityGate:
    """Loads on first use and keeps: a refused gate is looked at again only after a restart."""

    def __init__(self, bundles: Iterable[Bundle], name: str, *, threads: int, disc_finder: str = "") -> None:
        self._bundles, self._name, self._threads, self._disc_finder = list(bundles), name, threads, disc_finder
        self._loaded: ServedGate | GateRefused | None = None
        self._loading = Lock()  # several threads look at images

    def get(self) -> ServedGate:
        """The gate, loaded and self-tested. Raises GateRefused."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
        if isinstance(self._loaded, GateRefused):
            raise self._loaded
        return self._loaded

    def load(self) -> None:
        """Load what the first job will ask for. A refused gate is said, not raised."""
        self._loaded = self._load()

    @property
    def is_refused(self) -> bool:
        """Whether it was loaded in vain."""
        return isinstance(self._loaded, GateRefused)

    def _load(self) -> ServedGate | GateRefused:
        try:
            served = serve_gate(self._bundles, self._name, self._threads, self._disc_finder)
        except GateRefused as why:
            logger.error("quality gate refused", bundle=self._name, reason=why.reason, why=str(why), hint=why.hint)
            return why
        logger.info("quality gate loaded", bundle=served.name)
        return served


def serve_gate(bundles: Sequence[Bundle], name: str, threads: int, disc_finder: str = "") -> ServedGate:
    """Load the newest gate of a name, and what finds discs for it if that is named; self-test. Raises GateRefused.

    It runs on the processor, whatever the estimators run on: it is small, and sees one image at a time.
    """
    bundle = newest(bundle for bundle in bundles if bundle.manifest.name == name)
    if bundle is None:
        raise GateRefused(f"[worker] quality_gate wants bundle `{name}`, which is not here")
    choice = choose_providers(["cpu"], available_providers())
    try:
        discs = _disc_finder(bundles, disc_finder, choice, threads)
        gate = load_gate(bundle, choice, threads, discs)
        grader = Grader.from_manifest(bundle.manifest)
    except (BundleRefused, ValueError) as why:
        raise GateRefused(str(why)) from why
    return ServedGate(name=name_of(bundle.manifest), grader=grader, gate=gate, discs=discs)


def _disc_finder(bundles: Iterable[Bundle], name: str, choice: Choice, threads: int) -> DiscFinder | None:
    """Load what gives the gate a second opinion on the disc, if anything does. Raises GateRefused, BundleRefused."""
    if not name:
        return None
    bundle = newest(bundle for bundle in bundles if bundle.manifest.name == name)
    if bundle is None:
        raise GateRefused(f"[worker] disc_finder wants bundle `{name}`, which is not here")
    return load_disc_finder(bundle, choice, threads)


def suggestion(number: int, eye: str, probability: float) -> str:
    """What the picture of an image without a known eye looks like; nobody may take it for the eye."""
    return f"image {number} looks like a {SIDES[eye]} eye ({_percent(probability, 0)} %)"


def contradiction(number: int, eye: str, suggested: str | None, probability: float | None) -> str:
    """A warning where the picture surely looks like the other eye than its header says; "" where it does not."""
    if suggested in (None, eye) or probability is None or probability < SURE:
        return ""
    words = f"the header says {SIDES[eye]} eye, the picture looks like a {SIDES[suggested or '']} eye"
    return f"check image {number}: {words} ({_percent(probability, 1)} %)"


def _percent(probability: float, decimals: int) -> str:
    """A probability in percent, never rounded up to certainty."""
    return f"{min(100.0 * probability, 100.0 - 10.0**-decimals):.{decimals}f}"
