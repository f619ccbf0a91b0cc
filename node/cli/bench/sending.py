"""A sender that costs little, so that the receiver is what is measured.

Files are read and encoded before the clock starts. Each object is one write, and TCP_NODELAY is on.
"""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from node.dicom.net.message import (
    HAS_DATASET,
    Command,
    Field,
    decode_command,
    encode_command,
    number,
    us,
)
from node.dicom.read.header import read_header
from node.dicom.read.part10 import dataset_of
from node.errors import Retryable
from node.settings import Destination

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
CT_IMAGE = b"1.2.840.10008.5.1.4.1.1.2"
CONTEXT_ID = 1
ASSOCIATE_RQ, ASSOCIATE_AC, DATA, RELEASE_RQ = 1, 2, 4, 5
TIMEOUT_S = 60.0


def send_timed(files: Sequence[Path], peer: Destination) -> tuple[float, float]:
    """Send CT images over one association; return when it began and when it ended, in seconds.

    Raises
    ------
    Retryable
        If the peer rejects the association, or does not store one of them.
    """
    headers = [read_header(path) for path in files]
    with Sender(peer, headers[0].transfer_syntax_uid) as sender:
        messages = [
            sender.encoded(header.sop_instance_uid, dataset_of(path.read_bytes()))
            for header, path in zip(headers, files, strict=True)
        ]
        begin = time.monotonic()
        for message in messages:
            sender.store(message)
        end = time.monotonic()
        sender.release()
    return begin, end


class Sender:
    """An association with one context, for CT images of one transfer syntax."""

    def __init__(self, peer: Destination, syntax: str) -> None:
        self._name = peer.name
        self._socket = socket.create_connection((peer.host, peer.port), TIMEOUT_S)
        try:
            self._longest = self._associate(peer.ae_title, syntax)
        except BaseException:
            self._socket.close()
            raise

    def _associate(self, called: str, syntax: str) -> int:
        """Request the association; return the longest PDU that the peer takes."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_request(called, syntax))
        kind, body = self._pdu()
        if kind != ASSOCIATE_AC:
            raise Retryable(f"{self._name} rejects the association")
        return _max_pdu(body) or 1 << 18

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def encoded(self, sop_instance_uid: str, dataset: bytes) -> bytes:
        """Return the C-STORE request of an image, in PDUs as long as the peer takes."""
        command = encode_command(
            {
                Field.AFFECTED_SOP_CLASS_UID: CT_IMAGE,
                Field.COMMAND_FIELD: us(Command.C_STORE_RQ),
                Field.MESSAGE_ID: us(1),
                Field.PRIORITY: us(0),
                Field.COMMAND_DATA_SET_TYPE: us(HAS_DATASET),
                Field.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid.encode(),
            }
        )
        return b"".join((*self._pdus(command, 1), *self._pdus(dataset, 0)))

    def store(self, message: bytes) -> None:
        """Send an encoded request and await its answer."""
        self._socket.sendall(message)
        kind, body = self._pdu()
        status = number(decode_command(bytearray(body[6:])), Field.STATUS) if kind == DATA else -1
        if status != 0:
            raise Retryable(f"{self._name} did not store an image (status {status})")

    def release(self) -> None:
        """End the association in order."""
        self._socket.sendall(struct.pack(">BxLxxxx", RELEASE_RQ, 4))
        self._pdu()

    def _pdus(self, data: bytes, is_command: int) -> Iterator[bytes]:
        step = (self._longest - 6) // 2 * 2
        for start in range(0, len(data), step):
            value = data[start : start + step]
            control = is_command | (2 if start + step >= len(data) else 0)
            head = struct.pack(">BxLLBB", DATA, 6 + len(value), 2 + len(value), CONTEXT_ID, control)
            yield head + value

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise Retryable(f"{self._name} closed the connection")
            data += piece
        return data


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _request(called: str, syntax: str) -> bytes:
    """Return an A-ASSOCIATE-RQ for CT images (PS3.8 9.3.2)."""
    abstract = _item(0x30, CT_IMAGE)
    context = bytes((CONTEXT_ID, 0, 0, 0)) + abstract + _item(0x40, syntax.encode())
    user = _item(0x51, struct.pack(">L", 1 << 16)) + _item(0x52, b"1.2.3")
    titles = called.encode().ljust(16) + b"BENCH".ljust(16)
    items = _item(0x10, APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    body = struct.pack(">Hxx", 1) + titles + bytes(32) + items
    return struct.pack(">BxL", ASSOCIATE_RQ, len(body)) + body


def _max_pdu(accepted: bytes) -> int:
    """Return the longest PDU that the peer takes, of an A-ASSOCIATE-AC; 0 if it says none."""
    found = accepted.find(b"\x51\x00\x00\x04", 68)
    return int(struct.unpack_from(">L", accepted, found + 4)[0]) if found >= 0 else 0
