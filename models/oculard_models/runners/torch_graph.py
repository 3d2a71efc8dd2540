"""An ONNX graph that torch executes, node by node, from its bytes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from oculard_models.runners.guards import Port
from oculard_models.runners.torch_attributes import Attributes, GraphWrong, as_tensor
from oculard_models.runners.torch_layers import Operator
from oculard_models.runners.torch_operators import OPERATORS
from oculard_models.runners.torch_shapes import TYPES

OPSETS = range(9, 23)  # of the operators in the table; what changed between them is where `opset` is asked
ON_DEVICE = (torch.float16, torch.float32, torch.float64, torch.int8, torch.uint8)  # other constants are sizes, axes
FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of a node that is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node: what it reads, what it makes, what nobody reads after it. An empty name is an input left out."""

    title: str
    run: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...] = ()


class Graph:
    """A graph of known operators in an order that works. Raises GraphWrong when it is made."""

    def __init__(self, content: bytes, wanted: Sequence[str], device: str) -> None:
        model = _model(content)
        constants = {tensor.name: as_tensor(tensor) for tensor in model.graph.initializer}
        self.inputs = [_port(value) for value in model.graph.input if value.name not in constants]
        self.outputs = [_port(value) for value in model.graph.output]
        self._wanted = [port.name for port in self.outputs if port.name in wanted]
        steps = _steps(model, {*constants, *(port.name for port in self.inputs)}, self._wanted)
        steps = [_widened(step) for step in steps] if device == "cpu" else steps
        with torch.inference_mode():
            steps = _folded(steps, constants)
            self._steps = _with_ends(steps, self._wanted)
            read = {name for step in steps for name in step.inputs} | set(self._wanted)
            self._constants = {name: _placed(value, device) for name, value in constants.items() if name in read}

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the wanted tensors. A node that cannot run raises what torch raises, with the node's name in front."""
        values = {**self._constants, **feeds}
        for step in self._steps:
            values.update(_results(step, values))
            for name in step.done:
                del values[name]
        return {name: values[name] for name in self._wanted}


def _results(step: Step, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run one step."""
    try:
        made = step.run(*(values[name] if name else None for name in step.inputs))
        several = made if isinstance(made, tuple) else (made,)
        return dict(zip(step.outputs, several, strict=True))
    except FAULTS as why:
        why.add_note(step.title)
        raise


def _model(content: bytes) -> Any:
    """Parse the bytes; refuse what is more than one plain graph."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]  # has no stubs
    from onnx import ModelProto

    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as why:
        raise GraphWrong(f"it is no ONNX message: {why}") from why
    if model.functions or model.graph.sparse_initializer or model.training_info:
        raise GraphWrong("functions, sparse tensors and training are not supported")
    return model


def _steps(model: Any, known: set[str], wanted: Iterable[str]) -> list[Step]:
    """Turn every node into a step; what it reads must be there before it, and nothing may be made twice."""
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset not in OPSETS:
        raise GraphWrong(f"opset {opset} is not supported, {OPSETS.start} to {OPSETS.stop - 1} are")
    steps = []
    for node in model.graph.node:
        title = f"{node.op_type} `{node.name or ' '.join(node.output)}`"
        missing = [name for name in node.input if name and name not in known]
        twice = [name for name in node.output if name and name in known]
        if missing or twice:
            wrong = f"reads `{missing[0]}` before it is there" if missing else f"makes `{twice[0]}` again"
            raise GraphWrong(f"{title} {wrong}")
        known.update(name for name in node.output if name)
        steps.append(_step(node, title, opset))
    for name in wanted:
        if name not in known:
            raise GraphWrong(f"nothing makes the output `{name}`")
    return steps


def _step(node: Any, title: str, opset: int) -> Step:
    """Look the operator up and give it its attributes. An optional output without a name is not asked for."""
    from onnx.helper import get_attribute_value

    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        of = f" of {node.domain}" if node.domain else ""
        raise GraphWrong(f"there is no operator {title}{of}")
    outputs = tuple(name for name in node.output if name)
    try:
        values = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        attributes = Attributes(values, title=title, opset=opset, outputs=len(outputs))
        run = OPERATORS[node.op_type](attributes)
        attributes.must_be_read()
    except (TypeError, ValueError) as why:  # GraphWrong is one of them
        raise why if isinstance(why, GraphWrong) else GraphWrong(f"{title} has a wrong attribute: {why}") from why
    return Step(title=title, run=run, inputs=tuple(node.input), outputs=outputs)


def _widened(step: Step) -> Step:
    """Compute in float32 what is stored as float16, much as onnxruntime does: processors are slow at halves."""

    def run(*inputs: Tensor | None) -> Any:
        made = step.run(*inputs)
        return made.float() if isinstance(made, Tensor) and made.dtype == torch.float16 else made

    return replace(step, run=run) if step.title.startswith(("Cast ", "Constant ", "ConstantOfShape ")) else step


def _folded(steps: Sequence[Step], constants: dict[str, Tensor]) -> list[Step]:
    """Run what depends on no image now, once: weights that are kept as bytes, sizes that are computed."""
    left = []
    for step in steps:
        if all(name in constants or not name for name in step.inputs):
            try:
                constants.update(_results(step, constants))
            except FAULTS as why:
                raise GraphWrong(f"{step.title} cannot be computed: {why}") from why
        else:
            left.append(step)
    return left


def _with_ends(steps: Sequence[Step], wanted: Iterable[str]) -> list[Step]:
    """Note at every step which tensors are done with, so that a batch needs no more memory than it must."""
    kept, ended = set(wanted), []
    for step in reversed(steps):
        done = tuple(name for name in dict.fromkeys((*step.inputs, *step.outputs)) if name and name not in kept)
        kept.update(done)
        ended.append(replace(step, done=done))
    return ended[::-1]


def _placed(value: Tensor, device: str) -> Tensor:
    """Put weights on the device, filters channels last; sizes and axes stay where they are read."""
    if value.dtype not in ON_DEVICE:
        return value
    placed = value.float() if device == "cpu" and value.dtype == torch.float16 else value.to(device)
    return placed.contiguous(memory_format=torch.channels_last) if placed.ndim == 4 else placed


def _port(value: Any) -> Port:
    """Take over what the graph says about an input or an output."""
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim)
    name = str(TYPES.get(kind.elem_type, kind.elem_type)).removeprefix("torch.")
    return Port(name=value.name, type=f"tensor({'float' if name == 'float32' else name})", shape=shape)
