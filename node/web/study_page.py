"""One study: its slices with what was found on them, and how the result came about."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models.windows import BONE, BRAIN, STROKE, Window
from node.case_folder import CaseFolder, case_folder
from node.cases.explain import Explanation, explain_study
from node.depot import depot_of
from node.errors import IchnodeError
from node.records import Withdrawal
from node.web.live_list import Held
from node.web.site import Site
from node.worklist import Event, KeptReport, Row, Said

WINDOWS = {
    "brain": BRAIN,
    "subdural": Window(level=75, width=215),
    "stroke": STROKE,
    "bone": BONE,
}
"""Windows to choose from; the subdural one as radiologists use it (width 130 to 300, level 50 to
100: radiopaedia.org/articles/windowing-ct), the others as the networks see."""
WIDEST = 8000
"""HU of the widest window that can be asked for."""


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of a case, as far as they are known without their pixels.

    Attributes
    ----------
    probabilities
        One for each slice, 0..1; empty if the series was not read.
    first
        Index of the slice to look at first.
    key
        Index of the key slice; None if no slice was marked.
    heights
        One for each slice, mm: where its first voxel lies along the patient (z of
        ImagePositionPatient); empty where one has no position.
    mimics
        What marked regions look like instead of blood, in sentences.
    """

    count: int
    probabilities: tuple[float, ...]
    first: int
    key: int | None
    heights: tuple[float, ...] = ()
    image: str = ""
    """SOPInstanceUID of the slice to look at first; "" if there are no slices."""
    mimics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """All that the page tells of a study."""

    listed: Held
    case: Row
    slices: Slices
    explanation: Explanation | None
    said: tuple[Said, ...]
    events: tuple[Event, ...]
    history: tuple[Row, ...]
    priors: tuple[Row, ...]
    viewers: tuple[tuple[str, str], ...]
    reports: tuple[KeptReport, ...]
    """What radiologists' reports say; the one that counts last."""
    beside: tuple[Row, Slices] | None = None
    """Another case of the study, whose slices are shown beside."""
    withdrawn: Withdrawal | None = None
    """Who withdrew the result of the case that is shown."""


class StudyPage:
    """The page of a study and its pictures; each method answers one request."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return where each answer is found."""
        return [
            Route("/studies/{case:int}", self.page),
            Route("/studies/{case:int}/standing", self.standing),
            Route("/cases/{case:int}/key.jpg", self.key),
            Route("/cases/{case:int}/slices/{number:int}.png", self.slice),
            Route("/cases/{case:int}/slices/{number:int}/mask.png", self.mask),
            Route("/cases/{case:int}/sides", self.sides),
        ]

    def page(self, request: Request) -> Response:
        """Return the page of the study that a case belongs to, showing that case's slices.

        `beside` names another case of the study, whose slices are shown beside.
        """
        other = request.query_params.get("beside", "")
        beside = int(other) if re.fullmatch(r"\d{1,9}", other) else None
        told = self._told(request.path_params["case"], beside)
        return self._site.page(request, "study.html", told=told, windows=WINDOWS)

    def standing(self, request: Request) -> Response:
        """Return how the study stands, so that an open page sees that it changed."""
        row = self._site.worklist.listing.listed(self._uid(request.path_params["case"])).row
        said = self._site.worklist.feedback.of_study(row.study_instance_uid)
        return JSONResponse(
            {
                "standing": self._site.render("standing.html", row=row),
                "classes": self._site.render("classes.html", row=row).strip(),
                "said": self._site.render("said.html", said=said),
                "shown": row.priority,
                "as_of": f"{row.case_id} {row.priority} {row.flagged_at}",
            }
        )

    def key(self, request: Request) -> Response:
        """Return the slice to look at first, small, for the list; `plain` without the outline."""
        case, plain = request.path_params["case"], "plain" in request.query_params
        picture = self._site.pictures.thumb(case, self._slices(case).first, plain=plain)
        return Response(picture, media_type="image/jpeg")

    def slice(self, request: Request) -> Response:
        """Return one slice in the window that is asked for."""
        case, index = request.path_params["case"], request.path_params["number"] - 1
        window = _window(request.query_params.get("level"), request.query_params.get("width"))
        picture = self._site.pictures.slice_png(case, index, window)
        return Response(picture, media_type="image/png")

    def mask(self, request: Request) -> Response:
        """Return what is outlined on one slice."""
        case, index = request.path_params["case"], request.path_params["number"] - 1
        return Response(self._site.pictures.mask_png(case, index), media_type="image/png")

    def sides(self, request: Request) -> Response:
        """Return which side of the patient is where on the slices of a case."""
        case = request.path_params["case"]
        return JSONResponse(self._site.pictures.sides(case, self._slices(case).first))

    def _slices(self, case: int) -> Slices:
        folder = case_folder(case)
        return slices_of(CaseFolder(depot_of(self._site.settings).seen(folder), folder))

    def _uid(self, case: int) -> str:
        return self._site.worklist.listing.study_of_case(case)

    def _told(self, case: int, beside: int | None) -> Told:
        worklist = self._site.worklist
        uid = self._uid(case)
        listed = worklist.listing.listed(uid)
        history = worklist.views.history(uid)
        (shown,) = (row for row in history if row.case_id == case)
        slices = self._slices(case)
        other = next((r for r in history if r.case_id == beside and r is not shown), None)
        return Told(
            listed=Held(listed, ""),
            case=shown,
            slices=slices,
            withdrawn=_withdrawn(shown, history),
            beside=None if other is None else (other, self._slices(other.case_id)),
            explanation=self._explained(uid),
            said=tuple(worklist.feedback.of_study(uid)),
            events=tuple(worklist.views.events(uid)),
            history=history,
            priors=tuple(worklist.listing.others_of_patient(uid)),
            reports=tuple(worklist.reports.of_study(uid)),
            viewers=tuple(
                (viewer.name, _opening(viewer.url, shown, slices))
                for viewer in self._site.settings.web.viewers
            ),
        )

    def _explained(self, uid: str) -> Explanation | None:
        try:
            return explain_study(uid, self._site.worklist, self._site.settings, self._site.clock())
        except IchnodeError:
            return None  # a study that is just being filed


def _withdrawn(case: Row, history: Iterable[Row]) -> Withdrawal | None:
    """Return who withdrew the result of a case; None if it stands or was replaced."""
    key = case.series_instance_uid, case.part
    later = (row for row in history if (row.series_instance_uid, row.part) == key)
    found = (row.withdrawn for row in later if row.withdrawn and row.case_id > case.case_id)
    return None if case.withdrawn else next(found, None)


def _opening(url: str, case: Row, slices: Slices) -> str:
    """Return a viewer's address with what it is to open in the place of its names."""
    opened = {
        "{StudyInstanceUID}": case.study_instance_uid,
        "{SeriesInstanceUID}": case.series_instance_uid,
        "{SOPInstanceUID}": slices.image,
    }
    for name, uid in opened.items():
        url = url.replace(name, quote(uid))
    return url


def slices_of(folder: CaseFolder) -> Slices:
    """Return what is known of a case's slices without decoding them."""
    plan = folder.read_plan_as_read()
    if plan is None or not plan.slices:
        return Slices(0, (), 0, None)
    values: dict[str, Any] = folder.read_values() or {}
    count = len(plan.slices)
    scores = tuple(float(one["probability"]) for one in values.get("slices", ()))
    scores = scores if len(scores) == count else ()
    key = values.get("key_slice") if scores else None
    first = count // 2 if not scores else _most_suspicious(scores) if key is None else key
    heights = tuple(one.position_mm[2] for one in plan.slices if one.position_mm)
    heights = heights if len(heights) == count else ()
    image, said = plan.slices[first].sop_instance_uid, tuple(values.get("mimics", ()))
    return Slices(count, scores, first, key, heights, image, said)


def _most_suspicious(scores: tuple[float, ...]) -> int:
    """Return the slice of the highest score, the middle one of several."""
    highest = max(scores)
    best = [index for index, score in enumerate(scores) if score == highest]
    return best[len(best) // 2]


def _window(level: str | None, width: str | None) -> Window:
    """Return the window that a request asks for; the brain window if it asks for none."""
    if level is None or width is None:
        return BRAIN
    if not re.fullmatch(r"-?\d{1,4}", level) or not re.fullmatch(r"\d{1,4}", width):
        raise HTTPException(400, "no such window")
    return Window(float(level), float(min(WIDEST, max(1, int(width)))))
