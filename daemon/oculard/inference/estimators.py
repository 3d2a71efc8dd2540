"""The estimators that this process serves: loaded once, tested once, resident from then on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oculard import log
from oculard.errors import Misconfigured, Permanent
from oculard.imaging.kinds import EN_FACE, FLOW_VOLUME, FUNDUS, OCT_LAYERS
from oculard.plan import Family
from oculard.report.codes import concept
from oculard.report.request import Origin
from oculard.report.views import JAPANESE
from oculard_models import structures
from oculard_models.manifest import OCT_VOLUME, BundleRefused, Manifest, Output, OutputKind
from oculard_models.quality import GATE_FAMILY
from oculard_models.registry import Bundle, Refusal, find_bundles
from oculard_models.runners.golden import Loaded
from oculard_models.runners.load import Runner, choose
from oculard_models.runners.onnx import Choice
from oculard_models.runners.openvino_runner import Precision
from oculard_models.runners.selection import select
from oculard_models.volumes.view_specs import VIEWS

logger = log.get("inference")


class EstimatorRefused(Permanent):
    """The bundle cannot be used; its jobs fail, and nothing else does."""

    reason = "bundle-refused"
    hint = "`oculard models` names the part that is wrong; put the bundle back as it was delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One bundle and its loaded network."""

    manifest: Manifest
    estimator: Loaded
    conditions: tuple[str, ...] = ()  # ASCII, `name=value`: what a report must name of how it runs
    why: tuple[str, ...] = ()  # it runs so


class Estimators:
    """Loads on first use and keeps: a refused bundle is looked at again only after a restart."""

    def __init__(
        self,
        bundles: Iterable[Bundle],
        *,
        providers: Sequence[str],
        threads: int,
        runner: Runner = "onnx",
        precision: Precision = "float",
    ) -> None:
        self._bundles = {name_of(bundle.manifest): bundle for bundle in bundles}
        self.choice = choose(runner, providers)
        self._threads, self._runner, self._precision = threads, runner, precision
        self._loaded: dict[str, Served | EstimatorRefused] = {}

    def manifest(self, name: str) -> Manifest | None:
        """The manifest of `name@version`, also when its weights are refused; None when there is no such bundle."""
        bundle = self._bundles.get(name)
        return None if bundle is None else bundle.manifest

    def get(self, name: str) -> Served:
        """The estimator `name@version`, loaded and self-tested. Raises EstimatorRefused."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        served = self._loaded[name]
        if isinstance(served, EstimatorRefused):
            raise served
        return served

    def load(self, names: Iterable[str]) -> None:
        """Load what will be asked for, so that the first job need not wait. A refused bundle is said, not raised."""
        for name in names:
            self._loaded[name] = self._load(name)

    @property
    def refused(self) -> set[str]:
        """What was loaded in vain, as `name@version`."""
        return {name for name, served in self._loaded.items() if isinstance(served, EstimatorRefused)}

    def _load(self, name: str) -> Served | EstimatorRefused:
        bundle = self._bundles.get(name)
        if bundle is None:
            return EstimatorRefused(f"there is no bundle `{name}`", reason="bundle-missing")
        try:
            served = serve(bundle, self._runner, self.choice, self._threads, self._precision)
        except BundleRefused as why:
            logger.error("bundle refused", bundle=name, reason="bundle-refused", why=str(why))
            return EstimatorRefused(str(why))
        logger.info(
            "bundle loaded",
            bundle=name,
            providers=list(self.choice.providers),
            runs=list(served.conditions),
            why=[*self.choice.why, *served.why],
        )
        return served


def serve(bundle: Bundle, runner: Runner, choice: Choice, threads: int, precision: Precision = "float") -> Served:
    """Load a bundle with a runner and run its self-test. Raises BundleRefused."""
    _must_be_reportable(bundle.manifest)
    found = select(bundle, runner=runner, precision=precision, choice=choice, threads=threads)
    return Served(manifest=bundle.manifest, estimator=found.loaded, conditions=found.conditions, why=found.why)


def _must_be_reportable(manifest: Manifest) -> None:
    """Refuse a bundle whose family, texts, concepts, units, classes or measures no report could carry."""
    try:
        Origin.from_manifest(manifest)
        _must_be_views(manifest.input.views)
        measures = {} if manifest.mask is None else structures.MEASURES[manifest.mask.structure]
        for output in manifest.output:
            _must_be_expressible(output)
            if output.kind is OutputKind.MEASURED and measures.get(output.name) != output.unit:
                raise ValueError(f"`{output.name}` in `{output.unit}` is not what is measured of its structure")
    except (LookupError, ValueError) as why:
        raise BundleRefused(f"bundle `{manifest.name}` cannot be reported: {why}") from why


def _must_be_views(names: Sequence[str]) -> None:
    """Refuse views that nobody makes, or no report names. Raises ValueError."""
    known = [name for name in VIEWS if name in JAPANESE]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no view {', '.join(unknown)} is made here; hint: {', '.join(known)}")


def _must_be_expressible(output: Output) -> None:
    """Refuse an output that its concept cannot say. Raises LookupError, ValueError."""
    known = concept(output.concept)
    if known.unit.value != output.unit:
        raise ValueError(f"output `{output.name}`: `{output.concept}` is not in `{output.unit}`")
    if bool(output.choices) != bool(known.choices) or not set(output.choices) <= set(known.choices):
        raise ValueError(f"output `{output.name}`: the classes of `{output.concept}` are {sorted(known.choices)}")


def name_of(manifest: Manifest) -> str:
    """How jobs and reports name a bundle: name@version."""
    return f"{manifest.name}@{manifest.version}"


def find(folders: Sequence[Path]) -> tuple[list[Bundle], list[Refusal]]:
    """The bundles that come with oculard and those in the given folders."""
    return find_bundles(folders)


def families(bundles: Iterable[Bundle], wanted: dict[str, str]) -> dict[str, Family]:
    """Which bundle serves each configured family: the newest of that name. Raises Misconfigured when there is none."""
    found = list(bundles)
    chosen = {}
    for family, name in wanted.items():
        if family == GATE_FAMILY:
            raise Misconfigured(
                f"[worker] estimators: `{family}` is the family of quality gates, which estimate nothing",
                hint="[worker] quality_gate names the gate",
            )
        bundle = newest(one for one in found if one.manifest.name == name and one.manifest.family == family)
        if bundle is None:
            raise Misconfigured(
                f"[worker] estimators: family `{family}` wants bundle `{name}`, which is not here",
                reason="bundle-missing",
                hint="`oculard models` lists the bundles; [worker] bundles names further folders",
            )
        manifest = bundle.manifest
        chosen[family] = Family(
            name=family,
            estimator=name_of(manifest),
            input_kind=manifest.input.kind,
            combine=manifest.combine,
            slabs=manifest.input.slabs,
            instead=(FLOW_VOLUME,) if manifest.input.kind == EN_FACE else (),
            beside=(OCT_LAYERS, FUNDUS) if manifest.input.kind == OCT_VOLUME else (),
        )
    return chosen


def newest(bundles: Iterable[Bundle]) -> Bundle | None:
    """The bundle of the highest version; None when there is none."""
    return max(bundles, key=lambda one: [int(part) for part in one.manifest.version.split(".")], default=None)
