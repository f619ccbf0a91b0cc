"""What a peer means that ends a query or a retrieval without success, and what to do then."""

from collections.abc import Mapping
from typing import Final

from pynetdicom.status import (
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_GET_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
)

_MEANINGS: Final = {
    "C-FIND": QR_FIND_SERVICE_CLASS_STATUS,
    "C-GET": QR_GET_SERVICE_CLASS_STATUS,
    "C-MOVE": QR_MOVE_SERVICE_CLASS_STATUS,
}
"""Category and meaning of each status of PS3.4 C.4 and PS3.7 annex C, by the service."""

_BUSY = "it is busy, or the answer is more than it gives; ask again later, or for less"
_FORBIDDEN = "allow {ae_title} there to ask for this"
_REMEDIES: Mapping[int, str] = {
    0x0122: _FORBIDDEN,
    0x0124: _FORBIDDEN,
    0x0213: _BUSY,
    0xA700: _BUSY,
    0xA701: _BUSY,
    0xA702: _BUSY,
    0xA801: "add {ae_title} there, with this node's address and port",
    0xA900: "it does not take such a request: its conformance statement says which it takes",
    0xB000: "the log of {peer} says which objects it cannot send, and why",
    0xB001: "raise that limit there, or ask for less",
}
_ELSE = "the log of {peer} says why"


def refusal(what: str, status: int, *, peer: str, ae_title: str, comment: str = "") -> str:
    """Return what a final status other than success means, and what to do, as one sentence.

    Parameters
    ----------
    what
        "C-FIND", "C-GET" or "C-MOVE".
    peer
        Its name, as people know it.
    ae_title
        What we call ourselves, or where C-MOVE sends to.
    comment
        The peer's own words, Error Comment (0000,0902).
    """
    _, meaning = _MEANINGS[what].get(status, ("", ""))
    words = meaning[:1].lower() + meaning[1:] or "of no meaning in PS3.4"
    remedy = _REMEDIES.get(status, _ELSE).format(peer=peer, ae_title=ae_title)
    said = f" ({comment})" if comment else ""
    return f"{what} failed, 0x{status:04X}: {words}{said}; {remedy}"
