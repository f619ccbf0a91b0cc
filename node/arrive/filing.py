"""Files one object: makes its bytes durable and commits its row, or keeps it in quarantine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from node.arrive.spool import Spool
from node.dicom.net.association import Status
from node.dicom.read.header import LONGEST_HEADER_BYTES, OpenObject, open_object
from node.errors import BadObject, Permanent
from node.log import event
from node.records import Header
from node.worklist import Arrival, Arrivals

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""Files are copied to the spool in pieces of this size, so that memory holds one piece."""


Source = bytes | Path | BinaryIO
"""A Part 10 object: its bytes, a file that holds them, or a stream of nothing else."""


class Mismatch(BadObject):
    """The dataset's SOP class or instance UID differs from the request's."""


def ingest(
    source: Source,
    arrivals: Arrivals,
    spool: Spool,
    *,
    caller: str,
    now: datetime,
    announced: tuple[str, str] | None = None,
) -> tuple[Header, Arrival]:
    """File one Part 10 object: its bytes are durable in the spool, then its row is committed.

    An object whose pixel data is cut short is set aside until a whole one of its SOPInstanceUID
    comes.

    Parameters
    ----------
    caller
        The sender's AE title; "" for a file.
    announced
        SOP class and instance UID of the C-STORE request, which the dataset must repeat.

    Raises
    ------
    BadObject
        If it cannot be filed; nothing was written.
    Retryable
        If the spool or the database cannot take it now.
    """
    with _stream(source) as file:
        opened = _require_announced(file, announced, LONGEST_HEADER_BYTES)
        return opened.header, _add(opened, file, arrivals, spool, caller, now)


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of an object: it is filed, or kept in quarantine."""

    status: Status
    """The answer to its C-STORE."""
    comment: str = ""
    """Why it was not filed, or is set aside all the same; "" if it was filed."""
    header: Header | None = None
    """None if it could not be filed and is in quarantine."""
    arrival: Arrival | None = None
    """What it was to the worklist; None as for `header`."""


def file_or_set_aside(
    source: Source,
    arrivals: Arrivals,
    spool: Spool,
    *,
    caller: str,
    now: datetime,
    announced: tuple[str, str] | None = None,
    longest_header: int = LONGEST_HEADER_BYTES,
) -> Filed:
    """File one Part 10 object as `ingest` does; keep one that cannot be filed in quarantine.

    Parameters
    ----------
    longest_header
        An object with more bytes before its pixel data cannot be filed.

    Raises
    ------
    Retryable
        If the spool or the database cannot take it now.
    """
    with _stream(source) as file:
        try:
            opened = _require_announced(file, announced, longest_header)
            arrival = _add(opened, file, arrivals, spool, caller, now)
        except Permanent as error:
            status = Status.MISMATCH if isinstance(error, Mismatch) else Status.CANNOT_UNDERSTAND
            stored = spool.put(_chunks(file), "quarantine")
            arrivals.set_aside(stored, code=status.name, reason=str(error), caller=caller, now=now)
            say = event("quarantined", code=status.name, caller=ascii(caller), sha256=stored.sha256)
            logger.warning("quarantined: see `ichnode quarantine list`", extra=say)  # it quotes
            return Filed(status, str(error))
    if arrival is Arrival.CONFLICT:
        why = "study has another patient, kept apart"
        return Filed(Status.IDENTITY_CONFLICT, why, opened.header, arrival)
    why = (opened.cut_short or "") if arrival is Arrival.CUT_SHORT else ""
    return Filed(Status.SUCCESS, why, opened.header, arrival)


@contextmanager
def _stream(source: Source) -> Iterator[BinaryIO]:
    """Yield a stream of an object; it is closed at the end."""
    if isinstance(source, bytes):
        source = BytesIO(source)
    with source.open("rb") if isinstance(source, Path) else source as file:
        yield file


def _require_announced(
    file: BinaryIO, announced: tuple[str, str] | None, longest_header: int
) -> OpenObject:
    """Return the object without its pixels; raise `BadObject` if it is not the one announced."""
    opened = open_object(file, pixels=False, longest_header=longest_header)
    held = (opened.header.sop_class_uid, opened.header.sop_instance_uid)
    if announced is not None and held != announced:
        raise Mismatch("SOP class or instance UID differs from the request's")
    return opened


def _add(
    opened: OpenObject,
    file: BinaryIO,
    arrivals: Arrivals,
    spool: Spool,
    caller: str,
    now: datetime,
) -> Arrival:
    """Store the bytes, then commit the row."""
    stored = spool.put(_chunks(file), "quarantine" if opened.cut_short else "received")
    return arrivals.add(
        opened.header,
        stored,
        caller=caller,
        now=now,
        cut_short=opened.cut_short,
        is_there=lambda: spool.depot.holds(stored.path),
    )


def _chunks(file: BinaryIO) -> Iterator[bytes | memoryview]:
    if isinstance(file, BytesIO):
        with file.getbuffer() as whole:
            yield whole
        return
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
