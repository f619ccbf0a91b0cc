"""What is to be done: cases are claimed, moved from state to state, and set back."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.case_folder import case_folder
from node.errors import Permanent
from node.records import Case, Outcome
from node.states import TRANSITIONS, Priority, State
from node.worklist import outbox
from node.worklist.events import note
from node.worklist.leases import FREE, LeaseLost, held_by, is_free
from node.worklist.tables import case, series

_WITHOUT_RESULT = (State.NOT_ANALYSED, State.SKIPPED, State.FAILED)
_READ = (Priority.SUSPECTED, Priority.NOT_SUSPECTED)

_STAGE_TIME = {
    State.ASSEMBLED: "assembled_at",
    State.TRIAGED: "triaged_at",
    State.REPORTED: "reported_at",
}

_newer = case.alias("newer")
NOT_SUPERSEDED = ~sa.exists().where(_newer.c.supersedes == case.c.id)

_CASE = sa.select(case, series.c.study_instance_uid).join_from(case, series)


class IllegalMove(Permanent):
    """`node.states.TRANSITIONS`, or a rule of replays, does not have this move."""


class NotFound(Permanent):
    """The worklist has no such study or case."""


def of_study(db: sa.Connection, study_uid: str) -> tuple[Case, ...]:
    """Return the study's cases, one a series; superseded ones are left out."""
    query = _CASE.where(series.c.study_instance_uid == study_uid, NOT_SUPERSEDED)
    return tuple(_case(row) for row in db.execute(query.order_by(case.c.id)))


def one(db: sa.Connection, case_id: int) -> Case:
    """Return a case, or raise NotFound."""
    row = db.execute(_CASE.where(case.c.id == case_id)).one_or_none()
    if row is None:
        raise NotFound(f"no case {case_id}")
    return _case(row)


def counts(db: sa.Connection) -> Mapping[State, int]:
    """Return how many cases stand in each state; superseded ones are left out."""
    number = sa.func.count().label("number")
    query = sa.select(case.c.state, number).where(NOT_SUPERSEDED).group_by(case.c.state)
    return dict.fromkeys(State, 0) | {row.state: row.number for row in db.execute(query)}


def claim(
    db: sa.Connection, states: Collection[State], worker: str, lease_s: float, now: datetime
) -> Case | None:
    """Return the current case in one of `states` due longest, else the prior, now this worker's."""
    longest_due = (
        sa.select(case.c.id)
        .where(case.c.state.in_(states), is_free(case, now), NOT_SUPERSEDED)
        .order_by(case.c.prior, case.c.due_at, case.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=case)
        .scalar_subquery()
    )
    claimed = db.execute(
        case.update()
        .where(case.c.id == longest_due)
        .values(held_by(case, worker, lease_s, now))
        .returning(case.c.id)
    ).scalar_one_or_none()
    return None if claimed is None else one(db, claimed)


def renew(db: sa.Connection, case_id: int, worker: str, lease_s: float, now: datetime) -> bool:
    """Return whether the worker still holds the case, its lease now running from `now`."""
    held = db.execute(
        case.update()
        .where(case.c.id == case_id, case.c.claimed_by == worker)
        .values(lease_until=now + timedelta(seconds=lease_s))
    )
    return held.rowcount == 1


def finish(db: sa.Connection, done: Case, worker: str, outcome: Outcome, now: datetime) -> None:
    """Record how a stage ended and give the case back."""
    if outcome.state is done.state:
        # "Not yet": where the claim was taken away meanwhile, there is nothing to record.
        known = {} if outcome.prior is None else {"prior": outcome.prior}
        db.execute(_held(done, worker).values(due_at=outcome.retry_at or now, **known, **FREE))
        return
    if outcome.state not in TRANSITIONS[done.state]:
        raise IllegalMove(f"case {done.id}: {done.state} cannot become {outcome.state}")
    _change(db, done, worker, _changes(done, outcome, now))
    outbox.owe(db, done.id, outcome.owed, now)
    if _successor(db, done.id) is not None:
        outbox.cancel(db, done.id, unless=Priority.SUSPECTED)
    note(
        db,
        "moved",
        done.study_instance_uid,
        done.id,
        now,
        was=done.state,
        state=outcome.state,
        priority=outcome.priority,
        probability=outcome.probability,
        uncertain=outcome.uncertain,
        bundle=outcome.bundle,
        reason_code=outcome.reason_code,
        compared=outcome.compared,
    )
    outbox.close_if_sent(db, done.id, now)


def retry(
    db: sa.Connection, failed: Case, worker: str, reason: str, retry_at: datetime, now: datetime
) -> None:
    """Count a failed attempt and give the case back until `retry_at`."""
    again = {"attempts": case.c.attempts + 1, "due_at": retry_at, **FREE}
    _change(db, failed, worker, again)
    uid = failed.study_instance_uid
    note(db, "failed attempt", uid, failed.id, now, state=failed.state, reason=reason)


def replay(db: sa.Connection, case_id: int, to: State, now: datetime) -> None:
    """Set a case back by a person's will, whoever holds it."""
    old = one(db, case_id)
    _require_replayable(db, old, to)
    db.execute(case.update().where(case.c.id == case_id).values(_set_back(old, to, now)))
    outbox.cancel(db, case_id)
    note(db, "replayed", old.study_instance_uid, case_id, now, was=old.state, state=to)


def _held(claimed: Case, worker: str) -> sa.Update:
    return case.update().where(
        case.c.id == claimed.id, case.c.claimed_by == worker, case.c.state == claimed.state
    )


def _change(db: sa.Connection, claimed: Case, worker: str, changes: Mapping[str, Any]) -> None:
    if db.execute(_held(claimed, worker).values(changes)).rowcount != 1:
        raise LeaseLost(f"case {claimed.id} is no longer {worker}'s; nothing was recorded")


def _changes(done: Case, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """Return the columns that an outcome sets; what it leaves None stays."""
    priority = _priority(done, outcome)
    fields = {
        "priority": priority,
        "probability": outcome.probability,
        "uncertainty": outcome.uncertainty,
        "uncertain": outcome.uncertain,
        "volume_ml": outcome.volume_ml,
        "subtypes": None if outcome.subtypes is None else dict(outcome.subtypes),
        "key_slice_sop_instance_uid": outcome.key_slice_sop_instance_uid,
        "bundle": outcome.bundle,
        "reason_code": outcome.reason_code,
        "reason": outcome.reason,
        "limitations": list(outcome.limitations) or None,
        "prior": outcome.prior,
        "closed_by": outcome.closed_by,
        "saved_s": outcome.saved_s,
    }
    changes: dict[str, Any] = {k: v for k, v in fields.items() if v is not None}
    changes |= {"state": outcome.state, "attempts": 0, "due_at": now, **FREE}
    if outcome.state in _STAGE_TIME:
        changes[_STAGE_TIME[outcome.state]] = now
    if priority not in (None, Priority.PENDING):
        changes["flagged_at"] = sa.func.coalesce(case.c.flagged_at, now)
    if done.state is State.RECEIVING:
        changes["last_slice_at"] = (
            sa.select(series.c.last_received_at)
            .where(series.c.series_instance_uid == done.series_instance_uid)
            .scalar_subquery()
        )
    return changes


def _priority(done: Case, outcome: Outcome) -> Priority | None:
    """Return the priority to set. A failure takes no reading back: its replay needs it."""
    if outcome.state is State.FAILED and done.priority in _READ:
        return None
    if outcome.priority is None and outcome.state in _WITHOUT_RESULT:
        return Priority.NOT_ANALYSED
    return outcome.priority


def _require_replayable(db: sa.Connection, old: Case, to: State) -> None:
    if to not in (State.RECEIVING, State.ASSEMBLED, State.TRIAGED):
        raise IllegalMove(f"case {old.id}: no replay starts from {to}")
    by = _successor(db, old.id)
    if by is not None:
        raise IllegalMove(f"case {old.id} was superseded by case {by}: replay that one")
    if to is State.TRIAGED and old.priority not in _READ:
        raise IllegalMove(f"case {old.id} was not read, so there is no result to report")
    chosen = sa.select(case.c.assembled_at).where(case.c.id == old.id)
    if to is State.ASSEMBLED and db.execute(chosen).scalar() is None:
        raise IllegalMove(f"case {old.id} was not chosen to be read: replay it from assemble")


def _successor(db: sa.Connection, case_id: int) -> int | None:
    return db.execute(sa.select(case.c.id).where(case.c.supersedes == case_id)).scalar()


def _set_back(old: Case, to: State, now: datetime) -> dict[str, Any]:
    back: dict[str, Any] = {"state": to, "attempts": 0, "due_at": now, **FREE}
    back |= dict.fromkeys(("reason_code", "reason", "reported_at", "delivered_at"))
    if to is State.TRIAGED:
        return back
    back |= {"triaged_at": None}
    if to is State.RECEIVING:
        back |= {"assembled_at": None}
    if old.priority is not Priority.SUSPECTED:
        result = ("probability", "uncertainty", "volume_ml", "key_slice_sop_instance_uid")
        back |= {"priority": Priority.PENDING, "uncertain": False, "subtypes": {}}
        back |= dict.fromkeys((*result, "flagged_at"))
    return back


def _case(row: sa.Row[Any]) -> Case:
    return Case(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        state=row.state,
        priority=row.priority,
        attempts=row.attempts,
        folder=case_folder(row.id),
        supersedes=row.supersedes,
        reason_code=row.reason_code,
        reason=row.reason,
    )
