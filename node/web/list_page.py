"""The worklist as a page that a radiologist reads in a dark room, and as JSON."""

from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from node.case_folder import CaseFolder, case_folder
from node.depot import depot_of
from node.web import guard, wording
from node.web.live_list import DAY, KINDS, RANGES, SHARED_S, Held, Selection, Wanted
from node.web.site import Site
from node.web.who import MAY_GIVE_FEEDBACK, who

LONGEST_SEARCH = 64
"""Characters of a search; PatientID and accession number are no longer (PS3.5 6.2, LO and SH)."""

DRAWN = 500
"""Rows whose HTML is kept."""


class ListPage:
    """The page and what it asks for; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._drawn: dict[tuple[str, bool, int], str] = {}

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [
            Route("/", self.page),
            Route("/list", self.changes, methods=["POST"]),
            Route("/worklist.json", self.worklist),
            Route("/cases/{case:int}/capture.png", self.capture),
            Route("/healthz", self.healthz),
        ]

    def page(self, request: Request) -> Response:
        """Return the whole page, which also works without scripts, then loading itself anew."""
        query = request.query_params
        asked: dict[str, Any] = {"within": query.get("within"), "kinds": query.getlist("kind")}
        wanted = wanted_by(
            asked | {"priors": query.get("priors") == "1", "page": query.get("page", "0")}
        )
        self._site.live.look()
        selection = self._site.live.select(wanted)
        watched = self._site.watching.now()
        shown = {"selection": selection, "watched": watched, **self._held_up()}
        return self._site.page(request, "list.html", **shown)

    async def changes(self, request: Request) -> Response:
        """Return the order of a page of the list, and those of its rows that the page lacks."""
        asked = await guard.body_of(request)
        may_say = (user := who(request)) is not None and user.role in MAY_GIVE_FEEDBACK
        return JSONResponse(await run_in_threadpool(self._changes, asked, may_say))

    def _changes(self, asked: dict[str, Any], may_say: bool) -> dict[str, Any]:
        self._site.live.look()
        selection = self._site.live.select(wanted_by(asked))
        known = asked.get("known")
        known = known if isinstance(known, dict) else {}
        lacking = [one for one in selection.rows if known.get(str(one.listed.number)) != one.tag]
        return {
            "version": selection.version,
            "order": [one.listed.number for one in selection.rows],
            "rows": {one.listed.number: self._row(one, may_say) for one in lacking},
            "summary": self._summary(selection),
            "watch": self._site.render("watch.html", watched=self._site.watching.now()),
            "loud": selection.counts["SUSPECTED"],
            "new": {one.listed.number: wording.announced(one.row) for one in lacking},
        }

    def _summary(self, selection: Selection) -> str:
        return self._site.render("summary.html", selection=selection, **self._held_up())

    def _held_up(self) -> dict[str, Any]:
        """Return what a summary says of deliveries that do not leave."""
        deliveries = self._site.worklist.deliveries
        return {"paused": deliveries.paused(), "down": deliveries.unreachable()}

    def _row(self, held: Held, may_say: bool) -> str:
        """Return a row's HTML; pages that lack the same row share it for a while."""
        drawn = held.tag, may_say, int(self._site.clock().timestamp() // SHARED_S)
        html = self._drawn.get(drawn)
        if html is None:
            html = self._site.render("row.html", held=held, may_say=may_say)
            if len(self._drawn) >= DRAWN:
                self._drawn.clear()
            self._drawn[drawn] = html
        return html

    def worklist(self, _: Request) -> Response:
        """Return what `ichnode worklist --json` prints."""
        rows = self._site.worklist.views.worklist(self._site.clock())
        return JSONResponse([row.to_json() for row in rows])

    def capture(self, request: Request) -> Response:
        """Return the summary picture of a case."""
        path = self._picture(case_folder(request.path_params["case"]))
        if not path.is_file():
            raise HTTPException(404, "this case has no capture")
        return FileResponse(path, media_type="image/png")

    def _picture(self, folder: str) -> Path:
        return CaseFolder(depot_of(self._site.settings).seen(folder), folder).picture

    def healthz(self, _: Request) -> Response:
        """Return how many cases stand in each state."""
        return JSONResponse({"cases": dict(self._site.worklist.views.counts())})


def wanted_by(asked: dict[str, Any]) -> Wanted:
    """Return what a request asks for; what it says wrongly is as if it were not said."""
    within, kinds, text = asked.get("within"), asked.get("kinds"), asked.get("text")
    page = str(asked.get("page", 0))
    return Wanted(
        within=within if isinstance(within, str) and within in RANGES else DAY,
        kinds=frozenset(KINDS) & frozenset(map(str, kinds if isinstance(kinds, list) else ())),
        priors=asked.get("priors") is True,
        text=text.strip()[:LONGEST_SEARCH] if isinstance(text, str) else "",
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 0,
    )
