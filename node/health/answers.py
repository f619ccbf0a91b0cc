"""`/metrics`, `/healthz` and `/readyz` for a monitoring system, on a port of their own.

`/healthz` answers as long as the process does. `/readyz` answers 200 if the node can take studies
and bring results out, else 503; both say why. The port shows counts and no patient.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from node.errors import IchnodeError
from node.health.metrics import NodeMetrics
from node.health.readiness import conditions
from node.log import event
from node.outages import waits_for
from node.settings import Settings
from node.worklist import Worklist

logger = logging.getLogger(__name__)

AGAIN_S = 30.0
"""How long after the port was found taken it is tried again; chosen, since nothing hangs on it."""
CALLER_S = 10.0
"""How long a caller may take to say what it wants, seconds. An estimate."""
Answer = Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]
TEXT = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))


def application(
    settings: Settings, worklist: Worklist | None, clock: Callable[[], datetime]
) -> Answer:
    """Return the WSGI application that answers; None: the worklist cannot be opened."""
    registry = CollectorRegistry()
    if worklist is not None:
        registry.register(NodeMetrics(settings, worklist, clock))
    metrics = make_wsgi_app(registry, disable_compression=True)

    def answer(asked: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        match asked["REQUEST_METHOD"], asked["PATH_INFO"]:
            case ("GET" | "HEAD", "/metrics"):
                if worklist is None:
                    return _say(start, "503 Service Unavailable", waits_for())
                try:
                    return list(metrics(asked, start))
                except (IchnodeError, OSError) as error:
                    return _say(start, "503 Service Unavailable", str(error))
            case ("GET" | "HEAD", "/healthz"):
                return _say(start, "200 OK", "ok")
            case ("GET" | "HEAD", "/readyz"):
                found = conditions(settings, worklist, clock())
                lines = [f"{'ok ' if r.holds else 'NOT'} {r.what}: {r.found}" for r in found]
                ready = all(one.holds for one in found)
                return _say(start, "200 OK" if ready else "503 Service Unavailable", *lines)
        return _say(start, "404 Not Found", "/metrics, /healthz or /readyz")

    return answer


def _say(start: Callable[..., object], status: str, *lines: str) -> Iterable[bytes]:
    start(status, list(TEXT))  # the server adds to it
    return ["".join(f"{line}\n" for line in lines).encode()]


class _Handler(WSGIRequestHandler):
    timeout = CALLER_S

    def log_message(self, *_: object) -> None:
        """Log no request: a scrape each some seconds says nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    timeout = 0.5  # in which it hears that it should stop

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a caller that went away."""


@contextmanager
def answering(
    settings: Settings,
    worklist: Worklist | None,
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> Iterator[None]:
    """Answer a monitoring system while the block runs, if `health.port` is set; then set `stop`.

    Parameters
    ----------
    worklist
        None while it cannot be opened: the process lives, and says what it waits for.
    """
    if not settings.health.port:
        yield
        return
    wanted = application(settings, worklist, clock)
    thread = threading.Thread(target=_serve, args=(settings, wanted, stop), name="health")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _serve(settings: Settings, answer: Answer, stop: threading.Event) -> None:
    host, port = settings.health.host, settings.health.port
    server, said = None, False
    while server is None:
        try:
            server = make_server(host, port, answer, _Server, _Handler)
        except OSError as error:
            if not said:
                say = event("health_port_taken", host=host, port=port)
                logger.warning("metrics cannot listen: %s", error.strerror, extra=say)
                said = True
            if stop.wait(AGAIN_S):
                return
    with server:
        while not stop.is_set():
            server.handle_request()
