"""What reads bytes that others wrote, as targets: each with good bytes to begin with, and a way in."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pydicom import dcmread, uid
from test_intake_twins import command_of, decoded

from devices import OPHTHALMIC_8_BIT
from fuzz import samples
from fuzz.bundles import bundles, manifests, networks
from fuzz.conversations import conversations
from fuzz.running import Ready, Target, outcome_of
from oculard.decoders import Decoders, Limits
from oculard.errors import Rejected
from oculard.imaging.facts import Facts
from oculard.imaging.spacing import read_scale
from oculard.inference.decoding import Decoder
from oculard.intake.codec import read_store
from oculard.intake.custody import facts_of
from oculard.intake.folder import NotImportable, read_layout
from oculard_models.dicom_geometry import Geometry, Unfit, read_geometry
from oculard_models.dicom_pixels import Undecodable, read_header

LIMITS = Limits(seconds=20.0, memory_bytes=2 << 30)
PIXELS_MAX, VOXELS_MAX, INFLATED_MAX = 4_000_000, 16_000_000, 64 << 20
SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
Feed = Callable[[bytes], str]


def in_memory(seeds: Callable[[], list[bytes]], feed: Feed) -> Callable[[Path], AbstractContextManager[Ready]]:
    """A target that needs nothing but bytes."""

    @contextmanager
    def prepared(folder: Path) -> Iterator[Ready]:
        yield Ready(seeds=tuple(seeds()), feed=feed)

    return prepared


def by_decoder(
    seeds: Callable[[], list[bytes]], ask: Callable[[Decoder, Path], object]
) -> Callable[[Path], AbstractContextManager[Ready]]:
    """A target whose bytes lie in a file and are read by a decoder, as the worker asks it."""

    @contextmanager
    def prepared(folder: Path) -> Iterator[Ready]:
        decoder = Decoder(LIMITS)
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "hostile.dcm"

            def feed(data: bytes) -> str:
                path.write_bytes(data)
                try:
                    ask(decoder, path)
                except (Undecodable, Unfit) as why:
                    return outcome_of(why)
                return "read"

            yield Ready(seeds=tuple(seeds()), feed=feed)
        decoder.close()

    return prepared


def dimse(data: bytes) -> str:
    """The quick look at a command: what it accepts, pynetdicom reads alike."""
    read = read_store(data)
    if read is None:
        return "left to pynetdicom"
    twin = decoded(data)
    assert (read.message_id, read.sop_class_uid) == (twin.MessageID, twin.AffectedSOPClassUID)
    assert read.sop_instance_uid == twin.AffectedSOPInstanceUID
    return "read"


def header(data: bytes) -> str:
    """The walk over a data set, its facts, and that they survive the database. The first byte names the syntax."""
    syntax, data = SYNTAXES[data[0] % len(SYNTAXES) if data else 0], data[1:]
    try:
        facts = facts_of(io.BytesIO(data), len(data), syntax, inflated_bytes_max=INFLATED_MAX)
    except Rejected as why:
        return why.reason
    assert Facts.from_json(json.loads(json.dumps(facts.as_json()))) == facts
    return "read"


def imported(data: bytes) -> str:
    """A file of an import folder, up to custody."""
    file = io.BytesIO(data)
    try:
        layout = read_layout(file)
        file.seek(layout.begins_at)
        facts_of(file, len(data) - layout.begins_at, layout.transfer_syntax_uid, inflated_bytes_max=INFLATED_MAX)
    except NotImportable as why:
        return why.reason
    except Rejected as why:
        return why.reason
    return "read"


@contextmanager
def topcon(folder: Path) -> Iterator[Ready]:
    """A file of Topcon's own, and what is made of it, in a process as the import asks it."""
    with tempfile.TemporaryDirectory() as work, Decoders(LIMITS) as decoders:

        def feed(data: bytes) -> str:
            with tempfile.TemporaryFile(dir=work) as file:
                file.write(data)
                file.flush()
                try:
                    with decoders.ask("topcon", file=file.fileno(), folder=work, sha256="0" * 64) as answer:
                        return f"{len(answer.files)} instances"
                except Undecodable as why:
                    return outcome_of(why)

        yield Ready(seeds=tuple(samples.topcon()), feed=feed)


def described(data: bytes) -> str:
    """What a worker reads of a kept header beside its pixels: spacing and geometry."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        try:
            known = read_header(Path(file.name))
            read_scale(known, rows=64, columns=64)
            read_geometry(known)
        except (Undecodable, Unfit) as why:
            return why.reason
    return "read"


def data_sets() -> list[bytes]:
    """Data sets without the head of their files, behind the number of their transfer syntax."""
    made = []
    for file in [*samples.real(), *samples.photographs(), *samples.volumes()]:
        try:
            layout = read_layout(io.BytesIO(file))
        except Rejected:
            continue
        syntax = layout.transfer_syntax_uid
        made.append(bytes([SYNTAXES.index(syntax) if syntax in SYNTAXES else 0]) + file[layout.begins_at :])
    return made


def commands() -> list[bytes]:
    """C-STORE requests."""
    return [command_of(7, OPHTHALMIC_8_BIT, "1.2.3"), command_of(65535, OPHTHALMIC_8_BIT, "1.2." + "9" * 40)]


def geometry() -> Geometry:
    """The geometry of the sample volumes."""
    return read_geometry(dcmread(io.BytesIO(samples.volumes()[0])))


def voxels(decoder: Decoder, path: Path) -> object:
    """A volume as the worker reads it: by its own geometry."""
    known = read_geometry(read_header(path))
    return decoder.voxels(path, known, voxels_max=VOXELS_MAX).result()


def layers(decoder: Decoder, path: Path) -> object:
    """A device's layers, of the volume that the samples belong to."""
    known = read_geometry(dcmread(io.BytesIO(samples.layered()[0])))
    return decoder.layers(path, known, volume_uid=samples.LAYERED_UID, frame_of_reference_uid="").result()


def rgb(decoder: Decoder, path: Path) -> object:
    """A photograph as the worker reads it."""
    return decoder.rgb(path, pixels_max=PIXELS_MAX).result()


def values(decoder: Decoder, path: Path) -> object:
    """A slab as the worker reads it."""
    return decoder.values(path, pixels_max=PIXELS_MAX).result()


TARGETS = (
    Target(name="conversation", reads="PDUs and DIMSE, at a real port", prepared=conversations, short=80),
    Target(name="dimse", reads="a C-STORE command, and its twin", prepared=in_memory(commands, dimse), short=3000),
    Target(name="header", reads="a data set on its way in", prepared=in_memory(data_sets, header), short=800),
    Target(name="import", reads="a file of an import folder", prepared=in_memory(samples.files, imported), short=600),
    Target(name="topcon", reads=".fda and .fds", prepared=topcon, short=100),
    Target(name="described", reads="a kept header", prepared=in_memory(samples.files, described), short=300),
    Target(name="rgb", reads="a photograph, every codec", prepared=by_decoder(samples.pictures, rgb), short=300),
    Target(name="values", reads="a slab, every codec", prepared=by_decoder(samples.greys, values), short=300),
    Target(name="voxels", reads="a volume, every codec", prepared=by_decoder(samples.volumes, voxels), short=80),
    Target(name="layers", reads="a device's layers", prepared=by_decoder(samples.layered_objects, layers), short=100),
    Target(name="manifest", reads="a bundle's manifest", prepared=manifests, short=300),
    Target(name="network", reads="a bundle's ONNX file", prepared=networks, short=60),
    Target(name="bundle", reads="a bundle's folder, its paths", prepared=bundles, short=100),
)
