"""A small OpenID Connect provider on loopback, which can be told to answer wrongly."""

import hashlib
import json
import secrets
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

CLIENT, SECRET = "ichnode", "the client's secret"
KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": "1"}) for _ in range(2))


class IdentityProvider:
    """What it holds of one person who is always signed in, and its faults.

    Attributes
    ----------
    claims
        Put over those of the ID token; None takes one out.
    signed_by
        "key", "other" (a key that it does not publish), "secret" (HS256) or "nobody" (none).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls_itself = url
        self.fails = False
        self.signed_by = "key"
        self.claims: dict[str, Any] = {"preferred_username": "dr.day", "roles": ["ct-readers"]}
        self.codes: dict[str, dict[str, str]] = {}

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where the browser is sent back to."""
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT and "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?code={code}&state={asked['state']}"

    def token(self, asked: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Return the tokens for a code, once; None if the request is not good."""
        granted = self.codes.pop(asked.get("code", ""), None)
        known = b64decode(authorization.removeprefix("Basic ")).decode() == f"{CLIENT}:{SECRET}"
        if granted is None or not known or asked["redirect_uri"] != granted["redirect_uri"]:
            return None
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        if urlsafe_b64encode(digest).decode().rstrip("=") != granted["code_challenge"]:
            return None
        return {
            "access_token": "a",
            "token_type": "Bearer",
            "id_token": self._signed(granted["nonce"]),
        }

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "42", "iat": now, "exp": now + 60}
        claims |= {"nonce": nonce, **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.signed_by == "secret":
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET.ljust(32)))
        if self.signed_by == "nobody":
            parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
            return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
        key = KEY if self.signed_by == "key" else OTHER_KEY
        return jwt.encode({"alg": "RS256", "kid": "1"}, claims, key)

    def answer(self, path: str) -> dict[str, Any]:
        """Return what is public."""
        if path == "/keys":
            return dict(KeySet([KEY]).as_dict(private=False))
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token"}
        made = {name: f"{self.url}/{end}" for name, end in ends.items()}
        return {"issuer": self.calls_itself, "jwks_uri": f"{self.url}/keys", **made}


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """Run one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self._say(302, b"", {"Location": provider.authorize(asked)})
            else:
                self._say(500 if provider.fails else 200, json.dumps(provider.answer(parts.path)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = {name: values[0] for name, values in parse_qs(body).items()}
            tokens = provider.token(asked, self.headers["Authorization"])
            refusal = {"error": "invalid_grant"}
            self._say(200 if tokens else 400, json.dumps(tokens or refusal))

        def _say(self, status: int, body: str | bytes, more: dict[str, str] | None = None) -> None:
            data = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
            for name, value in (headers | (more or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = IdentityProvider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
