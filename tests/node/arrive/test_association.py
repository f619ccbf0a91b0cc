"""Associations with the receiver: each request has an answer, and the log tells of it."""

import logging
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from node.arrive.storage_scp import Receiver
from node.settings import Receive, Settings
from node.worklist import Worklist
from tests.support.associating import (
    ABORTED,
    ACCEPTED,
    APPLICATION,
    CT,
    ECHO,
    MR,
    REJECTED,
    ask,
    context,
    echo_request,
    item,
    pdu,
    request,
    results,
)
from tests.support.databases import new_database
from tests.support.peers import wait_until

Log = Callable[[], list[tuple[str, dict[str, object]]]]


@contextmanager
def receiving(folder: Path, **receive: object) -> Iterator[Receiver]:
    settings = Settings(
        data_dir=folder / "data",
        receive=Receive(host="127.0.0.1", port=0, min_free_mb=0, **receive),
    )
    settings.data_dir.mkdir()
    new_database(settings.url)
    with (
        Worklist(settings.url) as worklist,
        Receiver(
            settings, worklist.arrivals, worklist.announcements, lambda: datetime.now(UTC)
        ) as receiver,
    ):
        yield receiver


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with receiving(tmp_path_factory.mktemp("node"), network_timeout_s=5.0) as receiver:
        yield receiver.port


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """Each line that the node logged, with what its event names; no line is a traceback."""
    caplog.set_level(logging.INFO)
    yield lambda: [(r.getMessage(), r.event) for r in caplog.records if r.name.startswith("node")]
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("called", [b"ICHNODE" + bytes(9), b"ICHNODE \0\0 \0", b"  ICHNODE"])
def test_called_title_is_ours_however_it_is_padded(port: int, called: bytes) -> None:
    kind, body = ask(port, echo_request(called=called, calling=b"CT1" + bytes(13)))
    assert kind == ACCEPTED
    assert body[4:20] == called.ljust(16), "the title as sent (PS3.8 9.3.3)"
    assert results(body) == {1: 0}


def test_calling_title_is_the_callers_however_it_is_padded(tmp_path: Path) -> None:
    with receiving(tmp_path, allowed_callers=("CT1",)) as receiver:
        for calling in (b"CT1" + bytes(13), b" CT1", b"CT1 \0\0", b"CT1\0leftover"):
            assert ask(receiver.port, echo_request(calling=calling))[0] == ACCEPTED
        for calling in (bytes(16), b"", b"CT", b"CT11", b"C\0T1"):
            kind, body = ask(receiver.port, echo_request(calling=calling))
            assert (kind, tuple(body[1:])) == (REJECTED, (1, 1, 3))


@pytest.mark.parametrize("name", ["A_VERSION_OF_23_LETTERS", "", "R\xd6NTGEN", "x" * 2000])
def test_implementation_version_name_is_no_hindrance(port: int, name: str) -> None:
    kind, body = ask(port, echo_request(item(0x55, name.encode("latin-1"))))
    assert (kind, results(body)) == (ACCEPTED, {1: 0})


@pytest.mark.parametrize(
    ("second", "result"),
    [
        (context(3, CT), 4),
        (context(3, CT, "1.2.840.10008.1.2.1.99"), 4),
        (context(3, MR, "1.2.840.10008.1.2"), 3),
        (context(3, MR), 3),
        (context(3, None, "1.2.840.10008.1.2"), 3),
        (context(3, CT, "1.2.840.10008.1.2") + context(3, MR, "1.2.840.10008.1.2"), 3),
    ],
)
def test_context_that_cannot_be_served_is_refused_alone(
    port: int, second: bytes, result: int
) -> None:
    kind, body = ask(port, echo_request(contexts=ECHO + second))
    assert (kind, results(body)) == (ACCEPTED, {1: 0, 3: result})


def test_no_context_that_is_served_is_an_association_all_the_same(port: int) -> None:
    kind, body = ask(port, echo_request(contexts=context(1, MR, "1.2.840.10008.1.2")))
    assert (kind, results(body)) == (ACCEPTED, {1: 3})


def test_user_identity_is_not_answered(port: int) -> None:
    wanted = item(0x58, b"\2\1\0\4user\0\4pass") + item(0x53, b"\0\5\0\5") + item(0x6F, b"?")
    kind, body = ask(port, echo_request(wanted))
    assert kind == ACCEPTED
    assert b"user" not in body
    for unanswered in (0x53, 0x58, 0x59, 0x6F):
        assert struct.pack(">BB", unanswered, 0) not in body[68:]


@pytest.mark.parametrize(
    ("asked", "answer", "words"),
    [
        (echo_request(called=b"OTH\x1b[1mER\0"), (1, 1, 7), "called ae title not recognized"),
        (request(item(0x10, "1.2"), ECHO), (1, 1, 2), "application context not supported"),
        (request(APPLICATION, ECHO, version=2), (1, 2, 2), "protocol version not supported"),
        (request(APPLICATION), (1, 2, 1), "no presentation context"),
    ],
)
def test_rejection_gives_the_reason_and_is_logged_with_the_titles(
    port: int, said: Log, asked: bytes, answer: tuple[int, ...], words: str
) -> None:
    kind, body = ask(port, asked)
    assert (kind, tuple(body[1:])) == (REJECTED, answer)
    ((message, event),) = [line for line in said() if "rejected" in line[0]]
    assert message == f"association rejected: {words}"
    assert (event["caller"], event["reason"]) == ("'PEER'", answer)
    assert event["called"] in ("'ICHNODE'", "'OTH\\x1b[1mER'")


def test_request_that_cannot_be_read_is_aborted_and_logged_with_the_titles(
    port: int, said: Log
) -> None:
    kind, body = ask(port, request(APPLICATION, b"\x20\0\0\x40", calling=b"CT\xd61"))
    assert (kind, body[2], body[3]) == (ABORTED, 2, 6)
    expected = "cut short, in the request of 'CT\\xd61' to 'ICHNODE'"
    wait_until(lambda: any(expected in text for text, _ in said()))


def test_node_that_stops_aborts_what_is_open(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        peers = [socket.create_connection(("127.0.0.1", receiver.port), 10) for _ in range(2)]
        peers[0].sendall(echo_request())
        assert pdu(peers[0])[0] == ACCEPTED
        wait_until(lambda: receiver.connections == 2)
    for peer in peers:
        with peer:
            kind, body = pdu(peer)
            assert (kind, body[2]) == (ABORTED, 2)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.builds(item, st.integers(0, 255), st.binary(max_size=30)),
            st.just(ECHO),
            st.binary(max_size=30),
        ),
        max_size=6,
    ),
    st.binary(min_size=16, max_size=16) | st.just(b"ICHNODE\0"),
    st.binary(min_size=16, max_size=16),
)
def test_any_request_has_an_answer(
    port: int, items: list[bytes], called: bytes, calling: bytes
) -> None:
    asked = request(APPLICATION, *items, called=called, calling=calling)
    assert ask(port, asked)[0] in (ACCEPTED, REJECTED, ABORTED)
