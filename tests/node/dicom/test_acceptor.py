"""The acceptor against a peer that speaks byte by byte, as pynetdicom and DCMTK never would."""

import socket
import struct
import threading
import time
import tracemalloc
from contextlib import contextmanager
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import Verification

from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.association import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    AssociationLost,
    Status,
    part10_prefix,
)
from node.dicom.net.pdu import LONGEST_PDU_BYTES

STORE_CONTEXT, ECHO_CONTEXT, FOREIGN_CONTEXT = 1, 3, 5
ABORTED, RELEASED, REJECTED = 7, 6, 3

RELEASE = struct.pack(">BxLxxxx", 5, 4)


def request(max_pdu: int = 16384) -> bytes:
    """Return an A-ASSOCIATE-RQ for CT, verification and something the node does not serve."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PEER", "ICHNODE"
    contexts = [
        build_context(CTImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian]),
        build_context(Verification),
        build_context("1.2.840.10008.5.1.4.1.1.4"),
    ]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    primitive.maximum_length_received = max_pdu
    primitive.implementation_class_uid = "1.2.3"
    return A_ASSOCIATE_RQ(primitive).encode()


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, tag, len(value)) + value


def command(field: int, *, sop_class: bytes = CTImageStorage.encode(), dataset: bool = True):
    return (
        element(0x0002, sop_class + b"\0" * (len(sop_class) % 2))
        + element(0x0100, struct.pack("<H", field))
        + element(0x0110, struct.pack("<H", 7))
        + element(0x0800, struct.pack("<H", 0x0000 if dataset else 0x0101))
        + element(0x1000, b"1.2.3\0")
    )


ECHO = command(0x0030, dataset=False)


def pdv(context: int, control: int, value: bytes) -> bytes:
    return struct.pack(">LBB", len(value) + 2, context, control) + value


def data(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxL", 4, len(body)) + body


class Peer:
    """The requestor's end."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(10)

    def say(self, *pdus: bytes) -> None:
        self.connection.sendall(b"".join(pdus))

    def read(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self._exactly(6))
        return kind, self._exactly(length)

    def response(self) -> dict[int, bytes]:
        """Return the elements of the next response, its fragments put together."""
        whole = b""
        while True:
            kind, body = self.read()
            assert kind == 4 and len(body) % 2 == 0
            whole += body[6:]
            if body[5] == 3:
                break
        fields = {}
        while whole:
            _, tag, length = struct.unpack("<HHL", whole[:8])
            fields[tag], whole = whole[8 : 8 + length], whole[8 + length :]
        assert struct.unpack("<L", fields.pop(0))[0] == sum(8 + len(v) for v in fields.values())
        return fields

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.connection.recv(size - len(got))
            assert piece, "the node closed the connection"
            got += piece
        return got


@contextmanager
def acceptor(max_object: int = 1 << 20, idle_s: float = 5.0):
    """Serve one connection; yield the peer, what it stored, and how its association ended."""
    ours, theirs = _connected()
    stored: list = []
    ended: list = []

    def serve() -> None:
        try:
            incoming = IncomingAssociation(
                ours,
                associate_s=idle_s,
                idle_s=idle_s,
                max_pdu_bytes=65536,
                max_object_bytes=max_object,
            )
            asked = incoming.requested()
            if asked.rejection is not None:
                incoming.reject(asked.rejection)
                ended.append("rejected")
                return
            incoming.accept(asked)
            for item in incoming.requests():
                stored.append(item)
                incoming.answer(item, Status.SUCCESS)
            incoming.release()
            ended.append("released")
        except AssociationLost as error:
            ended.append(str(error))
        finally:
            ours.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with theirs:
        yield Peer(theirs), stored, ended
    thread.join(10)
    assert not thread.is_alive()


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    return ours, theirs


@contextmanager
def associated(max_pdu: int = 16384, **options: object):
    with acceptor(**options) as (peer, stored, ended):
        peer.say(request(max_pdu))
        kind, body = peer.read()
        assert kind == 2
        yield peer, stored, ended, body


def test_acceptance_names_us_and_takes_explicit_vr_where_it_is_offered():
    with associated() as (_, _, _, body):
        pdu = A_ASSOCIATE_AC()
        pdu.decode(struct.pack(">BxL", 2, len(body)) + body)
        answer = pdu.to_primitive()
        results = answer.presentation_context_definition_results_list
        assert [(cx.context_id, cx.result) for cx in results] == [(1, 0), (3, 0), (5, 3)]
        assert results[0].transfer_syntax == [ExplicitVRLittleEndian]
        assert answer.maximum_length_received == 65536
        assert answer.implementation_class_uid == IMPLEMENTATION_CLASS_UID


def test_object_arrives_whole_however_it_is_cut():
    with associated() as (peer, stored, ended, _):
        asked = command(0x0001)
        peer.say(
            data(pdv(STORE_CONTEXT, 1, asked[:30])),
            data(pdv(STORE_CONTEXT, 3, asked[30:]), pdv(STORE_CONTEXT, 0, b"first ")),
            data(pdv(STORE_CONTEXT, 0, b"second ")),
            data(pdv(STORE_CONTEXT, 2, b"")),
        )
        fields = peer.response()
        peer.say(RELEASE)
        assert peer.read()[0] == RELEASED
    prefix = part10_prefix(CTImageStorage, "1.2.3", ExplicitVRLittleEndian)
    assert [item.file.read() for item in stored] == [prefix + b"first second "]
    assert ended == ["released"]
    assert fields[0x0100] == struct.pack("<H", 0x8001)
    assert fields[0x0120] == struct.pack("<H", 7)
    assert fields[0x0900] == b"\0\0"
    assert fields[0x1000] == b"1.2.3\0"


def test_prefix_makes_a_file_that_pydicom_reads():
    prefix = part10_prefix(CTImageStorage, "1.2.3", ImplicitVRLittleEndian)
    meta = dcmread(BytesIO(prefix)).file_meta
    assert meta.FileMetaInformationGroupLength == len(prefix) - 144
    assert meta.MediaStorageSOPClassUID == CTImageStorage
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME


@pytest.mark.parametrize("max_pdu", [0, 1, 7, 8, 9, 32, 0xFFFFFFFF])
def test_peer_with_any_maximum_gets_its_answer_in_pieces_of_even_length(max_pdu):
    with associated(max_pdu=max_pdu) as (peer, _, _, _):
        peer.say(data(pdv(ECHO_CONTEXT, 3, command(0x0030, dataset=False))))
        assert peer.response()[0x0900] == b"\0\0"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (command(0x0030, dataset=False), Status.SUCCESS),
        (command(0x0020, dataset=False), Status.UNRECOGNISED_OPERATION),
        (command(0x0001, sop_class=b"1.2.840.1", dataset=False), Status.SOP_CLASS_NOT_SUPPORTED),
    ],
    ids=["echo", "find", "store of another class"],
)
def test_other_requests_are_answered_and_the_association_goes_on(asked, status):
    with associated() as (peer, stored, _, _):
        for _ in range(2):
            peer.say(data(pdv(STORE_CONTEXT, 3, asked)))
            assert peer.response()[0x0900] == struct.pack("<H", status)
    assert stored == []


def test_object_under_a_uid_that_is_no_ascii_is_answered():
    asked = command(0x0001)[:-14] + element(0x1000, b"1.2.\xd6\0")
    with associated() as (peer, stored, _, _):
        peer.say(data(pdv(STORE_CONTEXT, 3, asked)), data(pdv(STORE_CONTEXT, 2, b"")))
        assert peer.response()[0x0900] == b"\0\0"
    assert len(stored) == 1


def test_cancel_has_no_response():
    with associated() as (peer, _, _, _):
        peer.say(data(pdv(STORE_CONTEXT, 3, command(0x0FFF, dataset=False))))
        peer.say(data(pdv(ECHO_CONTEXT, 3, command(0x0030, dataset=False))))
        assert peer.response()[0x0100] == struct.pack("<H", 0x8030)


def test_object_over_the_limit_is_dropped_as_it_comes_and_the_next_is_whole():
    with associated(max_object=1000) as (peer, stored, _, _):
        for pieces in (5, 2):
            peer.say(data(pdv(STORE_CONTEXT, 3, command(0x0001))))
            peer.say(*(data(pdv(STORE_CONTEXT, 0, bytes(400))) for _ in range(pieces)))
            peer.say(data(pdv(STORE_CONTEXT, 2, b"")))
            peer.response()
    assert [item.file is None for item in stored] == [True, False]


def test_object_of_many_small_fragments_takes_the_memory_of_its_bytes():
    with associated(max_object=1 << 20) as (peer, stored, _, _):
        tracemalloc.start()
        peer.say(data(pdv(STORE_CONTEXT, 3, command(0x0001))))
        peer.say(*[data(pdv(STORE_CONTEXT, 0, b"x"))] * 50_000, data(pdv(STORE_CONTEXT, 2, b"x")))
        peer.response()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert stored[0].file.read().endswith(b"x" * 50_001)
    assert peak < 6 << 20


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (data(pdv(FOREIGN_CONTEXT, 3, command(0x0001))), "under no context"),
        (data(pdv(99, 3, command(0x0001))), "under no context"),
        (data(pdv(STORE_CONTEXT, 2, b"dataset")), "without a command"),
        (data(*[pdv(STORE_CONTEXT, 1, bytes(9000))] * 8), "endless command"),
        (data(pdv(STORE_CONTEXT, 3, b"\x08\0\x16\0\x04\0\0\0abcd")), "cannot be read"),
        (data(pdv(STORE_CONTEXT, 3, element(0x0002, b"ab")[:-1])), "cannot be read"),
        (data(b"\0\0\0\x01\x01\x03"), "PDV longer than its PDU"),
        (data(b"\xff\xff\xff\xff\x01\x03"), "PDV longer than its PDU"),
        (data(b"\0\0\0"), "cut short"),
        (struct.pack(">BxL", 4, LONGEST_PDU_BYTES + 1), "a PDU of"),
        (struct.pack(">BxL", 0x47, 0), "type 71"),
        (data(pdv(STORE_CONTEXT, 3, command(0x0001)), pdv(ECHO_CONTEXT, 2, b"x")), "in another"),
        (data(pdv(STORE_CONTEXT, 1, ECHO[:20]), pdv(ECHO_CONTEXT, 3, ECHO[20:])), "in another"),
        (data(pdv(STORE_CONTEXT, 3, command(0x0001)), pdv(1, 3, ECHO)), "inside a message"),
        (data(*[pdv(STORE_CONTEXT, 1, b"")] * 99), "without a byte"),
        (data(pdv(STORE_CONTEXT, 3, command(0x0001)), *[pdv(1, 0, b"")] * 99), "without a byte"),
        (request(), "ASSOCIATE_RQ in an association"),
        (data(pdv(STORE_CONTEXT, 3, command(0x0001))) + RELEASE, "RELEASE_RQ in an association"),
        (data(pdv(STORE_CONTEXT, 1, command(0x0001)[:20])) + RELEASE, "RELEASE_RQ"),
    ],
)
def test_broken_protocol_aborts_the_association(said, why):
    with associated() as (peer, stored, ended, _):
        peer.say(said)
        kind, body = peer.read()
        assert kind == ABORTED
        assert body[2] == 2, "the source is the service provider"
    assert stored == []
    assert why in ended[0]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (data(pdv(1, 3, command(0x0030))), 2),
        (RELEASE, 2),
        (struct.pack(">BxLxxxx", 6, 4), 2),
        (struct.pack(">BxL", 0x47, 0), 1),
        (struct.pack(">BxL", 1, 0), 6),
        (struct.pack(">BxL", 1, 68) + b"\xff" * 60, 0),
        (struct.pack(">BxL", 1, 1 << 30), 6),
    ],
    ids=["data", "release", "release response", "unknown", "nothing", "stops", "endless"],
)
def test_what_is_no_request_is_aborted_with_the_reason(said, reason):
    with acceptor(idle_s=1.0) as (peer, _, ended):
        peer.say(said)
        kind, body = peer.read()
    assert (kind, body[2], body[3]) == (ABORTED, 2, reason)
    assert ended not in (["released"], ["rejected"])


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (struct.pack(">BxL", 1, 68) + b"\xff" * 68, (1, 1, 2)),
        (request()[:6] + b"\0\2" + request()[8:], (1, 2, 2)),
    ],
    ids=["no items", "protocol version 2"],
)
def test_request_for_another_protocol_is_rejected_with_the_reason(said, answer):
    with acceptor() as (peer, _, ended):
        peer.say(said)
        kind, body = peer.read()
    assert (kind, tuple(body[1:])) == (REJECTED, answer)
    assert ended == ["rejected"]


def test_peer_that_aborts_before_it_asks_is_not_answered():
    with acceptor() as (peer, _, ended):
        peer.say(struct.pack(">BxLxxBB", 7, 4, 0, 0))
        assert peer.connection.recv(1) == b""
    assert ended == ["the peer aborted"]


def test_abort_of_the_peer_is_no_release():
    with associated() as (peer, _, ended, _):
        peer.say(struct.pack(">BxLxxBB", 7, 4, 0, 0))
    assert ended == ["the peer aborted"]


def test_dripping_peer_runs_out_of_time_within_one_pdu():
    with associated(idle_s=1.0) as (peer, _, ended, _):
        start = time.monotonic()
        peer.say(struct.pack(">BxL", 4, 60000))
        with pytest.raises((BrokenPipeError, ConnectionResetError, AssertionError)):
            while time.monotonic() - start < 8:
                peer.say(b"x")
                time.sleep(0.2)
            pytest.fail("it may drip for ever")
    assert "stopped within a PDU" in ended[0]
