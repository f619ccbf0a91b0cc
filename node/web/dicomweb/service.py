"""The resources of DICOMweb (PS3.18 10.1): each path, and what answers it."""

import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from node.arrive.catalogue import Catalogue, Unready
from node.audit import Trail, query_words
from node.depot import depot_of
from node.errors import IchnodeError
from node.log import event
from node.settings import Settings
from node.web.dicomweb.access import Access, Right
from node.web.dicomweb.answers import dicom_json
from node.web.dicomweb.query import Asked, answer_json, read_query
from node.web.dicomweb.retrieve import Retrieval
from node.web.dicomweb.store import Storing
from node.web.who import address_of
from node.worklist import Actor, Archive, Arrivals, BadQuery, Deed, Level

logger = logging.getLogger(__name__)

PATH = "/dicom-web"
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_STUDY, _SERIES = "/studies/{study}", "/series/{series}"
_INSTANCE = "/instances/{instance}"

Endpoint = Callable[[Request, dict[str, str]], Response]


def dicomweb_service(
    settings: Settings,
    archive: Archive,
    arrivals: Arrivals,
    clock: Callable[[], datetime],
    trail: Trail | None = None,
) -> BaseRoute:
    """Return where DICOMweb is served.

    Parameters
    ----------
    trail
        Takes note of who asks for what; without it nobody does.

    Raises
    ------
    BadConfiguration
        If the secret of a token is missing.
    """
    service = _Service(settings, archive, arrivals, clock, trail)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.web.origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Accept", "Content-Type"],
        expose_headers=["Warning"],
    )
    return Mount(PATH, routes=service.routes(), middleware=[cors] if settings.web.origins else [])


class _Service:
    """Checks each request, then has it answered."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        arrivals: Arrivals,
        clock: Callable[[], datetime],
        trail: Trail | None,
    ) -> None:
        self._trail = trail
        self._url = settings.web.url.rstrip("/")
        self._access = Access.of(settings.web.tokens)
        self._archive = archive
        self._catalogue = Catalogue(archive, depot_of(settings))
        self._retrieval = Retrieval(settings, archive)
        self._storing = Storing(settings, arrivals, clock)

    def routes(self) -> list[BaseRoute]:
        """Return the resources."""
        get = self._retrieval
        series, instance = _STUDY + _SERIES, _STUDY + _SERIES + _INSTANCE
        found: dict[str, Endpoint] = {
            "/studies": self._search(Level.STUDY),
            "/series": self._search(Level.SERIES),
            "/instances": self._search(Level.IMAGE),
            f"{_STUDY}/series": self._search(Level.SERIES),
            f"{_STUDY}/instances": self._search(Level.IMAGE),
            f"{series}/instances": self._search(Level.IMAGE),
            f"{instance}/frames/{{frames}}": get.frames,
            f"{instance}/frames/{{frames}}/rendered": get.rendered,
            f"{instance}/frames/{{frames}}/thumbnail": get.thumbnail,
            f"{instance}/bulkdata/{{tag}}": get.bulk_data,
        }
        for resource in (_STUDY, series, instance):
            found[resource] = get.objects
            found[f"{resource}/metadata"] = self._metadata
            found[f"{resource}/rendered"] = get.rendered
            found[f"{resource}/thumbnail"] = get.thumbnail
        routes: list[BaseRoute] = [
            Route(path, self._guarded("read", answer)) for path, answer in found.items()
        ]
        stores = [Route(path, self._store, methods=["POST"]) for path in ("/studies", _STUDY)]
        return [*stores, *routes]

    def _guarded(self, right: Right, answer: Endpoint) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            holder = self._access.require(request, right)
            uids = checked(request.path_params)
            try:
                self._catalogue.require_current()
                said, about = answer(request, uids), getattr(request.state, "query", "")
                what = Deed.QUERIED if about else Deed.RETRIEVED
                self._note(request, holder, what, uids.get("study", ""), about or "WADO-RS")
                return said
            except BadQuery as error:
                raise HTTPException(400, str(error)) from error
            except Unready as error:
                raise HTTPException(503, str(error), headers={"Retry-After": "10"}) from error
            except IchnodeError as error:
                logger.error("not answered: %s", error, extra=event("dicomweb_failed"))
                raise HTTPException(500, str(error)) from error

        return endpoint

    def _search(self, level: Level) -> Endpoint:
        names = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID"}

        def search(request: Request, uids: dict[str, str]) -> Response:
            within = {names[name]: uid for name, uid in uids.items()}
            asked = read_query(level, request.query_params.multi_items(), **within)
            return self._found(asked, request)

        return search

    def _found(self, asked: Asked, request: Request) -> Response:
        base, limit = self._base(request), (asked.query.limit or 1) - 1
        found = self._archive.find(asked.query)
        words = query_words(asked.query.level, asked.query.keys, len(found))
        request.state.query = f"QIDO-RS {words}"
        answers, more = found[:limit], len(found) > limit
        priorities: dict[Any, Any] = {}
        if asked.priority:
            studies = {str(one["StudyInstanceUID"]) for one in answers}
            priorities = dict(self._archive.priorities(sorted(studies)))
        said = [
            answer_json(one, asked, base, priorities.get(one["StudyInstanceUID"]))
            for one in answers
        ]
        headers = {}
        if more:
            text = "There are additional results that can be requested"
            headers["Warning"] = f'299 ichnode "{text}"'
        if not said:
            return Response(status_code=204)
        return dicom_json(json.dumps(said), headers)

    def _metadata(self, request: Request, uids: dict[str, str]) -> Response:
        return dicom_json(self._retrieval.metadata(uids, self._base(request)))

    async def _store(self, request: Request) -> Response:
        holder = self._access.require(request, "write")
        study = checked(request.path_params).get("study")

        def filed(uid: str) -> None:
            self._note(request, holder, Deed.STORED, uid, "STOW-RS")

        return await self._storing.store(request, holder, study, self._base(request), filed)

    def _note(self, request: Request, holder: str, what: Deed, study: str, about: str) -> None:
        """Note what the holder of a token did, once it is known to have an answer."""
        if self._trail is not None:
            actor = Actor(holder, address_of(request))
            self._trail.note(actor, what, study_uid=study, about=about)

    def _base(self, request: Request) -> str:
        """Return the address of the service, which links in answers begin with."""
        return (self._url or f"{request.url.scheme}://{request.url.netloc}") + PATH


def checked(parameters: dict[str, Any]) -> dict[str, str]:
    """Return the parameters of a path; raise 400 unless each UID is one."""
    for name in ("study", "series", "instance"):
        if name in parameters and not _UID.fullmatch(parameters[name]):
            raise HTTPException(400, f"the {name} in the path is no UID")
    return parameters
