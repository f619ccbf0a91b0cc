"""Decides how the worklist shows a study: by which of its cases, and in which place. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from node.case_folder import case_folder
from node.records import Preferred, Withdrawal
from node.states import Priority, State

READ_ELSEWHERE = timedelta(hours=24)
"""Where nobody acknowledges here, a study this old counts as read in the PACS. Otherwise last
week's negatives would age past tonight's bleeds. An estimate: emergency studies are read within a
day."""

HEAD_START: Mapping[Priority, timedelta] = {
    Priority.SUSPECTED: timedelta(hours=28),
    Priority.NOT_ANALYSED: timedelta(hours=28),
    Priority.PENDING: timedelta(hours=4),
    Priority.NOT_SUSPECTED: timedelta(0),
}
"""A study is listed as if it had come this much earlier. So each priority stands before
the next, the longest wait first, and nothing starves: a study that nobody has read for 28 h stands
level with a bleed that comes in now. Prioritising without ageing delays routine studies without
bound (PMC8128725). The first two lead the rest by `READ_ELSEWHERE`: before a study counts as read,
it cannot age past them. What was not suspected but is uncertain starts with them."""

_READ = (Priority.SUSPECTED, Priority.NOT_SUSPECTED)


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One parcel owed to one destination.

    `kind` is the parcel's; `sop_class` the UID of a DICOM object, else ""; `last_status` verbatim;
    `sent_at` is when the peer said that it has the parcel, `last_message` what went wrong.
    """

    destination: str
    kind: str
    sop_class: str
    status: str
    attempts: int
    last_status: int | None
    sent_at: datetime | None = None
    last_message: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object of `deliveries`; a stable interface."""
        within = ("kind", "sent_at", "last_message")
        return {name: value for name, value in asdict(self).items() if name not in within}


@dataclass(frozen=True, slots=True)
class ScanLine:
    """One scan of a study, through the case that speaks for it."""

    acquired: str
    series_instance_uid: str
    case_id: int
    priority: Priority
    probability: float | None
    reason: str | None
    withdrawn: bool = False
    """Whether a person withdrew its result."""


@dataclass(frozen=True, slots=True)
class Row:
    """A study as the worklist shows it, through the case that speaks for it.

    Times are UTC. `received_at` is when the last slice of that case came, `first_received_at` when
    the study's first object did. `uncertainty` and `uncertain` are those of
    `models.findings.Findings`; None and False while there is no reading.
    """

    study_instance_uid: str
    patient_id: str
    accession_number: str
    priority: Priority
    probability: float | None
    uncertainty: float | None
    uncertain: bool
    volume_ml: float | None
    subtypes: Mapping[str, float]
    reason: str | None
    series_instance_uid: str
    key_slice_sop_instance_uid: str | None
    bundle: str | None
    received_at: datetime
    flagged_at: datetime | None
    delivered_at: datetime | None
    case_id: int
    supersedes: int | None
    state: State
    study_description: str
    reason_code: str | None
    limitations: tuple[str, ...]
    first_received_at: datetime
    assembled_at: datetime | None
    triaged_at: datetime | None
    reported_at: datetime | None
    part: int = 0
    """Which part of its series the case reads (`node.cases.parts`)."""
    prior: bool = False
    """Acquired long before it arrived: it stands behind all current studies."""
    closed_at: datetime | None = None
    closed_by: str | None = None
    saved_s: float | None = None
    """When and how the series was closed, and how much sooner than by the idle timer, seconds."""
    preferred: Preferred | None = None
    """The series that is read instead of this case's."""
    scan: str = ""
    """The scan of the study that this case reads; cases of one scan bear one name."""
    acquired: str = ""
    """When that scan began, by the scanner's clock, as `node.records.Scan.acquired`."""
    scans: tuple["ScanLine", ...] = ()
    """How each scan of the study stands, the worst first."""
    deliveries: tuple[DeliveryLine, ...] = ()
    pixels_purged_at: datetime | None = None
    """When the images were purged that this case was made from; None while all are here."""
    results_purged_at: datetime | None = None
    """When its report was purged."""
    withdrawn: Withdrawal | None = None
    """Who withdrew the results that this case supersedes; None of every other case."""
    quarantined: int = 0
    """Objects of this study set aside and not decided about: it may be incomplete."""
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    agrees: bool | None = None

    @property
    def why(self) -> str:
        """Why it stands as it does, in words; "" if nothing is to be said."""
        said = [str(self.withdrawn)] if self.withdrawn else []
        said += [self.reason] if self.reason and self.reason not in said else []
        return "; ".join(said)

    @property
    def purged(self) -> str:
        """What of it was purged, and when, in words; "" if nothing was."""
        if self.results_purged_at is not None:
            return f"pixels and results purged on {self.results_purged_at:%Y-%m-%d}"
        if self.pixels_purged_at is not None:
            return f"pixels purged on {self.pixels_purged_at:%Y-%m-%d}"
        return ""

    @property
    def folder(self) -> str:
        """Where the case's files lie, relative to the data folder."""
        return case_folder(self.case_id)

    @property
    def door_to_flag_s(self) -> float | None:
        """Seconds from the last slice to the flag; None where what was flagged is withdrawn."""
        if self.flagged_at is None or self.withdrawn:
            return None
        return (self.flagged_at - self.received_at).total_seconds()

    @property
    def door_to_pacs_s(self) -> float | None:
        """Seconds from the last slice until a destination stored the first object of the result."""
        stored = [line.sent_at for line in self.deliveries if line.sent_at and line.sop_class]
        if self.withdrawn or not stored:
            return None
        return (min(stored) - self.received_at).total_seconds()

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode worklist --json`; a stable interface."""
        return {
            "study_instance_uid": self.study_instance_uid,
            "patient_id": self.patient_id,
            "accession_number": self.accession_number,
            "case_id": self.case_id,
            "priority": self.priority.value,
            "prior": self.prior,
            "probability": self.probability,
            "uncertainty": self.uncertainty,
            "uncertain": self.uncertain,
            "volume_ml": self.volume_ml,
            "subtypes": dict(self.subtypes),
            "reason": self.reason,
            "withdrawn": self.withdrawn and self.withdrawn.to_json(),
            "scans": [asdict(line) for line in self.scans],
            "limitations": list(self.limitations),
            "series_instance_uid": self.series_instance_uid,
            "key_slice_sop_instance_uid": self.key_slice_sop_instance_uid,
            "bundle": self.bundle,
            "received_at": self.received_at.isoformat(),
            "flagged_at": self.flagged_at and self.flagged_at.isoformat(),
            "delivered_at": self.delivered_at and self.delivered_at.isoformat(),
            "door_to_flag_s": self.door_to_flag_s,
            "door_to_pacs_s": self.door_to_pacs_s,
            "closed_by": self.closed_by,
            "saved_s": self.saved_s,
            "pixels_purged_at": self.pixels_purged_at and self.pixels_purged_at.isoformat(),
            "results_purged_at": self.results_purged_at and self.results_purged_at.isoformat(),
            "deliveries": [line.to_json() for line in self.deliveries],
        }


def speaking_for_study(cases: Sequence[Row]) -> Row:
    """Return the row of the case that speaks for its study, with the priority to show.

    A scan is the first of these that any of its series is: suspected; uncertain (the study must not
    rank below an undecided one); pending; failed, which is shown as not analysed (a failure must
    not read as a negative); not suspected; not analysed. The worst scan speaks for the study, so
    that no scan is cleared by another.

    Parameters
    ----------
    cases
        All cases of one study, superseded ones too; at least one.
    """
    by_id = {case.case_id: case for case in cases}
    superseded = {case.supersedes for case in cases}
    newest = [_standing(case, by_id) for case in cases if case.case_id not in superseded]
    scans: dict[str, list[Row]] = {}
    for case in newest:
        alone = f"case {case.case_id}" if case.priority is Priority.PENDING else case.scan
        scans.setdefault(alone, []).append(case)
    speakers = sorted((min(each, key=_voice) for each in scans.values()), key=_worst)
    read = [row for row in speakers if row.state is not State.SKIPPED] or speakers[:1]
    return replace(speakers[0], scans=tuple(map(_scan_line, read)))


def in_order(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Return the rows in worklist order; see `HEAD_START`.

    Acknowledged studies come last, and prior studies, in the same order, behind all current ones.
    """
    rows = list(rows)
    read_here = any(row.acknowledged_at for row in rows)

    def place(row: Row) -> tuple[bool, bool, timedelta]:
        waited = now - row.first_received_at
        past = row.acknowledged_at is not None or (not read_here and waited >= READ_ELSEWHERE)
        return row.prior, past, waited if past else -waited - _head_start(row)

    return sorted(rows, key=place)


def _head_start(row: Row) -> timedelta:
    return HEAD_START[Priority.NOT_ANALYSED if row.uncertain else row.priority]


def _standing(case: Row, by_id: Mapping[int, Row]) -> Row:
    """Return the row that stands for a series.

    Late slices may raise its priority at once; they lower it only when they have been read. What a
    reading has lowered stays so while further slices wait, and what a person has withdrawn stays
    withdrawn.
    """
    shown = replace(case, priority=_shown(case))
    if shown.priority in _READ or case.withdrawn:
        return shown
    older = by_id.get(case.supersedes) if case.supersedes else None
    while older and not older.withdrawn and _shown(older) not in _READ:
        older = by_id.get(older.supersedes) if older.supersedes else None
    suspected = older is not None and older.priority is Priority.SUSPECTED
    return replace(older, reason=case.reason) if older and suspected else shown


def _shown(case: Row) -> Priority:
    if case.priority is Priority.SUSPECTED:
        return Priority.SUSPECTED
    without_result = case.state in (State.NOT_ANALYSED, State.SKIPPED, State.FAILED)
    return Priority.NOT_ANALYSED if without_result else case.priority


def _scan_line(row: Row) -> ScanLine:
    said = (row.acquired, row.series_instance_uid, row.case_id, row.priority)
    return ScanLine(*said, row.probability, row.reason, row.withdrawn is not None)


def _worst(row: Row) -> tuple[float, float, int]:
    """Return a sort key: the scan of a study with the lowest key speaks for it."""
    rank, certainty, case_id = _voice(row)
    not_looked_at = row.priority is Priority.NOT_ANALYSED and row.state is not State.SKIPPED
    return 3 if not_looked_at else rank, certainty, case_id


def _voice(case: Row) -> tuple[int, float, int]:
    """Return a sort key: the series of a study with the lowest key speaks for it."""
    if case.priority is Priority.NOT_ANALYSED:
        rank = {State.FAILED: 3, State.SKIPPED: 6}.get(case.state, 5)
    elif case.priority is Priority.NOT_SUSPECTED:
        rank = 1 if case.uncertain else 4
    else:
        rank = 0 if case.priority is Priority.SUSPECTED else 2
    return rank, -(case.probability or 0), case.case_id
