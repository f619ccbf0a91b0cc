r"""The life of a case, as data. Pure: no clock, no database.

    RECEIVING -> ASSEMBLED -> TRIAGED ------> REPORTED -> DELIVERED
        |  \          \-> NOT_ANALYSED --/
        |   \-> SKIPPED
        any -> FAILED -> (replayed by a person)

No state stands for work in progress. A worker claims a case by `claimed_by` and `lease_until` on
its row; if it crashes, another worker takes up the case when the lease runs out.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a case stands."""

    RECEIVING = "RECEIVING"
    ASSEMBLED = "ASSEMBLED"
    TRIAGED = "TRIAGED"
    NOT_ANALYSED = "NOT_ANALYSED"
    REPORTED = "REPORTED"
    DELIVERED = "DELIVERED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.RECEIVING: frozenset({State.ASSEMBLED, State.NOT_ANALYSED, State.SKIPPED, State.FAILED}),
    State.ASSEMBLED: frozenset({State.TRIAGED, State.NOT_ANALYSED, State.FAILED}),
    State.TRIAGED: frozenset({State.REPORTED, State.FAILED}),
    State.NOT_ANALYSED: frozenset({State.REPORTED, State.FAILED}),
    State.REPORTED: frozenset({State.DELIVERED, State.FAILED}),
    State.DELIVERED: frozenset(),
    State.SKIPPED: frozenset(),
    State.FAILED: frozenset(),
}
"""Allowed moves. A replay is none of them: it sets the state back and records an event."""


class Priority(StrEnum):
    """How the worklist shows a study. NOT_ANALYSED is shown as prominently as SUSPECTED."""

    SUSPECTED = "SUSPECTED"
    NOT_ANALYSED = "NOT_ANALYSED"
    PENDING = "PENDING"
    NOT_SUSPECTED = "NOT_SUSPECTED"


class Reason(StrEnum):
    """Why a case was not analysed, skipped or failed: stable codes, listed in CONFORMANCE.md."""

    NOT_CT = "NOT_CT"
    LOCALISER = "LOCALISER"
    DERIVED = "DERIVED"
    NOT_AXIAL = "NOT_AXIAL"
    NOT_A_HEAD = "NOT_A_HEAD"
    CONTRAST = "CONTRAST"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    COVERAGE = "COVERAGE"
    MISSING_SLICE = "MISSING_SLICE"
    INCOMPLETE = "INCOMPLETE"
    DUPLICATE_POSITION = "DUPLICATE_POSITION"
    GEOMETRY = "GEOMETRY"
    NOT_HOUNSFIELD = "NOT_HOUNSFIELD"
    NOISE = "NOISE"
    ARTEFACT = "ARTEFACT"
    AGE = "AGE"
    NO_PIXEL_DATA = "NO_PIXEL_DATA"
    UNDECODABLE = "UNDECODABLE"
    UNREADABLE = "UNREADABLE"
    MIXED_IDENTITY = "MIXED_IDENTITY"
    PURGED = "PURGED"
    OTHER_SERIES_READ = "OTHER_SERIES_READ"
    WITHDRAWN = "WITHDRAWN"
    INTERNAL = "INTERNAL"
