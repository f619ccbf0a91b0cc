"""Peers that take messages: of HL7 over MLLP, of HTTP and of SMTP, well or faulty on demand."""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

Reply = Callable[[bytes, socket.socket], None]
"""Answers a message on its connection, or does something else."""


@dataclass
class Heard:
    """What a peer got, and where it listens."""

    port: int = 0
    messages: list[Any] = field(default_factory=list)


def ack(code: str, *, about: str | None = None, error: str = "") -> Reply:
    """Answer with an acknowledgement of this code (MSA-1)."""

    def reply(message: bytes, connection: socket.socket) -> None:
        sent = message.decode("latin-1").split("\r")[0].split("|")[9]
        lines = ["MSH|^~\\&|RIS||ICHNODE||20261129||ACK|1|P|2.5.1", f"MSA|{code}|{about or sent}"]
        lines += [f"ERR|||{error}^no^HL70357|E||||about the patient DOE"] if error else []
        connection.sendall(b"\x0b" + "".join(f"{line}\r" for line in lines).encode() + b"\x1c\r")

    return reply


def in_pieces(message: bytes, connection: socket.socket) -> None:
    """Accept, byte after byte."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent = message.decode("latin-1").split("|")[9]
    for byte in b"\x0bMSH|^~\\&|RIS\rMSA|AA|" + sent.encode() + b"\r\x1c\r":
        connection.sendall(bytes([byte]))


def raw(data: bytes) -> Reply:
    """Answer with these bytes and close."""
    return lambda _, connection: connection.sendall(data)


def drip(_: bytes, connection: socket.socket) -> None:
    """Answer with a frame that never ends, slowly."""
    connection.sendall(b"\x0bMSH")
    for _step in range(100):
        time.sleep(0.1)
        connection.sendall(b"|")


def silent(_: bytes, connection: socket.socket) -> None:
    """Say nothing until the other side leaves."""
    connection.settimeout(20)
    connection.recv(1)


@contextmanager
def mllp_peer(*replies: Reply, port: int = 0) -> Iterator[Heard]:
    """Run a peer of HL7; it gives the replies in turn, the last one for ever."""
    heard = Heard()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            got = b""
            while b"\x1c\r" not in got:
                part = self.request.recv(4096)
                if not part:
                    return
                got += part
            assert got.startswith(b"\x0b") and got.endswith(b"\x1c\r")
            heard.messages.append(got[1:-2])
            reply = replies[min(len(heard.messages), len(replies)) - 1]
            try:
                reply(got[1:-2], self.request)
            except OSError:
                return  # the other side left

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with _served(Server(("127.0.0.1", port), Handler), heard):
        yield heard


@contextmanager
def blunt_peer(said: Callable[[], bytes]) -> Iterator[int]:
    """Run a peer that says all that it has to say at once, and hears the other side out."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(said())
                self.request.shutdown(socket.SHUT_WR)
                while self.request.recv(4096):
                    pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    heard = Heard()
    with _served(Server(("127.0.0.1", 0), Handler), heard):
        yield heard.port


@dataclass
class Request:
    """One HTTP request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with this status and these headers."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def stall(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing until the other side leaves."""
    silent(b"", handler.connection)
    handler.close_connection = True


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    """Answer with headers that never end, slowly."""
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        drip(b"", handler.connection)


@contextmanager
def web_peer(
    *answers: Callable[[BaseHTTPRequestHandler], None],
    port: int = 0,
    context: ssl.SSLContext | None = None,
) -> Iterator[Heard]:
    """Run an HTTP server, with a context an HTTPS one; it gives the answers in turn."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.messages.append(Request(self.command, self.path, dict(self.headers), body))
            answers[min(len(heard.messages), len(answers)) - 1](self)

        do_GET = do_OPTIONS = do_POST

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: the other side may leave."""

    server = Server(("127.0.0.1", port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    with _served(server, heard):
        yield heard


@contextmanager
def _served(server: socketserver.TCPServer, heard: Heard) -> Iterator[None]:
    heard.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def smtp_peer(
    rcpt: Sequence[str] = ("250 OK",), data: Sequence[str] = ("250 OK",), **options: Any
) -> Iterator[Heard]:
    """Run a mail server; it answers RCPT and DATA in turn, with the last one for ever."""
    heard = Heard()
    told: dict[str, int] = {"rcpt": 0, "data": 0}

    def turn(name: str, answers: Sequence[str]) -> str:
        told[name] += 1
        return answers[min(told[name], len(answers)) - 1]

    class Handler:
        async def handle_RCPT(
            self, _server: SMTP, _: Session, envelope: Envelope, address: str, _options: list[str]
        ) -> str:
            answer = turn("rcpt", rcpt)
            if answer.startswith("2"):
                envelope.rcpt_tos.append(address)
            return answer

        async def handle_DATA(self, _server: SMTP, _: Session, envelope: Envelope) -> str:
            answer = turn("data", data)
            if answer.startswith("2"):
                heard.messages.append((envelope.rcpt_tos, envelope.content))
            return answer

    with socket.create_server(("127.0.0.1", 0)) as probe:
        heard.port = probe.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=heard.port, **options)
    controller.start()
    try:
        yield heard
    finally:
        controller.stop()
