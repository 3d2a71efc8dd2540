"""From Keras's description of a model to a flat list of steps: nested models are opened, shared layers called again.

Three ways to write down who calls whom are read: Sequential models (one after the other), Keras 2 (lists) and Keras 3
(arguments). Nothing here knows what a layer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from oculard_models.importers.keras_file import KerasRefused

STEPS_MAX = 20_000  # the deepest of the sixteen has 815; nested models that call nested models could make millions
DEPTH_MAX = 16  # of models in models
MODELS = ("Functional", "Sequential", "Model")

Call = tuple[str, int]  # a layer's name and which of its calls


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one layer. `inputs` are numbers of earlier steps; `constants` are numbers given beside them."""

    path: tuple[str, ...]  # the names of the models around it, then its own
    kind: str  # Keras's name of its class
    config: Mapping[str, Any]
    inputs: tuple[int, ...]
    constants: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """As messages call it."""
        return "/".join(self.path)


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as steps in the order of work; step 0 is the picture, step `output` is what the network says."""

    size: tuple[int | None, int | None]  # height, width; None where the file leaves it open
    steps: tuple[Step, ...]
    output: int


@dataclass(frozen=True, slots=True)
class Operand:
    """What a call is given: the result of call number `call` of layer `name`."""

    name: str
    call: int


def read_graph(config: Mapping[str, Any]) -> Graph:
    """Flatten the outermost model. Raises KerasRefused, which names the layer."""
    flattening = _Flattening()
    try:
        output = flattening.model(config, (), 0)
        return Graph(_size(config), tuple(flattening.steps), output)
    except (TypeError, AttributeError, LookupError, StopIteration) as why:  # foreign JSON of another shape
        raise KerasRefused(f"the description of the network is not as Keras writes it: {why!r}") from why


class _Flattening:
    """The steps so far, and how a layer or model adds its own."""

    def __init__(self) -> None:
        self.steps = [Step(("input",), "InputLayer", {}, ())]

    def model(self, layer: Mapping[str, Any], path: tuple[str, ...], start: int) -> int:
        """Add a model's steps after step `start`; return the number of its last one."""
        if len(path) > DEPTH_MAX:
            raise KerasRefused(f"layer `{'/'.join(path)}`: models are nested more than {DEPTH_MAX} deep")
        kind, config = layer.get("class_name"), layer.get("config")
        if kind not in MODELS:
            raise KerasRefused(f"the file describes a `{kind}`; hint: save a Functional or Sequential model")
        if kind == "Sequential":
            layers = config.get("layers") if isinstance(config, dict) else config
            for one in _layers(layers, path):
                start = self.call(one, path, (start,), ())
            return start
        if not isinstance(config, dict):
            raise KerasRefused(f"model `{'/'.join(path)}` has no description")
        return self._functional(config, path, start)

    def call(
        self, layer: Mapping[str, Any], path: tuple[str, ...], inputs: tuple[int, ...], constants: tuple[float, ...]
    ) -> int:
        """Add one call of a layer or of a nested model; return the number of its last step."""
        inside = (*path, name_of(layer))
        if layer["class_name"] == "InputLayer":
            return inputs[0]
        if layer["class_name"] in MODELS:
            if len(inputs) != 1 or constants:
                raise KerasRefused(f"model `{'/'.join(inside)}` takes {len(inputs)} inputs; only one is supported")
            return self.model(layer, inside, inputs[0])
        if len(self.steps) >= STEPS_MAX:
            raise KerasRefused(f"layer `{'/'.join(inside)}` is step {STEPS_MAX}: the network is too long")
        kind = layer["class_name"].split(">")[-1]  # `Custom>CustomScaleLayer`
        self.steps.append(Step(inside, kind, layer["config"], inputs, constants))
        return len(self.steps) - 1

    def _functional(self, config: Mapping[str, Any], path: tuple[str, ...], start: int) -> int:
        """Add the steps of a model that says who calls whom, each as soon as what it needs is there."""
        layers = {name_of(layer): layer for layer in _layers(config.get("layers"), path)}
        entry, exit_ = _end(config, "input_layers", path), _end(config, "output_layers", path)
        calls = {(name, at): node for name, layer in layers.items() for at, node in enumerate(_nodes(layer, path))}
        first = _first_calls(layers, [*calls.values(), [exit_]])
        done = {(entry.name, 0): start}
        for key in _order({key: [_key(one, first) for one in _references(node)] for key, node in calls.items()}, path):
            if key in done:
                continue
            if key not in calls:
                raise KerasRefused(f"layer `{'/'.join((*path, key[0]))}` is used, and is not there")
            inputs = tuple(done[_key(one, first)] for one in _references(calls[key]))
            constants = tuple(one for one in calls[key] if isinstance(one, float))
            done[key] = self.call(layers[key[0]], path, inputs, constants)
        if _key(exit_, first) not in done:
            raise KerasRefused(f"layer `{'/'.join((*path, exit_.name))}` should be the last, and is not there")
        return done[_key(exit_, first)]


def name_of(layer: Mapping[str, Any]) -> str:
    """Give the layer's name."""
    name = layer["config"].get("name") if isinstance(layer["config"], dict) else None
    name = layer.get("name") or name
    if not isinstance(name, str) or not name:
        raise KerasRefused(f"a layer of class `{layer['class_name']}` has no name")
    return name


def _layers(layers: object, path: tuple[str, ...]) -> list[dict[str, Any]]:
    """Check that a model lists layers, each with a class and a description."""
    if not isinstance(layers, list) or not 0 < len(layers) <= STEPS_MAX:
        raise KerasRefused(f"model `{'/'.join(path)}` lists no layers, or more than {STEPS_MAX}")
    for layer in layers:
        whole = isinstance(layer, dict) and isinstance(layer.get("class_name"), str)
        if not whole or not isinstance(layer.get("config"), dict | list):
            raise KerasRefused(f"model `{'/'.join(path)}` lists a layer without class or description")
        if not isinstance(layer["config"], dict) and layer["class_name"] not in MODELS:
            raise KerasRefused(f"model `{'/'.join(path)}` lists a `{layer['class_name']}` without description")
    return layers


def _order(needs: Mapping[Call, Sequence[Call]], path: tuple[str, ...]) -> list[Call]:
    """Put calls behind those whose results they need."""
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as why:
        raise KerasRefused(f"layer `{'/'.join((*path, why.args[1][0][0]))}` waits for itself") from why


def _nodes(layer: Mapping[str, Any], path: tuple[str, ...]) -> list[list[Operand | float]]:
    """Read every call of a layer."""
    nodes = layer.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise KerasRefused(f"layer `{'/'.join((*path, name_of(layer)))}`: its calls are not a list")
    try:
        return [_node(node) for node in nodes]
    except (KerasRefused, TypeError, ValueError, LookupError, AttributeError) as why:
        words = f"layer `{'/'.join((*path, name_of(layer)))}`, a `{layer['class_name']}`, is called in an unknown way"
        raise KerasRefused(f"{words}: {why}") from why


def _node(node: Any) -> list[Operand | float]:
    """Read one call: what it is given, in order."""
    if isinstance(node, dict):  # Keras 3
        found = [_argument(one) for one in _flat(node["args"])]
        if found and isinstance(found[0], float):  # 1 - x is not x - 1
            raise KerasRefused("with a number first")
        keywords = node.get("kwargs") or {}
    else:  # Keras 2; a call with one tensor may lack a pair of brackets
        parts = [node] if isinstance(node[0], str) else node
        found = [Operand(str(part[0]), int(part[1])) for part in parts if _single(part[2])]
        keywords = {key: value for part in parts for key, value in (part[3] if len(part) > 3 else {}).items()}
    for key, value in keywords.items():
        if key == "y" and isinstance(value, int | float):  # arithmetic on pixels: x / 127.5
            found.append(float(value))
        elif key != "name" and value not in (None, False):
            raise KerasRefused(f"with `{key}`")
    return found


def _single(tensor: int) -> bool:
    """See that a reference means the first and only result of a layer."""
    if tensor != 0:
        raise KerasRefused(f"with result {tensor} of a layer")
    return True


def _flat(arguments: Any) -> list[Any]:
    """Open the lists in Keras 3's arguments."""
    flat: list[Any] = []
    for one in arguments:
        flat += one if isinstance(one, list) else [one]
    return flat


def _argument(one: Any) -> Operand | float:
    """Read one argument of Keras 3."""
    if isinstance(one, int | float) and not isinstance(one, bool):
        return float(one)
    if one["class_name"] != "__keras_tensor__":
        raise KerasRefused(f"with a `{one['class_name']}`")
    name, call, tensor = one["config"]["keras_history"]
    _single(tensor)
    return Operand(str(name), int(call))


def _references(node: Sequence[Operand | float]) -> list[Operand]:
    """Give the results that a call needs."""
    return [one for one in node if isinstance(one, Operand)]


def _first_calls(layers: Mapping[str, Any], nodes: Sequence[Sequence[Operand | float]]) -> dict[str, int]:
    """Say from which number each layer's calls are counted.

    Keras 2 counts those of a nested model from 1 if the model was built before it was called, and Keras 3 from 0; the
    highest number that anyone refers to is the last call.
    """
    highest: dict[str, int] = {}
    for node in nodes:
        for one in _references(node):
            highest[one.name] = max(highest.get(one.name, 0), one.call)
    return {
        name: highest.get(name, 0) + 1 - max(1, len(layer.get("inbound_nodes") or [])) for name, layer in layers.items()
    }


def _key(one: Operand, first: Mapping[str, int]) -> Call:
    """Give layer and number of the call, counted from 0."""
    return one.name, one.call - first.get(one.name, 0)


def _end(config: Mapping[str, Any], which: str, path: tuple[str, ...]) -> Operand:
    """Read the one input, or the one output, of a model."""
    ends = config.get(which)
    if isinstance(ends, list) and ends and isinstance(ends[0], str):  # Keras 3 writes a single one without brackets
        ends = [ends]
    words = which.removesuffix("_layers")
    if not isinstance(ends, list) or len(ends) != 1:
        count = len(ends) if isinstance(ends, list) else 0
        raise KerasRefused(f"model `{'/'.join(path) or 'outermost'}` has {count} {words}s; exactly one is supported")
    try:
        name, call, tensor = ends[0]
        _single(tensor)
        return Operand(str(name), int(call))
    except KerasRefused:
        raise
    except (TypeError, ValueError) as why:
        raise KerasRefused(f"model `{'/'.join(path)}`: its {words} is not described") from why


def _size(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Find height and width of the picture in the description of the first layer, however deep it lies."""
    layer: Any = config
    for _ in range(DEPTH_MAX):
        if layer.get("class_name") not in MODELS:
            break
        inner = layer["config"]
        layers = inner["layers"] if isinstance(inner, dict) else inner
        named = inner.get("input_layers") if isinstance(inner, dict) else None
        first = named[0] if named and isinstance(named[0], str) else named[0][0] if named else name_of(layers[0])
        layer = next(one for one in layers if name_of(one) == first)
    shape = layer["config"].get("batch_shape") or layer["config"].get("batch_input_shape")
    if not isinstance(shape, list) or len(shape) != 4 or shape[3] != 3:
        raise KerasRefused(
            f"the input `{name_of(layer)}` has the shape {shape}; expected [None, height, width, 3] (colour pictures)"
        )
    height, width = (side if isinstance(side, int) and side > 0 else None for side in shape[1:3])
    return height, width
