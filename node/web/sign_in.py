"""The pages to sign in and out by."""

from functools import cached_property
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from node.passwords import Comparison
from node.web import guard
from node.web.attempts import Attempts
from node.web.signing import form, local, opened
from node.web.site import Site
from node.web.who import address_of
from node.worklist import Actor, Deed, login

WRONG = "Name or password is wrong."
TOO_OFTEN = "Too many attempts. Try again later."


class SignIn:
    """Signing in and out; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._attempts = Attempts()

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
        return form(self._site, request, local(request.query_params.get("next")))

    async def sign_in(self, request: Request) -> Response:
        """Sign a person in by name and password, in a session of a new secret."""
        asked = await _form_of(request)
        if not request.state.closed:
            return RedirectResponse("/", 303)
        return await run_in_threadpool(self._sign_in, request, asked)

    def _sign_in(self, request: Request, asked: dict[str, str]) -> Response:
        name, then = asked.get("name", ""), local(asked.get("next"))
        address, now = address_of(request), self._site.clock()
        comparison = self._comparison
        if not self._attempts.admit(login(name), address, now):
            return form(self._site, request, then, TOO_OFTEN, 429)
        account = self._site.worklist.accounts.find(name)
        kept = account.password_hash if account and not account.disabled_at else None
        if not comparison.matches(kept, asked.get("password", "")) or account is None:
            who = account.name if account else "unknown"
            actor = Actor(who, address)
            self._site.worklist.audit.record(actor, Deed.SIGN_IN_FAILED, now)
            return form(self._site, request, then, WRONG, 401)
        self._attempts.succeeded(login(name), address)
        secret = opened(self._site, request, account)
        return guard.with_session(RedirectResponse(then, 303), request, secret)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await _form_of(request)
        session = getattr(request.state, "session", None)
        if session is not None:
            close = self._site.worklist.accounts.close_session
            await run_in_threadpool(close, session, address_of(request), self._site.clock())
        return guard.with_session(RedirectResponse("/login", 303), request, None)


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
