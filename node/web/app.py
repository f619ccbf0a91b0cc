"""The web application: its pages, and what guards them.

Nothing can be changed through it. It loads nothing from elsewhere, answers only to the host names
it is told, and leaves nothing in a browser's cache.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.errors import IchnodeError
from node.log import event
from node.web.worklist_page import LOCKED, WorklistPage
from node.worklist import Views

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def app(
    views: Views,
    data_dir: Path,
    clock: Callable[[], datetime],
    hosts: Sequence[str] = LOOPBACK,
    also: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the web application.

    Parameters
    ----------
    hosts
        The names a browser may call it by. Any other is refused, so that no web site can make a
        browser read the page by pointing its own name here (DNS rebinding).
    also
        What is served beside the pages.
    """
    return Starlette(
        routes=[*also, *WorklistPage(views, data_dir, clock).routes()],
        middleware=[
            Middleware(_Locked),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={IchnodeError: _unavailable},
    )


class _Locked:
    """Add to every answer what keeps a browser from storing, guessing, framing or running it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_locked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Content-Security-Policy", LOCKED)
            await send(message)

        await self.app(scope, receive, send_locked)


def _unavailable(request: Request, error: Exception) -> Response:
    del request
    logger.error("page not served: %s", error, extra=event("page_failed"))
    return Response("The worklist cannot be read now; see the node's log.", 503)
