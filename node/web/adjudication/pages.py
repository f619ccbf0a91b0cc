"""The page of one desk: a study at a time, its slices, and the person's answer."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from models.findings import SUBTYPES
from node.archive.adjudication import Answer, Desk
from node.archive.evidence import WINDOWS
from node.errors import IchnodeError
from node.web import guard
from node.web.adjudication.entry import Entry
from node.web.adjudication.heads import Heads
from node.web.app import LOOPBACK
from node.web.guard import Locked
from node.web.site import templates

SUBTYPE_KEYS = dict(zip(SUBTYPES, "EPVSD", strict=True))
"""Epidural, intraParenchymal, intraVentricular, Subarachnoid, subDural."""
ANSWER_KEYS = {Answer.BLEEDS: "B", Answer.NONE: "N", Answer.CANNOT_TELL: "C"}


def adjudication_app(
    desk: Desk, heads: Heads, token: str, port: int, clock: Callable[[], datetime]
) -> Starlette:
    """Return the application of a desk."""
    pages = _Pages(desk, heads, clock)
    made = Starlette(
        routes=[
            Route("/", pages.page),
            Route("/progress", pages.progress),
            Route("/asked/{place:int}", pages.asked),
            Route("/asked/{place:int}/slices/{z:int}.png", pages.slice),
            Route("/asked/{place:int}/slices/{z:int}/mask.png", pages.mask),
            Route("/who", pages.sit_down, methods=["POST"]),
            Route("/decide", pages.decide, methods=["POST"]),
            Route("/undo", pages.undo, methods=["POST"]),
            Mount("/assets", StaticFiles(packages=[("node.web", "assets")])),
        ],
        middleware=[
            Middleware(Locked),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False),
            Middleware(Entry, token=token, port=port),
        ],
        exception_handlers={IchnodeError: _failed, IndexError: _no_such},
    )
    made.state.behind_proxy = False
    return made


class _Pages:
    def __init__(self, desk: Desk, heads: Heads, clock: Callable[[], datetime]) -> None:
        self._desk, self._heads = desk, heads
        self._templates = templates(clock)
        self._clock = clock

    async def page(self, request: Request) -> Response:
        """Answer with the page; without a name it asks for one."""
        token = guard.token_of(request)
        html = self._templates.get_template("adjudicate.html").render(
            token=token,
            user={"name": self._desk.who, "role": ""} if self._desk.who else None,
            now=self._clock(),
            closed=False,
            may_say=False,
            blind=self._desk.blind,
            windows=tuple(WINDOWS),
            answers=ANSWER_KEYS,
            subtypes=SUBTYPE_KEYS,
        )
        return guard.with_token(HTMLResponse(html), request, token)

    async def progress(self, request: Request) -> Response:
        """Answer how far the person is."""
        del request
        self._require_person()
        return JSONResponse(await run_in_threadpool(self._desk.progress))

    async def asked(self, request: Request) -> Response:
        """Answer what is shown of a study."""
        self._require_person()
        return JSONResponse(await run_in_threadpool(self._facts, _place(request)))

    def _facts(self, place: int) -> dict[str, Any]:
        facts = self._desk.facts(place)
        study = self._desk.study(place)
        head = self._heads.head(study.name)
        facts["slices"] = len(head.hu) if head else 0
        if head:
            told = study.outcome.key_slice
            facts["sides"] = head.sides
            facts["first"] = len(head.hu) // 2 if self._desk.blind else head.key(told)
        return facts

    async def slice(self, request: Request) -> Response:
        """Answer with a picture of a slice."""
        self._require_person()
        study, z = self._desk.study(_place(request)).name, request.path_params["z"]
        window = request.query_params.get("window", "brain")
        return _picture(await run_in_threadpool(self._heads.slice_png, study, z, window))

    async def mask(self, request: Request) -> Response:
        """Answer with what the node outlined, unless that is hidden."""
        self._require_person()
        if self._desk.blind:
            raise HTTPException(404, "What the node outlined is hidden.")
        study, z = self._desk.study(_place(request)).name, request.path_params["z"]
        return _picture(await run_in_threadpool(self._heads.mask_png, study, z))

    async def sit_down(self, request: Request) -> Response:
        """Take the name of who decides."""
        guard.require_own_page(request)
        values = await guard.body_of(request)
        self._desk.sit_down(_text(values, "name").strip())
        return JSONResponse({})

    async def decide(self, request: Request) -> Response:
        """Write down an answer; answer with the progress."""
        guard.require_own_page(request)
        self._require_person()
        values = await guard.body_of(request)
        place, subtypes = values.get("place"), values.get("subtypes", [])
        if type(place) is not int or not 0 <= place < len(self._desk):
            raise HTTPException(400, "There is no such study.")
        if not isinstance(subtypes, list) or not all(isinstance(each, str) for each in subtypes):
            raise HTTPException(400, "Subtypes are a list of names.")
        answer, note = _text(values, "answer"), _text(values, "note")
        await run_in_threadpool(self._desk.decide, place, answer, subtypes, note)
        return JSONResponse(await run_in_threadpool(self._desk.progress))

    async def undo(self, request: Request) -> Response:
        """Take the last answer back; answer with its place."""
        guard.require_own_page(request)
        self._require_person()
        return JSONResponse({"place": await run_in_threadpool(self._desk.undo)})

    def _require_person(self) -> None:
        if not self._desk.who:
            raise HTTPException(403, "Say first who decides.")


def _place(request: Request) -> int:
    return int(request.path_params["place"])


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "")
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} is no text.")
    return value


def _picture(png: bytes | None) -> Response:
    if png is None:
        raise HTTPException(404, "There is no such picture.")
    return Response(png, media_type="image/png")


def _failed(request: Request, error: Exception) -> Response:
    del request
    return PlainTextResponse(str(error), 422)


def _no_such(request: Request, error: Exception) -> Response:
    del request, error
    return PlainTextResponse("There is no such study.", 404)
