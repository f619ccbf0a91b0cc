"""Who may use DICOMweb: holders of a bearer token; without any token, readers on this machine."""

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from starlette.exceptions import HTTPException
from starlette.requests import Request

from node.errors import BadConfiguration
from node.settings import Token
from node.web.who import is_from_this_machine

Right = Literal["read", "write"]

SHORTEST_SECRET = 16
"""A shorter secret may be guessed; chosen."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One token: whose it is, the SHA-256 of its secret, and what it allows."""

    name: str
    digest: bytes
    may: frozenset[str]


@dataclass(frozen=True, slots=True)
class Access:
    """What callers are allowed to do."""

    holders: tuple[Holder, ...]

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> Self:
        """Read the secrets of the configured tokens.

        Raises
        ------
        BadConfiguration
            If a secret is missing or too short, or two tokens share one.
        """
        holders = [Holder(t.name, _digest(_secret(t).encode()), frozenset(t.may)) for t in tokens]
        if len({holder.digest for holder in holders}) < len(holders):
            raise BadConfiguration("web.tokens: two tokens have the same secret")
        return cls(tuple(holders))

    def require(self, request: Request, right: Right) -> str:
        """Return the name of a caller who has the right.

        Raises
        ------
        HTTPException
            401 without a valid token, 403 if it does not allow this.
        """
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if not shown and not self.holders and right == "read" and is_from_this_machine(request):
            return "this machine"
        if scheme.lower() != "bearer" or not shown.strip():
            raise _unknown("a bearer token is needed: Authorization: Bearer TOKEN (web.tokens)")
        holder = self._holder(_digest(shown.strip().encode("latin-1")))
        if holder is None:
            raise _unknown("the bearer token is not known here")
        if right not in holder.may:
            raise HTTPException(403, f'this token may not "{right}" (web.tokens)')
        return holder.name

    def _holder(self, digest: bytes) -> Holder | None:
        """Return whose token it is; each is compared, in the same time whether it fits or not."""
        found = [each for each in self.holders if hmac.compare_digest(each.digest, digest)]
        return found[0] if found else None


def _unknown(why: str) -> HTTPException:
    return HTTPException(401, why, headers={"WWW-Authenticate": 'Bearer realm="ichnode"'})


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _secret(token: Token) -> str:
    if token.secret_variable:
        secret, where = os.environ.get(token.secret_variable, ""), token.secret_variable
    else:
        where = token.secret_file
        try:
            secret = Path(where).read_text()
        except (OSError, UnicodeError) as error:
            raise BadConfiguration(f"web.tokens: {token.name}: {where}: {error}") from error
    secret = secret.strip()
    if len(secret) < SHORTEST_SECRET or not secret.isascii():
        raise BadConfiguration(
            f"web.tokens: {token.name}: {where} holds no secret of {SHORTEST_SECRET} or more "
            "ASCII characters"
        )
    return secret
