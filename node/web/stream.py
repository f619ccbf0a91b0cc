"""Tells open pages that the list changed: server-sent events (HTML, 9.2).

An event says which version the list has and how old its last look at the database is, and nothing
about any patient. A page that misses some loses nothing, since each stands for all before it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from node.errors import IchnodeError
from node.log import event
from node.web.live_list import LOOKED_AT_AGAIN, LiveList

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the database is looked at, for all pages together."""
BEAT_S = 2.0
"""A page hears at least this often, so that it knows when it no longer does."""
LONGEST_S = 900.0
"""A stream ends after this time and its page opens another one: none is held for a page that is
gone without a word."""


class Streams:
    """The streams of all open pages, of which there is a limited number."""

    def __init__(self, live: LiveList, most: int) -> None:
        self._live = live
        self._most = most
        self._looked = asyncio.Condition()
        self.open = 0
        self.ended = False

    async def answer(self, request: Request) -> Response:
        """Return the stream for one page; 503 if there are too many."""
        del request
        if self.open >= self._most or self.ended:
            return PlainTextResponse("Too many pages are open.", 503, {"Retry-After": "10"})
        return _EventStream(self._events(), self)

    async def keep_looking(self) -> None:
        """Look at the database again and again, and wake the streams each time."""
        failing = False
        while not self.ended:
            try:
                await asyncio.to_thread(self._live.look, again=LOOKED_AT_AGAIN)
                failing = False
            except IchnodeError as error:
                if not failing:
                    logger.error("list not renewed: %s", error, extra=event("list_failed"))
                failing = True
            async with self._looked:
                self._looked.notify_all()
            await asyncio.sleep(LOOK_S)

    async def _events(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        ends, told, told_at = loop.time() + LONGEST_S, -1, float("-inf")
        yield "retry: 2000\n\n"
        while not self.ended and loop.time() < ends:
            if self._live.version != told or loop.time() >= told_at + BEAT_S:
                told, told_at = self._live.version, loop.time()
                facts = {"version": told, "age_s": round(self._live.age_s, 1)}
                yield f"data: {json.dumps(facts)}\n\n"
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S), self._looked:
                    await self._looked.wait()


class _EventStream(StreamingResponse):
    """A stream that counts while it lasts; `node.web.connections` drops a client that is slow."""

    def __init__(self, events: AsyncIterator[str], streams: Streams) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a place among the streams while this one lasts."""
        self._streams.open += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.open -= 1
