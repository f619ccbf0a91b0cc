"""One incoming association, served by one thread that reads, answers and reads again.

pynetdicom is not used here: its acceptor takes two threads that poll each other, decodes a dataset
that is to be stored as it came, trusts a PDU's 32-bit length, admits a caller whose check fails
with an error, and aborts a request in which anything is odd. What remains for an acceptor is small:
the states of PS3.8 9.2 from an association's acceptance to its end, and the requests of PS3.7 that
`asked_by` knows.
"""

import socket
import struct
from collections.abc import Iterator
from tempfile import TemporaryFile

from node.dicom.net.asked import asked_by
from node.dicom.net.associate_request import (
    AssociateRequest,
    ContextResult,
    decode_request,
    encode_acceptance,
)
from node.dicom.net.association import (
    ACCEPTED_TRANSFER_SYNTAXES,
    COMMITMENT,
    COMMITMENT_INSTANCE,
    STORAGE_SOP_CLASSES,
    AssociationLost,
    Rejection,
    Status,
    contexts_in,
    part10_prefix,
)
from node.dicom.net.gathered import GatheredBytes, Scratch
from node.dicom.net.incoming import (
    AnsweredOnce,
    QueryRequest,
    Request,
    SubOperations,
)
from node.dicom.net.message import (
    HAS_DATASET,
    NO_DATASET,
    RESPONSE,
    Command,
    CommandSet,
    Field,
    Message,
    MessageAssembly,
    encode_command,
    number,
    text,
    us,
)
from node.dicom.net.pdu import (
    AbortReason,
    PduConnection,
    PduType,
    ProtocolError,
    data_values,
)

LONGEST_REQUEST_BYTES = 1 << 18
"""A longer A-ASSOCIATE request is refused. 128 presentation contexts of 30 transfer syntaxes (some
100 KB) and a user's identity of 64 KB fit."""

LONGEST_ATTRIBUTES_BYTES = 1 << 22
"""Longer attributes of an N-CREATE or N-SET, and longer identifiers, are dropped. A reference to an
image has some 150 bytes, so that 20,000 images fit."""


class IncomingAssociation:
    """A connection on which a peer requests an association, and then the services of the node.

    Each read of a PDU and each write ends within the time limit, however slowly the peer sends.

    Parameters
    ----------
    connection
        The connected socket; the caller closes it.
    associate_s, idle_s
        Time limits before and after the association is accepted.
    max_pdu_bytes
        The largest PDU that the peer is asked to send.
    max_object_bytes
        Datasets larger than this are read and dropped.
    scratch
        Opens a file for an object that is too large for memory while it comes.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        associate_s: float,
        idle_s: float,
        max_pdu_bytes: int,
        max_object_bytes: int,
        scratch: Scratch = TemporaryFile,
    ) -> None:
        self._connection = PduConnection(connection, min(associate_s, idle_s))
        self._idle_s = idle_s
        self._max_pdu = max_pdu_bytes
        self._max_object = max_object_bytes
        self._scratch = scratch
        self._peer_max_pdu = 0
        self._accepted: dict[int, tuple[str, str]] = {}
        self._sendable: set[int] = set()
        self._cancelled: int | None = None

    def requested(self) -> AssociateRequest:
        """Return the peer's A-ASSOCIATE request.

        Raises
        ------
        AssociationLost
            If the peer sends no request that can be read; it has been told why.
        """
        try:
            kind, body = self._connection.read(LONGEST_REQUEST_BYTES)
            if kind is PduType.ABORT:
                raise AssociationLost("the peer aborted")
            if kind is not PduType.ASSOCIATE_RQ:
                raise ProtocolError(AbortReason.UNEXPECTED_PDU, f"a {kind.name} PDU came first")
            return decode_request(body)
        except ProtocolError as error:
            self._connection.abort(error.reason)
            raise

    def reject(self, rejection: Rejection) -> None:
        """Reject the request."""
        self._connection.write(struct.pack(">BxLxBBB", PduType.ASSOCIATE_RJ, 4, *rejection))
        self._connection.await_close()

    def accept(self, request: AssociateRequest) -> None:
        """Accept the request, and of its presentation contexts those that the node serves."""
        served = {str(cx.abstract_syntax): cx.transfer_syntax for cx in contexts_in()}
        offered = request.scp_roles.items()
        roles = {uid: scu for uid, scu in offered if uid in (*STORAGE_SOP_CLASSES, COMMITMENT)}
        here = {uid: scu and uid in served for uid, scu in roles.items()}
        for uid in here:
            served.setdefault(uid, list(ACCEPTED_TRANSFER_SYNTAXES))
        contexts = {number: cx.negotiate(served) for number, cx in request.contexts.items()}
        self._accepted = {
            number: (cx.abstract_syntax, cx.transfer_syntax)
            for number, cx in contexts.items()
            if cx.result is ContextResult.ACCEPTED
        }
        self._peer_max_pdu = request.max_pdu
        self._sendable = {number for number, (uid, _) in self._accepted.items() if uid in here}
        here = {uid: scu for uid, scu in here.items() if uid in request.abstract_syntaxes}
        self._connection.write(encode_acceptance(request, contexts, self._max_pdu, here))
        self._connection.limit_time(self._idle_s)

    def requests(self) -> Iterator[Request]:
        """Yield each request, to be answered before the next; end at the release request.

        They are C-STORE, N-CREATE, N-SET, C-FIND, C-MOVE and C-GET, and for storage commitment
        N-ACTION, N-EVENT-REPORT and the answer to a report of ours. Every other request is answered
        here.

        Raises
        ------
        AssociationLost
            If the association ends in any other way.
        """
        try:
            while (message := self._message()) is not None:
                request = self._serve(message)
                del message  # its fragments, once they are a file
                if request is not None:
                    yield request
        except ProtocolError as error:
            self._connection.abort(error.reason)
            raise

    def answer(
        self, request: AnsweredOnce, status: int, comment: str = "", error_id: int = 0
    ) -> None:
        """Answer a request; the comment is cut to the 64 characters of its VR (LO).

        Parameters
        ----------
        error_id
            Error ID (0000,0903), which says which failure a status stands for; 0 for none.
        """
        fields: CommandSet = {
            Field.AFFECTED_SOP_CLASS_UID: request.sop_class_uid.encode("ascii"),
            Field.COMMAND_FIELD: us(request.command | RESPONSE),
            Field.MESSAGE_ID_BEING_RESPONDED_TO: us(request.message_id),
            Field.STATUS: us(status),
            Field.ERROR_COMMENT: _comment(comment),
            Field.ERROR_ID: us(error_id) if error_id else b"",
            Field.AFFECTED_SOP_INSTANCE_UID: request.sop_instance_uid.encode("ascii", "replace"),
        }
        self._respond(request.context_id, fields)

    def answer_query(
        self,
        request: QueryRequest,
        status: int,
        *,
        identifier: bytes = b"",
        counts: SubOperations | None = None,
        comment: str = "",
    ) -> None:
        """Send one of the responses to a C-FIND, C-MOVE or C-GET.

        Parameters
        ----------
        identifier
            The response's identifier in the transfer syntax of the request; b"" for none.
        counts
            Of the sub-operations; the remaining ones are told where some may remain only.
        """
        fields: dict[int, bytes] = {
            Field.AFFECTED_SOP_CLASS_UID: request.sop_class_uid.encode("ascii"),
            Field.COMMAND_FIELD: us(request.command | RESPONSE),
            Field.MESSAGE_ID_BEING_RESPONDED_TO: us(request.message_id),
            Field.STATUS: us(status),
            Field.ERROR_COMMENT: _comment(comment),
        }
        if counts is not None:
            if status in (Status.PENDING, Status.CANCELLED):
                fields[Field.REMAINING] = us(min(counts.remaining, 0xFFFF))
            told = zip((Field.COMPLETED, Field.FAILED, Field.WARNING), counts[1:], strict=True)
            fields |= {field: us(min(count, 0xFFFF)) for field, count in told}
        self._respond(request.context_id, fields, identifier)

    def report(self, context_id: int, message_id: int, event_type: int, information: bytes) -> None:
        """Send a report of storage commitment; the peer's answer comes as one of the requests.

        Parameters
        ----------
        context_id
            Of the request that is reported on.
        information
            The Event Information in the transfer syntax of that context.
        """
        fields: CommandSet = {
            Field.AFFECTED_SOP_CLASS_UID: COMMITMENT.encode("ascii"),
            Field.COMMAND_FIELD: us(Command.N_EVENT_REPORT_RQ),
            Field.MESSAGE_ID: us(message_id),
            Field.AFFECTED_SOP_INSTANCE_UID: COMMITMENT_INSTANCE.encode("ascii"),
            Field.EVENT_TYPE_ID: us(event_type),
        }
        self._respond(context_id, fields, information)

    @property
    def is_quiet(self) -> bool:
        """Whether the peer has sent nothing that was not read yet."""
        return not self._connection.is_waiting()

    def is_cancelled(self, request: QueryRequest) -> bool:
        """Return whether the peer has asked to cancel a request that is being answered.

        Raises
        ------
        AssociationLost
            If it ended the association, or asks for anything else meanwhile.
        """
        while self._cancelled != request.message_id and self._connection.is_waiting():
            message = self._message()
            if message is None or not self._note_cancel(message):
                self._connection.abort(AbortReason.UNEXPECTED_PDU)
                raise AssociationLost("another request came while one was being answered")
        return self._cancelled == request.message_id

    def sendable(self, sop_class_uid: str) -> dict[str, int]:
        """Return the contexts in which the peer takes objects of a class, by transfer syntax."""
        return {
            self._accepted[number][1]: number
            for number in sorted(self._sendable, reverse=True)
            if self._accepted[number][0] == sop_class_uid
        }

    def send_object(
        self, context_id: int, message_id: int, sop_class_uid: str, uid: str, dataset: bytes
    ) -> int:
        """Send an object by a C-STORE sub-operation over this association; return its status.

        Raises
        ------
        AssociationLost
            If the association ends before the peer's answer.
        """
        fields: CommandSet = {
            Field.AFFECTED_SOP_CLASS_UID: sop_class_uid.encode("ascii"),
            Field.COMMAND_FIELD: us(Command.C_STORE_RQ),
            Field.MESSAGE_ID: us(message_id),
            Field.PRIORITY: us(0),
            Field.COMMAND_DATA_SET_TYPE: us(HAS_DATASET),
            Field.AFFECTED_SOP_INSTANCE_UID: uid.encode("ascii"),
        }
        longest = self._peer_max_pdu or self._max_pdu
        self._connection.write_message(context_id, encode_command(fields), longest, dataset)
        while (message := self._message()) is not None:
            command = number(message.command, Field.COMMAND_FIELD)
            if command == Command.C_STORE_RQ | RESPONSE:
                return number(message.command, Field.STATUS)
            if not self._note_cancel(message):
                break
        self._connection.abort(AbortReason.UNEXPECTED_PDU)
        raise AssociationLost("no answer to a C-STORE sub-operation")

    def _note_cancel(self, message: Message) -> bool:
        """Note a C-CANCEL; return whether the message is one."""
        if number(message.command, Field.COMMAND_FIELD) != Command.C_CANCEL_RQ:
            return False
        self._cancelled = number(message.command, Field.MESSAGE_ID_BEING_RESPONDED_TO)
        return True

    def release(self) -> None:
        """Grant the release that the peer asked for."""
        self._connection.write(struct.pack(">BxLxxxx", PduType.RELEASE_RP, 4))
        self._connection.await_close()

    def abort(self) -> None:
        """End the association at once, because the node stops."""
        self._connection.abort(AbortReason.NOT_SPECIFIED)

    def _message(self) -> Message | None:
        """Return the next DIMSE message; None at a release request."""
        assembly = MessageAssembly(self._gather)
        while True:
            kind, body = self._connection.read()
            if kind is PduType.RELEASE_RQ and not assembly.begun:
                return None
            if kind is PduType.ABORT:
                raise AssociationLost("the peer aborted")
            if kind is not PduType.DATA:
                raise ProtocolError(AbortReason.UNEXPECTED_PDU, f"{kind.name} in an association")
            for fragment in data_values(body):
                if fragment.context_id not in self._accepted:
                    raise ProtocolError(AbortReason.INVALID_PARAMETER, "data under no context")
                message = assembly.add(fragment)
                if message is not None:
                    return message

    def _gather(self, context_id: int, command: CommandSet) -> GatheredBytes:
        """Return what takes a dataset: a Part 10 file for an object, or attributes."""
        if number(command, Field.COMMAND_FIELD) != Command.C_STORE_RQ:
            return GatheredBytes(LONGEST_ATTRIBUTES_BYTES)
        sop_class, syntax = self._accepted[context_id]
        instance = text(command, Field.AFFECTED_SOP_INSTANCE_UID)
        prefix = part10_prefix(sop_class, instance, syntax)
        return GatheredBytes(self._max_object, self._scratch, prefix)

    def _serve(self, message: Message) -> Request | None:
        """Return what the caller has to do for a request; None if it is done already."""
        asked = asked_by(message, *self._accepted[message.context_id])
        if isinstance(asked, Status):
            self._respond_with(asked, message)
            return None
        if isinstance(asked, QueryRequest):
            self._cancelled = None
        return asked

    def _respond_with(self, status: Status, message: Message) -> None:
        """Answer a request with a status, and with its own SOP class and instance UID."""
        request = message.command
        named = (Field.AFFECTED_SOP_CLASS_UID, Field.AFFECTED_SOP_INSTANCE_UID)
        fields: CommandSet = {
            **{field: request[field] for field in named if field in request},
            Field.COMMAND_FIELD: us(number(request, Field.COMMAND_FIELD) | RESPONSE),
            Field.MESSAGE_ID_BEING_RESPONDED_TO: request.get(Field.MESSAGE_ID, us(0)),
            Field.STATUS: us(status),
        }
        self._respond(message.context_id, fields)

    def _respond(self, context_id: int, fields: CommandSet, dataset: bytes = b"") -> None:
        """Send a response, with a dataset if there is one."""
        kind = us(HAS_DATASET if dataset else NO_DATASET)
        command = encode_command({**fields, Field.COMMAND_DATA_SET_TYPE: kind})
        longest = self._peer_max_pdu or self._max_pdu
        self._connection.write_message(context_id, command, longest, dataset)


def _comment(text: str) -> bytes:
    """Return an Error Comment: 64 characters at most (LO)."""
    return text.encode("ascii", "replace").replace(b"\\", b"/")[:64]
