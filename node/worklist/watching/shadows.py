"""What another bundle says of cases that the live one has read, for nobody but who compares them.

A case is read once. A claim is a lease, as of the live cases, and each counts, so that a case that
ends its process is given up. Nothing here is in reach of who lists, sends or answers queries.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.states import State
from node.worklist.running.leases import FREE, LeaseLost
from node.worklist.schema.bundle_tables import shadow_reading, shadow_run
from node.worklist.schema.columns import ShadowResult
from node.worklist.schema.database import Database, insert
from node.worklist.schema.tables import case, series, study
from node.worklist.studies.chains import NOT_SUPERSEDED, WITHDRAWS
from node.worklist.watching.candidates import begun, due_of, first_of
from node.worklist.watching.compared import Compared, Due, Run, Told
from node.worklist.watching.releases import Bundle

ATTEMPTS = 2
"""How often a case may fail, or end its process, before it is left. Chosen."""
PURGED = "its images or its result were purged before it was read"
KILLED = f"it ended the process that read it {ATTEMPTS} times, or hung; see the log"
_TOLD = ("reason", "probability", "uncertain", "volume_ml", "operating_point", "threshold")
_MORE = ("subtypes", "limitations", "mimics")
_mine = shadow_reading.c


class Shadows:
    """The worklist as the shadow sees it, and who compares what it read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, bundle: Bundle, live: Bundle) -> Run | None:
        """Return the run of one bundle in the shadow of another; None before it began."""
        with self._database.read() as db:
            return _run(db, bundle, live)

    def begin(self, bundle: Bundle, live: Bundle, now: datetime) -> Run:
        """Return the run of one bundle in the shadow of another, which begins if it has not yet."""
        values: dict[str, Any] = {
            "name": bundle.name,
            "version": bundle.version,
            "digest": bundle.digest,
        }
        values |= {f"live_{name}": getattr(live, name) for name in ("name", "version", "digest")}
        values["began_at"] = now
        with self._database.write() as db:
            db.execute(insert(db, shadow_run).values(values).on_conflict_do_nothing())
            found = _run(db, bundle, live)
        assert found is not None
        return found

    # --- for who reads ---------------------------------------------------------------------------

    def waiting(self, now: datetime) -> int:
        """Return how many live cases are read, or wait to be: the shadow lets them go first."""
        open_ = (State.ASSEMBLED, State.TRIAGED, State.NOT_ANALYSED)
        query = sa.select(sa.func.count()).where(
            case.c.state.in_(open_), case.c.due_at <= now, sa.or_(NOT_SUPERSEDED, WITHDRAWS)
        )
        with self._database.read() as db:
            return db.scalar(query) or 0

    def read(self, run: Run) -> int:
        """Return how many studies its bundle has had its chance of."""
        query = (
            sa.select(sa.func.count(series.c.study_instance_uid.distinct()))
            .select_from(shadow_reading)
            .join(case)
            .join(series)
            .where(_mine.run_id == run.id, _mine.result != ShadowResult.PURGED, NOT_SUPERSEDED)
        )
        with self._database.read() as db:
            return db.scalar(query) or 0

    def claim(
        self, run: Run, since: datetime, worker: str, lease_s: float, now: datetime
    ) -> Due | None:
        """Return the case that was reported first and is to be read, now this worker's.

        What the live bundle has not read, withdrawals and phantoms are none. A case whose files
        were purged, or that ended its process too often, is noted as such on the way.

        Parameters
        ----------
        since
            Cases that were reported before are not read.
        """
        with self._database.write() as db:
            while True:
                row = begun(db, run, now) or first_of(db, run, since)
                if row is None:
                    return None
                if row.begun is None and not _opened(db, run, row.id, now):
                    continue  # another shadow has just begun it
                due = due_of(run, row)
                if row.is_purged:
                    _end(db, due, Told(ShadowResult.PURGED, PURGED), now)
                elif due.attempts > ATTEMPTS:
                    _end(db, due, Told(ShadowResult.KILLED, KILLED), now)
                else:
                    held = {"attempts": due.attempts, "claimed_by": worker}
                    held["lease_until"] = now + timedelta(seconds=lease_s)
                    db.execute(_row(due).values(held))
                    return due

    def renew(self, due: Due, worker: str, lease_s: float, now: datetime) -> None:
        """Have the claim run from now on, if it is still the worker's."""
        later = now + timedelta(seconds=lease_s)
        with self._database.write() as db:
            db.execute(_row(due).where(_mine.claimed_by == worker).values(lease_until=later))

    def finish(
        self,
        due: Due,
        worker: str,
        told: Told,
        now: datetime,
        *,
        live: Told,
        origin: dict[str, Any],
        pictures: tuple[bytes | None, bytes | None] = (None, None),
    ) -> None:
        """Record what came of a case.

        Parameters
        ----------
        live
            All that the live bundle said of it.
        pictures
            The key slices of the live bundle, and of this one.

        Raises
        ------
        LeaseLost
            If the worker no longer holds it; nothing was recorded.
        """
        more: dict[str, Any] = {"live": live.to_json(), "origin": origin}
        with self._database.write() as db:
            held = sa.select(_mine.claimed_by).where(*_is(due))
            if db.scalar(held) != worker:
                raise LeaseLost(f"case {due.case_id} is no longer {worker}'s in the shadow")
            if not _is_purged_now(db, due.case_id):
                more |= {"live_picture": pictures[0], "picture": pictures[1]}
            _end(db, due, told, now, **more)

    def retry(self, due: Due, worker: str, retry_at: datetime) -> None:
        """Give a case back that failed; it is read again from then on."""
        with self._database.write() as db:
            mine = _row(due).where(_mine.claimed_by == worker)
            db.execute(mine.values(due_at=retry_at, **FREE))

    def give_back(self, worker: str) -> None:
        """Give back what a worker holds, as if it had not begun."""
        mine = shadow_reading.update().where(_mine.claimed_by == worker)
        with self._database.write() as db:
            db.execute(mine.values(attempts=_mine.attempts - 1, **FREE))

    # --- for who compares ------------------------------------------------------------------------

    def compared(self, run: Run) -> list[Compared]:
        """Return what both said of each case, by its number; superseded ones are left out."""
        columns = [one for one in _mine if one.name not in ("picture", "live_picture")]
        columns += [study.c.study_instance_uid, study.c.patient_id]
        query = (
            sa.select(*columns)
            .select_from(shadow_reading)
            .join(case)
            .join(series)
            .join(study)
            .where(_mine.run_id == run.id, _mine.result.is_not(None), NOT_SUPERSEDED)
            .order_by(_mine.case_id)
        )
        with self._database.read() as db:
            return [_compared(row) for row in db.execute(query).all()]

    def pictures(self, run: Run, case_id: int) -> tuple[bytes | None, bytes | None]:
        """Return the key slices of the live bundle and of the other, as JPEG, if there are any."""
        query = sa.select(_mine.live_picture, _mine.picture)
        mine = query.where(_mine.run_id == run.id, _mine.case_id == case_id)
        with self._database.read() as db:
            row = db.execute(mine).one_or_none()
        return (None, None) if row is None else (row[0], row[1])


def forget_pictures(db: sa.Connection, cases: sa.Select[Any]) -> None:
    """Delete the key slices of cases whose results are purged."""
    gone = shadow_reading.update().where(_mine.case_id.in_(cases))
    db.execute(gone.values(picture=None, live_picture=None))


def _run(db: sa.Connection, bundle: Bundle, live: Bundle) -> Run | None:
    same = shadow_run.c.digest == bundle.digest, shadow_run.c.live_digest == live.digest
    row = db.execute(sa.select(shadow_run).where(*same)).one_or_none()
    return None if row is None else Run(row.id, bundle, live, row.began_at)


def _is(due: Due) -> tuple[sa.ColumnElement[bool], ...]:
    return _mine.run_id == due.run_id, _mine.case_id == due.case_id


def _row(due: Due) -> sa.Update:
    return shadow_reading.update().where(*_is(due))


def _end(db: sa.Connection, due: Due, told: Told, now: datetime, **more: Any) -> None:
    values = {name: getattr(told, name) for name in _TOLD}
    values |= {"more": {name: told.to_json()[name] for name in _MORE}}
    values |= {"result": told.result, "seconds": told.seconds, "read_at": now, **FREE}
    values |= {"live": due.live.to_json(), **more}
    db.execute(_row(due).values(values))


def _opened(db: sa.Connection, run: Run, case_id: int, now: datetime) -> bool:
    first = {"run_id": run.id, "case_id": case_id, "attempts": 0, "due_at": now}
    adding = insert(db, shadow_reading).values(first).on_conflict_do_nothing()
    return db.execute(adding.returning(_mine.case_id)).first() is not None


def _is_purged_now(db: sa.Connection, case_id: int) -> bool:
    return db.scalar(sa.select(case.c.purged_at).where(case.c.id == case_id)) is not None


def _compared(row: sa.Row[Any]) -> Compared:
    told = {name: row._mapping[name] for name in (*_TOLD, "seconds")}
    more = {name: row.more.get(name, ()) for name in _MORE}
    return Compared(
        row.case_id,
        row.study_instance_uid,
        row.patient_id,
        Told.from_json({**told, **more, "result": row.result}),
        Told.from_json(row.live),
        row.origin,
        row.read_at,
    )
