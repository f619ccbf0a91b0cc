"""What the ways to sign in share: the form, the session that is opened, the path to go on to."""

import re
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from node.web import guard
from node.web.attempts import WINDOW
from node.web.site import Site
from node.web.who import address_of
from node.worklist import Account


def form(site: Site, request: Request, then: str, problem: str = "", status: int = 200) -> Response:
    """Return the page to sign in by, which says what went wrong."""
    oidc, token = site.settings.web.oidc, guard.token_of(request)
    provider = oidc.title if oidc.issuer else ""
    html = site.render("login.html", token=token, then=then, problem=problem, provider=provider)
    headers = {"Retry-After": str(int(WINDOW.total_seconds()))} if status == 429 else None
    return guard.with_token(HTMLResponse(html, status, headers), request, token)


def opened(site: Site, request: Request, account: Account) -> str:
    """Return the secret of a new session; the one that the browser had is ended."""
    accounts, now, address = site.worklist.accounts, site.clock(), address_of(request)
    if request.state.session is not None:
        accounts.close_session(request.state.session, address, now)
    lasts = timedelta(hours=site.settings.web.session_hours)
    return accounts.open_session(account.number, address, now, lasts)


def local(path: str | None) -> str:
    """Return a path of ours to go on to; the list if there is none."""
    return path if path and re.fullmatch(r"/(studies/\d{1,9}|admin)?", path) else "/"
