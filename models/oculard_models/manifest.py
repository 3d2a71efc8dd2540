"""The manifest of a bundle: everything that must travel with weights, read from `manifest.toml` and checked."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MASK_MEAN, MASK_SHARE = "mask-mean", "mask-share"  # golden: the mean of the probabilities, the share above threshold
BY_VIEW, ACTIVATION = "by_view", "activation"  # the further tensors of a bundle that classifies views
OCT_VOLUME = "oct-volume"
SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
HEX_SHA256 = r"^[0-9a-f]{64}$"


class BundleRefused(Exception):
    """A bundle is incomplete, altered or wrong; it must not be used. The message says which part of it."""


class OutputKind(StrEnum):
    """How a raw output of the network becomes a finding."""

    VALUE = "value"  # value = raw * scale + offset, in `unit`
    BINARY = "binary"  # one logit; choices[1] when positive; the finding's value is the choice's probability in %
    MEASURED = "measured"  # read off the mask: `name` is one of its structure's measures
    LOGISTIC = "logistic"  # a logit made of measured outputs by `logistic`; else as BINARY
    CLASS = "class"  # of a vector of probabilities the largest: the finding's value is that choice's probability in %
    PROBABILITY = "probability"  # number `index` of that vector, in %

    @property
    def is_raw(self) -> bool:
        """Whether it is read from a tensor of the network."""
        return self not in (OutputKind.MEASURED, OutputKind.LOGISTIC)

    @property
    def is_choice(self) -> bool:
        """Whether it names a class."""
        return self in (OutputKind.BINARY, OutputKind.LOGISTIC, OutputKind.CLASS)

    @property
    def is_of_views(self) -> bool:
        """Whether it belongs to a bundle that classifies the views of an OCT volume."""
        return self in (OutputKind.CLASS, OutputKind.PROBABILITY)


class Structure(StrEnum):
    """What a mask outlines; it decides how the mask is cleaned and what is measured of it."""

    FAZ = "faz"  # foveal avascular zone, on an en face slab of OCT angiography
    OPTIC_DISC = "optic-disc"  # on a colour photograph


class Crop(StrEnum):
    """Which part of the frame the network sees."""

    WHOLE = "whole"  # the frame as it is, resized
    CIRCLE = "circle"  # the bounding square of the illuminated field, padded with black


class Combine(StrEnum):
    """Which images are averaged into one finding."""

    EYE = "eye"  # those of one eye: every eye has findings of its own
    PERSON = "person"  # those of both eyes of a study: one finding each for the person


class Strict(BaseModel):
    """Unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=Strict)


class Weights(Strict):
    """The model file and its digest."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")]
    sha256: Annotated[str, Field(pattern=HEX_SHA256)]


class InputSpec(Strict):
    """What the network wants to see. After cropping and resizing: (pixel / 255 - mean) / std, channels first."""

    # "fundus": colour photograph of the retina; "en-face": OCT angiography; "oct-volume": views of a structural volume
    kind: Annotated[str, Field(pattern=SLUG)]
    # Of en face images: the coded image types that the network reads (DICOM CID 4271), the wanted one first.
    slabs: tuple[Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,16}$")], ...] = ()
    # Of an OCT volume: the views that the network reads, one channel each, 0 to 1, as a right eye. `volumes/views.py`
    # settles what they look like: cropping, colours, mean and std are not theirs.
    views: Annotated[tuple[Annotated[str, Field(pattern=SLUG, max_length=32)], ...], Field(max_length=8)] = ()
    tensor: str
    size_px: tuple[Annotated[int, Field(ge=16, le=4096)], Annotated[int, Field(ge=16, le=4096)]]  # height, width
    colour: Annotated[str, Field(pattern="^(RGB|BGR)$")] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    crop: Crop = Crop.CIRCLE
    mirror_left: bool = True  # left eyes are mirrored, so that the network sees right eyes only
    max_images: Annotated[int, Field(ge=1, le=64)] = 8  # per eye; more are left out, and the report says so

    @model_validator(mode="after")
    def _spread(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError("every `std` must be above 0")
        if (self.kind == OCT_VOLUME) != bool(self.views):
            raise ValueError(f"`views` belong to the kind `{OCT_VOLUME}`, and to no other")
        if len(set(self.views)) != len(self.views) or (self.views and self.size_px[0] != self.size_px[1]):
            raise ValueError("`views` are square, and each is named once")
        return self

    @property
    def channels(self) -> int:
        """How many channels the network's tensor has."""
        return len(self.views) or 3


class Limits(Strict):
    """Only for a quality gate: from which value of the output on a photograph is limited, and ungradable.

    Whether high or low is bad follows from the order of the two.
    """

    reason: Annotated[str, Field(pattern=SLUG, max_length=32)]  # the slug that report and log give
    limited: float
    ungradable: float

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.limited == self.ungradable:
            raise ValueError(f"`{self.reason}`: `limited` and `ungradable` must differ: their order says what is bad")
        return self


class Mask(Strict):
    """Only for a bundle that segments: which tensor is the mask, and what it outlines.

    The tensor is images x 1 x height x width, float, the probability (0..1) that a pixel belongs to the structure.
    """

    structure: Structure
    tensor: Annotated[str, Field(min_length=1, max_length=64)]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Logistic(Strict):
    """A logit out of measured outputs: `intercept` + the sum of `coefficients` x value, each in its output's unit."""

    intercept: float
    coefficients: Annotated[dict[str, float], Field(min_length=1, max_length=16)]


class Output(Strict):
    """One output of the network and what it means."""

    name: Annotated[str, Field(pattern=SLUG)]
    concept: Annotated[str, Field(min_length=1, max_length=16)]  # code value in the daemon's table of codes
    tensor: str = ""  # none where the value does not come from a tensor of its own
    kind: OutputKind
    unit: str = "%"  # UCUM
    scale: float = 1.0
    offset: float = 0.0
    uncertainty: Annotated[float, Field(gt=0)] | None = None  # half width of the interval, in `unit`
    uncertainty_both: Annotated[float, Field(gt=0)] | None = None  # the same where both eyes are averaged
    limits: Limits | None = None  # of a quality gate
    logistic: Logistic | None = None
    valid: tuple[float, float] | None = None  # a value outside is reported as out of range, never clipped
    choices: tuple[str, ...] = ()  # classification: the classes, in the order of the network
    index: Annotated[int, Field(ge=0, le=31)] | None = None  # of a probability: which of its tensor's numbers

    @model_validator(mode="after")
    def _whole(self) -> Self:
        several = self.kind is OutputKind.CLASS
        if self.kind.is_choice and (len(self.choices) < 2 or (len(self.choices) > 2 and not several)):
            raise ValueError(f"output `{self.name}` is {self.kind} and needs two `choices`{' or more' * several}")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"output `{self.name}` names a choice twice")
        if (self.kind is OutputKind.PROBABILITY) != (self.index is not None):
            raise ValueError(f"output `{self.name}`: `index` belongs to the kind `probability`, and to no other")
        if not self.kind.is_choice and self.choices:
            raise ValueError(f"output `{self.name}` is a value and has no `choices`")
        if (self.kind is OutputKind.LOGISTIC) != (self.logistic is not None):
            raise ValueError(f"output `{self.name}`: `logistic` belongs to the kind of that name, and to no other")
        if self.kind.is_raw != bool(self.tensor):
            raise ValueError(
                f"output `{self.name}` is {self.kind}: {'it needs a' if self.kind.is_raw else 'no'} `tensor`"
            )
        if self.valid is not None and self.valid[0] >= self.valid[1]:
            raise ValueError(f"output `{self.name}`: `valid` must be [lower, upper]")
        return self


class Golden(Strict):
    """A small self-test that runs before the bundle may serve: this image must give these raw outputs."""

    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.png$")]  # a right eye
    expected: dict[str, float]  # output name -> raw output; of a mask: MASK_MEAN and MASK_SHARE
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-2


class Manifest(Strict):
    """One bundle: identity, licence, input, outputs, weights and self-test."""

    name: Annotated[str, Field(pattern=SLUG, max_length=48)]
    family: Annotated[str, Field(pattern=SLUG, max_length=32)]
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    title: Annotated[str, Field(min_length=1, max_length=64)]  # ASCII, shown in reports
    manufacturer: Annotated[str, Field(min_length=1, max_length=64)]
    licence: Annotated[str, Field(min_length=1)]
    demonstration: bool
    combine: Combine = Combine.EYE
    interval: Annotated[float, Field(gt=0, lt=1)] = 0.9  # what the uncertainties cover
    citation: str = ""
    weights: Weights
    input: InputSpec
    mask: Mask | None = None
    output: Annotated[tuple[Output, ...], Field(min_length=1)]
    golden: Golden

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [output.name for output in self.output]
        if len(set(names)) != len(names):
            raise ValueError("two outputs have the same name")
        wanted = set(names) if self.mask is None else {MASK_MEAN, MASK_SHARE}
        if set(self.golden.expected) != wanted:
            words = "every output" if self.mask is None else "each of " + ", ".join(sorted(wanted))
            raise ValueError(f"`golden.expected` must name {words} once")
        self._segments_or_not()
        self._classifies_or_not()
        for text in (self.title, self.manufacturer):
            if not text.isascii():
                raise ValueError(f"`{text}` must be ASCII: it is written into reports of every character set")
        return self

    def _segments_or_not(self) -> None:
        """See that a bundle either reads values from tensors, or measures a mask."""
        kinds = {output.kind for output in self.output}
        if self.mask is None:
            if not all(kind.is_raw for kind in kinds):
                raise ValueError("measured and logistic outputs need a `[mask]`")
            return
        if any(kind.is_raw for kind in kinds):
            raise ValueError("a bundle with a `[mask]` has measured and logistic outputs only")
        if self.input.mirror_left or self.combine is not Combine.EYE:
            raise ValueError("a bundle with a `[mask]` sees every eye as it is: `mirror_left = false`, combine `eye`")
        measured = {output.name for output in self.output if output.kind is OutputKind.MEASURED}
        for output in self.output:
            if output.logistic is not None and not set(output.logistic.coefficients) <= measured:
                raise ValueError(f"output `{output.name}`: `logistic` names what is not measured")

    def _classifies_or_not(self) -> None:
        """See that a bundle reads views and names one class of them with its probabilities, or does neither."""
        classes = [output for output in self.output if output.kind is OutputKind.CLASS]
        if not self.input.views:
            if any(output.kind.is_of_views for output in self.output):
                raise ValueError(f"class and probability outputs need the `views` of the kind `{OCT_VOLUME}`")
            return
        if len(classes) != 1 or not all(output.kind.is_of_views for output in self.output):
            raise ValueError("a bundle with `views` has one class output, else probabilities only")
        if self.mask is not None or self.combine is not Combine.EYE:
            raise ValueError("a bundle with `views` has no `[mask]`, and combines `eye`")
        if len({output.tensor for output in self.output}) > 1 or classes[0].tensor in (BY_VIEW, ACTIVATION):
            raise ValueError("class and probability outputs are of one tensor, which is neither by_view nor activation")
        if any((output.index or 0) >= len(classes[0].choices) for output in self.output):
            raise ValueError("a probability's `index` must be that of a choice")

    @property
    def class_output(self) -> Output:
        """The one class output of a bundle with `views`."""
        return next(output for output in self.output if output.kind is OutputKind.CLASS)


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.toml` of a bundle's folder. Raises BundleRefused, which names what is wrong."""
    return read_as(Manifest, folder)


def read_as(kind: type[M], folder: Path) -> M:
    """Read `manifest.toml` of a folder as one kind of manifest. Raises BundleRefused, which names what is wrong."""
    path = folder / "manifest.toml"
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BundleRefused(f"bundle `{folder.name}` has no manifest.toml") from None
    except OSError as why:
        raise BundleRefused(f"bundle `{folder.name}`: manifest.toml cannot be read: {why.strerror}") from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as why:
        raise BundleRefused(f"bundle `{folder.name}`: manifest.toml is not TOML: {why}") from why
    except ValidationError as why:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg']}" for e in why.errors())
        raise BundleRefused(f"bundle `{folder.name}`: {wrong}") from why
