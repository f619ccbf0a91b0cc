"""How a stage ended: one record for each way, with just what the worklist must then hold.

`state` is the state that the case moves to. `Waiting` leaves the case where it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from node.records import Closing, Parcel, Preferred, Scan
from node.states import Priority, Reason, State


@dataclass(frozen=True, slots=True)
class Waiting:
    """Images that matter may still come: the case is due again at `retry_at`."""

    reason: str
    """What is waited for."""
    retry_at: datetime
    prior: bool = False
    """Whether the study was acquired long before it arrived."""

    state: ClassVar = State.RECEIVING


@dataclass(frozen=True, slots=True)
class Skipped:
    """The series is not read: it cannot be, or another series of the study is read."""

    reason_code: Reason
    reason: str
    prior: bool = False
    closing: Closing | None = None
    """None where no further image could have made the series readable."""
    preferred: Preferred | None = None
    """The series that is read instead, where this one could be read too."""
    scan: Scan | None = None
    """The scan of the study that the series shows; None if it shows none."""

    state: ClassVar = State.SKIPPED


@dataclass(frozen=True, slots=True)
class Planned:
    """The series is complete and will be read; its plan lies in the case folder."""

    limitations: tuple[str, ...] = ()
    prior: bool = False
    closing: Closing | None = None
    scan: Scan | None = None
    """The scan of the study that the series shows; None if it shows none."""

    state: ClassVar = State.ASSEMBLED


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """The series was not read. That is a result, and is reported."""

    reason_code: str
    reason: str
    limitations: tuple[str, ...] = ()
    prior: bool | None = None
    """None keeps what the worklist holds."""
    closing: Closing | None = None
    """None keeps what the worklist holds."""
    scan: Scan | None = None
    """None keeps what the worklist holds."""

    state: ClassVar = State.NOT_ANALYSED
    priority: ClassVar = Priority.NOT_ANALYSED


@dataclass(frozen=True, slots=True)
class Triaged:
    """The series was read; the fields are those of `models.findings.Findings`."""

    priority: Priority
    probability: float
    uncertainty: float | None = None
    uncertain: bool = False
    volume_ml: float | None = None
    subtypes: Mapping[str, float] | None = None
    key_slice_sop_instance_uid: str | None = None
    bundle: str | None = None
    operating_point: float | None = None
    limitations: tuple[str, ...] = ()
    reason_code: str | None = None
    reason: str | None = None
    """Why the series is NOT_ANALYSED, though it was read: only in part (`node.cases.clearance`)."""

    state: ClassVar = State.TRIAGED


@dataclass(frozen=True, slots=True)
class Reported:
    """The report is written and owed."""

    owed: tuple[tuple[str, Parcel], ...] = ()
    """The name of a destination, and what it gets."""
    compared: str | None = None
    """How a replayed result differs from the one before (`node.cases.manifest.compare`)."""

    state: ClassVar = State.REPORTED


@dataclass(frozen=True, slots=True)
class Failed:
    """The stage failed for good: a person must look."""

    reason_code: Reason
    reason: str

    state: ClassVar = State.FAILED


Outcome = Waiting | Skipped | Planned | NotAnalysed | Triaged | Reported | Failed
