"""The worklist as a page that a radiologist reads in a dark room, and as JSON."""

import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from node.case_folder import CaseFolder, case_folder
from node.states import Priority
from node.visible import visible
from node.web import wording
from node.wording import UNCERTAIN
from node.worklist import READ_ELSEWHERE, Views

LOCKED = (
    "default-src 'none'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What a page may load: nothing but its own pictures."""


class WorklistPage:
    """The page and what it asks for; each method answers one request."""

    def __init__(self, views: Views, data_dir: Path, clock: Callable[[], datetime]) -> None:
        self._views = views
        self._data_dir = data_dir
        self._clock = clock
        self._templates = _templates(clock)

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [
            Route("/", self.page),
            Route("/rows", self.rows),
            Route("/worklist.json", self.worklist),
            Route("/cases/{case:int}/capture.png", self.capture),
            Route("/healthz", self.healthz),
        ]

    def page(self, _: Request) -> Response:
        """Return the whole page; its own script and style run by a nonce, no other does."""
        nonce = secrets.token_urlsafe(16)
        own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'"
        headers = {"Content-Security-Policy": f"{LOCKED}; {own}"}
        return HTMLResponse(self._render("page.html", nonce=nonce), headers=headers)

    def rows(self, _: Request) -> Response:
        """Return the rows alone, with which the page renews itself."""
        return HTMLResponse(self._render("rows.html"))

    def worklist(self, _: Request) -> Response:
        """Return what `ichnode worklist --json` prints."""
        return JSONResponse([row.to_json() for row in self._views.worklist(self._clock())])

    def capture(self, request: Request) -> Response:
        """Return the summary picture of a case."""
        path = self._picture(case_folder(request.path_params["case"]))
        if not path.is_file():
            raise HTTPException(404, "this case has no capture")
        return FileResponse(path, media_type="image/png")

    def healthz(self, _: Request) -> Response:
        """Return how many cases stand in each state."""
        return JSONResponse({"cases": dict(self._views.counts())})

    def _render(self, name: str, **values: object) -> str:
        now = self._clock()
        rows = self._views.worklist(now, since=now - READ_ELSEWHERE)
        return self._templates.get_template(name).render(
            rows=rows,
            now=now,
            counts={p: sum(row.priority is p for row in rows if not row.prior) for p in Priority},
            pictures={row.case_id for row in rows if self._picture(row.folder).is_file()},
            **values,
        )

    def _picture(self, folder: str) -> Path:
        return CaseFolder(self._data_dir, folder).picture


def _templates(clock: Callable[[], datetime]) -> Environment:
    templates = Environment(
        loader=PackageLoader("node.web", "."),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
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
