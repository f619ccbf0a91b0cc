"""The channel "webhook": a signed POST of JSON, described in docs/json.md."""

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from node.deliver.answer import Answer, Verdict
from node.deliver.messages import Message, secret
from node.errors import BadConfiguration, NoConnection, Retryable
from node.settings import Destination, Settings
from node.wording import RESEARCH_USE_ONLY

AGAIN = (408, 425, 429)
"""Client errors (4xx) that pass by themselves: Request Timeout, Too Early, Too Many Requests
(RFC 9110, 8470, 6585)."""
_KEPT_BACK = ("what", "number", "patient_id", "patient_birth_date", "before")


def probe(destination: Destination, settings: Settings) -> str:
    """Return how a webhook answers OPTIONS, which changes nothing there.

    Raises
    ------
    Retryable
        If it does not answer, or its certificate is not trusted.
    BadConfiguration
        If the key of its signature is missing.
    """
    secret(destination.webhook.secret_variable)
    try:
        status = _ask("OPTIONS", destination, settings, {}, b"")
    except (HTTPException, OSError) as error:
        raise Retryable(_failure(error)) from error
    plain = destination.webhook.url.startswith("http:")
    return f"answers (HTTP {status})" + ("; not encrypted" if plain else "")


def body(message: Message, destination: Destination) -> bytes:
    """Return the JSON of a message; the same message gives the same bytes."""
    said = message.said
    values: dict[str, Any] = {
        "schema": "ichnode-message/1",
        "message_id": message.key,
        "notice": RESEARCH_USE_ONLY,
        "event": message.event,
        "after_minutes": message.after_minutes,
        "number": said.number,
        "priority_before": said.before,
    }
    values |= {
        name: getattr(said, name) for name in said.__dataclass_fields__ if name not in _KEPT_BACK
    }
    if destination.patient_id:
        values["patient_id"] = said.patient_id
    return json.dumps(values, indent=1).encode()


def signature(key: str, timestamp: str, content: bytes) -> str:
    """Return the hex digits of HMAC-SHA256 (RFC 2104) over "TIMESTAMP.BODY"."""
    return hmac.new(key.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def post(destination: Destination, message: Message, settings: Settings) -> Answer:
    """POST one message; return how that ended."""
    return post_signed(body(message, destination), message.key, destination, settings)


def post_signed(
    content: bytes, key_of_message: str, destination: Destination, settings: Settings
) -> Answer:
    """POST JSON with its signature; return how that ended.

    Parameters
    ----------
    key_of_message
        The same whenever it is sent again.
    """
    timestamp = str(int(time.time()))
    try:
        key = secret(destination.webhook.secret_variable)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key_of_message,
            "X-Ichnode-Timestamp": timestamp,
            "X-Ichnode-Signature": f"sha256={signature(key, timestamp, content)}",
        }
        status = _ask("POST", destination, settings, headers, content)
    except BadConfiguration as error:
        return Answer(Verdict.REFUSED, message=str(error))
    except NoConnection as error:
        return Answer(Verdict.DOWN, message=str(error))
    except (HTTPException, OSError) as error:
        return Answer(Verdict.AGAIN, message=_failure(error))
    return _answer(status)


def _ask(
    method: str,
    destination: Destination,
    settings: Settings,
    headers: dict[str, str],
    content: bytes,
) -> int:
    """Return the status of the answer; its body is left unread, and a redirect is not followed.

    No proxy and no password of a .netrc is used, since nobody set one here. An answer that comes
    drop by drop is cut off at the time limit too.
    """
    url, timeout_s = urlsplit(destination.webhook.url), settings.deliver.timeout_s
    connection = _connection(url, destination.webhook.ca_file, timeout_s)
    late = threading.Event()
    limit = threading.Timer(timeout_s, _cut, (connection, late))
    limit.start()
    try:
        _connect(connection)
        target = urlunsplit(("", "", url.path or "/", url.query, ""))
        connection.request(method, target, content, {"User-Agent": "ichnode", **headers})
        status = connection.getresponse().status
        if late.is_set():  # headers that were cut off look like headers that end
            raise TimeoutError
        return status
    finally:
        limit.cancel()
        connection.close()


def _connection(url: SplitResult, ca_file: str, timeout_s: float) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(url.hostname or "", url.port, timeout=timeout_s)
    trusted = ssl.create_default_context(cafile=ca_file or None)
    return HTTPSConnection(url.hostname or "", url.port, timeout=timeout_s, context=trusted)


def _connect(connection: HTTPConnection) -> None:
    try:
        connection.connect()
    except OSError as error:
        raise NoConnection(_failure(error)) from error


def _cut(connection: HTTPConnection, late: threading.Event) -> None:
    """End a connection that another thread waits on: its read returns at once."""
    late.set()
    with suppress(OSError, AttributeError):  # not open yet, or closed meanwhile
        connection.sock.shutdown(socket.SHUT_RDWR)


def _answer(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(Verdict.STORED)
    said = f"HTTP {status}"
    if 300 <= status < 400:
        return Answer(Verdict.REFUSED, message=f"{said}: a redirect is not followed, set its url")
    if 400 <= status < 500 and status not in AGAIN:
        return Answer(Verdict.FINAL, message=said)
    return Answer(Verdict.AGAIN, message=said)


def _failure(error: Exception) -> str:
    """Return what failed without the address, whose path may hold a secret."""
    return f"no answer: {type(error).__name__}"
