"""`oculard-lab import-keras`: a Keras file that somebody published becomes a bundle."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard_models.lab.console import fail, followed, misuse, print_rows
from oculard_models.manifest import SLUG, Crop

if TYPE_CHECKING:
    from oculard_models.data.table import Photograph, Table
    from oculard_models.importers.keras_bundle import Imported
    from oculard_models.importers.keras_probe import Tried
    from oculard_models.importers.keras_wishes import Wishes
    from oculard_models.importers.rights import Rights


PATHS = ("file", "out", "probe", "images")  # options that hold paths


class OutputName(StrEnum):
    """What a network may estimate."""

    SEX = "sex"
    AGE = "age"
    SBP = "sbp"
    DBP = "dbp"
    GLUCOSE = "glucose"
    WAIST = "waist"
    BMI = "bmi"


class RangeName(StrEnum):
    """Which numbers a network wants for pixels."""

    BYTES = "0-255"
    UNIT = "0-1"
    SIGNED = "-1-1"
    IMAGENET = "imagenet"
    CAFFE = "caffe"


class Colour(StrEnum):
    """The order of the colours."""

    RGB = "RGB"
    BGR = "BGR"


class Classes(StrEnum):
    """The order of the classes in the file."""

    FEMALE_FIRST = "F,M"
    MALE_FIRST = "M,F"


def import_keras(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="The .h5 file: a whole model, Keras 2.12 to 3.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="The bundle's folder; it must not be there yet.")],
    output: Annotated[list[OutputName], typer.Option(help="What it estimates; of several values once each, in order.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name; else its folder's.")] = None,
    version: Annotated[str, typer.Option(help="The bundle's version.")] = "1.0.0",
    family: Annotated[str, typer.Option(help="The family of estimators that it serves.")] = "systemic",
    title: Annotated[str | None, typer.Option(help="Shown in reports, ASCII.")] = None,
    manufacturer: Annotated[str, typer.Option(help="Whose weights these are, ASCII; shown in reports.")] = "JOIR",
    classes: Annotated[Classes | None, typer.Option(help="The order of the two classes in the file.")] = None,
    range_: Annotated[
        RangeName | None, typer.Option("--range", help="The range of pixels that the network wants.")
    ] = None,
    colour: Annotated[
        Colour | None, typer.Option(help="The order of the colours; else that which goes with the range.")
    ] = None,
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width, where the file leaves them open.")
    ] = None,
    crop: Annotated[
        Crop | None, typer.Option(help="The whole frame (if you do not say), or the circle of the field.")
    ] = None,
    mirror_left: Annotated[bool, typer.Option("--mirror-left", help="The network wants left eyes mirrored.")] = False,
    scale: Annotated[list[float] | None, typer.Option(help="Of each value: value = raw * scale + offset.")] = None,
    offset: Annotated[list[float] | None, typer.Option(help="Of each value.")] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="Without sigmoid or softmax at its end: it gives logits.")
    ] = False,
    probe: Annotated[
        Path | None, typer.Option(help="A table of labelled photographs: try what the file does not say.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Where the table's photographs are; else beside it.")] = None,
    demonstration: Annotated[bool, typer.Option("--demonstration", help="The values mean nothing for people.")] = False,
    citation: Annotated[str | None, typer.Option(help="What to cite, of weights that are not JOIR's.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence, of weights that are not JOIR's.")] = None,
) -> None:
    """Make a bundle of a Keras .h5 file, without TensorFlow. What the file does not say is asked for, never guessed."""
    try:
        from oculard_models.importers.keras_wishes import Wishes
    except ModuleNotFoundError as why:
        fail(f"importing needs `{why.name}`; hint: install the extra with  pip install 'oculard[lab]'")
    outputs = tuple(one.value for one in output)
    _must_agree(outputs, classes, scale, offset)
    called = name or out.resolve().name
    _must_be_well_named(called, version, family)
    wishes = Wishes(
        name=called,
        version=version,
        family=family,
        title=title or f"{', '.join(outputs)} from fundus photographs (imported)",
        manufacturer=manufacturer,
        command=_command(context),
        outputs=outputs,
        classes=None if classes is None else (classes.value[0], classes.value[2]),
        range=None if range_ is None else range_.value,
        colour=None if colour is None else colour.value,
        size_px=size,
        crop=crop,
        mirror_left=mirror_left,
        scale=tuple(scale or ()),
        offset=tuple(offset or ()),
        trained_on_logits=logits,
        demonstration=demonstration,
        rights=_rights(citation, licence, manufacturer),
    )
    _tell(_import(file, out, wishes, _table(probe, images)), wishes.rights)


def _must_agree(
    outputs: tuple[str, ...], classes: Classes | None, scale: list[float] | None, offset: list[float] | None
) -> None:
    """See that the options fit each other."""
    if len(set(outputs)) != len(outputs):
        misuse("an --output is named twice")
    if "sex" in outputs and (len(outputs) > 1 or scale or offset):
        misuse("--output sex stands alone, without --scale and --offset; hint: a network for sex says nothing else")
    if classes is not None and "sex" not in outputs:
        misuse("--classes is for --output sex")
    for words, numbers in (("--scale", scale), ("--offset", offset)):
        if numbers and len(numbers) != len(outputs):
            misuse(f"{words} is given {len(numbers)} times for {len(outputs)} outputs; hint: once for each, in order")


def _must_be_well_named(name: str, version: str, family: str) -> None:
    """See that no manifest would refuse these, before any work is done."""
    for option, text in (("--name", name), ("--family", family)):
        if re.fullmatch(SLUG, text) is None:
            misuse(f"{option} `{text}` must be small letters and digits, joined by hyphens")
    if re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version) is None:
        misuse(f"--version `{version}` must be three numbers, as in 1.0.0")


def _rights(citation: str | None, licence: str | None, owner: str) -> Rights:
    """JOIR's rights, unless the user says that the weights are somebody else's."""
    from oculard_models.importers.rights import JOIR, Rights

    if citation is None and licence is None:
        return JOIR
    if citation is None or licence is None:
        misuse("weights that are not JOIR's need both --citation and --licence")
    return Rights(owner=owner, licence=licence, citation=citation)


def _table(probe: Path | None, images: Path | None) -> Table | None:
    """Read the table of the probe."""
    from oculard_models.data.table import TableWrong, read_table

    if probe is None:
        return None
    try:
        return read_table(probe, images=images)
    except TableWrong as why:
        misuse(str(why))


def _import(file: Path, out: Path, wishes: Wishes, table: Table | None) -> Imported:
    """Import, or say what is wrong: 1 where the file is, 2 where the user must say more."""
    from oculard_models.data.photographs import Unreadable
    from oculard_models.export import ExportWrong
    from oculard_models.importers import keras_bundle
    from oculard_models.importers.keras_file import KerasRefused
    from oculard_models.importers.keras_head import Unsaid

    def shown(photographs: list[Photograph]) -> object:
        return followed(photographs, "trying")

    try:
        return keras_bundle.import_keras(file, out, wishes, table=table, show=_show, followed=shown)  # type: ignore[arg-type]
    except Unsaid as why:
        misuse(str(why))
    except (KerasRefused, ExportWrong, Unreadable) as why:
        fail(str(why))


def _show(tried: Tried) -> None:
    """Print what the probe found."""
    typer.echo(f"{tried.photographs} photographs of {tried.persons} persons; the smallest loss first:", err=True)
    print_rows(list(tried.rows), as_json=False)


def _tell(imported: Imported, rights: Rights) -> None:
    """Print what was decided and what the owner asks for."""
    keys = ("what", "value", "who says so")
    print_rows([dict(zip(keys, row, strict=True)) for row in imported.decisions], as_json=False)
    exported = imported.exported
    typer.echo(f"\nlargest difference between torch and onnxruntime: {exported.largest_difference:.1e}")
    typer.echo(f"written: {exported.bundle.folder}\n\nLicence: {rights.licence}\nCite: {rights.citation}")
    for words in (rights.acknowledgement and f"Acknowledge: {rights.acknowledgement}", rights.caution):
        if words:
            typer.echo(words)


def _command(context: typer.Context) -> str:
    """Give the command as it could be typed again; of files and folders only their names."""
    words = ["oculard-lab", "import-keras"]
    for parameter in context.command.params:
        name = parameter.name or ""
        source, value = context.get_parameter_source(name), context.params.get(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        values = value if isinstance(value, list | tuple) else [value]
        texts = [Path(str(one)).name if name in PATHS else str(one) for one in values if one is not True]
        option = parameter.opts[0]
        if parameter.param_type_name == "argument":
            words += texts
        elif parameter.multiple:
            words += [word for text in texts for word in (option, text)]
        else:
            words += [option, *texts]
    return shlex.join(words)
