"""The requests of a peer that whoever accepted its association has to answer."""

from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from node.dicom.net.message import Command


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One C-STORE request.

    Attributes
    ----------
    file
        The dataset as sent, as a Part 10 file at its start; None if it was dropped.
    dropped
        Why it was dropped: it exceeds the limit, or there is no room for it; "" if it was not.
    """

    message_id: int
    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    file: BinaryIO | None
    command: int = Command.C_STORE_RQ
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class AttributesRequest:
    """One N-CREATE or N-SET request (PS3.7 10.1.5 and 10.1.3).

    Attributes
    ----------
    sop_instance_uid
        "" if an N-CREATE leaves it to the node.
    dataset
        The attributes in the transfer syntax; None if they exceed the limit, and were dropped.
    """

    message_id: int
    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes | None
    command: int

    @property
    def creates(self) -> bool:
        """Whether it is an N-CREATE."""
        return self.command == Command.N_CREATE_RQ


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One C-FIND, C-MOVE or C-GET request (PS3.7 9.1.2 to 9.1.4).

    Attributes
    ----------
    identifier
        The identifier in the transfer syntax; None if it exceeds the limit, and was dropped.
    move_destination
        The AE title to which a C-MOVE sends; "" for the others.
    """

    message_id: int
    context_id: int
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes | None
    command: int
    move_destination: str = ""


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One N-ACTION or N-EVENT-REPORT request of storage commitment (PS3.7 10.1.4 and 10.1.1).

    Attributes
    ----------
    information
        The Action or Event Information in the transfer syntax; None if it exceeds the limit, and
        was dropped.
    type_id
        Action Type ID or Event Type ID.
    """

    message_id: int
    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    information: bytes | None
    type_id: int
    command: int

    @property
    def reports(self) -> bool:
        """Whether it is an N-EVENT-REPORT."""
        return self.command == Command.N_EVENT_REPORT_RQ


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """The peer's response to an N-EVENT-REPORT of ours; `message_id` is that of our request."""

    message_id: int
    status: int


class SubOperations(NamedTuple):
    """How many C-STORE sub-operations of a C-MOVE or C-GET stand how (PS3.7 C.4.2)."""

    remaining: int
    completed: int
    failed: int
    warning: int


AnsweredOnce = StoreRequest | AttributesRequest | CommitmentRequest
Request = AnsweredOnce | QueryRequest | ReportAnswer
