"""Requests and reports of storage commitment (PS3.4 tables J.3-1 and J.3-2)."""

from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.committed import CommitmentAsked, CommitmentReport, FailureReason, Reference
from node.dicom.read.elements import items, short, uid
from node.dicom.read.sparing import DAMAGE, read_sparingly
from node.errors import BadObject

T = TypeVar("T")


def read_request(encoded: bytes, transfer_syntax_uid: str) -> CommitmentAsked:
    """Return what the Action Information of an N-ACTION asks for.

    Parameters
    ----------
    encoded
        The information in an uncompressed transfer syntax.

    Raises
    ------
    BadObject
        If it names no transaction or no object, has a malformed UID, or cannot be decoded.
    """
    return _read(_request, encoded, transfer_syntax_uid)


def read_report(encoded: bytes, transfer_syntax_uid: str) -> CommitmentReport:
    """Return what the Event Information of an N-EVENT-REPORT tells; raises as `read_request`."""
    return _read(_report, encoded, transfer_syntax_uid)


def _request(ds: Dataset) -> CommitmentAsked:
    asked = tuple(dict.fromkeys(map(_reference, items(ds, "ReferencedSOPSequence"))))
    if not asked:
        raise BadObject("no ReferencedSOPSequence")
    return CommitmentAsked(uid(ds, "TransactionUID"), asked)


def _report(ds: Dataset) -> CommitmentReport:
    failed = {
        _reference(item): short(item, "FailureReason") or FailureReason.PROCESSING_FAILURE
        for item in items(ds, "FailedSOPSequence")
    }
    told = tuple(map(_reference, items(ds, "ReferencedSOPSequence")))
    committed = tuple(one for one in told if one not in failed)
    return CommitmentReport(uid(ds, "TransactionUID"), committed, failed)


def _reference(item: Dataset) -> Reference:
    return Reference(uid(item, "ReferencedSOPClassUID"), uid(item, "ReferencedSOPInstanceUID"))


def _read(make: Callable[[Dataset], T], encoded: bytes, transfer_syntax_uid: str) -> T:
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    try:
        return make(read_sparingly(BytesIO(encoded), implicit=implicit, little=little))
    except (*DAMAGE, OSError) as error:
        raise BadObject(f"it cannot be decoded ({type(error).__name__})") from error
