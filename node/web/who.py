"""Who sends a request: the one place that knows."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from starlette.requests import Request

from node.worklist import Role

__all__ = ["MAY_GIVE_FEEDBACK", "Role", "User", "address_of", "is_from_this_machine", "who"]

_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy says that a request comes from elsewhere."""


MAY_GIVE_FEEDBACK = frozenset({Role.RADIOLOGIST, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in person."""

    name: str
    role: Role


def who(request: Request) -> User | None:
    """Return the signed-in person, None if there is none.

    With accounts it is who `node.web.access` found signed in. Without any, `web.open_feedback_as`
    makes whoever sits at this machine a radiologist of that name; not through a proxy, whose
    requests come from this machine as well.
    """
    if request.state.closed:
        user: User | None = request.state.user
        return user
    name: str = request.app.state.open_feedback_as
    if name and is_from_this_machine(request):
        return User(name, Role.RADIOLOGIST)
    return None


def address_of(request: Request) -> str:
    """Return the network address of who asks."""
    return request.client.host if request.client else "unknown"


def is_from_this_machine(request: Request) -> bool:
    """Return whether a program of this machine asks for itself.

    A proxy asks from this machine as well, and says so in a header.
    """
    if request.client is None or any(name in request.headers for name in _PROXIED):
        return False
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback
