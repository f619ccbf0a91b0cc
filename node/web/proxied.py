"""A proxy before the page: it alone may ask, and says for whom it asks."""

from collections.abc import Sequence

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Proxied:
    """Take requests of the proxy alone, as those of the clients that its headers name.

    Of X-Forwarded-For the last address counts that is no proxy of ours: a client can write only
    what stands before it.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        self._proxies = frozenset(proxies)
        self._app = ProxyHeadersMiddleware(app, list(proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and (scope.get("client") or ("",))[0] not in self._proxies:
            refusal = PlainTextResponse("Ask through the proxy.", 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)  # type: ignore[arg-type]
