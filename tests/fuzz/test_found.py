"""What hostile bytes have found, and what came of it: one test each."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundle_samples import edit_manifest, mean_model, tiny_bundle
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pynetdicom.fsm import InvalidEventError

from fuzz.conversations import conversations
from fuzz.running import Target, run
from network import pdus
from oculard.decoders import Limits
from oculard.inference.decoding import Decoder
from oculard.intake.wire import CLOSING, TRANSFER, Wire
from oculard_models.dicom_geometry import read_geometry
from oculard_models.dicom_header import header_numbers
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.dicom_volume import read_voxels
from oculard_models.manifest import BundleRefused
from oculard_models.registry import read_bundle
from oculard_models.runners.load import CPU, load
from volume_samples import opt, painted, written


def test_items_that_lie_about_their_length_are_answered_with_an_abort(tmp_path: Path) -> None:
    """pynetdicom asserts that they do not: it was our log's "unexpected", and the connection stayed for a while."""
    lying = pdus.item(0x50, pdus.item(0x51, struct.pack(">L", 16384), length=120))
    variable = pdus.item(0x10, pdus.APPLICATION_CONTEXT) + pdus.proposed(pdus.CONTEXTS) + lying
    with conversations(tmp_path) as ready:
        assert ready.feed(pdus.negotiation(pdus.RQ, variable)) == "heard 07"


def test_an_abort_from_nobody_breaks_only_itself(tmp_path: Path) -> None:
    """A source beyond those of PS3.8 9.3.8 raised in pynetdicom's state machine: it was our log's "unexpected"."""
    request = pdus.associate_rq()
    abort = bytes((7, 0)) + struct.pack(">L", 4) + bytes((0, 0, 49, 0))
    with conversations(tmp_path) as ready:
        assert ready.feed(request + abort).startswith("heard 02")


@pytest.mark.parametrize(("state", "is_late"), [(CLOSING, True), (TRANSFER, False)])
def test_what_comes_too_late_to_be_said_is_not_said(state: str, is_late: bool) -> None:
    """A device half-closes while its answer is on its way: no bug of ours, as it is in any other state."""

    def refuse(event: str) -> None:
        raise InvalidEventError(event)

    wire = SimpleNamespace(state_machine=SimpleNamespace(current_state=state, do_action=refuse))
    if is_late:
        Wire._act(wire, "Evt9")  # type: ignore[arg-type]  # as much of one as this needs
        return
    with pytest.raises(InvalidEventError):
        Wire._act(wire, "Evt9")  # type: ignore[arg-type]


def test_a_number_of_broken_length_is_no_number() -> None:
    """pydicom's error for it is of no usual kind, and ended the worker."""
    ds = Dataset()
    tag = Tag(0x00280010)
    ds[tag] = RawDataElement(tag, "US", 3, b"\1\2\3", 0, False, True, True)

    assert header_numbers(ds, "Rows") is None


def test_a_volume_of_an_unknown_transfer_syntax_is_refused(tmp_path: Path) -> None:
    """A file that was altered in the vault: it ended its decoder, where it should have been refused by name."""
    path = written(opt(), tmp_path / "volume.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"))
    header = read_header(path)

    with pytest.raises(Undecodable) as why:
        read_voxels(path, read_geometry(header), voxels_max=10**8)
    assert why.value.reason == "pixels-unsupported"


def test_a_codec_that_panics_has_a_reason(tmp_path: Path) -> None:
    """A codec in Rust raises what no `except Exception` catches: it is the image's trouble, and costs no process."""
    deep = painted().astype(np.uint16)
    path = written(opt(deep), tmp_path / "volume.dcm", deep, uid.RLELossless)
    segment = b"\x81\7" * 33  # 4224 times the same for 4000 pixels
    ds = dcmread(path)
    ds.PixelData = encapsulate([struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + 2 * segment] * len(deep))
    ds.save_as(path)
    known = read_geometry(read_header(path))
    decoder = Decoder(Limits(seconds=60.0, memory_bytes=2 << 30))
    with pytest.raises(Undecodable) as why:
        decoder.voxels(path, known, voxels_max=10**8).result()
    kept = decoder.processes.idle()
    decoder.close()

    assert why.value.reason == "pixels-undecodable"
    assert len(kept) == 1


def test_a_network_with_names_that_are_no_text_is_refused(tmp_path: Path) -> None:
    """onnxruntime loads it, and its names cannot be read: it ended the worker, and all other bundles with it."""
    bundle = tiny_bundle(tmp_path, mean_model)
    weights = bundle / "model.onnx"
    before, content = weights.read_bytes(), weights.read_bytes().replace(b"images", b"imag\xff\xff")
    weights.write_bytes(content)
    old, new = (hashlib.sha256(one).hexdigest() for one in (before, content))
    edit_manifest(bundle, old, new)

    with pytest.raises(BundleRefused, match="no text"):
        load(read_bundle(bundle), runner="onnx", choice=CPU, threads=1)


def test_a_crash_is_kept_with_its_bytes(tmp_path: Path) -> None:
    """A target that raises is a finding: it is counted, and what did it lies in the folder."""
    from contextlib import nullcontext

    from fuzz.running import Ready

    def feed(data: bytes) -> str:
        raise KeyError("a bug")

    target = Target(
        name="bad", reads="nothing", prepared=lambda _: nullcontext(Ready(seeds=(b"12345",), feed=feed)), short=1
    )
    result = run(target, tmp_path, seed=1, numbers=iter(range(2)))

    assert (result.inputs, len(result.crashes), result.outcomes["crash KeyError"]) == (2, 2, 2)
    assert len(list((tmp_path / "bad").glob("crash-*"))) == 2
