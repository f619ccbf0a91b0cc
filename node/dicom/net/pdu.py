"""Protocol data units of the upper layer (PS3.8 9.3), read from and written to a connection."""

import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from node.dicom.net.association import AssociationLost
from node.dicom.net.stream import stream_of

LONGEST_PDU_BYTES = 1 << 20
"""A longer PDU is refused. A peer that keeps to our maximum sends shorter ones."""

HEADER = struct.Struct(">BxL")
"""PDU type and length."""
_PDV_HEADER = struct.Struct(">LBB")


class PduType(IntEnum):
    """The PDU types (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


_PDU_TYPES = {int(kind): kind for kind in PduType}


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class ProtocolError(AssociationLost):
    """The peer broke the protocol; `reason` is what an abort tells it."""

    def __init__(self, reason: AbortReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Pdv(NamedTuple):
    """A presentation data value: one fragment of a message (PS3.8 9.3.5.1 and E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    value: memoryview


class PduConnection:
    """A connection that PDUs are read from and written to, in clear or by TLS.

    Each read of a PDU and each write ends within the time limit, however slowly the peer sends.

    Parameters
    ----------
    connection
        The connected socket; the caller closes it.
    timeout_s
        The time limit until `limit_time` sets another one.
    """

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._stream = stream_of(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.limit_time(timeout_s)

    def limit_time(self, seconds: float) -> None:
        """Let each read of a PDU and each write end within this time."""
        self._stream.limit_time(seconds)

    def read(self, longest: int = LONGEST_PDU_BYTES) -> tuple[PduType, memoryview]:
        """Return the next PDU's type, and its bytes after the length.

        Raises
        ------
        ProtocolError
            If the PDU is of an unknown type or too long, or the peer is silent too long.
        AssociationLost
            If the connection ends.
        """
        kind, length = HEADER.unpack(self._receive(HEADER.size))
        if kind not in _PDU_TYPES:
            raise ProtocolError(AbortReason.UNRECOGNISED_PDU, f"a PDU of type {kind}")
        if length > longest:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, f"a PDU of {length} bytes")
        return _PDU_TYPES[kind], self._receive(length)

    def write(self, data: bytes) -> None:
        """Send all the bytes.

        Raises
        ------
        AssociationLost
            If the connection ends, or the peer does not read them in time.
        """
        try:
            self._stream.send(data)
        except OSError as error:
            raise AssociationLost(f"connection lost: {error.strerror or error}") from error

    def is_waiting(self) -> bool:
        """Return whether the peer has sent something, or closed the connection."""
        return self._stream.is_waiting()

    def write_message(
        self, context_id: int, command: bytes, longest: int, dataset: bytes = b""
    ) -> None:
        """Send a message in PDUs whose variable field has at most this length.

        Fragments are of even length, and of two bytes at least: a smaller limit cannot be kept.

        Raises
        ------
        AssociationLost
            As `write`.
        """
        step = max(2, (longest - _PDV_HEADER.size) // 2 * 2)
        for data, is_command in ((command, 1), (dataset, 0)):
            for start in range(0, len(data), step):
                value = data[start : start + step]
                control = is_command | (2 if start + step >= len(data) else 0)
                header = HEADER.pack(PduType.DATA, _PDV_HEADER.size + len(value))
                self.write(header + _PDV_HEADER.pack(2 + len(value), context_id, control) + value)

    def abort(self, reason: AbortReason) -> None:
        """Tell the peer that the service provider aborts; a lost connection raises nothing."""
        try:
            self.write(struct.pack(">BxLxxBB", PduType.ABORT, 4, 2, reason))
            self.await_close()
        except AssociationLost:
            return

    def await_close(self) -> None:
        """Wait until the peer has read our last PDU and closes: closing first may cut it off."""
        self._stream.finish()

    def _receive(self, size: int) -> memoryview:
        """Return `size` bytes."""
        buffer = bytearray(size)
        try:
            got = self._stream.receive(buffer) if size else 0
        except TimeoutError as error:
            reason = AbortReason.NOT_SPECIFIED
            raise ProtocolError(reason, "the peer was silent too long") from error
        except OSError as error:
            raise AssociationLost(f"connection lost: {error.strerror or error}") from error
        if got < size:
            why = "the peer stopped within a PDU" if got else "the peer closed the connection"
            raise ProtocolError(AbortReason.NOT_SPECIFIED, why)
        return memoryview(buffer)


def data_values(body: memoryview) -> Iterator[Pdv]:
    """Yield the presentation data values of a P-DATA-TF PDU (PS3.8 9.3.5).

    Raises
    ------
    ProtocolError
        If one is cut short or longer than the PDU.
    """
    start = 0
    while start < len(body):
        if len(body) - start < _PDV_HEADER.size:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a PDV that is cut short")
        length, context_id, control = _PDV_HEADER.unpack_from(body, start)
        end = start + 4 + length
        if length < 2 or end > len(body):
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a PDV longer than its PDU")
        value = body[start + _PDV_HEADER.size : end]
        yield Pdv(context_id, bool(control & 1), bool(control & 2), value)
        start = end
