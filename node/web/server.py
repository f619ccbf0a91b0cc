"""The web server of a node: it listens, and serves the application until it is told to stop."""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import uvicorn
from starlette.routing import BaseRoute

from node.errors import Retryable
from node.log import event
from node.settings import Settings
from node.web.app import LOOPBACK, app
from node.worklist import Views

logger = logging.getLogger(__name__)


def serve_page(
    settings: Settings,
    views: Views,
    clock: Callable[[], datetime],
    stop: threading.Event,
    also: Sequence[BaseRoute] = (),
) -> None:
    """Serve the page, and what `also` adds, until `stop` is set.

    Raises
    ------
    Retryable
        If the address cannot be listened on.
    """
    host, port = settings.web.host, settings.web.port
    hosts = {*LOOPBACK, socket.gethostname().lower(), f"[{host}]" if ":" in host else host}
    config = uvicorn.Config(
        app(views, settings.data_dir, clock, sorted(hosts), also),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    with _listen(host, port) as listening:
        address = listening.getsockname()
        logger.info("page served", extra=event("page", host=address[0], port=address[1]))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="page")
        thread.start()
        while thread.is_alive() and not stop.wait(0.2):
            pass
        server.should_exit = True
        thread.join()
    if not stop.is_set():
        raise Retryable("the triage page stopped by itself; the log says why")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Retryable(f"the triage page cannot listen on {host}:{port}: {error}") from error
