"""Peers that a command names: by their configured name, or by an address."""

import re
from typing import Any

from pydantic import ValidationError

from node.errors import BadConfiguration
from node.settings.destination import Destination
from node.settings.file import Settings
from node.settings.pull import Source


def peer(text: str, settings: Settings) -> Destination:
    """Return the destination of that name, or the one that "AE_TITLE@HOST:PORT" describes.

    Raises
    ------
    BadConfiguration
        If it is neither.
    """
    for destination in settings.deliver.destinations:
        if destination.name == text:
            return destination
    found = _address(text)
    if found is None:
        known = ", ".join(d.name for d in settings.deliver.destinations) or "none is configured"
        raise BadConfiguration(
            f"{text!r} is neither AE_TITLE@HOST:PORT nor a destination's name ({known})"
        )
    return Destination(name=text, **found)


def source(text: str, settings: Settings) -> Source:
    """Return the source of that name, or the one that an address describes.

    "AE_TITLE@HOST:PORT" is a source for C-GET, "https://HOST/PATH" for DICOMweb.

    Raises
    ------
    BadConfiguration
        If it is none of these.
    """
    for known in settings.pull.sources:
        if known.name == text:
            return known
    if re.match("https?://", text):
        try:
            return Source(name=text, how="web", url=text)
        except ValidationError as error:
            raise BadConfiguration(error.errors()[0]["msg"]) from error
    found = _address(text)
    if found is None:
        names = ", ".join(known.name for known in settings.pull.sources) or "none is configured"
        raise BadConfiguration(
            f"{text!r} is neither AE_TITLE@HOST:PORT, https://HOST/PATH nor a source ({names})"
        )
    return Source(name=text, **found)


def _address(text: str) -> dict[str, Any] | None:
    """Return the parts of "AE_TITLE@HOST:PORT" by the settings' names; None of another text."""
    match = re.fullmatch(r"(?P<ae_title>[^@]{1,16})@(?P<host>.+):(?P<port>\d{1,5})", text)
    if match is None:
        return None
    return {
        "ae_title": match["ae_title"],
        "host": match["host"].strip("[]"),
        "port": int(match["port"]),
    }
