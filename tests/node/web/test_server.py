"""The web server: how it starts and ends, and what it does with clients that mean no good."""

import asyncio
import logging
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from node.errors import Retryable
from node.settings import Settings, Web
from node.web import connections, serve_page, stream
from node.web.live_list import LiveList
from node.worklist import Worklist
from tests.support.listed import ASSEMBLED, NOW, SUSPECTED, study
from tests.support.peers import free_port, listening, wait_until


@contextmanager
def served(worklist: Worklist, tmp_path: Path, **web: object) -> Iterator[httpx.Client]:
    """Serve the page as `ichnode serve` does, from a thread."""
    port, stop = free_port(), threading.Event()
    settings = Settings(data_dir=tmp_path, web=Web.model_validate({"port": port, **web}))
    server = threading.Thread(target=serve_page, args=(settings, worklist, lambda: NOW, stop))
    server.start()
    try:
        wait_until(lambda: listening(port))
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=10) as client:
            yield client
    finally:
        stop.set()
        server.join(timeout=20)
        assert not server.is_alive()


def test_the_page_is_served_under_the_names_it_is_told(worklist: Worklist, tmp_path: Path) -> None:
    with served(worklist, tmp_path, hosts=["Reading.Example"]) as page:
        for host in ("reading.example", "localhost", "127.0.0.1", socket.gethostname()):
            assert page.get("/", headers={"Host": host}).status_code == 200
        assert page.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_an_address_in_use_is_said_to_be(worklist: Worklist, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data_dir=tmp_path, web=Web(port=taken.getsockname()[1]))
        with pytest.raises(Retryable, match=r"cannot listen on 127\.0\.0\.1"):
            serve_page(settings, worklist, lambda: NOW, threading.Event())


def test_an_open_page_hears_of_a_change_and_the_server_ends_all_the_same(
    worklist: Worklist, tmp_path: Path
) -> None:
    with served(worklist, tmp_path) as page, page.stream("GET", "/live") as live:
        assert live.headers["content-type"].startswith("text/event-stream")
        told = (line for line in live.iter_lines() if line.startswith("data:"))
        first = next(told)
        assert '"version": 0' in first
        study(worklist, 1, ASSEMBLED, SUSPECTED, patient_id="4711")
        second = next(line for line in told if '"version": 0' not in line)
        assert "4711" not in second


def test_no_more_pages_are_followed_than_are_allowed(worklist: Worklist, tmp_path: Path) -> None:
    with served(worklist, tmp_path, max_live_clients=2) as page, ExitStack() as streams:
        lines = [streams.enter_context(page.stream("GET", "/live")).iter_lines() for _ in range(2)]
        assert [next(each) for each in lines] == ["retry: 2000"] * 2
        assert page.get("/live").status_code == 503
        assert page.get("/").status_code == 200
        streams.close()
        wait_until(lambda: _is_followed(page))


def _is_followed(page: httpx.Client) -> bool:
    with page.stream("GET", "/live") as live:
        return live.status_code == 200


def test_a_client_that_takes_nothing_is_dropped(
    worklist: Worklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []

    class Watched(connections.Bounded):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(self.client)
            super().connection_lost(exc)

    monkeypatch.setattr(connections, "SLOW_S", 0.2)
    monkeypatch.setattr("node.web.connections.Bounded", Watched)
    with served(worklist, tmp_path) as page, socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect((page.base_url.host, int(page.base_url.port or 0)))
        asked = b"GET /assets/room.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
        idle.settimeout(0.5)
        with suppress(OSError):  # not all of it may be taken
            idle.sendall(asked * 3000)
        wait_until(lambda: idle.getsockname() in lost)
        assert page.get("/").status_code == 200


def test_a_database_that_fails_makes_the_list_old_and_one_line_in_the_log(
    worklist: Worklist, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise Retryable("disk I/O error")

    live = LiveList(worklist.listing, lambda: NOW)
    live.look()
    seen = live.looked_at
    monkeypatch.setattr(stream, "LOOK_S", 0.01)
    monkeypatch.setattr(worklist.listing, "changed", broken)
    streams = stream.Streams(live, 5)

    async def look_for_a_while() -> None:
        looking = asyncio.create_task(streams.keep_looking())
        await asyncio.sleep(0.2)
        streams.ended = True
        await looking

    with caplog.at_level(logging.ERROR):
        asyncio.run(look_for_a_while())
    assert live.looked_at == seen
    assert [record.getMessage() for record in caplog.records] == [
        "list not renewed: disk I/O error"
    ]


@contextmanager
def many_files() -> Iterator[None]:
    """Let this process, which plays the clients, open enough sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this machine does not allow 4096 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_that_send_half_a_header_leave_the_page_answering_and_the_log_quiet(
    worklist: Worklist, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with many_files(), served(worklist, tmp_path) as page, ExitStack() as clients:
        caplog.clear()
        for _ in range(1100):
            address = (page.base_url.host, int(page.base_url.port or 0))
            half = clients.enter_context(socket.create_connection(address, timeout=10))
            half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
        for _ in range(5):
            assert page.get("/").status_code == 200
            assert httpx.get(page.base_url, timeout=10).status_code == 200
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) < 5


def test_a_header_that_does_not_come_ends_its_connection(
    worklist: Worklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_S", 0.3)
    with served(worklist, tmp_path) as page:
        address = (page.base_url.host, int(page.base_url.port or 0))
        whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for begun in (b"", b"GET / HTTP/1.1\r\nHost", whole + b"GET / HT"):
            with socket.create_connection(address, timeout=5) as half:
                half.sendall(begun)
                assert _until_closed(half).startswith(b"HTTP/1.1 200" if whole in begun else b"")


def _until_closed(connection: socket.socket) -> bytes:
    taken = b""
    try:
        while part := connection.recv(65536):
            taken += part
    except ConnectionResetError:
        pass
    return taken


def test_clients_cannot_fill_the_log(worklist: Worklist, tmp_path: Path) -> None:
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger().addHandler(listener)
    try:
        with served(worklist, tmp_path) as page:
            address = (page.base_url.host, int(page.base_url.port or 0))
            for _ in range(50):
                with socket.create_connection(address, timeout=5) as rubbish:
                    rubbish.sendall(b"\x16\x03\x01\r\n\r\n")
                    _until_closed(rubbish)
    finally:
        logging.getLogger().removeHandler(listener)
    assert len([line for line in lines if "Invalid HTTP" in line]) == 1
