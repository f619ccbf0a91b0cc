"""Who sends a request: the one place that knows. Accounts are plugged in here."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request

_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy says that a request comes from elsewhere."""


class Role(StrEnum):
    """What a person may do."""

    VIEWER = "viewer"
    """See the worklist and the studies."""
    RADIOLOGIST = "radiologist"
    """Also acknowledge, agree and disagree."""
    ADMIN = "admin"
    """Also run the node."""


MAY_GIVE_FEEDBACK = frozenset({Role.RADIOLOGIST, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in person."""

    name: str
    role: Role


def who(request: Request) -> User | None:
    """Return the signed-in person, None if there is none.

    There are no accounts yet. `web.open_feedback_as` makes whoever sits at this machine a
    radiologist of that name; not through a proxy, whose requests come from this machine as well.
    """
    name: str = request.app.state.open_feedback_as
    if name and _is_from_this_machine(request):
        return User(name, Role.RADIOLOGIST)
    return None


def _is_from_this_machine(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _PROXIED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
