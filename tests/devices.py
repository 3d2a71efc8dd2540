"""A real intake with everything behind it, and devices that send to it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from oculard.clock import SystemClock
from oculard.intake.role import IntakeRole, folder_import
from oculard.settings import Settings
from oculard.store.database import Database
from shelf import Shelf

OPHTHALMIC_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
WAIT_S = 20.0  # a test that waits longer has failed


@dataclass
class Site:
    """One intake, with everything behind it."""

    settings: Settings
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.database = Database(self.settings.database_url)
        self.database.upgrade()
        shelf = self.shelf = Shelf(self.database, self.clock, self.settings.store.folder)
        self.vault, self.instances, self.callers = shelf.vault, shelf.instances, shelf.callers
        self.role = IntakeRole(
            self.settings,
            instances=self.instances,
            vault=self.vault,
            callers=self.callers,
            answers=shelf.answers,
            deliveries=shelf.deliveries,
            clock=self.clock,
            owner="intake@test",
        )
        self.importer = folder_import(self.settings, self.instances, self.vault)

    @property
    def port(self) -> int:
        return self.role.port

    @property
    def server(self) -> Any:
        return self.role._server

    def rows(self, table: str = "instance") -> list[dict[str, Any]]:
        """The rows of a table, in order."""
        with self.database.read() as connection:
            return [dict(row._mapping) for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY id")]

    def spooled(self) -> list[Path]:
        return list(self.vault.spool.iterdir())

    def stored_data_set(self, row: dict[str, Any]) -> bytes:
        """The bytes of a stored data set, without preamble and file meta information."""
        return data_set_of(self.vault.path(row["path"]).read_bytes())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what another thread does."""
        pause, left = 0.01, WAIT_S
        while not condition():
            assert left > 0, "waited in vain"
            threading.Event().wait(pause)
            left -= pause

    def wait_idle(self) -> None:
        """Wait until every association has ended."""
        self.wait_until(lambda: not self.server._services.floor.here())


def photograph(**values: Any) -> Dataset:
    """A small valid fundus photograph."""
    ds = Dataset()
    ds.SOPClassUID = OPHTHALMIC_8_BIT
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.PatientName = "Eye^Test"
    ds.PatientID = "T-1"
    ds.Modality = "OP"
    ds.ImageLaterality = "R"
    ds.Rows = ds.Columns = 8
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.SamplesPerPixel = 1
    ds.PixelRepresentation = 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = bytes(range(64))
    ds["PixelData"].VR = "OB"
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def encode(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The bytes of a data set."""
    syntax, buffer = UID(transfer_syntax), DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, ds)
    return buffer.getvalue()


def data_set_of(file: bytes) -> bytes:
    """What follows the file meta information of a Part 10 file."""
    assert file[128:132] == b"DICM"
    assert file[132:138] == b"\x02\x00\x00\x00UL"
    return file[144 + int.from_bytes(file[140:144], "little") :]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Device:
    """A device that sends bytes exactly as they are given."""

    def __init__(self, site: Site, *, ae_title: str = "DEVICE", called: str = "OCULARD", pdu: int = 16382) -> None:
        self._site, self._called, self._pdu = site, called, pdu
        self.ae = AE(ae_title)
        self.ae.acse_timeout = self.ae.dimse_timeout = self.ae.network_timeout = 30

    @contextmanager
    def association(self, *contexts: tuple[str, list[str]], port: int = 0, **more: Any) -> Iterator[Any]:
        proposed = [build_context(UID(abstract), syntaxes) for abstract, syntaxes in contexts]
        association = self.ae.associate(
            "127.0.0.1", port or self._site.port, proposed, ae_title=self._called, max_pdu=self._pdu, **more
        )
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def send(
        self,
        data: bytes,
        *,
        sop_class: str = OPHTHALMIC_8_BIT,
        sop_instance: str,
        transfer_syntax: str = ExplicitVRLittleEndian,
    ) -> Dataset:
        """Send one data set on an association of its own; gives the response's status."""
        with self.association((sop_class, [transfer_syntax])) as association:
            assert association.is_established
            return store(association, data, sop_class=sop_class, sop_instance=sop_instance)

    def send_dataset(self, ds: Dataset, **more: Any) -> Dataset:
        return self.send(encode(ds), sop_instance=str(ds.SOPInstanceUID), sop_class=str(ds.SOPClassUID), **more)


def fragments(
    association: Any,
    data: bytes | None,
    *,
    sop_class: str = OPHTHALMIC_8_BIT,
    sop_instance: str | None,
    message_id: int | None = 1,
) -> list[P_DATA]:
    """A C-STORE request in pieces; `None` announces no data set."""
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID = UID(sop_class)
    request._affected_sop_instance_uid = None if sop_instance is None else UID(sop_instance)
    if data is not None:
        request.DataSet = BytesIO(data or b"empty")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    parts = list(message.encode_msg(association.accepted_contexts[0].context_id, 16382))
    if data == b"":  # pynetdicom would announce a data set and never send one
        (context_id, _), *_ = parts[-1].presentation_data_value_list
        parts[-1].presentation_data_value_list = [[context_id, b"\x02"]]
    return parts


def store(association: Any, data: bytes | None, **more: Any) -> Dataset:
    """One C-STORE with exactly these bytes; an empty status when the association was aborted."""
    association._reactor_checkpoint.clear()  # its own thread must not take the answer
    while not association._is_paused:
        threading.Event().wait(0.001)
    for part in fragments(association, data, **more):
        association.dul.send_pdu(part)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return Dataset() if response is None else association._check_received_status(response)


def peer_program(name: str) -> str:
    """DCMTK's program, or a reason why not. (pynetdicom installs programs of the same names.)"""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which(name, path=folder)
        if found and "dcmtk" in subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout:
            return found
    pytest.skip(f"DCMTK's {name} is not installed")
