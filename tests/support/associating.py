"""Requests for an association, byte by byte, with whatever is odd in them."""

import socket
import struct

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7


def item(kind: int, value: bytes | str) -> bytes:
    value = value.encode("ascii") if isinstance(value, str) else value
    return struct.pack(">BxH", kind, len(value)) + value


def context(number: int, abstract: str | None, *syntaxes: str, padding: bytes = b"") -> bytes:
    value = bytes((number, 0, 0, 0))
    if abstract is not None:
        value += item(0x30, abstract.encode() + padding)
    return item(0x20, value + b"".join(item(0x40, s.encode() + padding) for s in syntaxes))


ECHO = context(1, VERIFICATION, IMPLICIT)
APPLICATION = item(0x10, APPLICATION_CONTEXT)
MAXIMUM = item(0x51, struct.pack(">L", 16384))
NAMED = item(0x52, "1.2.3") + item(0x55, "PEER_1")


def request(
    *items: bytes, called: bytes = b"ICHNODE", calling: bytes = b"PEER", version: int = 1
) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU; titles are padded with blanks, no item is added."""
    titles = called.ljust(16) + calling.ljust(16)
    body = struct.pack(">H2x", version) + titles + bytes(32) + b"".join(items)
    return struct.pack(">BxL", 1, len(body)) + body


def echo_request(*user_items: bytes, contexts: bytes = ECHO, **titles: bytes) -> bytes:
    """Return a request for verification, with these sub-items beside the usual ones."""
    user = item(0x50, MAXIMUM + NAMED + b"".join(user_items))
    return request(APPLICATION, contexts, user, **titles)


def items_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return type and value of each item."""
    found = []
    while data:
        kind, length = struct.unpack(">BxH", data[:4])
        assert 4 + length <= len(data)
        found.append((kind, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def results(body: bytes) -> dict[int, int]:
    """Return the result of each context of an A-ASSOCIATE-AC, of which each ID has one."""
    answered = [(value[0], value[2]) for kind, value in items_of(body[68:]) if kind == 0x21]
    assert len(dict(answered)) == len(answered)
    return dict(answered)


def exactly(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = connection.recv(size - len(got))
        assert piece, "closed without an answer"
        got += piece
    return got


def pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Return type and body of the next PDU."""
    kind, length = struct.unpack(">BxL", exactly(connection, 6))
    return kind, exactly(connection, length)


def ask(port: int, said: bytes) -> tuple[int, bytes]:
    """Send bytes to a port of this machine; return type and body of the PDU that answers them."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(said)
        return pdu(connection)
