"""Filing one object: its bytes on disk for good, its row committed, or kept in quarantine."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node.arrive.spool import Spool
from node.dicom.net.association import Status
from node.dicom.read.header import read_header
from node.errors import BadObject, Permanent
from node.log import event
from node.records import Header
from node.worklist import Arrival, Arrivals

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""Files are copied to the spool in pieces of this size."""


class Mismatch(BadObject):
    """The dataset's SOP class or instance UID contradicts the request's."""


def ingest(
    source: bytes | Path,
    arrivals: Arrivals,
    spool: Spool,
    *,
    caller: str,
    now: datetime,
    announced: tuple[str, str] | None = None,
) -> tuple[Header, Arrival]:
    """File one Part 10 object: spooled for good, then its row committed.

    Parameters
    ----------
    source
        The object's bytes, or a file that holds them.
    caller
        Who sent it: an AE title, or "" for a file.
    announced
        SOP class and instance UID of the C-STORE request, which the dataset must bear out.

    Raises
    ------
    BadObject
        If it cannot be filed; nothing was written.
    Retryable
        If the spool or the database cannot take it now.
    """
    header = read_header(source)
    held = (header.sop_class_uid, header.sop_instance_uid)
    if announced is not None and held != announced:
        raise Mismatch("SOP class or instance UID differs from the request's")
    stored = spool.put(_chunks(source), "received")
    return header, arrivals.add(header, stored, caller=caller, now=now)


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of an object: filed, or kept in quarantine."""

    status: Status
    """What its C-STORE is answered."""
    comment: str = ""
    """Why it was not filed; "" if it was."""
    header: Header | None = None
    """None where it is in quarantine for what it is."""
    arrival: Arrival | None = None


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
        header, arrival = ingest(file, arrivals, spool, caller=caller, now=now, announced=announced)
    except Permanent as error:
        status = Status.MISMATCH if isinstance(error, Mismatch) else Status.CANNOT_UNDERSTAND
        stored = spool.put([file], "quarantine")
        arrivals.set_aside(stored, code=status.name, reason=str(error), caller=caller, now=now)
        logger.warning("quarantined: %s", error, extra=event("quarantined", code=status.name))
        return Filed(status, str(error))
    if arrival is Arrival.CONFLICT:
        why = "study has another patient, kept apart"
        return Filed(Status.IDENTITY_CONFLICT, why, header, arrival)
    return Filed(Status.SUCCESS, "", header, arrival)


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
