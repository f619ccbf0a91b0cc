"""Bodies of answers, and which of them a caller accepts (PS3.18 8.7)."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message

from starlette.responses import Response, StreamingResponse

AS_STORED = "*"
"""The transfer syntax that stands for any."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One media type that a caller accepts: of a part, where it accepts several parts."""

    media_type: str
    multipart: bool
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an answer, and its whole Content-Type."""

    content_type: str
    content: bytes


def dicom_json(text: str, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """Return a response of the media type of the DICOM JSON model."""
    return Response(text, status, headers, media_type="application/dicom+json")


def accepted(header: str) -> list[Accepted]:
    """Return what an Accept header lists, the most wanted first; anything, if it is empty."""
    found = []
    for number, item in enumerate(_split(header or "*/*")):
        named = parameters(item)[1]
        media_type, multipart = item.partition(";")[0].strip().lower(), False
        if media_type == "multipart/related":
            media_type, multipart = named.get("type", "*/*").lower(), True
        syntax = named.get("transfer-syntax", "")
        found.append(
            (-_quality(named.get("q", "1")), number, Accepted(media_type, multipart, syntax))
        )
    return [each for weight, _, each in sorted(found, key=lambda one: one[:2]) if weight < 0]


def parameters(header: str) -> tuple[str, dict[str, str]]:
    """Return the media type of a Content-Type, and its parameters by their names in lower case.

    Extended parameters (RFC 2231, of which HTTP has none here) are left out.
    """
    message = Message()
    message["Content-Type"] = header
    given = message.get_params([]) or []
    named = {name.lower(): value for name, value in given if isinstance(value, str)}
    return message.get_content_type(), named


def multipart(parts: Iterable[Part], media_type: str) -> Response:
    """Return a response of several parts of one media type, sent as they are made."""
    boundary = uuid.uuid4().hex
    kind = f'multipart/related; type="{media_type}"; boundary={boundary}'
    return StreamingResponse(_parts(parts, boundary), headers={"Content-Type": kind})


def _parts(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    for part in parts:
        head = f"\r\n--{boundary}\r\nContent-Type: {part.content_type}\r\n"
        yield f"{head}Content-Length: {len(part.content)}\r\n\r\n".encode("ascii")
        yield part.content
    yield f"\r\n--{boundary}--\r\n".encode("ascii")


def _split(header: str) -> list[str]:
    """Return the items of a header, which are separated by commas outside quotation marks."""
    items, quoted = [""], False
    for character in header:
        quoted ^= character == '"'
        if character == "," and not quoted:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
