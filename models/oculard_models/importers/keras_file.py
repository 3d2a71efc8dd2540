"""Reads a Keras .h5 file: the description of its network and its arrays. The file is hostile until it is checked.

Keras itself is not needed and nothing in the file is ever executed. Only hard links are followed, so that no other file
is opened; an array is looked at before it is read, and read only if it has the shape that its layer must have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py  # type: ignore[import-untyped, unused-ignore]  # it has no types
import numpy as np
import numpy.typing as npt

FILE_MAX_BYTES = 4 << 30  # the largest of the sixteen with its optimiser's state has 0.8 GB
CONFIG_MAX_BYTES = 8 << 20  # the longest description of the sixteen has 0.8 MB
ARRAYS_MAX_BYTES = (2 << 30) - 1  # as one ONNX file
NAMES_MAX = 20_000  # of arrays in one layer
CHUNKS_MAX = 1_000  # Keras cuts a long list of names into numbered attributes
ASIDE = frozenset({"count", "seed_generator_state"})  # arrays that no prediction needs
HDF5_MARK, ZIP_MARK = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
WEIGHTS = "model_weights"
HARD = h5py.h5l.TYPE_HARD


class KerasRefused(ValueError):
    """A file cannot become a network. The message names the layer, or the part of the file, that is wrong."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One array of the file: `conv1/kernel:0` is `("conv1", "kernel")`."""

    parts: tuple[str, ...]
    dataset: Any  # h5py.Dataset


class KerasFile:
    """An open .h5 file of Keras 2.12 to 3. Raises KerasRefused, which names what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _look(path)
        with _reading(f"`{path.name}`"):
            self._file = h5py.File(path, "r")
        try:
            with _reading(f"`{path.name}`"):
                self.keras_version, self.config = self._describe()
        except BaseException:
            self._file.close()
            raise
        self._entries: dict[str, list[Entry]] = {}
        self._used: set[tuple[str, tuple[str, ...]]] = set()
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def sha256(self) -> str:
        """Give the digest of the whole file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def array(self, path: Sequence[str], names: Sequence[str], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Read one array of the layer at `path` (names of models, then its own), called one of `names`."""
        layer = "/".join(path)
        entry = _one(self._scope(path[0]), path, names)
        self._used.add((path[0], entry.parts))
        dataset, what = entry.dataset, f"layer `{layer}`: its `{entry.parts[-1]}`"
        with _reading(what):
            _check_array(dataset, shape, what)
            self._bytes += dataset.size * 4
            if self._bytes > ARRAYS_MAX_BYTES:
                raise KerasRefused(f"{what} makes more than {ARRAYS_MAX_BYTES} bytes of arrays")
            found = np.asarray(dataset[()], dtype=np.float32)
        if not np.isfinite(found).all():
            raise KerasRefused(f"{what} holds a number that is not finite; hint: did the training diverge?")
        return found

    def read_everything(self) -> None:
        """Read every array once, as far as it can be."""
        with _reading(f"`{self.path.name}`"):
            layers = list(_walk(self._file, WEIGHTS))
        for layer in layers:
            for entry in self._scope(layer):
                with _reading(f"layer `{layer}`"):
                    _check_array(entry.dataset, entry.dataset.shape, f"layer `{layer}`")
                    if entry.dataset.size * entry.dataset.dtype.itemsize <= self.path.stat().st_size:
                        entry.dataset[()]

    def left_over(self) -> list[str]:
        """Name the arrays of the layers read so far that nobody asked for."""
        return [
            f"{scope}: {'/'.join(entry.parts)}"
            for scope, entries in self._entries.items()
            for entry in entries
            if (scope, entry.parts) not in self._used and entry.parts[-1] not in ASIDE
        ]

    def _describe(self) -> tuple[str, dict[str, Any]]:
        """Read version and description."""
        if "model_config" not in self._file.attrs:
            raise KerasRefused(
                f"`{self.path.name}` has no model_config: it holds weights only, or is not from Keras;"
                " hint: save the whole model with model.save('name.h5'), not save_weights"
            )
        version = _text(self._file, "keras_version") if "keras_version" in self._file.attrs else "unknown"
        text = _text(self._file, "model_config")
        try:
            config = json.loads(text)
        except (ValueError, RecursionError) as why:
            raise KerasRefused(f"`{self.path.name}`: model_config is not JSON: {why}") from why
        if not isinstance(config, dict):
            raise KerasRefused(f"`{self.path.name}`: model_config is not a description of a network")
        return version, config

    def _scope(self, name: str) -> list[Entry]:
        """List the arrays of one layer, or nested model, of the outermost model."""
        if name not in self._entries:
            with _reading(f"layer `{name}`"):
                group = _walk(self._file, f"{WEIGHTS}/{name}")
                self._entries[name] = [_entry(group, one) for one in _names(group, "weight_names")]
        return self._entries[name]


def _look(path: Path) -> None:
    """Refuse what is no HDF5 file of a sane size before the library sees it."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise KerasRefused(f"`{path}` is no file; hint: a SavedModel folder must be saved again as name.h5")
        with path.open("rb") as file:
            mark = file.read(len(HDF5_MARK))
    except OSError as why:
        raise KerasRefused(f"`{path}` cannot be read: {why.strerror}") from why
    if mark.startswith(ZIP_MARK):
        raise KerasRefused(f"`{path.name}` is a .keras archive; hint: load it in Keras and save it as name.h5")
    if mark != HDF5_MARK:
        raise KerasRefused(f"`{path.name}` is no HDF5 file; hint: is the download complete?")
    if size > FILE_MAX_BYTES:
        raise KerasRefused(f"`{path.name}` has {size} bytes, {FILE_MAX_BYTES} are allowed")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what h5py raises on broken files into a refusal."""
    try:
        yield
    except KerasRefused:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as why:
        raise KerasRefused(f"{what} cannot be read: {why}; hint: is the download complete?") from why


def _attribute(group: Any, name: str) -> Any:
    """Read an attribute whose size was looked at first."""
    with _reading(f"attribute `{name}`"):
        handle = group.attrs.get_id(name)
        count = int(np.prod(handle.shape, dtype=np.float64)) if handle.shape is not None else 0
        if count * handle.dtype.itemsize > CONFIG_MAX_BYTES:
            raise KerasRefused(f"attribute `{name}` has {count} elements: too many")
        return group.attrs[name]


def _text(group: Any, name: str) -> str:
    """Read an attribute that is one text, as str or UTF-8."""
    value = _attribute(group, name)
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | bytes):
        raise KerasRefused(f"attribute `{name}` is no text")
    if len(value) > CONFIG_MAX_BYTES:
        raise KerasRefused(f"attribute `{name}` has {len(value)} bytes, {CONFIG_MAX_BYTES} are allowed")
    with _reading(f"attribute `{name}`"):
        return value if isinstance(value, str) else value.decode("utf-8")


def _names(group: Any, name: str) -> list[str]:
    """Read a list of names; a long one lies in `name0`, `name1` and so on."""
    if name in group.attrs:
        lists = [_attribute(group, name)]
    else:
        numbered = [f"{name}{number}" for number in range(CHUNKS_MAX)]
        lists = [_attribute(group, one) for one in numbered if one in group.attrs]
    found = [one.decode("utf-8") if isinstance(one, bytes) else str(one) for part in lists for one in part]
    if len(found) > NAMES_MAX:
        raise KerasRefused(f"`{group.name}` has {len(found)} arrays, {NAMES_MAX} are allowed")
    return found


def _walk(group: Any, name: str) -> Any:
    """Go down to a group or array along hard links only: others lead out of the file or in circles."""
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise KerasRefused(f"`{name}` is no name of an array")
        try:
            kind = group.id.links.get_info(part.encode()).type
        except (KeyError, RuntimeError):
            raise KerasRefused(f"the file has no `{part}` of `{name}`") from None
        if kind != HARD:
            raise KerasRefused(f"`{part}` of `{name}` is a link to somewhere else, which is never followed")
        group = group[part]
    return group


def _entry(group: Any, name: str) -> Entry:
    """Find one array by the name that its layer gives it."""
    parts = tuple(re.sub(r":\d+$", "", name).split("/"))
    return Entry(parts, _walk(group, name))


def _one(entries: Sequence[Entry], path: Sequence[str], names: Sequence[str]) -> Entry:
    """Choose the one array that is called so in that layer.

    A layer of the outermost model has a group of its own, so that the last word is enough (a renamed layer keeps its
    arrays' old names); a nested model's arrays lie in one group, told apart by layer and, if need be, by model.
    """
    found = [entry for entry in entries if entry.parts[-1] in names]
    if len(path) > 1:
        found = [entry for entry in found if entry.parts[-2:-1] == (path[-1],)]
    if len(found) > 1:
        around = {len(entry.parts): tuple(path[1 - len(entry.parts) : -1]) for entry in found}
        found = [entry for entry in found if entry.parts[:-2] == around[len(entry.parts)]] or found
    layer = "/".join(path)
    if not found:
        raise KerasRefused(f"layer `{layer}`: the file has no `{names[0]}` for it")
    if len(found) > 1:
        raise KerasRefused(f"layer `{layer}`: the file has several arrays called `{names[0]}` that could be its own")
    return found[0]


def _check_array(dataset: Any, shape: tuple[int, ...], what: str) -> None:
    """See that an array is one of floats, lies in this file and has the layer's shape."""
    if not isinstance(dataset, h5py.Dataset):
        raise KerasRefused(f"{what} is no array")
    if dataset.is_virtual or dataset.external:
        raise KerasRefused(f"{what} lies in another file, which is never opened")
    if dataset.id.get_create_plist().get_nfilters():  # Keras writes none, and a small file could unfold to any size
        raise KerasRefused(f"{what} is compressed; hint: save it again with Keras")
    if dataset.shape != shape:
        raise KerasRefused(f"{what} has the shape {dataset.shape}, the layer's description says {shape}")
    if dataset.dtype.kind != "f":
        raise KerasRefused(f"{what} holds {dataset.dtype}, not floating-point numbers")
