"""Decides what becomes of a case: whether its series is read, passed over, or not analysed. Pure.

Three questions, each answered by its own function from what has been received so far:

- `node.cases.completeness.closing`: until when may further images of a series come?
- `node.cases.eligibility.judge`: do the headers of the series allow to read it?
- `node.cases.choice.RANKING`: which series of the study is read?

The answers depend on the study, its cases and the time alone. So all cases of a study come to the
same decision, in whatever order they are asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from node.cases import clearance
from node.cases.choice import lost_by, rank, read_instead, thickness_mm
from node.cases.clearance import unseen
from node.cases.eligibility import RULES, judge
from node.cases.field import Entry, Field, field_of
from node.cases.header_words import Contrast
from node.cases.limitations import limitations
from node.dicom.read.geometry import FrameRef
from node.outcomes import NotAnalysed, Planned, Skipped, Waiting
from node.records import Case, Instance, Preferred, Series, SeriesPlan, SliceRef
from node.settings import Assemble
from node.states import Priority, Reason, State

_RULE_NUMBER = {reason: number for number, (reason, _) in enumerate(RULES)}
JOINED = "its images are read with another part of the series since more of them came"


def decide(
    case: Case,
    study: Sequence[Series],
    cases: Sequence[Case],
    settings: Assemble,
    now: datetime,
) -> "Decided":
    """Return what becomes of a case, and the plan of its series if there is something to report.

    Parameters
    ----------
    study
        All series received of the case's study.
    cases
        All cases of the study; they tell which series were read, passed over or found unreadable.

    Returns
    -------
    Waiting, Planned, NotAnalysed or Skipped
        Waiting while images may come that matter; NotAnalysed for the one case that speaks for a
        study in which nothing can be read.
    SeriesPlan or None
        With Planned the slices to read, with NotAnalysed all that was received of the series.
    """
    field = field_of(case, study, cases, settings, now)
    if field is None:
        return Skipped(Reason.OTHER_SERIES_READ, JOINED), None
    if field.mine.verdict.refusal is None:
        return _eligible(field, _replaces_a_reading(case, cases))
    return _refused(field)


Decided = tuple[Waiting | Planned | NotAnalysed | Skipped, SeriesPlan | None]


def _eligible(field: Field, replaces_a_reading: bool) -> Decided:
    """Decide about a series that can be read."""
    mine = field.mine
    if not mine.closed:
        return field.wait(f"can be read as it stands; {_until(mine.closing.at)}")
    if replaces_a_reading:
        return _read(field)
    best = field.readable[0]
    if best is not mine:
        why = read_instead(best.verdict, mine.verdict)
        line = lost_by(best.verdict, mine.verdict)
        return field.skip(Reason.OTHER_SERIES_READ, why, Preferred(line, best.uid))
    for rival in field.rivals:
        if _may_beat(rival, mine):
            name = rival.verdict.name
            return field.wait(f"complete; series {name} still arrives and may be the better one")
    return _read(field)


def _refused(field: Field) -> Decided:
    """Decide about a series that cannot be read (yet)."""
    mine, refusal = field.mine, field.mine.verdict.refusal
    assert refusal is not None
    if not (mine.closed or mine.hopeless):
        return field.wait(f"not yet readable: {refusal.message}; {_until(mine.closing.at)}")
    if field.readable:
        return field.skip(refusal.reason, refusal.message)
    if field.now < field.closes_at:
        why = f"{refusal.message}; whether the study holds another series to read is known at"
        return field.wait(f"{why} {field.closes_at:%H:%M:%S} UTC")
    speakers = [e for e in (mine, *field.rivals) if e is mine or not e.passed_over]
    if min(speakers, key=_distance) is not mine:
        return field.skip(refusal.reason, refusal.message)
    if refusal.reason is Reason.NOT_A_HEAD:
        doubted = judge(mine.verdict.series, field.settings, doubt=True)
        if doubted.refusal is None:
            return _read(replace(field, mine=replace(mine, verdict=doubted)))
    decision = f"series {mine.verdict.name} cannot be read: {refusal.message}; {mine.closing.why}"
    plan = _plan(field, _everything(mine.verdict.series), f"{decision}{_others(field)}")
    known = (plan.limitations, bool(field.prior), mine.closing, field.scan)
    outcome = NotAnalysed(refusal.reason, refusal.message, *known)
    return outcome, replace(plan, reason=refusal.message)


def _may_beat(rival: Entry, mine: Entry) -> bool:
    """Return whether a series that still arrives may become the better one."""
    if not rival.arriving or rival.hopeless or rival.unreadable or rival.passed_over:
        return False
    return rank(rival.verdict, at_best=True) < rank(mine.verdict)


def _distance(entry: Entry) -> tuple[int, int, str, int]:
    """Return a sort key: first by how late a rule objects, then by how many images there are."""
    refusal = entry.verdict.refusal
    objecting = _RULE_NUMBER.get(refusal.reason) if refusal else None
    passed = len(_RULE_NUMBER) if objecting is None else objecting
    return -passed, -len(entry.verdict.images), *entry.key


def _replaces_a_reading(case: Case, cases: Iterable[Case]) -> bool:
    """Return whether the case supersedes a result that late slices have outdated."""
    return any(
        old.id == case.supersedes
        and old.state not in (State.RECEIVING, State.SKIPPED, State.FAILED)
        and old.priority is not Priority.NOT_ANALYSED
        for old in cases
    )


# --- outcomes ------------------------------------------------------------------------------------


def _read(field: Field) -> tuple[Planned, SeriesPlan]:
    mine, verdict = field.mine, field.mine.verdict
    stack = verdict.stack
    assert stack is not None
    kernel = verdict.headers[0].convolution_kernel or "unnamed"
    decision = (
        f"series {verdict.name} is read: {len(stack.slices)} axial slices over "
        f"{stack.coverage_mm:.0f} mm, {thickness_mm(verdict) or 0:.1f} mm thick, kernel {kernel}; "
        f"{mine.closing.why}{_others(field)}"
    )
    slices, copies = (_refs(verdict.images, frames) for frames in (stack.slices, stack.copies))
    beside = [e.verdict for e in field.others if e.verdict.refusal is None]
    gone = unseen(verdict, field.settings, beside)
    known = (*limitations(verdict), *clearance.limitations(gone))
    plan = replace(
        _plan(field, slices, decision, known, copies),
        unseen=gone,
        continued=clearance.continued(verdict, beside),
    )
    return Planned(plan.limitations, bool(field.prior), mine.closing, field.scan), plan


def _plan(
    field: Field,
    slices: tuple[SliceRef, ...],
    decision: str,
    known_limitations: tuple[str, ...] = (),
    copies: tuple[SliceRef, ...] = (),
) -> SeriesPlan:
    series, closing = field.mine.verdict.series, field.mine.closing
    return SeriesPlan(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        slices=slices,
        decision=decision,
        limitations=(*known_limitations, *field.prior),
        copies=copies,
        closed_by=closing.why,
        saved_s=closing.saved_s,
        names_contrast=field.mine.verdict.contrast > Contrast.NONE,
    )


def _refs(images: Sequence[Instance], frames: Iterable[FrameRef]) -> tuple[SliceRef, ...]:
    return tuple(_ref(images[ref.header], ref.frame) for ref in frames)


def _everything(series: Series) -> tuple[SliceRef, ...]:
    """Return all frames that are there; their order does not depend on the order of arrival."""
    return tuple(
        _ref(instance, frame)
        for instance in sorted(
            (one for one in series.instances if one.purged_at is None),
            key=lambda i: (i.header.instance_number or 0, i.header.sop_instance_uid),
        )
        for frame in range(len(instance.header.frames))
    )


def _ref(instance: Instance, frame: int) -> SliceRef:
    header, stored, place = instance.header, instance.stored, instance.header.frames[frame]
    return SliceRef(
        path=stored.path,
        sha256=stored.sha256,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        frame_number=frame + 1,
        position_mm=place.position_mm,
        location_mm=place.location_mm,
    )


def _until(closes_at: datetime) -> str:
    return f"another image may still come until {closes_at:%H:%M:%S} UTC"


def _others(field: Field) -> str:
    """Return what is said of the study's other series, as the end of a sentence."""
    said = [
        f"{entry.verdict.name} ({_objection(entry, field.mine)})"
        for entry in sorted(field.others, key=lambda e: e.key)
    ]
    return f". Not read: {'; '.join(said)}" if said else ""


def _objection(entry: Entry, winner: Entry) -> str:
    if entry.verdict.refusal:
        return entry.verdict.refusal.message
    if entry.unreadable:
        return "could not be analysed"
    if not entry.closed:
        return "still arriving"
    if rank(entry.verdict) < rank(winner.verdict):
        return "read as a case of its own"
    return f"less fit by: {lost_by(winner.verdict, entry.verdict)}"
