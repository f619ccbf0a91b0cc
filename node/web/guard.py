"""What every answer carries, and what a request that changes something must show.

A request that changes something must come from a page of ours: it shows the token of the page,
which is that of its session, or without one also in a cookie (double submit), and its Origin is the
host that it asks. So no form or script of another site can write, with or without accounts.
"""

import asyncio
import hmac
import json
import secrets
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCKED = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""What a page may load and run: the files of this server alone, nothing inline."""

COOKIE = "ichnode_page"
HEADER = "x-ichnode-page"
SESSION = "ichnode_session"
LARGEST_BODY = 64 * 1024
"""Bytes of a request's body. It must exceed a page of rows with their tags."""
BODY_S = 10.0
"""How long a body may take to come: a page sends a few KB."""


class Locked:
    """Add to every answer what keeps a browser from storing, guessing, framing or running it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_locked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"  # else a form's Origin is null
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Content-Security-Policy"] = LOCKED
            await send(message)

        await self.app(scope, receive, send_locked)


def token_of(request: Request) -> str:
    """Return the token of the browser's pages: of its session or its cookie, or a new one."""
    if (session := getattr(request.state, "session", None)) is not None:
        return str(session.csrf)
    held = request.cookies.get(COOKIE, "")
    return held if len(held) == 43 and held.isascii() else secrets.token_urlsafe(32)


def with_token(response: Response, request: Request, token: str) -> Response:
    """Return the response with the token as a cookie that scripts and other sites cannot use."""
    if getattr(request.state, "session", None) is None:
        _keep(response, request, COOKIE, token)
    return response


def is_secure(request: Request) -> bool:
    """Return whether the browser speaks HTTPS, to us or to the proxy before us."""
    return request.url.scheme == "https" or bool(request.app.state.behind_proxy)


def session_cookie(request: Request) -> str:
    """Return the name of the session's cookie.

    "__Host-" lets no other host of the domain and no page without HTTPS set it (RFC 6265bis).
    """
    return f"__Host-{SESSION}" if is_secure(request) else SESSION


def with_session(response: Response, request: Request, secret: str | None) -> Response:
    """Return the response with the session's secret as a cookie, or without any, at its end."""
    name, secure = session_cookie(request), is_secure(request)
    if secret is None:
        response.delete_cookie(name, httponly=True, samesite="strict", secure=secure)
    else:
        _keep(response, request, name, secret)
    return response


def _keep(response: Response, request: Request, name: str, value: str) -> None:
    secure = is_secure(request)
    response.set_cookie(name, value, httponly=True, samesite="strict", secure=secure)


def require_own_page(request: Request, shown: str | None = None) -> None:
    """Refuse a request that no page of ours has sent.

    Parameters
    ----------
    shown
        The token in a form; None: a script shows it in a header.

    Raises
    ------
    HTTPException
        403, with words.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    elsewhere = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    session = getattr(request.state, "session", None)
    held = session.csrf if session is not None else request.cookies.get(COOKIE, "")
    shown = request.headers.get(HEADER, "") if shown is None else shown
    ours = bool(held) and hmac.compare_digest(held.encode(), shown.encode(errors="replace"))
    if elsewhere or site != "same-origin" or not ours:
        raise HTTPException(403, "This page is out of date: load it again.")


async def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    Raises
    ------
    HTTPException
        As `data_of`; 400 if it is no JSON object.
    """
    data = await data_of(request)
    try:
        values = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "The request is no JSON.") from error
    if not isinstance(values, dict):
        raise HTTPException(400, "The request is no JSON object.")
    return values


async def data_of(request: Request) -> bytes:
    """Return a request's body.

    Raises
    ------
    HTTPException
        413 if it is too large, 408 if it does not come.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return await _read(request)
    except TimeoutError as error:
        raise HTTPException(408, "The request did not come in time.") from error


async def _read(request: Request) -> bytes:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_BODY:
            raise HTTPException(413, "The request is too large.")
    return data
