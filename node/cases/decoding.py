"""Decode pixels in a process with limits, so that a failing decoder costs one case only.

Codecs are C and C++ code that gets whatever a peer sends. A codec that crashes, hangs or uses up
memory does so in a child of the worker, and the next case gets a new child. Linux only.
"""

import logging
import mmap
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.volume import Volume
from node.dicom.read.damage import Crashed
from node.dicom.read.pixels import Decoder, load_volume
from node.errors import Interrupted, Refused
from node.limits import end_with_parent, forbid_core_dump, limit_memory
from node.log import configure, event
from node.records import SeriesPlan
from node.settings import Decode
from node.states import Reason

logger = logging.getLogger(__name__)

START_S = 60.0
"""How long a child may take to start.

It takes about a second on an idle machine. This must exceed the time on a busy one, which was not
measured.
"""

ORPHAN_S = 10.0
"""How long after the time limit a child ends itself, if its worker is gone.

A worker that lives ends it sooner: this must exceed the time that it takes to do so.
"""


@contextmanager
def decoding_process(limits: Decode, load: Decoder = load_volume) -> Iterator[Decoder]:
    """Yield a function that returns what `load` returns, called in a process within `limits`.

    The process starts with the first series, is kept for the next ones, and ends with the block.
    It takes one series at a time. `load` must be importable by its name.

    The function raises what `load` raises, and also:

    Raises
    ------
    Crashed
        UNDECODABLE if decoding ends its process, or exceeds the limit of memory.
    Refused
        UNDECODABLE if it exceeds the limit of time.
    Interrupted
        If its process is killed from outside, by a person or for the machine's lack of memory, or
        none can be started.
    """
    child = _Child(limits, load)
    try:
        yield child.decode
    finally:
        child.end()


class _Child:
    """The worker's side: the process that decodes, if there is one, and the connection to it."""

    def __init__(self, limits: Decode, load: Decoder) -> None:
        self.limits = limits
        self.load = load
        self.process: BaseProcess | None = None
        self.line: Connection | None = None

    def decode(self, plan: SeriesPlan, root: Path) -> Volume:
        """Return the planned slices in Hounsfield units."""
        try:
            answer = self._answer_of(self.line or self._start(), (plan, root))
        except ConnectionError:  # the process died between two cases
            answer = self._answer_of(self._start(), (plan, root))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        if self.process is not None and self.line is not None:
            self.line.close()
            self.process.kill()
            self.process.join()
            self.process.close()
        self.process = self.line = None

    def _start(self) -> Connection:
        # Spawned, since a fork would copy the worker's threads' locks and gigabytes of networks.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.line = ours
        self.process = context.Process(
            target=_serve, args=(theirs, self.load, self.limits), name="decoding", daemon=True
        )
        try:
            self.process.start()
        except OSError as error:
            self.process = self.line = None
            raise Interrupted(f"no process can be started: {error.strerror}") from error
        theirs.close()
        with suppress(EOFError):
            if ours.poll(START_S):
                ours.recv()
                return ours
        self.end()
        raise Interrupted(
            "the process that decodes pixels did not start; standard error says why, "
            "or decode.memory_mb is too little"
        )

    def _answer_of(self, line: Connection, request: tuple[SeriesPlan, Path]) -> Volume | Exception:
        """Return the child's answer; if there is none, end the child and raise."""
        try:
            return self._ask(line, request)
        except BaseException:
            self.end()
            raise

    def _ask(self, line: Connection, request: tuple[SeriesPlan, Path]) -> Volume | Exception:
        """Return the child's answer; a ConnectionError means that it never read the request.

        A process that dies with unread bytes resets its socket. One that had read the request, and
        so was working on it, leaves an end of file.
        """
        try:
            line.send(request)
            if not line.poll(self.limits.timeout_s):
                raise self._refusal(
                    Refused,
                    f"took longer than decode.timeout_s = {self.limits.timeout_s:g} s allows",
                )
            answer = line.recv()
            if isinstance(answer, MemoryError):
                raise self._refusal(
                    Crashed,
                    f"took more memory than decode.memory_mb = {self.limits.memory_mb} allows",
                )
            return answer if isinstance(answer, Exception) else _receive(line, answer)
        except EOFError as error:
            raise self._ended() from error

    def _ended(self) -> Exception:
        """Return what to raise of a process that ended, by its own doing or not.

        No process sends itself SIGKILL: a person does, or the kernel when memory is short.
        """
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        if code == -signal.SIGKILL:
            return Interrupted("the process that decodes pixels was killed (SIGKILL)")
        words = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return self._refusal(Crashed, f"ended its process: {words}")

    def _refusal(self, kind: type[Refused], what: str) -> Refused:
        logger.warning("decoding %s", what, extra=event("decoding_ended"))
        return kind(
            Reason.UNDECODABLE,
            f"decoding the pixels {what}; they are damaged, or too much for this node or their "
            "codec: send the series again, uncompressed, or raise the limit",
        )


def _receive(line: Connection, described: tuple[Any, ...]) -> Volume:
    """Return the volume whose voxels lie in memory that the child hands over."""
    shape, *place = described
    handle = recv_handle(line)
    try:
        voxels = mmap.mmap(handle, 0)
    finally:
        os.close(handle)
    return Volume(np.frombuffer(voxels, np.float32).reshape(shape), *place)


def _serve(line: Connection, load: Decoder, limits: Decode) -> None:
    """Run as the child: answer each request with a volume, or with an exception instead."""
    # A signal to the group is meant for the worker, which ends its case and then its child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    forbid_core_dump()
    configure("WARNING", as_json=False)  # libraries quote headers; nothing goes out as it is
    limit_memory(limits.memory_mb)
    with suppress(EOFError, ConnectionError):  # raised when the worker is gone
        line.send("ready")
        while True:
            plan, root = line.recv()
            signal.setitimer(signal.ITIMER_REAL, limits.timeout_s + ORPHAN_S)
            _answer(line, load, plan, root)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(line: Connection, load: Decoder, plan: SeriesPlan, root: Path) -> None:
    """Hand over the volume; its voxels lie in nameless memory that ends with its last user.

    An exception is sent in its place, after that memory is given back.
    """
    with os.fdopen(os.memfd_create("volume"), "wb") as voxels:
        answer = _filled(voxels, load, plan, root)
        if isinstance(answer, Volume):
            place = answer.positions_mm, answer.orientation, answer.spacing_mm, answer.thickness_mm
            line.send((answer.hu.shape, *place))
            send_handle(line, voxels.fileno(), None)
            return
    line.send(answer)


def _filled(voxels: BinaryIO, load: Decoder, plan: SeriesPlan, root: Path) -> Volume | Exception:
    """Write the volume's voxels; return the volume, or the exception that prevented it."""
    try:
        volume = load(plan, root)
        voxels.write(np.ascontiguousarray(volume.hu).data)
        voxels.flush()
    except Exception as error:  # noqa: BLE001  the worker decides what it means
        error.add_note(f"In the decoding process:\n{traceback.format_exc()}")
        return error
    return volume
