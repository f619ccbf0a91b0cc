"""How sending one parcel ended: what every channel says to the loop."""

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What follows from a peer's answer."""

    STORED = "stored"
    """The peer has the parcel."""
    AGAIN = "again"
    """The peer, or the way to it, failed; the parcel is sent again soon."""
    DOWN = "down"
    """There is no connection with the peer, so it got nothing; no parcel is to blame."""
    REFUSED = "refused"
    """The peer refuses the parcel for what it is, until something changes at the peer."""
    FINAL = "final"
    """The peer refuses the parcel for good: a person must look."""
    CANCELLED = "cancelled"
    """It is owed no longer: its result was withdrawn or replaced just before it would have left."""
    STOPPED = "stopped"
    """The parcel was kept back: it must never be sent as it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How sending one parcel ended."""

    verdict: Verdict
    status: int | None = None
    """The DIMSE status of a DICOM peer, verbatim; None where it gave none."""
    message: str = ""
