"""Explains why one series of a study is read and the others are not, and where its time went.

A decision is told as it was recorded: in the plan of the series and in its case. What is undecided
is told as `node.cases.assemble.decide` sees it now, so that the explanation and the node agree.
Everything is pure except `explain_study`, which fetches the records.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from node.case_folder import CaseFolder
from node.cases.assemble import decide
from node.cases.changes import Replay, last_replay
from node.cases.choice import thickness_mm
from node.cases.completeness import closing
from node.cases.eligibility import CURABLE, Verdict, judge
from node.cases.header_words import Contrast
from node.cases.parts import parts
from node.depot import depot_of
from node.dicom.read.geometry import stack
from node.errors import Refused
from node.outcomes import Planned
from node.records import Case, Series, SeriesPlan, Withdrawal
from node.settings import Assemble, Settings
from node.states import Priority, Reason, State
from node.worklist import Event, Row, Worklist, speaking_for_study

NOT_WAITED_FOR = "not waited for: no further image would have made it readable"
NO_FAULT = frozenset({Reason.OTHER_SERIES_READ, Reason.INTERNAL})
"""Reasons that say nothing against the series itself."""


@dataclass(frozen=True, slots=True)
class Loss:
    """By which line of `node.cases.choice.RANKING` a readable series lost, and to whom."""

    line: str
    to_series: str


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case of a series: where it stands, and what it says."""

    case_id: int
    supersedes: int | None
    state: State
    priority: Priority
    reason_code: str | None
    reason: str | None
    bundle: str | None
    withdraws: bool = False
    """Whether it reads nothing and withdraws the result of those that it supersedes."""
    replay: Replay | None = None
    """What the last replay changed of its result; None if it was never replayed."""


@dataclass(frozen=True, slots=True)
class Told:
    """One series of the study.

    Attributes
    ----------
    images
        Frames received, localisers among axial images too.
    thickness_mm, coverage_mm
        None if the headers do not say.
    taken
        Whether it is read, or chosen and about to be; None while that is undecided. A series that
        was chosen and then could not be read is not taken.
    reason_code, reason
        Why it is not taken, or what is waited for; also what failed after it was read.
    lost_to
        What it lost to, if another readable series was better.
    decision
        The sentence of its plan, if it is taken or speaks for a study that cannot be read.
    closed_at, closed_by, saved_s
        When it counted as complete, by what evidence, and how much earlier that was than the end of
        the idle timer; None while images may come.
    cases
        Its readings, the newest last; each supersedes the one before.
    """

    series_instance_uid: str
    description: str
    images: int
    thickness_mm: float | None
    coverage_mm: float | None
    kernel: str
    image_type: tuple[str, ...]
    contrast: bool
    taken: bool | None
    reason_code: str | None
    reason: str | None
    lost_to: Loss | None
    decision: str | None
    last_received_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    saved_s: float | None
    limitations: tuple[str, ...]
    cases: tuple[CaseLine, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way of the case that speaks for the study, and how long it took."""

    step: str
    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A study: its series, those taken first, and the time budget of the case that speaks for it.

    Attributes
    ----------
    time_budget
        From the last slice on; of a replayed case from the last replay on, and only what that run
        did.
    door_to_flag_s, door_to_pacs_s
        Seconds from the last slice to the flag that is shown, and to the first object that a
        destination stored.
    quarantined
        Objects of the study that are set aside: it may be incomplete.
    purged
        What of the study was purged, and when; "" if nothing was.
    withdrawn
        Who withdrew results of it, why and when, oldest first.
    """

    study_instance_uid: str
    accession_number: str
    priority: Priority
    case_id: int
    series: tuple[Told, ...]
    time_budget: tuple[Step, ...]
    door_to_flag_s: float | None
    door_to_pacs_s: float | None
    quarantined: int
    purged: str
    withdrawn: tuple[Withdrawal, ...] = ()

    @property
    def is_withdrawn(self) -> bool:
        """Whether the case that speaks for the study withdraws its result."""
        cases = (case for told in self.series for case in told.cases)
        return any(case.withdraws for case in cases if case.case_id == self.case_id)

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode explain --json`; a stable interface."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def explain_study(name: str, worklist: Worklist, settings: Settings, now: datetime) -> Explanation:
    """Return the explanation of a study as the worklist knows it.

    Parameters
    ----------
    name
        As in `node.worklist.Views.find`.

    Raises
    ------
    NotFound
        If there is no such study.
    """
    uid = worklist.views.find(name)
    history = worklist.views.history(uid)
    study = [series for series in worklist.arrivals.study(uid) if series.instances]
    known = {series.series_instance_uid for series in study}
    return explain(
        study,
        history,
        [worklist.cases.get(r.case_id) for r in history if r.series_instance_uid in known],
        {row.case_id: plan for row in history if (plan := _plan(row, settings))},
        settings.assemble,
        now,
        events=worklist.views.events(uid),
        quarantined=len(worklist.quarantine.listed(uid)),
    )


def _plan(row: Row, settings: Settings) -> SeriesPlan | None:
    return CaseFolder(depot_of(settings).seen(row.folder), row.folder).read_plan()


def explain(
    study: Sequence[Series],
    history: Sequence[Row],
    cases: Sequence[Case],
    plans: Mapping[int, SeriesPlan],
    settings: Assemble,
    now: datetime,
    *,
    events: Iterable[Event] = (),
    quarantined: int = 0,
) -> Explanation:
    """Return what was decided about each series of a study, and why.

    Parameters
    ----------
    study
        All its series; the order of series and of images does not matter.
    history, cases
        All its cases, superseded ones too, as the worklist shows them and as stages see them.
    plans
        By case number, where there is one.
    events
        What happened to the study, oldest first.
    """
    every = [part for series in study for part in parts(series, settings)]
    verdicts = [judge(series, settings) for series in every]
    context = _Context(study, history, cases, plans, settings, now, tuple(events))
    told = [
        _told(verdict, chain, context)
        for verdict in verdicts
        if (chain := _chain(history, verdict.series))
    ]
    speaker = speaking_for_study(history)
    return Explanation(
        study_instance_uid=speaker.study_instance_uid,
        accession_number=speaker.accession_number,
        priority=speaker.priority,
        case_id=speaker.case_id,
        series=tuple(sorted(told, key=_place)),
        time_budget=_time_budget(speaker, _replayed_at(context.events, speaker.case_id)),
        door_to_flag_s=speaker.door_to_flag_s,
        door_to_pacs_s=speaker.door_to_pacs_s,
        quarantined=quarantined,
        purged=speaker.purged,
        withdrawn=tuple(row.withdrawn for row in history if row.withdrawn),
    )


# --- one series ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Context:
    """What the study knows beside one series."""

    study: Sequence[Series]
    history: Sequence[Row]
    cases: Sequence[Case]
    plans: Mapping[int, SeriesPlan]
    settings: Assemble
    now: datetime
    events: Sequence[Event]


def _place(told: Told) -> tuple[bool, str, str]:
    """Return a sort key: series that are read first; the order of arrival does not matter."""
    return not told.taken, told.description, told.series_instance_uid


def _chain(history: Sequence[Row], series: Series) -> list[Row]:
    """Return the cases of a series, or of a part of it, by age."""
    key = series.series_instance_uid, series.part.number
    cases = (row for row in history if (row.series_instance_uid, row.part) == key)
    return sorted(cases, key=lambda row: row.case_id)


def _told(verdict: Verdict, chain: Sequence[Row], context: _Context) -> Told:
    newest = chain[-1]
    taken = _taken(newest)
    code, reason = newest.reason_code, newest.reason
    if newest.state is State.RECEIVING:
        code, reason = _undecided(verdict, newest, context)
    plan = None
    if newest.state not in (State.RECEIVING, State.SKIPPED):
        plan = context.plans.get(newest.case_id)
    closed_at, closed_by, saved_s = _closed(verdict, newest, code, context)
    header = verdict.headers[0]
    return Told(
        series_instance_uid=verdict.series.series_instance_uid,
        description=header.series_description,
        images=sum(len(i.header.frames) for i in verdict.series.instances),
        thickness_mm=thickness_mm(verdict),
        coverage_mm=_coverage_mm(verdict, context.settings),
        kernel=header.convolution_kernel,
        image_type=header.image_type,
        contrast=verdict.contrast is Contrast.AGENT,
        taken=taken,
        reason_code=code,
        reason=reason,
        lost_to=_lost_to(newest),
        decision=plan.decision if plan and (taken or newest.assembled_at is None) else None,
        last_received_at=verdict.series.last_received_at,
        closed_at=closed_at,
        closed_by=closed_by,
        saved_s=saved_s,
        limitations=newest.limitations if plan else (),
        cases=tuple(_line(row, context.events) for row in chain),
    )


def _taken(newest: Row) -> bool | None:
    if newest.state is State.RECEIVING:
        return None
    return newest.state is State.ASSEMBLED or newest.triaged_at is not None


def _undecided(verdict: Verdict, newest: Row, context: _Context) -> tuple[str | None, str]:
    """Return what stands against the series as it is, and what its case waits for."""
    (case,) = (case for case in context.cases if case.id == newest.case_id)
    outcome, plan = decide(case, context.study, context.cases, context.settings, context.now)
    code = verdict.refusal.reason if verdict.refusal else getattr(outcome, "reason_code", None)
    if isinstance(outcome, Planned):
        return code, plan.decision if plan else ""
    return code, outcome.reason


def _closed(
    verdict: Verdict, newest: Row, code: str | None, context: _Context
) -> tuple[datetime | None, str | None, float | None]:
    """Return when the series was complete, by what evidence, and how much earlier than by timer."""
    if newest.state is not State.RECEIVING and newest.closed_at is not None:
        return newest.closed_at, newest.closed_by, newest.saved_s
    if code is not None and code not in (*CURABLE, *NO_FAULT):
        return None, NOT_WAITED_FOR, None
    # An undecided series, or one passed over before schema 0005, which did not note it.
    judged = replace(verdict, refusal=None) if code in NO_FAULT else verdict
    ends = closing(judged, context.settings, reported=newest.supersedes is not None)
    if context.now < ends.at:
        return None, None, None
    return ends.at, ends.why, ends.saved_s


def _coverage_mm(verdict: Verdict, settings: Assemble) -> float | None:
    """Return how much was scanned, of a series refused for other reasons too."""
    try:
        ordered = verdict.stack or stack(verdict.headers, settings.max_gap_factor)
    except Refused:
        return None
    return ordered.coverage_mm or None


def _lost_to(newest: Row) -> Loss | None:
    """Return the series that was read instead, as it was recorded."""
    if newest.state is not State.SKIPPED or newest.preferred is None:
        return None
    return Loss(newest.preferred.line, newest.preferred.series_instance_uid)


def _line(row: Row, events: Sequence[Event]) -> CaseLine:
    return CaseLine(
        case_id=row.case_id,
        supersedes=row.supersedes,
        state=row.state,
        priority=row.priority,
        reason_code=row.reason_code,
        reason=row.reason,
        bundle=row.bundle,
        withdraws=row.withdrawn is not None,
        replay=last_replay(events, row.case_id),
    )


# --- time ----------------------------------------------------------------------------------------


def _replayed_at(events: Iterable[Event], case_id: int) -> datetime | None:
    """Return when a case was replayed last, None if it never was."""
    replay = last_replay(events, case_id)
    return None if replay is None else replay.at


def _time_budget(row: Row, replayed_at: datetime | None) -> tuple[Step, ...]:
    """Return the steps of one run: the first, or that of the last replay.

    A step that a replay did not repeat belongs to an older run and is left out.
    """
    start = ("replayed", replayed_at) if replayed_at else ("last slice", row.received_at)
    done = (
        ("assembled", row.assembled_at),
        ("triaged", row.triaged_at),
        ("flagged", row.flagged_at),
        ("reported", row.reported_at),
        ("delivered", row.delivered_at),
    )
    steps = [(name, at) for name, at in done if at and (not replayed_at or at >= replayed_at)]
    known = sorted([start, *steps], key=lambda step: step[1])
    first = Step(known[0][0], known[0][1], 0.0)
    rest = (
        Step(name, at, (at - before).total_seconds()) for (_, before), (name, at) in pairwise(known)
    )
    return first, *rest


def _plain(value: Any) -> Any:
    """Return plain JSON values: times in ISO 8601, lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value.isoformat() if isinstance(value, datetime) else value
