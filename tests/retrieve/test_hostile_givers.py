"""Archives that misbehave while they give: by C-MOVE half, nothing, or without end; by C-GET too much, or cut short."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from archived import study, taking
from provider import GOOD, asked, kept, scripted
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.pdu_primitives import P_DATA

from devices import Site, encode, fragments, photograph
from oculard.errors import OculardError, Rejected
from oculard.retrieve import association
from oculard.retrieve.archive import ArchiveAway, ArchiveBusy, ArchiveRefused, ArchiveSilent, Stopping, StudyFailed
from oculard.store.vault import DiskFull, VaultUnreadable


def test_an_archive_that_moves_half(here: Site) -> None:
    """It says so, and what it says is handed on."""
    unsendable = kept(study(1).files[1])
    unsendable.SOPClassUID = CTImageStorage  # it never proposed that to us

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 2
        yield 0xFF00, kept(study(1).files[0])
        yield 0xFF00, unsendable

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        said = asked(here, port).retrieve(study(1).uid, taking(here))

    assert (said.completed + said.warned, said.failed, said.reason) == (1, 1, "sub-operations-failed")


def test_an_archive_that_says_success_and_sends_nothing(here: Site) -> None:
    """Its word is handed on as it is: whoever asked counts what came."""

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 0

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        assert asked(here, port).retrieve(GOOD, taking(here)).completed == 0
    assert here.rows() == []


def test_an_archive_that_never_finishes_with_a_study(here: Site) -> None:
    """A study has its time as a whole."""
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 1
        over.wait(30)
        yield 0xFE00, None

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, study_s=0.5).retrieve(GOOD, taking(here))
        over.set()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA701, ArchiveBusy),
        (0x0124, ArchiveRefused),
        (0xA900, StudyFailed),
        (0xFE00, StudyFailed),
        (0xC001, StudyFailed),
    ],
)
def test_a_retrieval_that_fails(here: Site, status: int, error: type[Exception]) -> None:
    """Its status says whether the archive, the study or the configuration is the cause."""

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 1
        yield status, None

    with scripted((evt.EVT_C_MOVE, handle)) as port, pytest.raises(error) as why:
        asked(here, port).retrieve(GOOD, taking(here))
    assert why.type is error


def test_an_archive_that_could_send_nothing_at_all(here: Site) -> None:
    """0xA702 is about this study: DCMTK and others answer so when every instance of it failed."""
    unsendable = kept(study(1).files[1])
    unsendable.SOPClassUID = CTImageStorage

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 1
        yield 0xFF00, unsendable

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        said = asked(here, port).retrieve(GOOD, taking(here))
    assert (said.completed, said.failed, said.reason) == (0, 1, "sub-operations-failed")


def test_an_archive_that_drips_a_study(here: Site) -> None:
    """Each answer comes in time, and there is no end to them: the study has its time as a whole."""
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 10_000
        for _ in range(10_000):
            if over.wait(0.02):
                return
            yield 0xFF00, kept(study(1).files[0])

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, study_s=1).retrieve(GOOD, taking(here))
        over.set()


def ended(here: Site, port: int, began: threading.Event, **entry: Any) -> list[type[BaseException]]:
    """What a retrieval, and a later one, raise when the archive is closed under way."""
    archive = asked(here, port, **entry)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(archive.retrieve, GOOD, taking(here))
        assert began.wait(20)
        archive.close()
        why = running.exception(20)
    with pytest.raises(OculardError) as later:
        archive.retrieve(GOOD, taking(here))
    return [type(why), later.type]


def test_we_stop_and_the_archive_is_told(here: Site) -> None:
    """C-CANCEL, and its answer is waited for."""
    began, cancelled = threading.Event(), threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 1
        began.set()
        for _ in range(1000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            cancelled.wait(0.02)

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        assert ended(here, port, began) == [Stopping, Stopping]
    assert cancelled.is_set()


def test_we_stop_and_the_archive_does_not_listen(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The association is aborted."""
    monkeypatch.setattr(association, "CANCEL_S", 0.1)
    began, over = threading.Event(), threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 1
        began.set()
        over.wait(30)
        yield 0xFE00, None

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        assert ended(here, port, began) == [Stopping, Stopping]
        over.set()


# --- C-GET ----------------------------------------------------------------------------------------------------------


def giving(*files: bytes, statuses: list[int] | None = None) -> tuple[Any, Callable[[Any], Iterator[Any]]]:
    """Stores these to whoever asks; keeps the answers."""

    def handle(event: Any) -> Iterator[Any]:
        if statuses is not None:
            send = event.assoc.send_c_store
            event.assoc.send_c_store = lambda ds, **how: _noted(send(ds, **how), statuses)
        yield len(files)
        for file in files:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, kept(file)

    return evt.EVT_C_GET, handle


def _noted(answer: Any, statuses: list[int]) -> Any:
    statuses.append(int(answer.Status))
    return answer


def test_what_our_own_intake_refuses_is_refused_and_remarked_on(here: Site) -> None:
    """The archive is told, and the others are taken."""
    statuses: list[int] = []
    door, refused = taking(here), iter([True])

    def take(path: Path) -> None:
        if next(refused, False):
            raise Rejected("no", reason="bad-header")
        door(path)

    with scripted(giving(*study(1).files, statuses=statuses)) as port:
        archive = asked(here, port, how="get")
        said = archive.retrieve(study(1).uid, take)

    assert (said.completed, said.failed, said.reason) == (2, 1, "sub-operations-failed")
    assert statuses == [0xC000, 0, 0]
    assert archive.remarks == {"bad-header": 1}
    assert len(here.rows()) == 2
    assert not list(here.vault.spool.iterdir())


@pytest.mark.parametrize("count", [20, 1])  # cancelled on the way, or at its end before that is heard
@pytest.mark.parametrize(("trouble", "raised"), [(DiskFull("full"), DiskFull), (OSError(5, "no"), VaultUnreadable)])
def test_trouble_of_our_own_ends_the_retrieval(
    here: Site, trouble: Exception, raised: type[Exception], count: int
) -> None:
    """It is not the study's fault: the archive keeps the rest to itself, and the trouble is handed on."""
    statuses: list[int] = []

    def take(path: Path) -> None:
        raise trouble

    with scripted(giving(*study(1, series=(count,)).files, statuses=statuses)) as port, pytest.raises(raised):
        asked(here, port, how="get").retrieve(study(1).uid, take)

    assert set(statuses) == {0xA700}
    assert not list(here.vault.spool.iterdir())


def test_an_instance_larger_than_we_take(here: Site) -> None:
    """It is swallowed, refused and remarked on; nothing of it is kept."""
    here.settings = here.settings.model_copy(
        update={"store": here.settings.store.model_copy(update={"instance_max_gib": 2000 / (1 << 30)})}
    )
    large = study(2, PixelData=bytes(4000))
    with scripted(giving(large.files[0], study(1).files[0])) as port:
        archive = asked(here, port, how="get")
        said = archive.retrieve(GOOD, taking(here))

    assert (said.completed, said.failed) == (1, 1)
    assert archive.remarks == {"instance-too-large": 1}
    assert not list(here.vault.spool.iterdir())


def parts(association: Any, ds: Any, **more: Any) -> list[Any]:
    """A C-STORE request of an archive, in pieces."""
    context = next(cx for cx in association.accepted_contexts if cx.abstract_syntax == ds.SOPClassUID)
    data = encode(ds, context.transfer_syntax[0])
    return fragments(type("Of", (), {"accepted_contexts": [context]}), data, **more)


def test_an_instance_that_is_cut_short(here: Site) -> None:
    """The connection ends in the middle of it: nothing is left, in the spool or elsewhere."""
    ds, before = photograph(PixelData=bytes(64_000)), set(Path(tempfile.gettempdir()).glob("*.dcm"))

    def handle(event: Any) -> Iterator[Any]:
        for part in parts(event.assoc, ds, sop_instance=str(ds.SOPInstanceUID))[:-1]:
            event.assoc.dul.send_pdu(part)
        here.wait_until(lambda: any(path.stat().st_size > 30_000 for path in here.vault.spool.iterdir()))
        event.assoc.abort()
        yield 1

    with scripted((evt.EVT_C_GET, handle)) as port, pytest.raises(ArchiveAway):
        asked(here, port, how="get").retrieve(GOOD, taking(here))

    assert not list(here.vault.spool.iterdir())
    assert set(Path(tempfile.gettempdir()).glob("*.dcm")) <= before


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1." * 40, None])
def test_an_announced_uid_that_is_none(here: Site, uid: str | None) -> None:
    """That instance is refused and remarked on; the others come."""
    ds = photograph()

    def handle(event: Any) -> Iterator[Any]:
        for part in parts(event.assoc, ds, sop_instance=uid):
            event.assoc.dul.send_pdu(part)
        event.assoc.dimse.get_msg(block=True)  # our answer
        yield 1
        yield 0xFF00, kept(study(1).files[0])

    with scripted((evt.EVT_C_GET, handle)) as port:
        archive = asked(here, port, how="get", study_s=20)
        assert archive.retrieve(GOOD, taking(here)).completed == 1

    assert archive.remarks == {"bad-uid": 1}
    assert len(here.rows()) == 1
    assert not list(here.vault.spool.iterdir())


@pytest.mark.parametrize(
    ("broken", "taken"), [({"message_id": None}, 1), ({"sop_class": "not-a-uid"}, 0), ({"sop_class": "1.2.3"}, 0)]
)
def test_a_request_that_is_none(here: Site, broken: dict[str, Any], taken: int) -> None:
    """It ends the retrieval in time, whatever it lacks; what names another class than was agreed on is not taken."""
    ds = photograph()

    def handle(event: Any) -> Iterator[Any]:
        for part in parts(event.assoc, ds, sop_instance=str(ds.SOPInstanceUID), **broken):
            event.assoc.dul.send_pdu(part)
        event.assoc.dimse.get_msg(block=True)
        yield 0

    with scripted((evt.EVT_C_GET, handle)) as port:
        archive = asked(here, port, how="get", study_s=20)
        with contextlib.suppress(ArchiveAway):  # one way to end it
            archive.retrieve(GOOD, taking(here))

    assert len(here.rows()) == taken
    assert not list(here.vault.spool.iterdir())


def test_a_request_for_nothing_at_all(here: Site) -> None:
    """A C-STORE without class and data set ends the association, and nothing else."""
    command = Dataset()
    command.CommandField, command.MessageID, command.CommandDataSetType = 1, 7, 0x0101

    def handle(event: Any) -> Iterator[Any]:
        part = P_DATA()
        encoded = encode(command, ImplicitVRLittleEndian)
        part.presentation_data_value_list.append([event.context.context_id, b"\x03" + encoded])
        event.assoc.dul.send_pdu(part)
        event.assoc.dimse.get_msg(block=True)
        yield 0

    with scripted((evt.EVT_C_GET, handle)) as port, pytest.raises(ArchiveAway) as why:
        asked(here, port, how="get", study_s=20).retrieve(GOOD, taking(here))
    assert why.type is ArchiveAway


def test_an_archive_that_stores_without_end(here: Site) -> None:
    """It never answers the question, it only stores: the study has its time all the same."""
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        while event.assoc.is_established and not over.wait(0.01):
            try:
                event.assoc.send_c_store(kept(study(1).files[0]))
            except (RuntimeError, ValueError):
                break
        yield 0

    with scripted((evt.EVT_C_GET, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, how="get", study_s=1).retrieve(GOOD, taking(here))
        over.set()
    assert len(here.rows()) == 1


def test_an_archive_that_does_not_wait_for_answers(here: Site) -> None:
    """It stores faster than we answer: only so much is in the spool at a time."""
    taken = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        for number in range(20):
            ds = photograph(SOPInstanceUID=f"1.2.{number}")
            for part in parts(event.assoc, ds, sop_instance=str(ds.SOPInstanceUID)):
                event.assoc.dul.send_pdu(part)
        yield 0

    def take(path: Path) -> None:
        taken.wait(1)

    with scripted((evt.EVT_C_GET, handle)) as port, pytest.raises(ArchiveAway):
        asked(here, port, how="get", study_s=20).retrieve(GOOD, take)
    assert not list(here.vault.spool.iterdir())
