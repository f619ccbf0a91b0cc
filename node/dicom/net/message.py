"""DIMSE messages: their command sets (PS3.7 6.3), and messages put together from fragments."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import BinaryIO

from node.dicom.net.gathered import GatheredBytes
from node.dicom.net.pdu import AbortReason, Pdv, ProtocolError

LONGEST_COMMAND_BYTES = 1 << 16
"""A longer command set is refused. A C-STORE request's has some 200 bytes."""
MOST_EMPTY_FRAGMENTS = 64
"""A message with more fragments without a byte never ends. A peer needs one, the last: an
estimate."""

HAS_DATASET = 0x0001
NO_DATASET = 0x0101
"""Command Data Set Type of a message without a dataset (PS3.7 E.1)."""
RESPONSE = 0x8000
"""Set in the Command Field of a response (PS3.7 E.1)."""

_ELEMENT = struct.Struct("<HHL")
_US = struct.Struct("<H")

CommandSet = Mapping[int, bytes]
"""The values of a command set by element number; their group is 0000."""


class Field(IntEnum):
    """Element numbers of command fields (PS3.7 E.1)."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023


class Command(IntEnum):
    """Command Field values of the requests that the node knows (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True, slots=True)
class Message:
    """One DIMSE message.

    Attributes
    ----------
    dataset
        At its start, empty if the message has none; None if it was dropped.
    dropped
        Why it was dropped; "" if it was not.
    """

    context_id: int
    command: CommandSet
    dataset: BinaryIO | None
    dropped: str = ""


Gather = Callable[[int, CommandSet], GatheredBytes]
"""Returns what takes the dataset of a message of this context ID and command set."""


class MessageAssembly:
    """One message that grows by its fragments (PS3.8 E.2).

    Parameters
    ----------
    gather
        Called once for a message with a dataset, before its first fragment.
    """

    def __init__(self, gather: Gather) -> None:
        self._gather = gather
        self._encoded = bytearray()
        self._command: CommandSet | None = None
        self._context_id = 0
        self._dataset: GatheredBytes | None = None
        self._empty = 0

    @property
    def begun(self) -> bool:
        """Return whether a fragment has come."""
        return bool(self._encoded)

    def add(self, fragment: Pdv) -> Message | None:
        """Add a fragment; return the message once it is whole.

        Raises
        ------
        ProtocolError
            If the fragment continues no message, the command set is too long or damaged, or the
            message never ends.
        """
        self._empty += not fragment.value
        if self._empty > MOST_EMPTY_FRAGMENTS:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "endless fragments without a byte")
        if fragment.is_command:
            return self._add_command(fragment)
        return self._add_dataset(fragment)

    def _add_command(self, fragment: Pdv) -> Message | None:
        if self._command is not None:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "a command inside a message")
        if self._encoded and fragment.context_id != self._context_id:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a command in another context")
        self._context_id = fragment.context_id
        self._encoded += fragment.value
        if len(self._encoded) > LONGEST_COMMAND_BYTES:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "endless command")
        if not fragment.is_last:
            return None
        self._command = decode_command(self._encoded)
        if number(self._command, Field.COMMAND_DATA_SET_TYPE) != NO_DATASET:
            self._dataset = self._gather(fragment.context_id, self._command)
            return None
        return Message(fragment.context_id, self._command, BytesIO())

    def _add_dataset(self, fragment: Pdv) -> Message | None:
        if self._command is None or self._dataset is None:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "a dataset without a command")
        if fragment.context_id != self._context_id:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a dataset in another context")
        self._dataset.add(fragment.value)
        if not fragment.is_last:
            return None
        stream, dropped = self._dataset.stream(), self._dataset.dropped
        return Message(fragment.context_id, self._command, stream, dropped)


def decode_command(data: bytearray) -> CommandSet:
    """Return the values of a command set in Implicit VR Little Endian (PS3.7 6.3.1).

    Raises
    ------
    ProtocolError
        If it is cut short, or holds an element of another group.
    """
    fields = {}
    start = 0
    while start + _ELEMENT.size <= len(data):
        group, element, length = _ELEMENT.unpack_from(data, start)
        start += _ELEMENT.size
        if group != 0 or start + length > len(data):
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a command that cannot be read")
        fields[element] = bytes(data[start : start + length])
        start += length
    return fields


def encode_command(fields: CommandSet) -> bytes:
    """Return a command set with its group length; values that are empty are left out."""
    elements = b"".join(
        _ELEMENT.pack(0, tag, len(value) + len(value) % 2)
        + value
        + (b" " if tag == Field.ERROR_COMMENT else b"\0") * (len(value) % 2)
        for tag, value in sorted(fields.items())
        if value
    )
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(elements)) + elements


def us(value: int) -> bytes:
    """Return a number as a value of VR US."""
    return _US.pack(value)


def number(fields: CommandSet, field: Field) -> int:
    """Return a field of VR US; 0 if it is missing or damaged."""
    value = fields.get(field, b"")
    return int.from_bytes(value, "little") if len(value) == _US.size else 0


def text(fields: CommandSet, field: Field) -> str:
    """Return a field of VR UI, without its padding; "" if it is missing."""
    return fields.get(field, b"").rstrip(b"\0 ").decode("ascii", "replace")
