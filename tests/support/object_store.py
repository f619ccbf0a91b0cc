"""An S3-compatible server on loopback, and a way to it that can be cut.

Moto's server keeps objects in memory. So an outage is a cut of the way, and no end of the server.
"""

import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from moto.server import ThreadedMotoServer

from node.depot.bucket import Bucket
from node.settings import Storage

_NUMBERS = count(1)


@dataclass
class ObjectStore:
    """A bucket of its own, reached by a way that can be cut and mended."""

    server_port: int
    bucket: str
    way: "Way" = field(init=False)

    def __post_init__(self) -> None:
        self.way = Way(self.server_port)

    def storage(self, **values: object) -> Storage:
        """Settings that name the bucket by the way that can be cut."""
        there = {"url": f"s3://{self.bucket}/node", "endpoint": f"http://127.0.0.1:{self.way.port}"}
        return Storage.model_validate({**there, "timeout_s": 5.0, **values})

    @property
    def inside(self) -> Bucket:
        """The same objects by a way of the test's own."""
        endpoint = f"http://127.0.0.1:{self.server_port}"
        return Bucket(self.storage(endpoint=endpoint))


class Way:
    """Forwards TCP connections on loopback while it is not cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._serve()

    def cut(self) -> None:
        """Refuse connections, and end those that there are."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            found, self._open = self._open, set()
        for one in found:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Take connections again, on the same port."""
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = server.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                with self._lock:
                    self._open |= {here, there}
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                to.sendall(data)
        for one in (source, to):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._open.discard(one)
            one.close()


@contextmanager
def moto_server() -> Iterator[int]:
    """Run the server; yield its port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@contextmanager
def object_store(server_port: int) -> Iterator[ObjectStore]:
    """Make a new bucket on a server; its way is cut in the end."""
    bucket = f"bucket-{next(_NUMBERS)}"
    url = f"http://127.0.0.1:{server_port}/{bucket}"
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT")):
        pass
    store = ObjectStore(server_port, bucket)
    try:
        yield store
    finally:
        store.way.cut()
