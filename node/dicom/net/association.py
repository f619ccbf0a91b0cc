"""What incoming and outgoing associations share."""

import logging
import math
import socket
import struct
from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Any

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
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

# Datasets are patient data.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
# A file is sent as its own bytes, not read and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True
# It logs a traceback for each malformed PDU; the node logs what an admin needs.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

IMPLEMENTATION_CLASS_UID = UID("2.25.166449660676388099961241460658124792884")
"""The UID of this implementation (PS3.7 D.3.3.2), from a random UUID (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME = "ICHNODE_0_1"

ACCEPTED_SOP_CLASSES = (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)
"""What the node receives. Other classes are not negotiated: their sender learns that we do not keep
them."""
PROCEDURE_STEP = ModalityPerformedProcedureStep
AVAILABILITY_NOTIFICATION = InstanceAvailabilityNotification
ANNOUNCING_SOP_CLASSES = (PROCEDURE_STEP, AVAILABILITY_NOTIFICATION)
"""What tells the node how many images there are."""
COMMITMENT = StorageCommitmentPushModel
COMMITMENT_INSTANCE = StorageCommitmentPushModelInstance
"""The well-known SOP instance of which every commitment is requested and reported (PS3.4 J.3.5)."""
PATIENT_ROOT = (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelGet,
)
STUDY_ROOT = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)
FIND_SOP_CLASSES, MOVE_SOP_CLASSES, GET_SOP_CLASSES = zip(PATIENT_ROOT, STUDY_ROOT, strict=True)
"""What the node holds is queried and retrieved by these."""
STORAGE_SOP_CLASSES = tuple(UID(cx.abstract_syntax) for cx in AllStoragePresentationContexts)
"""What the node may send over an association on which a peer is the storage SCP (C-GET)."""
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
"""In order of preference: lossy ones come last. Deflated is left out, since it inflates without
bound."""

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)

MAX_PDU_BYTES = 262144
"""Largest PDU that we ask peers to answer with; what we send keeps to the peer's own limit."""


class AssociationLost(Exception):
    """The association ended without a release; the message says how."""


class Status(IntEnum):
    """The DIMSE status codes that the node answers with.

    They are those of PS3.4 B.2.3, C.4, F.7, J.3 and R.3, and of PS3.7 annex C.
    """

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORISED = 0x0124
    UNRECOGNISED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    NO_SUB_OPERATIONS = 0xA702
    UNKNOWN_DESTINATION = 0xA801
    MISMATCH = 0xA900
    SOME_FAILED = 0xB000
    CANNOT_UNDERSTAND = 0xC000
    IDENTITY_CONFLICT = 0xC100
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_IN_PART = 0xFF01


class Rejection(tuple[int, int, int], Enum):
    """Result, source and reason of each A-ASSOCIATE-RJ that the node sends (PS3.8 table 9-21)."""

    APPLICATION_CONTEXT_NOT_SUPPORTED = (1, 1, 2)
    CALLING_AE_TITLE_NOT_RECOGNIZED = (1, 1, 3)
    CALLED_AE_TITLE_NOT_RECOGNIZED = (1, 1, 7)
    NO_PRESENTATION_CONTEXT = (1, 2, 1)
    PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


def stored_by_peer(status: int) -> bool:
    """Return whether a C-STORE response means that the peer has the object.

    A warning (Bxxx; 0001, 0107 and 0116 of PS3.7 C.3) means that it was stored, with a remark.
    """
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or status & 0xF000 == 0xB000


def refused_by_peer(status: int) -> bool:
    """Return whether a C-STORE response refuses the object itself: a retry gets the same response.

    These are 0117 (invalid instance), 0122 (SOP class not supported), A9xx (mismatch) and Cxxx
    (cannot understand). A7xx (out of resources), 0110 (processing failure) and 0124 (not
    authorised) concern the peer.
    """
    return status in (0x0117, 0x0122) or status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000


def application_entity(ae_title: str, *, timeout_s: float) -> AE:
    """Return an application entity that names this implementation and limits all waits.

    It has no network timeout: with one, pynetdicom would abort a second time while it waits for an
    answer, which its state machine reports as a fault.
    """
    ae = AE(ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = MAX_PDU_BYTES
    ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = timeout_s
    ae.network_timeout = None
    return ae


def contexts_in() -> list[Any]:
    """Return the presentation contexts that the node accepts."""
    contexts = [
        build_context(uid, list(ACCEPTED_TRANSFER_SYNTAXES)) for uid in ACCEPTED_SOP_CLASSES
    ]
    told = [build_context(uid, list(UNCOMPRESSED)) for uid in ANNOUNCING_SOP_CLASSES]
    others = (*PATIENT_ROOT, *STUDY_ROOT, COMMITMENT)
    asked = [build_context(uid, list(UNCOMPRESSED)) for uid in others]
    return [*contexts, *told, *asked, build_context(Verification)]


def contexts_out(kinds: Iterable[tuple[str, str]]) -> list[Any]:
    """Return the contexts to propose for objects of these (SOP class, transfer syntax).

    Each context has one transfer syntax, so that the peer can accept the one that an object is
    stored in. Objects that are `recodable` are proposed in Implicit VR Little Endian too: every
    peer must know it (PS3.5 10.1).
    """
    wanted = {(UID(sop_class), UID(syntax)) for sop_class, syntax in kinds}
    wanted |= {(c, ImplicitVRLittleEndian) for c, syntax in wanted if recodable(syntax)}
    return [build_context(sop_class, [syntax]) for sop_class, syntax in sorted(wanted)]


def recodable(syntax: UID) -> bool:
    """Return whether objects in a syntax can be sent in Implicit VR Little Endian instead.

    Those without compression can, and RLE Lossless, which pydicom decodes without a codec.
    """
    return not syntax.is_compressed or syntax == RLELossless


def contexts_echo() -> list[Any]:
    """Return the context to propose for a C-ECHO."""
    return [build_context(Verification)]


def contexts_archive() -> list[Any]:
    """Return contexts that accept every storage SOP class, as a PACS does."""
    syntaxes = list(ACCEPTED_TRANSFER_SYNTAXES)
    storage = [build_context(cx.abstract_syntax, syntaxes) for cx in AllStoragePresentationContexts]
    return [*storage, build_context(Verification)]


def limit_time(connection: socket.socket, seconds: float) -> None:
    """Let each read and write of a blocking socket end within this time, rounded up to seconds.

    These are the kernel's limits. `settimeout` would make the socket non-blocking and each PDU many
    reads, each of which could take this long.
    """
    whole = math.ceil(seconds)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, 0))


def part10_prefix(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return the preamble and file meta information of a Part 10 file (PS3.10 7.1).

    They name neither the sender nor the time, so that the same object gives the same file.
    """
    values = (
        (0x0002, b"UI", sop_class_uid),
        (0x0003, b"UI", sop_instance_uid),
        (0x0010, b"UI", transfer_syntax_uid),
        (0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        (0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    )
    elements = struct.pack("<HH2sxxL2s", 2, 1, b"OB", 2, b"\0\1")
    for element, vr, text in values:
        value = text.encode("ascii", "replace")
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        elements += struct.pack("<HH2sH", 2, element, vr, len(value)) + value
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements
