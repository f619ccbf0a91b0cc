"""The web application: its pages, and what guards them.

It loads nothing from elsewhere, answers only to the host names it is told, and leaves nothing in a
browser's cache. Nothing is changed through it but by a signed-in person on a page of ours.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from node.errors import IchnodeError
from node.log import event
from node.settings import Settings, Web
from node.web.access import Access
from node.web.admin_page import AdminPage
from node.web.guard import Locked
from node.web.list_page import ListPage
from node.web.live_list import LiveList
from node.web.opinions import Opinions
from node.web.pictures import NoPicture, Pictures
from node.web.provider_sign_in import ProviderSignIn
from node.web.proxied import Proxied
from node.web.sign_in import SignIn
from node.web.site import Site, templates
from node.web.stream import Streams
from node.web.study_page import StudyPage
from node.web.watching import Watching
from node.worklist import NotFound, Worklist

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def app(
    worklist: Worklist,
    settings: Settings,
    pictures: Pictures,
    clock: Callable[[], datetime],
    hosts: Sequence[str] = LOOPBACK,
    also: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the web application; its `state.streams` are the open pages.

    `state.take` is called with settings that came into force while it runs.

    Parameters
    ----------
    hosts
        The names a browser may call it by. Any other is refused, so that no web site can make a
        browser read the page by pointing its own name here (DNS rebinding).
    also
        What is served beside the pages.
    """
    live = LiveList(worklist.listing, clock)
    watching = Watching(worklist, settings, clock)
    site = Site(worklist, settings, clock, live, pictures, watching, templates(clock))
    streams = Streams(live, settings.web.max_live_clients)
    made = Starlette(
        routes=[
            *also,
            *ListPage(site).routes(),
            *StudyPage(site).routes(),
            *Opinions(site).routes(),
            *SignIn(site).routes(),
            *ProviderSignIn(site).routes(),
            *AdminPage(site).routes(),
            Route("/live", streams.answer),
            Mount("/assets", StaticFiles(packages=[("node.web", "assets")])),
        ],
        middleware=[
            Middleware(Locked),
            *_proxied(settings.web),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(Access, worklist=worklist, web=settings.web, clock=clock),
        ],
        exception_handlers={
            NotFound: _not_found,
            NoPicture: _no_picture,
            IchnodeError: _unavailable,
        },
        lifespan=_looking(streams),
    )
    made.state.open_feedback_as = settings.web.open_feedback_as
    made.state.behind_proxy = bool(settings.web.behind_proxy)
    made.state.streams = streams
    made.state.take = site.take
    return made


def _proxied(web: Web) -> list[Middleware]:
    return [Middleware(Proxied, proxies=web.behind_proxy)] if web.behind_proxy else []


def _looking(streams: Streams) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(streams.keep_looking())
        yield
        streams.ended = True
        await looking

    return lifespan


def _not_found(request: Request, error: Exception) -> Response:
    del request, error
    return PlainTextResponse("There is no such study or case.", 404)


def _no_picture(request: Request, error: Exception) -> Response:
    del request
    return PlainTextResponse(str(error), 422)


def _unavailable(request: Request, error: Exception) -> Response:
    del request
    logger.error("page not served: %s", error, extra=event("page_failed"))
    return PlainTextResponse("The worklist cannot be read now; see the node's log.", 503)
