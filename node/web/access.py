"""Who may ask for what: each route with the role that it takes and what the audit trail notes.

Without any account the page stays open as `node.web.who` says. With accounts everything needs a
sign-in, and a route that is not listed here is for admins alone.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from node.errors import IchnodeError
from node.settings import Web
from node.web import guard
from node.web.who import User, address_of, is_from_this_machine
from node.worklist import Actor, Deed, NotFound, Role, Session, Worklist

BEARERS = "/dicom-web"
"""Paths below it take bearer tokens, which they check themselves, and no cookie."""
RANKS = {Role.VIEWER: 0, Role.RADIOLOGIST: 1, Role.ADMIN: 2}
"""Each role may do what the ones before it may."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REMEMBERED = 20_000
"""Views that are known to be in the audit trail, so that no image asks the database again."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route takes.

    Attributes
    ----------
    role
        The least role; None: nobody needs to be signed in.
    shows
        What the audit trail notes of a request, once for each session (and study).
    form
        A form asks, whose handler checks its token; else a script, which sends it in a header.
    by_itself
        Pages ask by themselves, so that it keeps no session alive.
    """

    role: Role | None = Role.VIEWER
    shows: Deed | None = None
    form: bool = False
    by_itself: bool = False


RULES = {
    "/": Rule(shows=Deed.LIST),
    "/list": Rule(shows=Deed.LIST, by_itself=True),
    "/worklist.json": Rule(shows=Deed.LIST),
    "/live": Rule(by_itself=True),
    "/healthz": Rule(by_itself=True),
    "/studies/{case:int}": Rule(shows=Deed.STUDY),
    "/studies/{case:int}/standing": Rule(shows=Deed.STUDY, by_itself=True),
    "/studies/{case:int}/feedback": Rule(Role.RADIOLOGIST),
    "/studies/{case:int}/undo": Rule(Role.RADIOLOGIST),
    "/cases/{case:int}/capture.png": Rule(shows=Deed.PICTURES),
    "/cases/{case:int}/key.jpg": Rule(shows=Deed.KEY_SLICE),
    "/cases/{case:int}/slices/{number:int}.png": Rule(shows=Deed.PICTURES),
    "/cases/{case:int}/slices/{number:int}/mask.png": Rule(shows=Deed.PICTURES),
    "/cases/{case:int}/sides": Rule(),
    "/admin": Rule(Role.ADMIN),
    "/admin/running": Rule(Role.ADMIN, by_itself=True),
    "/admin/echo": Rule(Role.ADMIN),
    "/admin/deliveries": Rule(Role.ADMIN),
    "/login": Rule(None, form=True),
    "/logout": Rule(form=True),
    "/oidc/login": Rule(None),
    "/oidc/back": Rule(None),
    "/assets": Rule(None),
}
"""By the path of a route, as it stands in the application."""
UNLISTED = Rule(Role.ADMIN)
UNKNOWN = Rule()


class Access:
    """Let a request through to its route, or answer it."""

    def __init__(
        self, app: ASGIApp, worklist: Worklist, web: Web, clock: Callable[[], datetime]
    ) -> None:
        self.app = app
        self._worklist = worklist
        self._idle = timedelta(minutes=web.session_idle_min)
        self._clock = clock
        self._closed = bool(web.oidc.issuer)
        self._views: OrderedDict[tuple[str, Deed, object], None] = OrderedDict()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or _within(scope["path"], BEARERS):
            await self.app(scope, receive, send)
            return
        refused = await run_in_threadpool(self._refusal, Request(scope))
        await (refused or self.app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        """Note who asks; return the answer of who may not."""
        rule, case = _rule(request)
        try:
            request.state.closed = self._is_closed()
            if not request.state.closed:
                return None if rule.role is None else _open_to_this_machine(request)
            session = self._session(request)
            request.state.session = session
            request.state.user = session and User(session.name, session.role)
            if rule.role is not None:
                self._require(request, rule, session)
                self._note(request, rule, session, case)
        except HTTPException as error:
            return PlainTextResponse(error.detail, error.status_code)
        except _SignInFirst:
            return _sign_in_first(request)
        except IchnodeError:
            return PlainTextResponse("The worklist cannot be read now; see the node's log.", 503)
        return None

    def _is_closed(self) -> bool:
        """Return whether people sign in; once there is an account, that stays."""
        self._closed = self._closed or self._worklist.accounts.exist()
        return self._closed

    def _session(self, request: Request) -> Session | None:
        secret = request.cookies.get(guard.session_cookie(request))
        return secret and self._worklist.accounts.session(secret, self._clock(), self._idle) or None

    def _require(self, request: Request, rule: Rule, session: Session | None) -> None:
        if session is None or rule.role is None:
            raise _SignInFirst
        if RANKS[session.role] < RANKS[rule.role]:
            raise HTTPException(403, f"This is for the role {rule.role}; yours is {session.role}.")
        if request.method not in SAFE and not rule.form:
            guard.require_own_page(request)

    def _note(
        self, request: Request, rule: Rule, session: Session | None, case: int | None
    ) -> None:
        """Note in the audit trail what is about to be shown, before it is."""
        if session is None:
            return
        if not rule.by_itself:
            self._worklist.accounts.seen(session, self._clock())
        if rule.shows is None or self._knows(view := (session.digest, rule.shows, case)):
            return
        try:
            study = None if case is None else self._worklist.listing.study_of_case(case)
        except NotFound:
            return  # there is nothing to show
        actor = Actor(session.name, address_of(request), session.digest)
        self._worklist.audit.record(actor, rule.shows, self._clock(), study_uid=study)
        with self._lock:
            self._views[view] = None
            while len(self._views) > REMEMBERED:
                self._views.popitem(last=False)

    def _knows(self, view: tuple[str, Deed, object]) -> bool:
        with self._lock:
            return view in self._views


class _SignInFirst(Exception):
    """Nobody is signed in."""


def _rule(request: Request) -> tuple[Rule, int | None]:
    """Return the rule of the route that will answer, and the case that is asked for."""
    partly = None
    for route in request.app.routes:
        match, scope = route.matches(request.scope)
        rule = RULES.get(route.path, UNLISTED)
        if match is Match.FULL:
            return rule, scope.get("path_params", {}).get("case")
        if match is Match.PARTIAL:
            partly = partly or rule
    return partly or UNKNOWN, None


def _open_to_this_machine(request: Request) -> Response | None:
    """Refuse what comes from elsewhere to a page without accounts, be it through a proxy."""
    if is_from_this_machine(request):
        return None
    words = "Without accounts this page is for this machine alone: run `ichnode user add` there, "
    return PlainTextResponse(f"{words}and name a proxy in web.behind_proxy.", 403)


def _within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _sign_in_first(request: Request) -> Response:
    """Lead a person to the sign-in, and tell a script."""
    fetches = request.headers.get("sec-fetch-mode", "navigate") != "navigate"
    if request.method != "GET" or fetches or "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse("Sign in first.", 401)
    return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
