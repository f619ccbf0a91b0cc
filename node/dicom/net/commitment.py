"""Storage commitment over associations that the node requests: as the one who asks, or who reports.

Requests and reports are described in PS3.4 annex J.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt

from node.committed import CommitmentAsked, CommitmentReport, Reference
from node.dicom.net.association import COMMITMENT, COMMITMENT_INSTANCE, UNCOMPRESSED, Status
from node.dicom.net.requestor import Peer, associated
from node.errors import Retryable

REQUEST_COMMITMENT = 1
"""Action Type ID (PS3.4 table J.3-1)."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type ID (PS3.4 table J.3-2)."""
EVENT_TYPES = (ALL_COMMITTED, SOME_FAILED)

LISTEN_EVERY_S = 0.02

TakeReport = Callable[[bytes, str], int]
"""Takes the Event Information and its transfer syntax; returns the status to answer."""


def new_transaction() -> str:
    """Return a Transaction UID that nobody used or can guess (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def event_type(report: CommitmentReport) -> int:
    """Return the Event Type ID of a report."""
    return SOME_FAILED if report.failed else ALL_COMMITTED


def encode_report(report: CommitmentReport, transfer_syntax_uid: str) -> bytes:
    """Return the Event Information of a report in an uncompressed transfer syntax."""
    out = DicomBytesIO()
    out.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    out.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    write_dataset(out, _told(report))
    return out.getvalue()


def request_commitment(
    peer: Peer,
    asked: CommitmentAsked,
    take: TakeReport,
    *,
    ae_title: str,
    timeout_s: float,
    listen_s: float,
) -> bool:
    """Ask a peer to commit itself to keep objects; return whether it reported at once.

    Parameters
    ----------
    take
        Takes the report, if the peer sends it over the same association.
    listen_s
        For how long the association stays open for the report.

    Raises
    ------
    Retryable
        If there is no association, no answer, or one that refuses; the message says which.
    """
    answering: list[threading.Thread] = []

    def reported(event: evt.Event) -> tuple[int, None]:
        information = event.request.EventInformation
        status = take(information.getvalue() if information else b"", event.context.transfer_syntax)
        answering.append(threading.current_thread())
        return status, None

    with associated(
        peer,
        [build_context(COMMITMENT, list(UNCOMPRESSED))],
        ae_title=ae_title,
        timeout_s=timeout_s,
        handlers=[(evt.EVT_N_EVENT_REPORT, reported)],
    ) as assoc:
        named = (REQUEST_COMMITMENT, COMMITMENT, COMMITMENT_INSTANCE)
        _require(peer, "N-ACTION", lambda: assoc.send_n_action(_wanted(asked), *named))
        until = time.monotonic() + listen_s
        while not answering and assoc.is_established and time.monotonic() < until:
            time.sleep(LISTEN_EVERY_S)
        for thread in answering:
            thread.join(timeout_s)  # pynetdicom answers a report in a thread of its own
        _release(assoc)
    return bool(answering)


def send_report(peer: Peer, report: CommitmentReport, *, ae_title: str, timeout_s: float) -> None:
    """Tell a peer, over an association of our own, which objects are kept (PS3.4 J.3.3.1.1).

    Raises
    ------
    Retryable
        If there is no association, no answer, or one that refuses; the message says which.
    """
    with associated(
        peer,
        [build_context(COMMITMENT, list(UNCOMPRESSED))],
        ae_title=ae_title,
        timeout_s=timeout_s,
        roles=[build_role(COMMITMENT, scp_role=True)],
    ) as assoc:
        named = (event_type(report), COMMITMENT, COMMITMENT_INSTANCE)
        _require(peer, "N-EVENT-REPORT", lambda: assoc.send_n_event_report(_told(report), *named))


def _release(assoc: Any) -> None:
    """Release an association on which a report may come at any time.

    pynetdicom's own `release` waits until its reading thread pauses; a report that is served just
    then undoes the pause, and the wait never ends.
    """
    if assoc.is_established:
        assoc.acse.negotiate_release()


def _require(peer: Peer, what: str, send: Callable[[], tuple[Dataset, Any]]) -> None:
    """Send a request; raise Retryable unless the peer answers it with success or a warning."""
    try:
        response, _ = send()
    except (RuntimeError, ValueError) as error:
        raise Retryable(f"{peer.name}: {what} could not be sent: {error}") from error
    if "Status" not in response:
        raise Retryable(f"{peer.name} did not answer the {what}")
    status = int(response.Status)
    if status != Status.SUCCESS and status & 0xF000 != 0xB000:
        comment = str(response.get("ErrorComment", ""))
        raise Retryable(f"{peer.name}: {what} 0x{status:04X} {comment}".rstrip())


def _wanted(asked: CommitmentAsked) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = asked.transaction_uid
    ds.ReferencedSOPSequence = _items(asked.references)
    return ds


def _told(report: CommitmentReport) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    if report.committed:
        ds.ReferencedSOPSequence = _items(report.committed)
    if report.failed:
        ds.FailedSOPSequence = _items(report.failed)
        for item, reason in zip(ds.FailedSOPSequence, report.failed.values(), strict=True):
            item.FailureReason = int(reason)
    return ds


def _items(references: Iterable[Reference]) -> list[Dataset]:
    found = []
    for one in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one
        found.append(item)
    return found
