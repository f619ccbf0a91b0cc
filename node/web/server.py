"""The web server of a node: it listens, and serves the application until it is told to stop."""

import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime

from starlette.routing import BaseRoute

from node.cases.decoding import decoding_process
from node.depot import depot_of
from node.errors import BadConfiguration, Retryable
from node.log import event
from node.settings import LOOPBACK as THIS_MACHINE
from node.settings import Settings, Web
from node.web.app import LOOPBACK, app
from node.web.connections import Seldom, raise_file_limit, served
from node.web.pictures import Pictures
from node.worklist import Worklist

logger = logging.getLogger(__name__)


def _nothing_new(_: Callable[[Settings], None]) -> AbstractContextManager[None]:
    return nullcontext()


def serve_page(
    settings: Settings,
    worklist: Worklist,
    clock: Callable[[], datetime],
    stop: threading.Event,
    also: Sequence[BaseRoute] = (),
    telling: Callable[[Callable[[Settings], None]], AbstractContextManager[None]] = _nothing_new,
) -> None:
    """Serve the page, and what `also` adds, until `stop` is set.

    Parameters
    ----------
    telling
        Calls what it is given with the settings that come into force, while its block runs.

    Raises
    ------
    Retryable
        If the address cannot be listened on.
    BadConfiguration
        As `require_closed`.
    """
    require_closed(settings, worklist)
    raise_file_limit()
    with _listen(settings.web.host, settings.web.port) as listening, _pictures(settings) as drawn:
        address = listening.getsockname()
        logger.info("page served", extra=event("page", host=address[0], port=address[1]))
        application = app(worklist, settings, drawn, clock, names(settings), also)
        server = served(
            application,
            lifespan="on",
            ssl_certfile=settings.web.certificate or None,
            ssl_keyfile=settings.web.key or None,
            timeout_graceful_shutdown=3,
        )
        thread = threading.Thread(target=server.run, args=([listening],), name="page")
        noisy = ("uvicorn.error", "asyncio", "node.web.provider_sign_in")
        with _said_seldom(*noisy), telling(application.state.take):
            thread.start()
            while thread.is_alive() and not stop.wait(0.2):
                pass
            application.state.streams.ended = True
            server.should_exit = True
            thread.join()
    if not stop.is_set():
        raise Retryable("the triage page stopped by itself; the log says why")


@contextmanager
def _said_seldom(*names: str) -> Iterator[None]:
    """Keep what bad clients can have these loggers say from filling the log."""
    filters = {logging.getLogger(name): Seldom() for name in names}
    for noisy, seldom in filters.items():
        noisy.addFilter(seldom)
    try:
        yield
    finally:
        for noisy, seldom in filters.items():
            noisy.removeFilter(seldom)


def require_closed(settings: Settings, worklist: Worklist) -> None:
    """Refuse to open the page to other machines without accounts or without HTTPS.

    Raises
    ------
    BadConfiguration
        If that is asked for, or the certificate cannot be used.
    """
    web = settings.web
    if web.certificate:
        _require_certificate(web)
    if web.oidc.issuer and not os.environ.get(web.oidc.secret_variable):
        raise BadConfiguration(f"web.oidc: {web.oidc.secret_variable} is not set")
    if web.host in THIS_MACHINE:
        return
    if not web.certificate and not web.behind_proxy:
        raise BadConfiguration(
            "the triage page is opened to other machines over HTTPS only: set web.certificate and "
            'web.key, or web.behind_proxy; or set web.host = "127.0.0.1"'
        )
    if not web.oidc.issuer and not worklist.accounts.exist():
        raise BadConfiguration(
            "the triage page is opened to other machines with accounts only: run "
            '`ichnode user add NAME --role admin`; or set web.host = "127.0.0.1"'
        )


def _require_certificate(web: Web) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(web.certificate, web.key, password="")  # never asks for one
    except (OSError, ValueError) as error:
        raise BadConfiguration(
            f"web.certificate {web.certificate} and web.key {web.key} cannot be used: {error}"
        ) from error


def names(settings: Settings) -> list[str]:
    """Return the host names that the page answers to."""
    host = settings.web.host
    own = {*LOOPBACK, socket.gethostname().lower(), f"[{host}]" if ":" in host else host}
    return sorted(own | {name.lower() for name in settings.web.hosts})


@contextmanager
def _pictures(settings: Settings) -> Iterator[Pictures]:
    limits, memory_mb = settings.decode, settings.web.pictures_mb
    with decoding_process(limits) as quick, decoding_process(limits) as whole:
        pictures = Pictures(depot_of(settings), quick, whole, memory_mb)
        pictures.warm_up()
        try:
            yield pictures
        finally:
            pictures.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise Retryable(f"the triage page cannot listen on {host}:{port}: {error}") from error
    # Accepted connections inherit it. asyncio sets it only where a socket names its protocol, and
    # Nagle's algorithm would hold the second part of each answer for 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
