"""One incoming association, served by one thread that reads, answers and reads again.

pynetdicom encodes and negotiates associations here, but does not run them: its acceptor takes two
threads that poll each other, decodes what is to be stored as it came, trusts a PDU's 32-bit length,
and admits a caller whose check fails with an error. What is left to do as an acceptor is small: the
states of PS3.8 9.2 from an association's acceptance to its end, and the two requests of PS3.7 that
a storage SCP serves.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationVersionNameNotification
from pynetdicom.presentation import negotiate_as_acceptor

from node.dicom.net.association import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    Status,
    contexts_in,
    limit_time,
    part10_prefix,
)

LONGEST_PDU_BYTES = 1 << 20
"""A PDU that claims more is not read: more than any peer needs that keeps to our maximum."""
LONGEST_REQUEST_BYTES = 1 << 17
"""Chosen: 128 presentation contexts of 30 transfer syntaxes fit, and are decoded within a second.
"""
LONGEST_COMMAND_BYTES = 1 << 16
"""Chosen; a C-STORE request has some 200 bytes."""
CLOSE_S = 2.0
"""How long a peer may take to close its side after our last word (the ARTIM timer; chosen)."""

_HEADER = struct.Struct(">BxL")
_PDV = struct.Struct(">LBB")
_ELEMENT = struct.Struct("<HHL")
_NO_DATASET = 0x0101


class _Pdu(IntEnum):
    """PDU types (PS3.8 9.3)."""

    ASSOCIATE_RQ = 1
    DATA = 4
    RELEASE_RQ = 5
    ABORT = 7


_PDUS = {int(kind): kind for kind in _Pdu}


class _Command(IntEnum):
    """Command Field values (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


class _Abort(IntEnum):
    """Why the service provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class AssociationLost(Exception):
    """The association ended without a release; the message says how."""


class _ProtocolError(AssociationLost):
    def __init__(self, reason: _Abort, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One C-STORE request.

    Attributes
    ----------
    file
        The dataset as sent, as a Part 10 file; None if it exceeds the limit, and was dropped.
    """

    message_id: int
    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    file: bytes | None


class IncomingAssociation:
    """A connection on which a peer asks for an association, and then for C-STORE and C-ECHO.

    Each read of a PDU and each write ends within the time limit, however slowly the peer drips.

    Parameters
    ----------
    connection
        The connected socket; it stays the caller's to close.
    associate_s, idle_s
        Time limits before and after the association is accepted.
    max_pdu_bytes
        The largest PDU that the peer is asked to send.
    max_object_bytes
        Datasets larger than this are read and dropped.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        associate_s: float,
        idle_s: float,
        max_pdu_bytes: int,
        max_object_bytes: int,
    ) -> None:
        self._socket = connection
        self._idle_s = idle_s
        self._max_pdu = max_pdu_bytes
        self._max_object = max_object_bytes
        self._peer_max_pdu = 0
        self._accepted: dict[int, tuple[str, str]] = {}
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        limit_time(connection, min(associate_s, idle_s))

    def requested(self) -> A_ASSOCIATE:
        """Return the peer's A-ASSOCIATE request.

        Raises
        ------
        AssociationLost
            If the peer asks for none; it has been told why.
        """
        try:
            kind, body = self._read(LONGEST_REQUEST_BYTES)
            if kind is not _Pdu.ASSOCIATE_RQ:
                raise _ProtocolError(_Abort.UNEXPECTED_PDU, f"a {kind.name} PDU came first")
            return _decode_request(body)
        except _ProtocolError as error:
            self._abort(error.reason)
            raise

    def reject(self, result: int, source: int, reason: int) -> None:
        """Reject the request (PS3.8 table 9-21)."""
        self._write(struct.pack(">BxLxBBB", 3, 4, result, source, reason))
        self._await_close()

    def accept(self, request: A_ASSOCIATE) -> None:
        """Accept the request, as far as the node serves what it proposes."""
        contexts, _ = negotiate_as_acceptor(
            request.presentation_context_definition_list, contexts_in()
        )
        self._accepted = {
            cx.context_id: (str(cx.abstract_syntax), str(cx.transfer_syntax[0]))
            for cx in contexts
            if cx.result == 0
        }
        self._peer_max_pdu = request.maximum_length_received or 0
        answer = A_ASSOCIATE()
        answer.application_context_name = request.application_context_name
        answer.calling_ae_title = request.calling_ae_title
        answer.called_ae_title = request.called_ae_title
        answer.result, answer.result_source = 0, 1
        answer.presentation_context_definition_results_list = contexts
        answer.maximum_length_received = self._max_pdu
        answer.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        answer.user_information.append(version)
        self._write(A_ASSOCIATE_AC(answer).encode())
        limit_time(self._socket, self._idle_s)

    def store_requests(self) -> Iterator[StoreRequest]:
        """Yield each C-STORE request, to be answered before the next; end at the release request.

        C-ECHO is answered here.

        Raises
        ------
        AssociationLost
            If the association ends in any other way.
        """
        try:
            while (message := self._message()) is not None:
                request = self._serve(*message)
                del message  # its fragments, once they are a file
                if request is not None:
                    yield request
        except _ProtocolError as error:
            self._abort(error.reason)
            raise

    def answer(self, request: StoreRequest, status: int, comment: str = "") -> None:
        """Answer a C-STORE request; the comment is cut to the 64 characters of its VR (LO)."""
        fields = {
            0x0002: request.sop_class_uid.encode("ascii"),
            0x0100: struct.pack("<H", _Command.C_STORE_RQ | 0x8000),
            0x0120: struct.pack("<H", request.message_id),
            0x0900: struct.pack("<H", status),
            0x0902: comment.encode("ascii", "replace").replace(b"\\", b"/")[:64],
            0x1000: request.sop_instance_uid.encode("ascii"),
        }
        self._respond(request.context_id, fields)

    def release(self) -> None:
        """Grant the release that the peer asked for."""
        self._write(struct.pack(">BxLxxxx", 6, 4))
        self._await_close()

    def _message(self) -> tuple[int, dict[int, bytes], tuple[memoryview, ...] | None] | None:
        """Return one DIMSE message as context, command and dataset; None at a release request."""
        command = bytearray()
        fields: dict[int, bytes] | None = None
        dataset: list[memoryview] | None = []
        context = size = 0
        while True:
            kind, body = self._read()
            if kind is _Pdu.RELEASE_RQ:
                return None
            if kind is _Pdu.ABORT:
                raise AssociationLost("the peer aborted")
            if kind is not _Pdu.DATA:
                raise _ProtocolError(_Abort.UNEXPECTED_PDU, f"{kind.name} in an association")
            for context, control, value in _values(body):
                if context not in self._accepted:
                    raise _ProtocolError(_Abort.INVALID_PARAMETER, "data under no context")
                last = bool(control & 2)
                if control & 1:
                    command += value
                    if len(command) > LONGEST_COMMAND_BYTES:
                        raise _ProtocolError(_Abort.INVALID_PARAMETER, "endless command")
                    if last:
                        fields = _decode_command(command)
                        if _number(fields, 0x0800) == _NO_DATASET:
                            return context, fields, ()
                    continue
                if fields is None:
                    raise _ProtocolError(_Abort.UNEXPECTED_PDU, "a dataset without a command")
                size += len(value)
                if size > self._max_object:
                    dataset = None
                if dataset is not None:
                    dataset.append(value)
                if last:
                    return context, fields, None if dataset is None else tuple(dataset)

    def _serve(
        self, context: int, fields: Mapping[int, bytes], dataset: tuple[memoryview, ...] | None
    ) -> StoreRequest | None:
        """Return a C-STORE request; answer anything else."""
        command = _number(fields, 0x0100)
        sop_class, syntax = self._accepted[context]
        if command == _Command.C_CANCEL_RQ:  # it has no response, and here is nothing to cancel
            return None
        if command == _Command.C_STORE_RQ and _text(fields, 0x0002) == sop_class:
            instance = _text(fields, 0x1000)
            file = None
            if dataset is not None:
                file = b"".join((part10_prefix(sop_class, instance, syntax), *dataset))
            return StoreRequest(_number(fields, 0x0110), context, sop_class, instance, file)
        status = Status.SUCCESS
        if command == _Command.C_STORE_RQ:
            status = Status.SOP_CLASS_NOT_SUPPORTED
        elif command != _Command.C_ECHO_RQ:
            status = Status.UNRECOGNISED_OPERATION
        echoed = {tag: fields[tag] for tag in (0x0002, 0x1000) if tag in fields}
        answer = {
            **echoed,
            0x0100: struct.pack("<H", command | 0x8000),
            0x0120: fields.get(0x0110, b"\0\0"),
            0x0900: struct.pack("<H", status),
        }
        self._respond(context, answer)
        return None

    def _respond(self, context: int, fields: Mapping[int, bytes]) -> None:
        """Send a response that has no dataset."""
        command = _encode_command({**fields, 0x0800: struct.pack("<H", _NO_DATASET)})
        step = (self._peer_max_pdu or self._max_pdu) - _PDV.size
        if step <= 0:
            raise _ProtocolError(_Abort.INVALID_PARAMETER, "a maximum PDU that holds nothing")
        for start in range(0, len(command), step):
            value = command[start : start + step]
            control = 3 if start + step >= len(command) else 1
            header = _HEADER.pack(_Pdu.DATA, _PDV.size + len(value))
            self._write(header + _PDV.pack(2 + len(value), context, control) + value)

    def _read(self, longest: int = LONGEST_PDU_BYTES) -> tuple[_Pdu, memoryview]:
        """Return the next PDU's type and what follows its length."""
        kind, length = _HEADER.unpack(self._receive(_HEADER.size))
        if kind not in _PDUS:
            raise _ProtocolError(_Abort.UNRECOGNISED_PDU, f"a PDU of type {kind}")
        if length > longest:
            raise _ProtocolError(_Abort.INVALID_PARAMETER, f"a PDU of {length} bytes")
        return _PDUS[kind], self._receive(length)

    def _receive(self, size: int) -> memoryview:
        """Return `size` bytes, in one system call.

        Acknowledged at once: most senders leave Nagle's algorithm on, and would wait 40 ms for it
        before they send an object's last bytes. The kernel forgets the option, so it is set again.
        """
        buffer = bytearray(size)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            got = self._socket.recv_into(buffer, size, socket.MSG_WAITALL) if size else 0
        except BlockingIOError as error:
            raise _ProtocolError(_Abort.NOT_SPECIFIED, "the peer was silent too long") from error
        except OSError as error:
            raise AssociationLost(f"connection lost: {error.strerror}") from error
        if got < size:
            raise AssociationLost("the peer closed the connection, or stopped within a PDU")
        return memoryview(buffer)

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise AssociationLost(f"connection lost: {error.strerror}") from error

    def _abort(self, reason: _Abort) -> None:
        """Tell the peer that the service provider aborts."""
        try:
            self._write(struct.pack(">BxLxxBB", _Pdu.ABORT, 4, 2, reason))
            self._await_close()
        except AssociationLost:
            return

    def _await_close(self) -> None:
        """Let the peer read our last word and close: to close first may cut that word off."""
        limit_time(self._socket, CLOSE_S)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            for _ in range(16):  # whatever else it still says
                if not self._socket.recv(1 << 16):
                    return
        except OSError:
            return


def _decode_request(body: memoryview) -> A_ASSOCIATE:
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(_HEADER.pack(_Pdu.ASSOCIATE_RQ, len(body)) + body)
        request = pdu.to_primitive()
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError, struct.error) as e:
        raise _ProtocolError(_Abort.INVALID_PARAMETER, "a request that cannot be read") from e
    if not pdu.protocol_version & 1 or not request.presentation_context_definition_list:
        raise _ProtocolError(_Abort.INVALID_PARAMETER, "a request for another protocol")
    return request


def _values(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield context, control header and value of each presentation data value (PS3.8 9.3.5.1)."""
    start = 0
    while start < len(body):
        if len(body) - start < _PDV.size:
            raise _ProtocolError(_Abort.INVALID_PARAMETER, "a PDV that is cut short")
        length, context, control = _PDV.unpack_from(body, start)
        end = start + 4 + length
        if length < 2 or end > len(body):
            raise _ProtocolError(_Abort.INVALID_PARAMETER, "a PDV longer than its PDU")
        yield context, control, body[start + _PDV.size : end]
        start = end


def _decode_command(data: bytearray) -> dict[int, bytes]:
    """Return a command set's values by element number (PS3.7 6.3.1: Implicit VR Little Endian)."""
    fields = {}
    start = 0
    while start + _ELEMENT.size <= len(data):
        group, element, length = _ELEMENT.unpack_from(data, start)
        start += _ELEMENT.size
        if group != 0 or start + length > len(data):
            raise _ProtocolError(_Abort.INVALID_PARAMETER, "a command that cannot be read")
        fields[element] = bytes(data[start : start + length])
        start += length
    return fields


def _encode_command(fields: Mapping[int, bytes]) -> bytes:
    elements = b"".join(
        _ELEMENT.pack(0, tag, len(value) + len(value) % 2)
        + value
        + (b" " if tag == 0x0902 else b"\0") * (len(value) % 2)
        for tag, value in sorted(fields.items())
        if value
    )
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(elements)) + elements


def _number(fields: Mapping[int, bytes], tag: int) -> int:
    value = fields.get(tag, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else 0


def _text(fields: Mapping[int, bytes], tag: int) -> str:
    return fields.get(tag, b"").rstrip(b"\0 ").decode("ascii", "replace")
