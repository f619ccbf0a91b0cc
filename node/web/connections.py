"""Connections to the page: limited in number, and in how long a client may keep one waiting.

uvicorn limits neither: a client that sends half a header keeps its connection for good, and a
thousand of them take all file descriptors, so that accepting fails and logs without end. Here a
connection is closed whose request does not come in time, or whose answer is not taken. Where there
are too many, the one that has kept the server waiting longest gives way, so that a new client is
always answered.
"""

import asyncio
import logging
import resource
import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0
"""How long a request may take to come, from the connection or its last answer. It must exceed
uvicorn's keep-alive (5 s)."""
MOST = 512
"""Connections at once. It must exceed `web.max_live_clients` several times."""
SLOW_S = 20.0
"""How long a client may take none of what waits to be sent to it."""
FILES = 8192
"""Open files that the process asks for; the limit of the system may be lower."""
BACKLOG = 128
"""Connections that wait to be accepted. asyncio accepts as many in one go before the first of them
is counted, so it must stay well below the limit of open files."""
QUIET_S = 60.0
"""One kind of complaint about clients stands in the log once in this time."""


class Bounded(H11Protocol):
    """A connection that must bring its request in time."""

    _waiting: dict["Bounded", None] = {}
    """Those that owe a request, the longest first; all connections of this process."""
    _deadline: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, in the place of another one if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            next(iter(self._waiting), self).transport.abort()
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that has begun is waited for no longer."""
        super().data_received(data)
        if self._is_answering():
            self._expect_no_more()

    def on_response_complete(self) -> None:
        """Wait for the next request, if it is not here already."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_answering():
            self._expect()

    def pause_writing(self) -> None:
        """Wait for the client to take what is there, and not for ever."""
        super().pause_writing()
        self._taking = self.loop.call_later(SLOW_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on sending."""
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._expect_no_more()
        self._taken()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self) -> None:
        self._expect_no_more()
        self._waiting[self] = None
        self._deadline = self.loop.call_later(HEADER_S, self._give_up)

    def _expect_no_more(self) -> None:
        self._waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()

    def _give_up(self) -> None:
        if not self._is_answering():
            self.transport.abort()


class Seldom(logging.Filter):
    """Let each kind of message pass once in `QUIET_S`: clients must not be able to fill the log."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this kind of message has not passed for a while."""
        now = time.monotonic()
        said = str(record.msg)[:80]
        if now - self._passed.get(said, float("-inf")) < QUIET_S:
            return False
        self._passed[said] = now
        return True


def served(application: Starlette, **own: Any) -> uvicorn.Server:
    """Return the server of a page, with bounded connections and without a log of its own.

    Parameters
    ----------
    own
        What `uvicorn.Config` is told beside it.
    """
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=Bounded,
            ws="none",
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            **own,
        )
    )


def raise_file_limit() -> None:
    """Let this process have as many open files as it may, up to `FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
