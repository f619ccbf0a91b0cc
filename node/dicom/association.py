"""What every association has in common, coming in and going out: the one door to pynetdicom.

pynetdicom trusts what a peer says of a PDU's length, reads it 4 KiB at a time, leaves Nagle's
algorithm on and waits on a socket without end. `prepare` sets that right on each connection.
"""

import logging
import math
import socket
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.sop_class import Verification

# Datasets are patient data.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
# A file is sent as its own bytes, not read and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True
# It logs a traceback for each stranger's garbage; what an admin needs, the node says itself.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

IMPLEMENTATION_CLASS_UID = UID("2.25.166449660676388099961241460658124792884")
"""Names this implementation (PS3.7 D.3.3.2); a random UUID drawn once (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME = "ICHNODE_0_1"

ACCEPTED_SOP_CLASSES = (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)
"""What the node takes in. Other classes are not negotiated, so that no peer believes they are kept.
"""
ACCEPTED_TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLossless,
    RLELossless,
    ExplicitVRBigEndian,
    JPEGLSNearLossless,
    JPEG2000,
    JPEGExtended12Bit,
    JPEGBaseline8Bit,
)
"""In order of preference: lossy ones only where the peer offers nothing else. Never Deflated, which
is inflated without bound."""

MAX_PDU_BYTES = 262144
"""Largest PDU that we ask peers to answer with; as a sender we follow the peer's own limit."""
LONGEST_PDU_BYTES = 1 << 20
"""No PDU of any kind needs more when the peer keeps to our maximum; one that claims more lies."""


class Status(IntEnum):
    """The DIMSE status codes that the node answers with (PS3.4 B.2.3, PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    IDENTITY_CONFLICT = 0xC100


def stored_by_peer(status: int) -> bool:
    """Return whether a C-STORE response means that the peer has the object.

    Warnings (Bxxx; 0001, 0107 and 0116 of PS3.7 C.3) say so too: it was stored, with a remark.
    """
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or status & 0xF000 == 0xB000


def refused_by_peer(status: int) -> bool:
    """Return whether a C-STORE response is about the object, so that it will be the same again.

    0117 invalid instance, 0122 SOP class not supported, A9xx mismatch, Cxxx cannot understand;
    A7xx (out of resources), 0110 (processing failure) and 0124 (not authorised) are about the peer.
    """
    return status in (0x0117, 0x0122) or status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000


def answer(status: Status, comment: str = "") -> Dataset:
    """Return a response's status with an Error Comment, cut to the 64 characters of its VR (LO)."""
    ds = Dataset()
    ds.Status = int(status)
    if comment:
        ds.ErrorComment = comment.encode("ascii", "replace").decode().replace("\\", "/")[:64]
    return ds


def application_entity(
    ae_title: str,
    *,
    timeout_s: float,
    idle_s: float | None = None,
    max_pdu_bytes: int = MAX_PDU_BYTES,
) -> AE:
    """Return an application entity that names this implementation and waits nowhere for ever.

    Parameters
    ----------
    timeout_s
        For a connection, an association's start and end, and an answer.
    idle_s
        An association that is silent so long is aborted. Only for acceptors: a requestor would
        abort a second time while it waits for an answer, which pynetdicom's state machine takes
        for a fault.
    """
    ae = AE(ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = max_pdu_bytes
    ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = timeout_s
    ae.network_timeout = idle_s
    return ae


def contexts_in() -> list[Any]:
    """Return the presentation contexts that the node accepts."""
    contexts = [
        build_context(uid, list(ACCEPTED_TRANSFER_SYNTAXES)) for uid in ACCEPTED_SOP_CLASSES
    ]
    return [*contexts, build_context(Verification)]


def contexts_out(kinds: Iterable[tuple[str, str]]) -> list[Any]:
    """Return the contexts to propose for objects of these (SOP class, transfer syntax).

    One transfer syntax a context, so that the peer can accept each as the object stands, and
    Implicit VR Little Endian beside, which each peer must know (PS3.5 10.1) and into which
    uncompressed objects can be re-encoded.
    """
    wanted = {(UID(sop_class), UID(syntax)) for sop_class, syntax in kinds}
    wanted |= {(c, ImplicitVRLittleEndian) for c, syntax in wanted if not syntax.is_compressed}
    return [build_context(sop_class, [syntax]) for sop_class, syntax in sorted(wanted)]


def contexts_echo() -> list[Any]:
    """Return the context to propose for a C-ECHO."""
    return [build_context(Verification)]


def contexts_archive() -> list[Any]:
    """Return contexts that accept every storage SOP class, as a PACS does."""
    syntaxes = list(ACCEPTED_TRANSFER_SYNTAXES)
    storage = [build_context(cx.abstract_syntax, syntaxes) for cx in AllStoragePresentationContexts]
    return [*storage, build_context(Verification)]


def prepare(assoc: Any, timeout_s: float, longest_pdu: int = LONGEST_PDU_BYTES) -> None:
    """Make an association's connected socket fast, and bounded in time and memory.

    Call it from an EVT_CONN_OPEN handler. Each read of a PDU and each write then ends within
    `timeout_s`, however slowly the peer drips, and a PDU longer than `longest_pdu` ends the
    connection before its bytes are read.
    """
    wrapper = assoc.dul.socket
    raw: socket.socket = wrapper.socket
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Kernel timeouts, not settimeout(): that would make the socket non-blocking and split reads.
    wait = struct.pack("@ll", math.ceil(timeout_s), 0)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    wrapper.recv = lambda size: _receive(raw, size, longest_pdu)


def _receive(raw: socket.socket, size: int, longest: int) -> bytearray:
    """Read `size` bytes in one system call; fewer only if the peer closed or ran out of time."""
    if size > longest:
        raise OSError(f"a PDU of {size} bytes exceeds the {longest} that the node reads")
    buffer = bytearray(size)
    got = raw.recv_into(buffer, size, socket.MSG_WAITALL)
    del buffer[got:]
    return buffer


def part10(event: Any) -> bytes:
    """Return a C-STORE request's dataset as a Part 10 file: its bytes as sent, after a file meta.

    The file meta holds nothing of the sender or the time, so that the same object gives the same
    file.
    """
    meta = create_file_meta(
        sop_class_uid=event.request.AffectedSOPClassUID,
        sop_instance_uid=event.request.AffectedSOPInstanceUID,
        transfer_syntax=event.context.transfer_syntax,
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
    )
    return b"".join(
        (bytes(128), b"DICM", encode_file_meta(meta), event.request.DataSet.getbuffer())
    )
