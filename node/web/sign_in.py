"""The pages to sign in and out by."""

import re
from datetime import timedelta
from functools import cached_property
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from node.passwords import Comparison
from node.web import guard
from node.web.attempts import WINDOW, Attempts
from node.web.site import Site
from node.web.who import address_of
from node.worklist import Account, Actor, Deed, login

WRONG = "Name or password is wrong."
TOO_OFTEN = "Too many attempts. Try again later."


class SignIn:
    """Signing in and out; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._attempts = Attempts()
        self._lasts = timedelta(hours=site.settings.web.session_hours)

    @cached_property
    def _comparison(self) -> Comparison:
        return Comparison()

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [
            Route("/login", self.page),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        """Return the form; the list to who is signed in, and where there are no accounts."""
        if not request.state.closed or request.state.session is not None:
            return RedirectResponse("/", 303)
        return self._form(request, _local(request.query_params.get("next")))

    async def sign_in(self, request: Request) -> Response:
        """Sign a person in by name and password, in a session of a new secret."""
        asked = await _form_of(request)
        if not request.state.closed:
            return RedirectResponse("/", 303)
        return await run_in_threadpool(self._sign_in, request, asked)

    def _sign_in(self, request: Request, asked: dict[str, str]) -> Response:
        name, then = asked.get("name", ""), _local(asked.get("next"))
        address, now = address_of(request), self._site.clock()
        comparison = self._comparison
        if not self._attempts.admit(login(name), address, now):
            return self._form(request, then, TOO_OFTEN, 429)
        account = self._site.worklist.accounts.find(name)
        kept = account.password_hash if account and not account.disabled_at else None
        if not comparison.matches(kept, asked.get("password", "")) or account is None:
            who = account.name if account else "unknown"
            actor = Actor(who, address)
            self._site.worklist.audit.record(actor, Deed.SIGN_IN_FAILED, now)
            return self._form(request, then, WRONG, 401)
        self._attempts.succeeded(login(name), address)
        return self._opened(request, account, then)

    def _opened(self, request: Request, account: Account, then: str) -> Response:
        accounts, now = self._site.worklist.accounts, self._site.clock()
        address = address_of(request)
        if request.state.session is not None:
            accounts.close_session(request.state.session, address, now)
        secret = accounts.open_session(account.number, address, now, self._lasts)
        return guard.with_session(RedirectResponse(then, 303), request, secret)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await _form_of(request)
        session = getattr(request.state, "session", None)
        if session is not None:
            close = self._site.worklist.accounts.close_session
            await run_in_threadpool(close, session, address_of(request), self._site.clock())
        return guard.with_session(RedirectResponse("/login", 303), request, None)

    def _form(self, request: Request, then: str, problem: str = "", status: int = 200) -> Response:
        token = guard.token_of(request)
        html = self._site.render("login.html", token=token, then=then, problem=problem)
        headers = {"Retry-After": str(int(WINDOW.total_seconds()))} if status == 429 else None
        return guard.with_token(HTMLResponse(html, status, headers), request, token)


async def _form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form of ours.

    Raises
    ------
    HTTPException
        As `guard.data_of` and `guard.require_own_page`; 400 if it is no form.
    """
    data = await guard.data_of(request)
    try:
        fields = dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=10))
    except ValueError as error:
        raise HTTPException(400, "The request is no form.") from error
    guard.require_own_page(request, fields.get("token", ""))
    return fields


def _local(path: str | None) -> str:
    """Return a path of ours to go on to; the list if there is none."""
    return path if path and re.fullmatch(r"/(studies/\d{1,9}|admin)?", path) else "/"
