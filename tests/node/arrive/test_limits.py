"""How much one caller may take of the receiver, so that others are served."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.arrive.connections import Connections
from node.arrive.pace import Pace
from node.arrive.places import Places
from node.arrive.storage_scp import SPARE_CONNECTIONS, Receiver
from node.settings import Receive, Settings
from node.worklist import Worklist
from tests.support.associating import ACCEPTED, REJECTED, echo_request, pdu
from tests.support.databases import new_database
from tests.support.peers import wait_until


@contextmanager
def receiving(folder: Path, **receive: object) -> Iterator[Receiver]:
    settings = Settings(
        data_dir=folder / "data",
        receive=Receive(host="127.0.0.1", port=0, min_free_mb=0, **receive),
    )
    settings.data_dir.mkdir()
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        handles = (worklist.arrivals, worklist.announcements)
        with Receiver(settings, *handles, lambda: datetime.now(UTC)) as receiver:
            yield receiver


def connected(receiver: Receiver, open_ones: ExitStack) -> socket.socket:
    address = ("127.0.0.1", receiver.port)
    return open_ones.enter_context(socket.create_connection(address, timeout=10))


def associated(receiver: Receiver, open_ones: ExitStack, title: bytes) -> tuple[int, bytes]:
    connection = connected(receiver, open_ones)
    connection.sendall(echo_request(calling=title))
    return pdu(connection)


def test_a_caller_has_its_own_limit_and_others_have_their_places(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(tmp_path, max_associations_of_caller=2) as receiver, ExitStack() as open_ones:
        for _ in range(2):
            assert associated(receiver, open_ones, b"CT1")[0] == ACCEPTED
        kind, body = associated(receiver, open_ones, b"CT1")
        assert (kind, tuple(body[1:])) == (REJECTED, (2, 3, 2))
        assert "CT1 has 2 (max_associations_of_caller)" in caplog.text
        assert associated(receiver, open_ones, b"CT2")[0] == ACCEPTED


def test_a_place_that_is_left_is_free_again() -> None:
    places, first, second = Places(3, 2), ("CT1", "192.0.2.1"), ("CT1", "192.0.2.2")
    assert [places.take(first) for _ in range(2)] == [None, None]
    assert places.take(first) is not None
    assert places.take(second) is None
    assert places.take(second) is not None, "three of all"
    places.leave(first)
    assert places.take(first) is None


def test_silent_connections_make_room_however_many_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with receiving(tmp_path, max_associations=4) as receiver, ExitStack() as open_ones:
        assert associated(receiver, open_ones, b"CT1")[0] == ACCEPTED
        silent = [connected(receiver, open_ones) for _ in range(3 * SPARE_CONNECTIONS)]
        assert associated(receiver, open_ones, b"CT2")[0] == ACCEPTED
        silent[0].settimeout(10)
        assert pdu(silent[0])[0] == 7, "the first one is aborted"
        wait_until(lambda: receiver.connections < len(silent))
        said = [record.getMessage() for record in caplog.records]
        words = "association lost: too many connections, and this one had no association"
        assert set(said) == {words}
        assert len(said) <= len(silent), "a line for each at most"


def test_an_association_makes_room_for_nobody() -> None:
    near, far = socket.socketpair()
    connections = Connections(1)
    assert connections.make_room()
    with near, far, connections.visit(near) as visit:
        visit.is_associated = True
        assert not connections.make_room()
        visit.is_associated = False
        assert connections.make_room() and visit.made_room
        assert near.recv(1) == b"", "its thread reads no more"
        assert connections.make_room(), "it is leaving"
    assert len(connections) == 0


def test_pace_is_kept_by_each_address_and_told_once_a_minute() -> None:
    now = 0.0
    pace = Pace(60, lambda: now)
    assert [pace.allows("a") for _ in range(61)] == [True] * 60 + [False]
    assert pace.allows("b")
    assert (pace.is_news("a"), pace.is_news("a"), pace.is_news("b")) == (True, False, True)
    now = 1.0
    assert (pace.allows("a"), pace.allows("a")) == (True, False)
    now = 61.0
    assert [pace.allows("a") for _ in range(61)] == [True] * 60 + [False]
    assert pace.is_news("a")


def test_address_that_connects_too_often_is_closed_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        receiving(tmp_path, max_connections_a_minute=2) as receiver,
        ExitStack() as open_ones,
    ):
        for _ in range(2):
            assert associated(receiver, open_ones, b"CT1")[0] == ACCEPTED
        for _ in range(5):
            assert connected(receiver, open_ones).recv(1) == b""
        said = [r.getMessage() for r in caplog.records if "too often" in r.getMessage()]
        assert said == ["it connects too often (max_connections_a_minute)"]
