"""Runs what `oculard-lab train layers` wrote: a network that finds the layers of B-scans, checked before it is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from oculard_models.contract import EstimateFailed
from oculard_models.layer_manifest import WEIGHTS_MAX_BYTES, read_layer_folder
from oculard_models.manifest import BundleRefused
from oculard_models.runners.onnx_file import NotOnnx, has_external_data
from oculard_models.volumes.learned import BOUNDARIES, Seen

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INPUT, OUTPUTS = "seen", ("rows", "present")
TOLERANCE = 0.1  # rows, and of the probability that something is there


class NetworkWrong(ValueError):
    """A file that is no network for layers, or one that does not give here what it gave where it was made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerNetwork:
    """A loaded network; `command` made it. `name` and `learnt_from` are its manifest's, where it has one."""

    session: InferenceSession
    sha256: str
    command: str
    name: str = ""  # and version
    learnt_from: str = ""

    def __call__(self, seen: Seen) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Rows and presence of B-scans: see `volumes.learned.Network`. Raises EstimateFailed."""
        try:
            rows, present = self.session.run(list(OUTPUTS), {INPUT: seen})
        except _errors() as why:
            raise EstimateFailed(f"the network for layers cannot run on {seen.shape}") from why
        if not (np.isfinite(rows).all() and np.isfinite(present).all()):
            raise EstimateFailed("the network for layers gave what is no number")
        return rows, present


def load_layer_folder(folder: Path, threads: int = 1) -> LayerNetwork:
    """Load the network of a folder that has its manifest and card, by the digest there. Raises NetworkWrong."""
    try:
        found = read_layer_folder(folder)
        content = found.load()
    except BundleRefused as why:
        raise NetworkWrong(str(why)) from why
    manifest = found.manifest
    name = f"{manifest.name} {manifest.version}"
    return replace(_tested(content, folder, threads), name=name, learnt_from=manifest.learnt_from)


def load_layer_network(path: Path, threads: int = 1) -> LayerNetwork:
    """Load a network's bare file, as training writes it, with onnxruntime. Raises NetworkWrong."""
    return _tested(_content(path), path, threads)


def _tested(content: bytes, path: Path, threads: int) -> LayerNetwork:
    """Make a session, and run the self-test that the file holds. Raises NetworkWrong."""
    network = LayerNetwork(session=_session(content, path, threads), sha256=_digest(content), command="")
    about = network.session.get_modelmeta().custom_metadata_map
    try:
        wanted = np.array([float(number) for number in about["golden"].split()])
    except (KeyError, ValueError) as why:
        raise NetworkWrong(f"{path} has no self-test; hint: oculard-lab train layers writes one") from why
    try:
        got = golden(network)
    except EstimateFailed as why:
        raise NetworkWrong(f"{path} cannot be run: {why}") from why
    if wanted.shape != got.shape or not bool((np.abs(got - wanted) < TOLERANCE).all()):  # NaN is not below
        raise NetworkWrong(f"{path} does not give here what it gave where it was made")
    return replace(network, command=about.get("command", ""))


def golden(network: LayerNetwork) -> npt.NDArray[np.float64]:
    """What a network says of one made-up piece: the mean row of each boundary, and the mean of each presence."""
    rows, present = network(golden_piece())
    return np.concatenate([rows.mean(axis=(0, 2)), present.mean(axis=(0, 2))]).astype(np.float64)


def golden_piece() -> Seen:
    """Four bright and dark bands that lie aslant, without noise: the same on every machine."""
    row, column = np.arange(160, dtype=np.float32)[:, None], np.arange(64, dtype=np.float32)
    below = row - 40.0 - 0.2 * column
    grey = np.zeros((160, 64), dtype=np.float32)
    for start, value in ((0.0, 0.8), (18.0, 0.5), (28.0, 0.25), (52.0, 0.95), (58.0, 0.5), (90.0, 0.2)):
        grey = np.where(below >= start, np.float32(value), grey)
    return np.ascontiguousarray(np.broadcast_to(grey, (1, 3, 160, 64)))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > WEIGHTS_MAX_BYTES:
            raise NetworkWrong(f"{path} is larger than {WEIGHTS_MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as why:
        raise NetworkWrong(f"{path} cannot be read: {why.strerror}") from why


def _session(content: bytes, path: Path, threads: int) -> InferenceSession:
    """An onnxruntime session with the wanted ports."""
    import onnxruntime

    try:
        outside = has_external_data(content)
    except NotOnnx as why:
        raise NetworkWrong(f"{path} is no ONNX file: {why}") from why
    if outside:
        raise NetworkWrong(f"{path} reads other files; hint: export it as one file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _errors() as why:
        raise NetworkWrong(f"{path} is no ONNX file that can be run") from why
    ports = [node.name for node in session.get_inputs()], [node.name for node in session.get_outputs()]
    if ports != ([INPUT], list(OUTPUTS)):
        raise NetworkWrong(f"{path} is no network for layers; hint: oculard-lab train layers")
    if session.get_outputs()[0].shape[1:2] != [len(BOUNDARIES)]:
        raise NetworkWrong(f"{path} does not find {', '.join(BOUNDARIES)}")
    return session


def _errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: a dozen classes with no common parent of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
