"""Who may come in: the browser that opens the printed address first, and no other.

The address carries a token that is good once. It is exchanged for a cookie that scripts and other
sites cannot use, and does not stay in the browser's address line.
"""

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

REFUSED = (
    "This page belongs to the browser that opened the address first that `ichnode archive "
    "adjudicate` printed. Start the command again for a new one."
)


class Entry:
    """Let one browser in, by a token that is good once.

    Parameters
    ----------
    token
        What the printed address carries.
    port
        Of this page: browsers share cookies among the ports of a machine.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app = app
        self._token: str | None = token
        self._secret = secrets.token_urlsafe(32)
        self._cookie = f"ichnode_desk_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        if _is(request.cookies.get(self._cookie), self._secret):
            await self.app(scope, receive, send)
            return
        await self._let_in(request)(scope, receive, send)

    def _let_in(self, request: Request) -> Response:
        shown = request.query_params.get("token")
        if request.url.path != "/" or self._token is None or not _is(shown, self._token):
            return PlainTextResponse(REFUSED, 403)
        self._token = None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, self._secret, httponly=True, samesite="strict")
        return answer


def _is(shown: str | None, held: str) -> bool:
    return shown is not None and hmac.compare_digest(shown.encode(errors="replace"), held.encode())
