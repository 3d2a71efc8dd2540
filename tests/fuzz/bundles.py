"""Bundles that somebody made to harm: their manifests, their folders, and the networks in them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bundle_samples import mask_model, mean_model, tiny_bundle, tiny_mask_bundle

from fuzz.running import Ready, outcome_of
from oculard.decoders import Limits
from oculard.inference.decoding import Decoder
from oculard_models.dicom_pixels import Undecodable
from oculard_models.manifest import BundleRefused
from oculard_models.registry import BUNDLES, find_bundles, read_bundle

LIMITS = Limits(seconds=20.0, memory_bytes=4 << 30)
SHIPPED = ("systemic-demo", "faz", "fundus-quality", "glaucoma-demo")
HARMLESS = "outside.txt"


@contextmanager
def manifests(folder: Path) -> Iterator[Ready]:
    """A bundle whose manifest is hostile and whose other parts are sound."""
    with tempfile.TemporaryDirectory() as work:
        bundle = Path(shutil.copytree(BUNDLES / "faz", Path(work) / "hostile"))

        def feed(data: bytes) -> str:
            (bundle / "manifest.toml").write_bytes(data)
            return _read(bundle)

        yield Ready(seeds=tuple((BUNDLES / name / "manifest.toml").read_bytes() for name in SHIPPED), feed=feed)


@contextmanager
def networks(folder: Path) -> Iterator[Ready]:
    """A bundle whose network is hostile, and whose digest is right: loaded and tested in a process that may die."""
    decoder = Decoder(LIMITS, module="fuzz.bundle_process")
    with tempfile.TemporaryDirectory() as work:
        made = [tiny_bundle(Path(work), mean_model), tiny_mask_bundle(Path(work), mask_model)]
        seeds = [(bundle / "model.onnx").read_bytes() for bundle in made]
        bundle = made[0]
        manifest = (bundle / "manifest.toml").read_text(encoding="utf-8")
        digest = hashlib.sha256(seeds[0]).hexdigest()

        def feed(data: bytes) -> str:
            (bundle / "model.onnx").write_bytes(data)
            right = manifest.replace(digest, hashlib.sha256(data).hexdigest())
            (bundle / "manifest.toml").write_text(right, encoding="utf-8")
            try:
                decoder.rgb(bundle, pixels_max=0).result()
            except Undecodable as why:
                return outcome_of(why)
            return "served"

        yield Ready(seeds=tuple(seeds), feed=feed)
    decoder.close()


@contextmanager
def bundles(folder: Path) -> Iterator[Ready]:
    """A folder of bundles in which some parts are links, pipes, folders or huge, and their names are tricks."""
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / HARMLESS).write_text("a secret", encoding="utf-8")

        def feed(data: bytes) -> str:
            root = Path(work) / "bundles"
            shutil.rmtree(root, ignore_errors=True)
            bundle = Path(shutil.copytree(BUNDLES / "faz", root / "hostile"))
            manifest = bundle / "manifest.toml"  # of another version than the shipped one, which nobody replaces
            manifest.write_text(
                re.sub(r'(?m)^version = ".*"', 'version = "9.9.9"', manifest.read_text("utf-8"), count=1)
            )
            rng = random.Random(data)
            for _ in range(rng.randint(1, 3)):
                rng.choice(TRICKS)(rng, bundle)
            found, refused = find_bundles([root])
            for one in found:
                if one.folder.is_relative_to(root):
                    try:
                        one.load(), one.golden_image()
                    except BundleRefused:
                        return "refused when loaded"
                    return "read"
            assert refused
            return "refused"

        yield Ready(seeds=tuple(bytes((number,)) * 8 for number in range(32)), feed=feed)


def _read(bundle: Path) -> str:
    try:
        found = read_bundle(bundle)
        found.load()
        found.golden_image()
    except BundleRefused:
        return "refused"
    return "read"


def _part(rng: random.Random, bundle: Path) -> Path:
    path = bundle / rng.choice(("manifest.toml", "card.md", "model.onnx", "golden.png"))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def _link_out(rng: random.Random, bundle: Path) -> None:
    _part(rng, bundle).symlink_to(rng.choice(("/etc/passwd", f"../../{HARMLESS}", "/dev/zero", "/proc/self/mem", ".")))


def _link_in(rng: random.Random, bundle: Path) -> None:
    _part(rng, bundle).symlink_to(rng.choice(("golden.png", "model.onnx", "nothing", "card.md")))


def _pipe(rng: random.Random, bundle: Path) -> None:
    os.mkfifo(_part(rng, bundle))  # whoever opens it waits for ever


def _socket(rng: random.Random, bundle: Path) -> None:
    path, here = _part(rng, bundle), Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _folder(rng: random.Random, bundle: Path) -> None:
    _part(rng, bundle).mkdir()


def _huge(rng: random.Random, bundle: Path) -> None:
    """A file of holes: it takes no room, and reads as terabytes."""
    with _part(rng, bundle).open("wb") as file:
        file.truncate(rng.choice((1 << 31, 1 << 33, 1 << 40)))


def _more(rng: random.Random, bundle: Path) -> None:
    """Something beside the parts, which nobody asks for."""
    (bundle / rng.choice(("estimator.py", "__init__.py", "model.onnx.data", "\u202etxt.onnx"))).write_bytes(b"\0")


def _gone(rng: random.Random, bundle: Path) -> None:
    _part(rng, bundle)


def _names(rng: random.Random, bundle: Path) -> None:
    """A manifest that names a part elsewhere."""
    path = bundle / "manifest.toml"
    if not path.is_file() or path.is_symlink() or path.stat().st_size > 1 << 20:
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    wrong = rng.choice(
        (f"../../{HARMLESS}", "/etc/passwd", "..", "a\\u0000.onnx", "a/b.onnx", "\u202ex.onnx", ".onnx", "a" * 5000)
    )
    path.write_text(
        text.replace(*rng.choice((('"model.onnx"', json.dumps(wrong)), ('"golden.png"', json.dumps(wrong)))))
    )


Trick = Callable[[random.Random, Path], None]
TRICKS: Sequence[Trick] = (_more, _link_out, _link_in, _pipe, _socket, _folder, _huge, _gone, _names)
