"""Sign-in at an identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE.

The provider says who a person is; the role follows from a claim of the ID token. Nothing else is
asked of it and none of its tokens is kept.
"""

import os
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from node.errors import BadConfiguration, Permanent, Retryable
from node.settings import Oidc
from node.worklist import Role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures by the provider's private key. "none" and those by the client's secret are refused."""
TIMEOUT_S = 10.0
LEEWAY_S = 60
"""How much the clocks may differ."""
LASTS = timedelta(minutes=10)
"""How long a person may take at the provider."""
MOST = 1000
"""Sign-ins that are under way; the oldest gives way."""
AT_ONCE = 4
"""Requests to the provider at one time, so that a silent one does not take every thread."""


class NotVouched(Permanent):
    """The provider does not vouch for this person, or gives no role here; the message says why."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way.

    Attributes
    ----------
    then
        The path of ours to go on to.
    """

    nonce: str
    verifier: str
    then: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the provider says that a person is."""

    issuer: str
    subject: str
    name: str
    role: Role


class Provider:
    """The identity provider of the settings; threads share it."""

    def __init__(self, settings: Oidc) -> None:
        self._settings = settings
        self._begun: OrderedDict[str, Begun] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def begin(self, back: str, then: str, now: datetime) -> tuple[str, str]:
        """Return the provider's page for one sign-in, and the state to be kept in the browser.

        Parameters
        ----------
        back
            Our address to which the provider sends the browser.

        Raises
        ------
        Retryable, BadConfiguration
            If the provider does not answer, or as no provider of that name would.
        """
        begun = Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(48), then, now)
        with self._asking(back) as client:
            url, state = client.create_authorization_url(
                self._metadata(client)["authorization_endpoint"],
                state=secrets.token_urlsafe(32),
                nonce=begun.nonce,
                code_verifier=begun.verifier,
            )
        with self._lock:
            self._begun[state] = begun
            while len(self._begun) > MOST:
                self._begun.popitem(last=False)
        return url, state

    def take(self, state: str, now: datetime) -> Begun:
        """Return what was begun under a state; it can be taken once.

        Raises
        ------
        NotVouched
            If nothing was, or too long ago.
        """
        with self._lock:
            begun = self._begun.pop(state, None)
        if begun is None or now - begun.at > LASTS:
            raise NotVouched("This sign-in took too long. Try again.")
        return begun

    def finish(self, back: str, code: str, begun: Begun) -> Identity:
        """Return who the provider vouches for.

        Raises
        ------
        NotVouched
            If it refuses the code, its ID token is not good, or the person has no role here.
        Retryable, BadConfiguration
            As `begin`.
        """
        with self._asking(back) as client:
            metadata = self._metadata(client)
            token = client.fetch_token(
                metadata["token_endpoint"], code=code, code_verifier=begun.verifier
            )
            keys = _json(client, metadata["jwks_uri"])
            return self._identity(self._claims(token, keys, begun.nonce))

    def _asking(self, back: str) -> "_Asking":
        settings = self._settings
        secret = os.environ.get(settings.secret_variable, "")
        if not secret:
            raise BadConfiguration(
                f"web.oidc.secret_variable: {settings.secret_variable} is not set"
            )
        client = OAuth2Session(
            settings.client_id,
            secret,
            scope=settings.scope,
            redirect_uri=back,
            code_challenge_method="S256",
            default_timeout=TIMEOUT_S,
        )
        return _Asking(client, self._turns)

    def _metadata(self, client: OAuth2Session) -> dict[str, Any]:
        issuer = self._settings.issuer
        found = _json(client, issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found["issuer"] != issuer:
            raise BadConfiguration(f"web.oidc.issuer: {issuer} calls itself by another name")
        return found

    def _claims(self, token: dict[str, Any], keys: Any, nonce: str) -> dict[str, Any]:
        settings = self._settings
        wanted = {"iss": settings.issuer, "aud": settings.client_id, "nonce": nonce}
        rules: Any = {name: {"essential": True, "value": value} for name, value in wanted.items()}
        rules |= {name: {"essential": True} for name in ("sub", "exp", "iat")}
        read = jwt.decode(str(token.get("id_token")), KeySet.import_key_set(keys), ALGORITHMS)
        jwt.JWTClaimsRegistry(leeway=LEEWAY_S, **rules).validate(read.claims)
        claims: dict[str, Any] = read.claims
        if claims.get("azp", settings.client_id) != settings.client_id:
            raise NotVouched("The identity provider's answer is for another application.")
        return claims

    def _identity(self, claims: dict[str, Any]) -> Identity:
        settings = self._settings
        found: Any = claims
        for part in settings.role_claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        values = found if isinstance(found, list) else [found]
        held = {value for value in values if isinstance(value, str)}
        for role in (Role.ADMIN, Role.RADIOLOGIST, Role.VIEWER):
            if held & set(getattr(settings, f"{role}s")):
                name = str(claims.get(settings.name_claim) or claims["sub"])
                return Identity(settings.issuer, str(claims["sub"]), name, role)
        raise NotVouched("Your account has no role here.")


class _Asking:
    """One of few turns to ask the provider; errors of the libraries end here."""

    def __init__(self, client: OAuth2Session, turns: threading.BoundedSemaphore) -> None:
        self._client, self._turns = client, turns

    def __enter__(self) -> OAuth2Session:
        if not self._turns.acquire(timeout=TIMEOUT_S):
            raise Retryable("the identity provider answers too slowly")
        return self._client

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._turns.release()
        self._client.close()
        if isinstance(error, OSError):
            raise Retryable(f"the identity provider does not answer: {type(error).__name__}")
        if isinstance(error, AuthlibBaseError | JoseError | ValueError | KeyError | TypeError):
            raise NotVouched("The identity provider's answer is not valid.") from error


def _json(client: OAuth2Session, url: str) -> dict[str, Any]:
    answer = client.get(url, withhold_token=True, allow_redirects=False)
    answer.raise_for_status()
    return dict(answer.json())
