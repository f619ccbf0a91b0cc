"""What the pages share: the worklist's handles, the list, the pictures and the templates."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from node.settings import Settings
from node.visible import visible
from node.web import guard, live_list, wording
from node.web.live_list import LiveList
from node.web.pictures import Pictures
from node.web.watching import ROWS, Watching
from node.web.who import MAY_GIVE_FEEDBACK, User, address_of, who
from node.wording import UNCERTAIN
from node.worklist import Actor, Role, Worklist


@dataclass(slots=True)
class Site:
    """Everything that answers a request; `settings` are those in force, which may change."""

    worklist: Worklist
    settings: Settings
    clock: Callable[[], datetime]
    live: LiveList
    pictures: Pictures
    watching: Watching
    templates: Environment

    def take(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self.watching.take(settings)

    def render(self, name: str, **values: object) -> str:
        """Return a template filled in."""
        return self.templates.get_template(name).render(now=self.clock(), **values)

    def page(self, request: Request, name: str, **values: object) -> Response:
        """Return a whole page, which carries the token that its requests must show."""
        token = guard.token_of(request)
        user = who(request)
        html = self.render(
            name,
            token=token,
            user=user,
            closed=request.state.closed,
            may_say=user is not None and user.role in MAY_GIVE_FEEDBACK,
            **values,
        )
        return guard.with_token(HTMLResponse(html), request, token)


def signed(request: Request) -> Actor | None:
    """Return who the audit trail names for a request; None if nobody signs in here."""
    if not request.state.closed or request.state.session is None:
        return None
    session = request.state.session
    return Actor(session.name, address_of(request), session.digest)


def permitted(request: Request, roles: Collection[Role], refusal: str) -> User:
    """Return who sends a request from a page of ours, if that person has one of the roles.

    Raises
    ------
    HTTPException
        403, with words: those of `refusal` for another role.
    """
    guard.require_own_page(request)
    user = who(request)
    if user is None:
        raise HTTPException(403, "Nobody is signed in: this page can only be read.")
    if user.role not in roles:
        raise HTTPException(403, refusal)
    return user


def templates(clock: Callable[[], datetime]) -> Environment:
    """Return the templates; whatever they are given is text, and shows every character."""
    made = Environment(
        loader=PackageLoader("node.web", "templates"),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "UNCERTAIN": UNCERTAIN,
        "RANGES": tuple(live_list.RANGES),
        "KINDS": live_list.KINDS,
        "WATCHED": ROWS,
    }
    made.filters |= {
        "since": lambda row: wording.acquired(row, clock()),
        "seconds": lambda s: wording.span(timedelta(seconds=s)),
        "local": lambda at, form: at.astimezone().strftime(form),
        "spoken": wording.spoken,
        "kind": live_list.kind,
        "loud": live_list.loud,
        "waited": lambda row: wording.waited(row, clock()),
        "mimics": wording.mimics,
        "notes": wording.notes,
        "duration": wording.duration,
        "subtypes": wording.subtypes,
        "stage": wording.stage,
        "budget": wording.budget,
        "closing": wording.closing,
        "deliveries": wording.deliveries,
        "answer": wording.answer,
        "happened": wording.happened,
        "verdict": wording.verdict,
    }
    return made
