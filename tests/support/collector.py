"""A collector of audit messages: syslog over TLS (RFC 5425), well or faulty on demand."""

import re
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run
from typing import Any, Literal

End = Literal["answer", "silent", "cut", "polite cut", "late cut", "deaf"]
"""How a connection ends: by an answered close; by a close without an answer; after one message,
without or with a close_notify; after one message, when the sender has sent all; before the first.
"""


@dataclass
class Collector:
    """Where a collector listens, and the messages of RFC 5424 that it kept."""

    port: int = 0
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0


def self_signed(folder: Path, name: str) -> tuple[str, str]:
    """Return the files of a certificate for this machine, its own authority, and of its key."""
    files = (str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


def serving_context(server: tuple[str, str], client: str = "") -> ssl.SSLContext:
    """Return how a collector speaks TLS; with `client` that certificate must be shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client)
    return context


@contextmanager
def collecting(context: ssl.SSLContext, *ends: End, port: int = 0) -> Iterator[Collector]:
    """Run a collector; its connections end as told in turn, the last way for ever."""
    collector = Collector()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            collector.connections += 1
            end = ends[min(collector.connections, len(ends)) - 1]
            with suppress(OSError):
                self.request.do_handshake()
                if end != "deaf":
                    take(self.request, collector, one="cut" in end)
                if end == "late cut":
                    time.sleep(0.3)
                if end in ("answer", "polite cut"):
                    self.request.settimeout(0 if "cut" in end else 10)
                    self.request.unwrap()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        server.socket = context.wrap_socket(
            server.socket,
            server_side=True,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def take(connection: Any, collector: Collector, *, one: bool) -> None:
    """Keep the messages of a connection until the sender closes, or one and no more."""
    data = b""
    while part := connection.recv(4096):
        data += part
        while (frame := re.match(rb"([1-9][0-9]*) ", data)) and len(data) >= (
            frame.end() + int(frame[1])
        ):
            after = frame.end() + int(frame[1])
            collector.messages.append(data[frame.end() : after])
            data = data[after:]
            if one:
                return
    assert not data, "the last frame is whole"
