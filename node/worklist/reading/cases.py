"""What is to be done: cases are claimed, moved from state to state, and set back."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.outcomes import (
    Failed,
    NotAnalysed,
    Outcome,
    Reported,
    Waiting,
)
from node.records import Case
from node.states import TRANSITIONS, State
from node.worklist.reading import parts
from node.worklist.reading.moves import NOTED, Move, moved, said
from node.worklist.reading.setting_back import (
    case_of,
    is_purged,
    require_replayable,
    set_back,
    successor,
)
from node.worklist.reading.urgency import by_urgency
from node.worklist.reading.withdrawn import read_anew, withdrawn_again
from node.worklist.running.leases import FREE, LeaseLost, held_by, is_free
from node.worklist.schema.database import Database
from node.worklist.schema.people_tables import withdrawal
from node.worklist.schema.tables import case, series, study
from node.worklist.sending import owing
from node.worklist.sending.telling import Tell, announce
from node.worklist.studies.chains import (
    NOT_SUPERSEDED,
    WITHDRAWAL,
    WITHDRAWS,
    IllegalMove,
    NotFound,
)
from node.worklist.studies.open_cases import failed_in
from node.worklist.trail.events import note

_TIMES = ("last_slice_at", "assembled_at", "triaged_at", "flagged_at")

_CASE = (
    sa.select(case, series.c.study_instance_uid, *WITHDRAWAL)
    .join_from(case, series)
    .outerjoin(withdrawal, withdrawal.c.case_id == case.c.id)
)


class Cases:
    """The worklist as the worker sees it: cases to claim, and how their stages end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_study(self, study_uid: str) -> tuple[Case, ...]:
        """Return the study's cases, one a part of a series; superseded ones are left out."""
        query = _CASE.where(series.c.study_instance_uid == study_uid, NOT_SUPERSEDED)
        with self._database.read() as db:
            return tuple(case_of(row) for row in db.execute(query.order_by(case.c.id)))

    def get(self, case_id: int) -> Case:
        """Return a case.

        Raises
        ------
        NotFound
            If there is none.
        """
        with self._database.read() as db:
            return _one(db, case_id)

    def times(self, case_id: int) -> Mapping[str, datetime | None]:
        """Return when each step of a case was done, by the name of its column.

        `last_slice_at` is the time of the last image also of a case that is not assembled yet.
        """
        last = sa.func.coalesce(case.c.last_slice_at, series.c.last_received_at)
        columns = (last.label("last_slice_at"), *(case.c[name] for name in _TIMES[1:]))
        query = sa.select(*columns).join_from(case, series).where(case.c.id == case_id)
        with self._database.read() as db:
            return dict(db.execute(query).mappings().one())

    def claim(
        self,
        states: Collection[State],
        worker: str,
        lease_s: float,
        now: datetime,
        *,
        study_uid: str | None = None,
    ) -> Case | None:
        """Return the most urgent case in one of `states` that is due, now this worker's.

        `reading.urgency` says which that is. A superseded one is never it, unless it withdraws
        others: that is reported whatever has come since. When the reading of a case began stands
        in its events. A claim whose lease ran out counts as an interruption.

        Parameters
        ----------
        study_uid
            Only a case of this study.
        """
        ours = sa.true() if study_uid is None else study.c.study_instance_uid == study_uid
        most_urgent = (
            sa.select(case.c.id)
            .join_from(case, series)
            .join(study)
            .where(case.c.state.in_(states), is_free(case, now), ours)
            .where(sa.or_(NOT_SUPERSEDED, WITHDRAWS))
            .order_by(*by_urgency(now))
            .limit(1)
            .with_for_update(skip_locked=True, of=case)
            .scalar_subquery()
            .correlate(None)
        )
        with self._database.write() as db:
            claimed = db.execute(
                case.update()
                .where(case.c.id == most_urgent)
                .values(held_by(case, worker, lease_s, now, "interruptions"))
                .returning(case.c.id)
            ).scalar_one_or_none()
            if claimed is None:
                return None
            taken = _one(db, claimed)
            if taken.state is State.ASSEMBLED:
                note(db, "reading begun", taken.study_instance_uid, taken.id, now)
            return taken

    def renew(self, case_id: int, worker: str, lease_s: float, now: datetime) -> bool:
        """Return whether the worker still holds the case, its lease now running from `now`."""
        with self._database.write() as db:
            held = db.execute(
                case.update()
                .where(case.c.id == case_id, case.c.claimed_by == worker)
                .values(lease_until=now + timedelta(seconds=lease_s))
            )
        return held.rowcount == 1

    def finish(
        self,
        done: Case,
        worker: str,
        outcome: Outcome,
        now: datetime,
        tell: Tell | None = None,
    ) -> None:
        """Record how a stage ended and give the case back.

        `Waiting` makes the case due again at its `retry_at`; where the claim was taken away
        meanwhile, it records nothing. Any other outcome starts the attempts anew, and each the
        interruptions. A report with nothing left to send is DELIVERED at once.

        Parameters
        ----------
        tell
            Writes the message if the study has news; it is owed in the same transaction. None
            where nobody gets messages.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the case; nothing was recorded.
        IllegalMove
            If the outcome's state cannot follow the case's.
        """
        with self._database.write() as db:
            if isinstance(outcome, Waiting):
                later = {"due_at": outcome.retry_at, "prior": outcome.prior, **FREE}
                later |= {"interruptions": 0}
                db.execute(_held(done, worker).values(later))
            else:
                _move(db, done, worker, outcome, now)
                if tell is not None:
                    announce(db, done.study_instance_uid, tell, now)

    def retry(
        self,
        failed: Case,
        worker: str,
        reason: str,
        retry_at: datetime,
        now: datetime,
        *,
        interrupted: bool = False,
    ) -> None:
        """Count a failed attempt and give the case back until `retry_at`.

        Parameters
        ----------
        interrupted
            Count an interruption instead: the case may not be at fault.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the case; nothing was recorded.
        """
        counted = case.c.interruptions if interrupted else case.c.attempts
        again = {counted.name: counted + 1, "due_at": retry_at, **FREE}
        uid = failed.study_instance_uid
        with self._database.write() as db:
            _change(db, failed, worker, again)
            what = "interrupted" if interrupted else "failed attempt"
            note(db, what, uid, failed.id, now, state=failed.state, reason=reason)

    def give_back(self, worker: str, attempts: int = 0) -> None:
        """Give back what a worker holds; count so many attempts of it."""
        given = {"attempts": case.c.attempts + attempts, **FREE}
        with self._database.write() as db:
            db.execute(case.update().where(case.c.claimed_by == worker).values(given))

    def open_parts(self, first: Case, count: int, now: datetime) -> None:
        """Open a case for each further part of a series whose first part is decided.

        A part that was decided before the last image of the series came is superseded, also one
        that is there no more: its case then says which part has its images.

        Parameters
        ----------
        first
            The case of part 0.
        count
            How many parts the series has now.
        """
        with self._database.write() as db:
            parts.open_further(db, first, count, now)

    def replay(self, case_id: int, to: State, now: datetime) -> int:
        """Set a case back to RECEIVING, ASSEMBLED or TRIAGED by a person's will, whoever holds it.

        Where the case withdraws a result, a new one is opened that supersedes it. The result is the
        number of the case that runs.

        What was not sent yet is no longer owed; what was sent is not sent twice. A suspicion stays
        shown until the case is read again; another result becomes PENDING, unless only the report
        is made anew.

        Raises
        ------
        NotFound
            If there is no such case.
        IllegalMove
            If no replay starts there, the case was superseded, or it has no result to report.
        """
        with self._database.write() as db:
            old = _one(db, case_id)
            if old.withdrawal is not None:
                return read_anew(db, old, to, now)
            _replay(db, old, to, now)
            return case_id

    def try_failed(self, case_id: int, by: str, now: datetime) -> State:
        """Have a FAILED case go on where it failed, by a person's will; return the state there.

        Raises
        ------
        NotFound
            If there is no such case.
        IllegalMove
            If it is not FAILED, or was superseded.
        """
        with self._database.write() as db:
            old = _one(db, case_id)
            if old.state is not State.FAILED:
                raise IllegalMove(f"case {case_id} is {old.state} and not FAILED: see `replay`")
            if old.withdrawal is not None:
                _withdraw_again(db, old, now, by)
                return State.NOT_ANALYSED
            to = failed_in(db, case_id)
            _replay(db, old, to, now, by=by)
            return to


def _replay(db: sa.Connection, old: Case, to: State, now: datetime, by: str | None = None) -> None:
    require_replayable(db, old, to)
    db.execute(case.update().where(case.c.id == old.id).values(set_back(old, to, now)))
    owing.cancel(db, old.id, messages=False)
    note(db, "replayed", old.study_instance_uid, old.id, now, was=old.state, state=to, by=by)


def _withdraw_again(db: sa.Connection, old: Case, now: datetime, by: str) -> None:
    """Make the report of a withdrawal due again, which failed."""
    assert old.withdrawal is not None
    again = withdrawn_again(old.withdrawal, now)
    db.execute(case.update().where(case.c.id == old.id).values(again))
    uid = old.study_instance_uid
    note(db, "replayed", uid, old.id, now, was=old.state, state=State.NOT_ANALYSED, by=by)


def report_again(db: sa.Connection, study_uid: str, now: datetime) -> None:
    """Make the reports of a study due again, as after a replay by a person.

    Those whose images were purged stay as they are.

    A report that is being made is void. What was not read is decided about again.
    """
    query = _CASE.where(series.c.study_instance_uid == study_uid, NOT_SUPERSEDED)
    for row in db.execute(query).all():
        old = case_of(row)
        if old.state in (State.TRIAGED, State.NOT_ANALYSED):
            again: dict[str, Any] = {"due_at": now, **FREE}
        elif old.withdrawal is not None:
            owing.cancel(db, old.id)
            again = withdrawn_again(old.withdrawal, now)
        elif is_purged(db, old.series_instance_uid):
            note(db, "not reported again: its pixels were purged", study_uid, old.id, now)
            continue
        elif old.state in (State.REPORTED, State.DELIVERED):
            to = State.TRIAGED if row.triaged_at else State.RECEIVING
            again = set_back(old, to, now)
            owing.cancel(db, old.id)
        else:
            continue
        db.execute(case.update().where(case.c.id == old.id).values(again))
        note(db, "reported again", study_uid, old.id, now, was=old.state)


def _move(db: sa.Connection, done: Case, worker: str, outcome: Move, now: datetime) -> None:
    if outcome.state not in TRANSITIONS[done.state]:
        raise IllegalMove(f"case {done.id}: {done.state} cannot become {outcome.state}")
    _change(db, done, worker, moved(done, outcome, now) | said(outcome))
    if isinstance(outcome, Reported):
        owing.owe(db, done.id, outcome.owed, now)
    if successor(db, done.id) is not None:
        owing.cancel_superseded(db, done.id)
    uid = done.study_instance_uid
    noted = {name: getattr(outcome, name, None) for name in NOTED}
    note(db, "moved", uid, done.id, now, was=done.state, state=outcome.state, **noted)
    if done.state is State.ASSEMBLED and isinstance(outcome, NotAnalysed | Failed):
        _choose_again(db, done, now)
    owing.close_if_sent(db, done.id, now)


def _choose_again(db: sa.Connection, unread: Case, now: datetime) -> None:
    """Set back the cases whose series were passed over for one that then could not be read."""
    passed_over = _CASE.where(
        case.c.state == State.SKIPPED,
        case.c.preferred_series_uid == unread.series_instance_uid,
        NOT_SUPERSEDED,
    )
    for old in db.execute(passed_over).all():
        again = set_back(case_of(old), State.RECEIVING, now)
        db.execute(case.update().where(case.c.id == old.id).values(again))
        note(db, "chosen again", unread.study_instance_uid, old.id, now, instead_of=unread.id)


def _held(claimed: Case, worker: str) -> sa.Update:
    return case.update().where(
        case.c.id == claimed.id, case.c.claimed_by == worker, case.c.state == claimed.state
    )


def _change(db: sa.Connection, claimed: Case, worker: str, changes: Mapping[str, Any]) -> None:
    if db.execute(_held(claimed, worker).values(changes)).rowcount != 1:
        raise LeaseLost(f"case {claimed.id} is no longer {worker}'s; nothing was recorded")


def _one(db: sa.Connection, case_id: int) -> Case:
    row = db.execute(_CASE.where(case.c.id == case_id)).one_or_none()
    if row is None:
        raise NotFound(f"no case {case_id}")
    return case_of(row)
