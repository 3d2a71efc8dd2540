"""Decoders: processes that read files which may kill their reader, and one that asks them.

Each answer comes in memory that both processes share, or in open files. A decoder that dies, hangs or needs too much
memory is the file's trouble: it costs the file its content, and a new process takes the next.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from oculard import log
from oculard.errors import Transient
from oculard.settings import Worker
from oculard_models import decoder
from oculard_models.decoder import FILES_GIVEN_MAX, MESSAGE_BYTES_MAX
from oculard_models.dicom_geometry import Unfit
from oculard_models.dicom_pixels import Undecodable

DIED, SLOW = "decoder-died", "decoder-slow"
START_S_MAX = 120.0  # on a machine that is busy with everything else
GRACE_S = 10.0  # after which a decoder ends itself, when nobody else did
DTYPES = frozenset({"|u1", "<i4", "<f4"})
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Array = npt.NDArray[Any]
logger = log.get("decoder")


class DecoderDown(Transient):
    """No decoder can be started: the machine's trouble, not the image's."""

    reason = "decoder-down"
    hint = "is there memory, and is the installation whole? see [worker] decode_memory_mib"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one image may cost."""

    seconds: float
    memory_bytes: int


def limits(settings: Worker) -> Limits:
    """What the settings say of it."""
    return Limits(seconds=settings.decode_s_max, memory_bytes=settings.decode_memory_mib << 20)


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a decoder says, with the files that it gives: whoever takes one closes it, and the rest closes itself."""

    said: Mapping[str, Any]
    files: list[int] = field(default_factory=list)

    def array(self) -> Array:
        """The array that was asked for. Raises Undecodable."""
        if len(self.files) != 1:
            raise Undecodable(DIED, "the decoder's answer makes no sense")
        return _mapped(self.files[0], self.said)

    def take(self) -> list[int]:
        """The files, whose closing is the taker's."""
        taken, self.files = self.files, []
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self.take():
            os.close(handle)


class Decoders:
    """So many processes, each started when it is first needed and kept until it dies. Any thread may ask."""

    def __init__(self, limits: Limits, *, processes: int = 1, module: str = decoder.__name__) -> None:
        self._limits, self._module = limits, module
        self._processes: SimpleQueue[_Process | None] = SimpleQueue()  # those that nobody asks just now
        for _ in range(processes):
            self._processes.put(None)
        self._count = processes
        self.asked: set[_Process] = set()  # those that somebody waits for
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, what: str, *, file: int | None = None, **more: Any) -> Answer:
        """The answer to a question, which may come with an open file.

        Raises Undecodable, Unfit and OSError as they were met there; DecoderDown.
        """
        question = json.dumps({"what": what, **more}).encode()
        given = [] if file is None else [file]
        try:
            return self._ask_once(question, given)
        except _Died as why:  # perhaps of what went before, or of the machine's memory
            logger.warning("decoder died", reason=DIED, why=why.how)
        try:
            return self._ask_once(question, given)
        except _Died as why:
            logger.warning("decoder died", reason=DIED, why=why.how, hint="the file is not decoded")
            raise Undecodable(DIED, f"a decoder died of it twice: {why.how}") from why

    def idle(self) -> list[int]:
        """The processes that nobody asks just now."""
        some = [self._processes.get() for _ in range(self._processes.qsize())]
        for process in some:
            self._processes.put(process)
        return [process.pid for process in some if process is not None]

    def close(self) -> None:
        """End the processes, whatever they do; who waits for one gets DecoderDown."""
        self._closed = True
        for process in self.asked.copy():
            process.kill()
        for _ in range(self._count):
            process_ = self._processes.get()
            if process_ is not None:
                process_.end()
        for _ in range(self._count):
            self._processes.put(None)

    def _ask_once(self, question: bytes, given: Sequence[int]) -> Answer:
        """Ask a process that is idle; one that gave no answer is ended, and replaced when it is needed."""
        kept, process = None, self._processes.get()
        try:
            if self._closed:
                raise DecoderDown("decoding has ended")
            process = process or _Process(self._module, self._limits)
            self.asked.add(process)
            answer = process.ask(question, given, self._limits.seconds)
            kept = process
        finally:
            if process is not None:
                self.asked.discard(process)
                if kept is None:
                    process.end()
            self._processes.put(kept)
        return _understood(answer)


class _Died(Exception):
    """A decoder ended instead of answering."""

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__(how)


class _Process:
    """One decoder, and the socket on which it answers."""

    def __init__(self, module: str, limits: Limits) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        limit = [str(theirs.fileno()), str(limits.memory_bytes), str(limits.seconds + GRACE_S)]
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603  our own module
                    [sys.executable, "-P", "-m", module, *limit],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # libraries print what they like, and it may be a patient's
                    env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **THREADS},  # and no secrets
                )
        except OSError as why:
            self._socket.close()
            raise DecoderDown(f"no decoder can be started: {why.strerror}") from why
        try:
            self._answer(monotonic() + START_S_MAX)
        except (_Died, Undecodable) as why:
            self.end()
            raise DecoderDown(f"a decoder did not start: {why}") from why

    def ask(self, question: bytes, given: Sequence[int], within_s: float) -> Answer:
        """The answer to a question. Raises _Died, Undecodable where it takes too long, OSError."""
        try:
            socket.send_fds(self._socket, [question], given)
        except (BrokenPipeError, ConnectionResetError) as why:
            raise _Died(self._how()) from why
        return self._answer(monotonic() + within_s)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def kill(self) -> None:
        """Kill it; whoever waits for an answer learns of it."""
        self._process.kill()

    def end(self) -> None:
        """End it, whatever it does, and leave nothing of it."""
        self.kill()
        self._process.wait()
        self._socket.close()

    def _answer(self, until: float) -> Answer:
        self._socket.settimeout(max(0.01, until - monotonic()))
        with ExitStack() as unwanted:
            try:
                data, files, _, _ = socket.recv_fds(
                    self._socket, MESSAGE_BYTES_MAX, FILES_GIVEN_MAX, socket.MSG_CMSG_CLOEXEC
                )
            except TimeoutError as why:
                raise Undecodable(SLOW, "decoding took longer than it may") from why
            except ConnectionResetError as why:
                raise _Died(self._how()) from why
            for handle in files:
                unwanted.callback(os.close, handle)
            if not data:
                raise _Died(self._how())
            answer = Answer(said=json.loads(data), files=files)
            unwanted.pop_all()
            return answer

    def _how(self) -> str:
        """How it ended, in words."""
        try:
            code = self._process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its socket"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _mapped(handle: int, said: Mapping[str, Any]) -> Array:
    """The array in shared memory, ours alone from now on: no other process can shorten or change it."""
    fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    dtype, shape = str(said["dtype"]), tuple(int(size) for size in said["shape"])
    if dtype not in DTYPES:
        raise Undecodable(DIED, "the decoder's answer makes no sense")
    memory = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)  # pages are copied where somebody writes to them
    array = np.frombuffer(memory, dtype=dtype)
    if array.size != np.prod(shape, dtype=np.int64):
        raise Undecodable(DIED, "the decoder's answer makes no sense")
    return array.reshape(shape)


def _understood(answer: Answer) -> Answer:
    """The answer, or the error that the decoder met."""
    said = answer.said
    if "undecodable" in said:
        raise Undecodable(str(said["undecodable"]), str(said["message"]))
    if "unfit" in said:
        raise Unfit(str(said["unfit"]), str(said["message"]))
    if "os_error" in said:
        raise OSError(int(said["os_error"]), os.strerror(int(said["os_error"])))
    return answer
