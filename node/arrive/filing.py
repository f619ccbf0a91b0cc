"""Files one object: makes its bytes durable and commits its row, or keeps it in quarantine."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from node.arrive.spool import Spool
from node.dicom.net.association import Status
from node.dicom.read.header import OpenObject, open_object
from node.errors import BadObject, Permanent
from node.log import event
from node.records import Header
from node.worklist import Arrival, Arrivals

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""Files are copied to the spool in pieces of this size, so that memory holds one piece."""


class Mismatch(BadObject):
    """The dataset's SOP class or instance UID differs from the request's."""


def ingest(
    source: bytes | Path,
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
    source
        The object's bytes, or a file that holds them.
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
    opened = _require_announced(source, announced)
    return opened.header, _add(opened, source, arrivals, spool, caller, now)


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
    file: bytes,
    arrivals: Arrivals,
    spool: Spool,
    *,
    caller: str,
    now: datetime,
    announced: tuple[str, str] | None = None,
) -> Filed:
    """File one Part 10 object as `ingest` does; keep one that cannot be filed in quarantine.

    Raises
    ------
    Retryable
        If the spool or the database cannot take it now.
    """
    try:
        opened = _require_announced(file, announced)
        arrival = _add(opened, file, arrivals, spool, caller, now)
    except Permanent as error:
        status = Status.MISMATCH if isinstance(error, Mismatch) else Status.CANNOT_UNDERSTAND
        stored = spool.put([file], "quarantine")
        arrivals.set_aside(stored, code=status.name, reason=str(error), caller=caller, now=now)
        logger.warning("quarantined: %s", error, extra=event("quarantined", code=status.name))
        return Filed(status, str(error))
    if arrival is Arrival.CONFLICT:
        why = "study has another patient, kept apart"
        return Filed(Status.IDENTITY_CONFLICT, why, opened.header, arrival)
    why = (opened.cut_short or "") if arrival is Arrival.CUT_SHORT else ""
    return Filed(Status.SUCCESS, why, opened.header, arrival)


def _require_announced(source: bytes | Path, announced: tuple[str, str] | None) -> OpenObject:
    """Return the object without its pixels; raise `BadObject` if it is not the one announced."""
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        opened = open_object(file, pixels=False)
    held = (opened.header.sop_class_uid, opened.header.sop_instance_uid)
    if announced is not None and held != announced:
        raise Mismatch("SOP class or instance UID differs from the request's")
    return opened


def _add(
    opened: OpenObject,
    source: bytes | Path,
    arrivals: Arrivals,
    spool: Spool,
    caller: str,
    now: datetime,
) -> Arrival:
    """Store the bytes, then commit the row."""
    stored = spool.put(_chunks(source), "quarantine" if opened.cut_short else "received")
    return arrivals.add(opened.header, stored, caller=caller, now=now, cut_short=opened.cut_short)


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
