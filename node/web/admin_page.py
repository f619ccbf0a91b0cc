"""How the node does and what it waits for: for who answers for it. It names no patient.

Anybody who may see the list may read it where there are no accounts; only an admin changes
anything.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from node.disk import room_of
from node.errors import IchnodeError
from node.settings import Destination, Settings
from node.shadow.standing import standing
from node.web import chart_figures, figures, guard
from node.web.figures import Day, Figures
from node.web.site import Site, permitted, signed
from node.web.watching import Watched
from node.web.who import Role, address_of, who
from node.worklist import (
    Actor,
    DeadReports,
    Deed,
    DeliveryStatus,
    DestinationLine,
    JobLine,
    Paused,
    Queued,
    Unreachable,
    Unsent,
)

ADMINS, FOR_ADMINS = frozenset({Role.ADMIN}), "This is for the role admin."
WEEKS = (4, 13, 52)
"""Over how many weeks it may count; the first if none is asked for."""
DAYS = 14
"""Days of throughput that are listed."""
UNSENT_SHOWN = 100
"""Deliveries that are listed; the numbers of destinations count all."""
ECHO_S, PATIENCE_S = 2.0, 6.0
"""Time limit of each step of an echo, and of all of it. A page gives up after 8 s."""
MOST_AT_ONCE = 10_000
"""Deliveries that one request may name."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the node waits for now."""

    queue: tuple[Queued, ...]
    destinations: tuple[tuple[DestinationLine, Destination | None], ...]
    """With its settings; None if it is set no more."""
    unreachable: Mapping[str, Unreachable]
    """By destination."""
    paused: Paused | None
    unsent: tuple[Unsent, ...]
    dead_reports: tuple[DeadReports, ...]
    jobs: tuple[JobLine, ...]
    watched: Watched
    disk_free: int | None
    disk_total: int | None
    """Bytes of the data folder's disk."""


@dataclass(frozen=True, slots=True)
class Done:
    """How the node did in the weeks that are counted."""

    weeks: int
    all: Figures
    by_scanner: tuple[Figures, ...]
    by_week: tuple[Figures, ...]
    days: tuple[Day, ...]


class AdminPage:
    """The page and what it asks for; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._asked: set[str] = set()
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [
            Route("/admin", self.page),
            Route("/admin/running", self.running),
            Route("/admin/echo", self.echo, methods=["POST"]),
            Route("/admin/deliveries", self.decide, methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        """Return the whole page."""
        asked = request.query_params.get("weeks", "")
        weeks = int(asked) if asked in map(str, WEEKS) else WEEKS[0]
        user = who(request)
        return self._site.page(
            request,
            "admin.html",
            running=self._running(),
            done=self._done(weeks),
            weeks=WEEKS,
            watch=self._site.settings.watch,
            shadow=standing(self._site.settings, self._site.worklist, self._site.clock()),
            charts=chart_figures.by_scanner(self._site.worklist.charts.drawn()),
            may_run=user is not None and user.role is Role.ADMIN,
        )

    def running(self, request: Request) -> Response:
        """Return the part of the page that says what the node waits for."""
        user = who(request)
        may_run = user is not None and user.role is Role.ADMIN
        running = self._running()
        html = self._site.render("running.html", running=running, may_run=may_run)
        return HTMLResponse(html)

    def _running(self) -> Running:
        now, worklist = self._site.clock(), self._site.worklist
        midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        known = worklist.statistics.destinations(midnight)
        named = {one.name: one for one in self._site.settings.deliver.destinations}
        lines = [known.get(name, DestinationLine(name)) for name in {**named, **known}]
        free, total = _disk(self._site.settings)
        return Running(
            queue=tuple(worklist.statistics.queue()),
            destinations=tuple((line, named.get(line.name)) for line in lines),
            paused=worklist.deliveries.paused(),
            unreachable={one.destination: one for one in worklist.deliveries.unreachable()},
            unsent=tuple(worklist.deliveries.unsent(limit=UNSENT_SHOWN)),
            dead_reports=tuple(worklist.commitments.dead()),
            jobs=tuple(worklist.jobs.listed()),
            watched=self._site.watching.now(),
            disk_free=free,
            disk_total=total,
        )

    def _done(self, weeks: int) -> Done:
        now = self._site.clock()
        studies = self._site.worklist.statistics.studies(_first_day(now, weeks))
        return Done(
            weeks=weeks,
            all=figures.figures("all", studies),
            by_scanner=tuple(figures.grouped(studies, figures.scanner)),
            by_week=tuple(reversed(figures.grouped(studies, figures.week))),
            days=tuple(figures.days(studies, now, DAYS)),
        )

    async def echo(self, request: Request) -> Response:
        """Ask a destination whether it answers, as `ichnode echo`, and say what it answered."""
        by = _admin(request)
        name = str((await guard.body_of(request)).get("destination"))
        named = {one.name: one for one in self._site.settings.deliver.destinations}
        if name not in named:
            raise HTTPException(404, "There is no such destination.")
        with self._lock:
            if name in self._asked:
                raise HTTPException(409, f"{name} is being asked already.")
            self._asked.add(name)
        try:
            record = self._site.worklist.audit.record
            await run_in_threadpool(record, by, Deed.ECHOED, self._site.clock(), about=name)
            asking = run_in_threadpool(self._echo, named[name])
            answered = await asyncio.wait_for(asyncio.shield(asking), PATIENCE_S)
        except TimeoutError:
            answered = f"does not answer within {PATIENCE_S:.0f} s"
        return JSONResponse({"said": f"{name}: {answered}"})

    def _echo(self, destination: Destination) -> str:
        from node.deliver import probe  # it brings the network's libraries, for this alone

        settings = self._site.settings
        limit_s = min(ECHO_S, settings.deliver.timeout_s)
        hasty = settings.deliver.model_copy(update={"timeout_s": limit_s})
        try:
            return probe(destination, settings.model_copy(update={"deliver": hasty}))
        except IchnodeError as error:
            return f"no good answer: {error}"
        finally:
            with self._lock:
                self._asked.discard(destination.name)

    async def decide(self, request: Request) -> Response:
        """Try deliveries again, or owe them no longer: some by number, or all dead ones to one."""
        by = _admin(request)
        asked = await guard.body_of(request)
        if asked.get("act") not in ("retry", "cancel"):
            raise HTTPException(400, "Say retry or cancel.")
        said = await run_in_threadpool(self._decide, asked, by)
        return JSONResponse({"said": said})

    def _decide(self, asked: dict[str, Any], by: Actor) -> str:
        deliveries, now = self._site.worklist.deliveries, self._site.clock()
        numbers = _numbers(asked.get("numbers"))
        if (name := asked.get("destination")) is not None:
            dead = deliveries.unsent(str(name), DeliveryStatus.DEAD, MOST_AT_ONCE)
            numbers = [one.number for one in dead]
        act = deliveries.retry if asked["act"] == "retry" else deliveries.cancel
        done = act(numbers, by, now)
        what = "tried again" if asked["act"] == "retry" else "no longer owed"
        left = len(numbers) - len(done)
        kept = f"; {left} left as before: sent meanwhile, or followed by a later message"
        return f"{len(done)} {what}{kept if left else ''}"


def _admin(request: Request) -> Actor:
    """Return the admin who sends a request from a page of ours, as the audit trail names people."""
    user = permitted(request, ADMINS, FOR_ADMINS)
    return signed(request) or Actor(user.name, address_of(request))


def _numbers(asked: object) -> Sequence[int]:
    numbers = asked if isinstance(asked, list) else []
    if not all(type(one) is int and 0 < one < 2**31 for one in numbers):
        raise HTTPException(400, "Name deliveries by their numbers.")
    return numbers[:MOST_AT_ONCE]


def _first_day(now: datetime, weeks: int) -> datetime:
    """Return when the first of the weeks began; this week is the last of them."""
    local = now.astimezone()
    monday = local.date() - timedelta(days=local.weekday(), weeks=weeks - 1)
    return datetime(monday.year, monday.month, monday.day).astimezone()


def _disk(settings: Settings) -> tuple[int | None, int | None]:
    try:
        room = room_of(settings.data_dir)
    except OSError:
        return None, None
    return room.free, room.total
