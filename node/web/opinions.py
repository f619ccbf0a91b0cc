"""Feedback that comes from the pages: acknowledge, agree, disagree, and undo."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.states import Priority
from node.web import guard
from node.web.site import Site, permitted, signed
from node.web.who import MAY_GIVE_FEEDBACK, User
from node.worklist import Mistake, NothingToUndo, Opinion, Outdated

AGREES = {"acknowledge": None, "agree": True, "disagree": False}
"""What is said, and whether it agrees with the result."""
ONLY_LOOKS = "Your role may look, and not acknowledge."
LONGEST_PLACE, LONGEST_REASON = 100, 1000


class Opinions:
    """What a signed-in person says of a study; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [
            Route("/studies/{case:int}/feedback", self.give, methods=["POST"]),
            Route("/studies/{case:int}/undo", self.undo, methods=["POST"]),
        ]

    async def give(self, request: Request) -> Response:
        """Record what the person says of the result that they saw."""
        user = permitted(request, MAY_GIVE_FEEDBACK, ONLY_LOOKS)
        asked = await guard.body_of(request)
        opinion, saw = opinion_in(asked), _priority(asked.get("saw"))
        await run_in_threadpool(self._give, request, user, opinion, saw)
        return JSONResponse({"said": _words(opinion)})

    def _give(self, request: Request, user: User, opinion: Opinion, saw: Priority) -> None:
        uid = self._site.worklist.listing.study_of_case(request.path_params["case"])
        now = self._site.clock()
        try:
            self._site.worklist.feedback.give(
                uid, user.name, opinion, now, saw=saw, signed=signed(request)
            )
        except Outdated as error:
            raise HTTPException(409, f"Not recorded: {error}") from error

    async def undo(self, request: Request) -> Response:
        """Take back the person's newest feedback on a study."""
        user = permitted(request, MAY_GIVE_FEEDBACK, ONLY_LOOKS)
        await run_in_threadpool(self._undo, request, user)
        return JSONResponse({"said": "undone"})

    def _undo(self, request: Request, user: User) -> None:
        uid = self._site.worklist.listing.study_of_case(request.path_params["case"])
        try:
            self._site.worklist.feedback.undo(
                uid, user.name, self._site.clock(), signed=signed(request)
            )
        except NothingToUndo as error:
            raise HTTPException(409, "There is nothing of yours to undo here.") from error


def opinion_in(asked: dict[str, Any]) -> Opinion:
    """Return the opinion in a request.

    Raises
    ------
    HTTPException
        400, with words, if it says nothing that can be recorded.
    """
    kind = str(asked.get("kind"))
    if kind not in AGREES:
        raise HTTPException(400, "Say acknowledge, agree or disagree.")
    if kind != "disagree":
        return Opinion(AGREES[kind])
    try:
        mistake = Mistake(str(asked.get("mistake")))
    except ValueError as error:
        raise HTTPException(400, "Say what is wrong: missed, or a false alarm.") from error
    place, reason = (str(asked.get(name) or "").strip() for name in ("place", "reason"))
    return Opinion(False, mistake, place[:LONGEST_PLACE], reason[:LONGEST_REASON])


def _priority(saw: object) -> Priority:
    try:
        return Priority(str(saw))
    except ValueError as error:
        raise HTTPException(400, "Say which result you saw.") from error


def _words(opinion: Opinion) -> str:
    return {None: "acknowledged", True: "agreed", False: "disagreed"}[opinion.agrees]
