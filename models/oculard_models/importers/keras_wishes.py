"""What the user says about a Keras file, and what follows from that, from the file and from a probe."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from oculard_models.data.table import BOUNDS, CONCEPTS, UNITS
from oculard_models.importers.keras_head import SEXES, Unsaid, head_of, logit_net, values_net
from oculard_models.importers.keras_input import COLOURS, RANGES, unsaid_range, wanted_range
from oculard_models.importers.keras_net import KerasNet
from oculard_models.importers.keras_probe import Candidate
from oculard_models.importers.rights import JOIR, Rights
from oculard_models.manifest import Crop, Output, OutputKind

PROBED = ("0-255", "0-1", "-1-1", "imagenet", "caffe")  # ranges, each in both orders but the last
Decision = tuple[str, str, str]  # what, value, who says so; "ours" marks an assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Everything that the user says about a file. None: not said."""

    name: str
    version: str
    family: str
    title: str
    manufacturer: str
    command: str
    outputs: tuple[str, ...]
    classes: tuple[str, str] | None = None  # of the file, in its order
    range: str | None = None
    colour: str | None = None
    size_px: tuple[int, int] | None = None
    crop: Crop | None = None  # ours: the whole frame
    mirror_left: bool = False
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    trained_on_logits: bool = False
    demonstration: bool = False
    rights: Rights = JOIR


def ended_net(net: KerasNet, wishes: Wishes, *, turned: bool) -> nn.Module:
    """Give the network with the end that its outputs need."""
    if wishes.outputs == ("sex",):
        return logit_net(net, turned=turned, trained_on_logits=wishes.trained_on_logits)
    return values_net(net, len(wishes.outputs))


def candidates(net: KerasNet, wishes: Wishes, *, may_try: bool) -> list[Candidate]:
    """List what fits what the user and the file say: one, unless something may be tried. Raises Unsaid."""
    known = wanted_range(net, wishes.range)
    if known is None and not may_try:
        raise unsaid_range()
    if wishes.outputs == ("sex",) and wishes.classes is None and not may_try:
        raise Unsaid(
            "the file does not say which class is which sex; hint: give --classes F,M or M,F (a sigmoid's second"
            " class is the one whose probability it says), or --probe TABLE with labelled photographs"
        )
    pairs = []
    for one in (known,) if known else PROBED:
        usual = (RANGES[one].colour,)
        tried = COLOURS if known is None and one != "caffe" else usual
        pairs += [(one, colour) for colour in ((wishes.colour,) if wishes.colour else tried)]
    turns = (False, True) if wishes.classes is None and wishes.outputs == ("sex",) else (_turned(wishes),)
    return [Candidate(one, colour, turned) for one, colour in pairs for turned in turns]


def _turned(wishes: Wishes) -> bool:
    """Whether the file's second class is not the second of a bundle's."""
    return wishes.classes is not None and wishes.classes != SEXES


def outputs_of(wishes: Wishes) -> tuple[Output, ...]:
    """Describe the outputs: values in units, or the logit of M."""
    if wishes.outputs == ("sex",):
        return (Output(name="sex", concept=CONCEPTS["sex"], tensor="sex", kind=OutputKind.BINARY, choices=SEXES),)
    count = len(wishes.outputs)
    scales, offsets = wishes.scale or (1.0,) * count, wishes.offset or (0.0,) * count
    return tuple(
        Output(
            name=name,
            concept=CONCEPTS[name],
            tensor=name,
            kind=OutputKind.VALUE,
            unit=UNITS[name],
            scale=scale,
            offset=offset,
            valid=BOUNDS[name],
        )
        for name, scale, offset in zip(wishes.outputs, scales, offsets, strict=True)
    )


def decisions(net: KerasNet, wishes: Wishes, chosen: Candidate, *, was_tried: bool) -> tuple[Decision, ...]:
    """List what was decided and who says so; `ours` marks an assumption."""
    by_file = wishes.range is None and wanted_range(net, None) is not None
    who_range = "you" if wishes.range else "the file" if by_file else "the probe"
    who_colour = "you" if wishes.colour else "the probe" if who_range == "the probe" else "ours"
    height, width = sides(net)
    rows = [
        ("input size", f"{height} x {width}", "you" if wishes.size_px else "the file"),
        ("pixel range", chosen.range, who_range),
        ("colour order", chosen.colour, who_colour),
        ("crop", crop_of(wishes).value, "you" if wishes.crop else "ours"),
        ("left eyes mirrored", *(("yes", "you") if wishes.mirror_left else ("no", "ours"))),
        ("resizing", "bicubic", "ours"),
        ("head", str(head_of(net)), "the file"),
    ]
    if wishes.outputs == ("sex",):
        order = "M, F" if chosen.turned else "F, M"
        rows.append(("classes in the file", order, "you" if wishes.classes else "the probe" if was_tried else "ours"))
    else:
        rows += [
            (
                one.name,
                f"raw * {one.scale:g} + {one.offset:g} {one.unit}",
                "you" if wishes.scale or wishes.offset else "ours",
            )
            for one in outputs_of(wishes)
        ]
    return tuple(rows)


def sides(net: KerasNet) -> tuple[int, int]:
    """Height and width of the network's pictures."""
    _, height, width = net.parts[0].shape
    return height, width


def crop_of(wishes: Wishes) -> Crop:
    """Which part of the frame the network sees: the whole, as NII's people said of their own work, unless told."""
    return wishes.crop or Crop.WHOLE
