"""Finds bundles on disk. A bundle is hostile until it is checked: nothing here runs or imports any of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oculard_models.manifest import BundleRefused, Manifest, Weights, read_manifest

BUNDLES = Path(__file__).parent / "bundles"  # what we ship

MANIFEST, CARD = "manifest.toml", "card.md"
TEXT_MAX_BYTES = 1 << 20  # manifest and card
GOLDEN_MAX_BYTES = 32 << 20
WEIGHTS_MAX_BYTES = (2 << 30) - 1  # one ONNX file is one protobuf message, and that is its limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A folder with a checked manifest and a card; its weights are checked when they are loaded."""

    folder: Path
    manifest: Manifest
    card: str

    @property
    def identity(self) -> str:
        """Name and version, as in `systemic-demo 1.0.0`: what must be unique in one installation."""
        return f"{self.manifest.name} {self.manifest.version}"

    def load(self) -> bytes:
        """Read the weights once and check their digest on the bytes that are returned. Raises BundleRefused."""
        return checked_weights(self.folder, self.manifest.weights)

    def golden_image(self) -> bytes:
        """Read the picture of the self-test, a PNG file. Raises BundleRefused."""
        return _content(self.folder, self.manifest.golden.image, GOLDEN_MAX_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A folder that is not used, and why."""

    folder: Path
    reason: str


def find_bundles(folders: Sequence[Path] = ()) -> tuple[list[Bundle], list[Refusal]]:
    """Find the shipped bundles, then those in `folders`, sorted by name within each; say which were refused and why.

    Every subfolder counts as a bundle, unless its name begins with a dot or an underscore. Of two bundles with the
    same name and version the first stays: nobody replaces a shipped bundle without saying so in its version.
    """
    bundles: dict[str, Bundle] = {}
    refusals: list[Refusal] = []
    for root in dict.fromkeys(folder.resolve() for folder in (BUNDLES, *folders)):
        if not root.is_dir():
            refusals.append(Refusal(folder=root, reason=f"`{root}` is not a folder; hint: is its path right?"))
            continue
        for folder in sorted(f for f in root.iterdir() if f.is_dir() and f.name[0] not in "._"):
            try:
                bundle = read_bundle(folder)
                _must_be_new(bundle, bundles)
            except BundleRefused as why:
                refusals.append(Refusal(folder=folder, reason=str(why)))
            else:
                bundles[bundle.identity] = bundle
    return list(bundles.values()), refusals


def read_bundle(folder: Path) -> Bundle:
    """Read one bundle's manifest and card and see that its files are there. Raises BundleRefused, naming the part."""
    part(folder, MANIFEST, TEXT_MAX_BYTES)
    manifest = read_manifest(folder)
    card = read_card(folder)
    part(folder, manifest.weights.file, WEIGHTS_MAX_BYTES)
    part(folder, manifest.golden.image, GOLDEN_MAX_BYTES)
    return Bundle(folder=folder, manifest=manifest, card=card)


def read_card(folder: Path) -> str:
    """Read the card that travels with weights. Raises BundleRefused."""
    try:
        card = _content(folder, CARD, TEXT_MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as why:
        raise BundleRefused(f"bundle `{folder.name}`: {CARD} is not UTF-8: {why}") from why
    if not card.strip():
        raise BundleRefused(f"bundle `{folder.name}`: {CARD} is empty; hint: say what the model was trained on")
    return card


def checked_weights(folder: Path, weights: Weights) -> bytes:
    """Read weights once and check their digest on the bytes that are returned. Raises BundleRefused."""
    content = _content(folder, weights.file, WEIGHTS_MAX_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if digest != weights.sha256:
        raise BundleRefused(
            f"bundle `{folder.name}`: {weights.file} has the digest {digest}, the manifest says"
            f" {weights.sha256}; hint: was one of them replaced without the other?"
        )
    return content


def _must_be_new(bundle: Bundle, known: dict[str, Bundle]) -> None:
    """Refuse a second bundle of the same name and version."""
    first = known.get(bundle.identity)
    if first is not None:
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: {bundle.identity} is already there in {first.folder};"
            " hint: give it another version"
        )


def part(folder: Path, name: str, max_bytes: int) -> Path:
    """Return the path of a bundle's file: a plain file of a sane size that lies in the folder itself."""
    path = folder / name
    try:
        inside = path.resolve().parent == folder.resolve()  # a link is followed before it is judged
        size = path.stat().st_size if path.is_file() else None
    except (OSError, RuntimeError) as why:  # no permission; links in a circle
        raise BundleRefused(f"bundle `{folder.name}`: {name} cannot be read: {why}") from why
    if not inside:
        raise BundleRefused(f"bundle `{folder.name}`: {name} lies outside the bundle's folder")
    if size is None:
        raise BundleRefused(f"bundle `{folder.name}` has no {name}")
    if size > max_bytes:
        raise BundleRefused(f"bundle `{folder.name}`: {name} has {size} bytes, {max_bytes} are allowed")
    return path


def _content(folder: Path, name: str, max_bytes: int) -> bytes:
    """Read a bundle's file."""
    path = part(folder, name, max_bytes)
    try:
        return path.read_bytes()
    except OSError as why:
        raise BundleRefused(f"bundle `{folder.name}`: {name} cannot be read: {why.strerror}") from why
