"""The worklist as a page that a radiologist reads in a dark room, and as JSON.

Nothing can be changed through it. It loads nothing from elsewhere, answers only to the host names
it is told, and leaves nothing in a browser's cache.
"""

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import uvicorn
from jinja2 import Environment, PackageLoader
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.case_folder import CaseFolder, case_folder
from node.errors import IchnodeError, Retryable
from node.log import event
from node.settings import Settings
from node.states import Priority
from node.web import wording
from node.wording import UNCERTAIN
from node.worklist import READ_ELSEWHERE, Views

logger = logging.getLogger(__name__)

LOCKED = (
    "default-src 'none'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def app(
    views: Views,
    data_dir: Path,
    clock: Callable[[], datetime],
    hosts: Sequence[str] = LOOPBACK,
) -> Starlette:
    """Return the page's application.

    Parameters
    ----------
    hosts
        The names a browser may call it by. Any other is refused, so that no web site can make a
        browser read the page by pointing its own name here (DNS rebinding).
    """
    templates = _templates(clock)

    def render(name: str, **values: object) -> str:
        now = clock()
        rows = views.worklist(now, since=now - READ_ELSEWHERE)
        return templates.get_template(name).render(
            rows=rows,
            now=now,
            counts={p: sum(row.priority is p for row in rows if not row.prior) for p in Priority},
            pictures={row.case_id for row in rows if _picture(data_dir, row.folder).is_file()},
            **values,
        )

    def page(_: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'"
        headers = {"Content-Security-Policy": f"{LOCKED}; {own}"}
        return HTMLResponse(render("page.html", nonce=nonce), headers=headers)

    def rows(_: Request) -> Response:
        return HTMLResponse(render("rows.html"))

    def worklist(_: Request) -> Response:
        return JSONResponse([row.to_json() for row in views.worklist(clock())])

    def capture(request: Request) -> Response:
        path = _picture(data_dir, case_folder(request.path_params["case"]))
        if not path.is_file():
            raise HTTPException(404, "this case has no capture")
        return FileResponse(path, media_type="image/png")

    def healthz(_: Request) -> Response:
        return JSONResponse({"cases": dict(views.counts())})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/rows", rows),
            Route("/worklist.json", worklist),
            Route("/cases/{case:int}/capture.png", capture),
            Route("/healthz", healthz),
        ],
        middleware=[
            Middleware(_Locked),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={IchnodeError: _unavailable},
    )


def serve_page(
    settings: Settings, views: Views, clock: Callable[[], datetime], stop: threading.Event
) -> None:
    """Serve the page until `stop` is set.

    Raises
    ------
    Retryable
        If the address cannot be listened on.
    """
    host, port = settings.web.host, settings.web.port
    hosts = {*LOOPBACK, socket.gethostname().lower(), f"[{host}]" if ":" in host else host}
    config = uvicorn.Config(
        app(views, settings.data_dir, clock, sorted(hosts)),
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Retryable(f"the triage page cannot listen on {host}:{port}: {error}") from error


def _picture(data_dir: Path, folder: str) -> Path:
    return CaseFolder(data_dir, folder).picture


def _templates(clock: Callable[[], datetime]) -> Environment:
    templates = Environment(
        loader=PackageLoader("node.web", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.globals["UNCERTAIN"] = UNCERTAIN
    templates.filters |= {
        "age": lambda at: wording.span(clock() - at),
        "local": lambda at, form: at.astimezone().strftime(form),
        "subtypes": wording.subtypes,
        "stage": wording.stage,
        "budget": wording.budget,
        "closing": wording.closing,
        "deliveries": wording.deliveries,
    }
    return templates
