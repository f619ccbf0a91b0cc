"""Takes back results of a study that were sent in error: all of it in one transaction, or nothing.

Each chain of cases that has a result gets one more case, which supersedes it and withdraws it
(`reading.withdrawn`). What had not left stays here, and nobody reads on in the old cases. A worker
then reports the new case, as it reports any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node.records import Withdrawal
from node.states import Priority, State
from node.worklist.querying import archive
from node.worklist.reading.withdrawn import withdrawn_again
from node.worklist.running.leases import FREE
from node.worklist.schema.columns import Deed, DeliveryStatus
from node.worklist.schema.database import Database
from node.worklist.schema.people_tables import withdrawal
from node.worklist.schema.tables import case, series
from node.worklist.schema.watch_tables import canary
from node.worklist.sending import owing
from node.worklist.sending.telling import Tell, announce_withdrawal
from node.worklist.studies.chains import IllegalMove, NotFound
from node.worklist.studies.rows import DeliveryLine, Row
from node.worklist.studies.studies import case_rows, of_study
from node.worklist.trail.audit import Actor, recorded
from node.worklist.trail.events import note

_HAS_RESULT = (State.TRIAGED, State.NOT_ANALYSED, State.REPORTED, State.DELIVERED)
_READ = (Priority.SUSPECTED, Priority.NOT_SUSPECTED)


@dataclass(frozen=True, slots=True)
class Taken:
    """A result that is, or would be, withdrawn.

    Attributes
    ----------
    cases
        The cases that made it, by age: what late slices replaced belongs to it.
    shown
        The case whose result stood last.
    by_case
        The number of the case that withdraws it; None if nothing has been done.
    """

    cases: tuple[Row, ...]
    shown: Row
    by_case: int | None = None

    @property
    def _deliveries(self) -> list[DeliveryLine]:
        return [line for row in self.cases for line in row.deliveries]

    @property
    def told(self) -> tuple[str, ...]:
        """The destinations that have something of it, or may have."""
        may_have = (one for one in self._deliveries if one.sent_at or one.attempts)
        return tuple(sorted({one.destination for one in may_have}))

    @property
    def waiting(self) -> int:
        """How many parcels had not left."""
        unsent = (DeliveryStatus.OWED, DeliveryStatus.DEAD)
        return sum(one.status in unsent for one in self._deliveries)


@dataclass(frozen=True, slots=True)
class Retraction:
    """What there is to withdraw of a study, or was, and what had been withdrawn before."""

    study_instance_uid: str
    taken: tuple[Taken, ...]
    before: tuple[Withdrawal, ...]


class Retractions:
    """The worklist as a person sees it who takes results back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def planned(self, study_uid: str) -> Retraction:
        """Return what `withdraw` would withdraw now; raises as it does."""
        with self._database.read() as db:
            return _planned(db, study_uid)

    def withdraw(
        self, study_uid: str, by: Actor, why: str, now: datetime, tell: Tell | None
    ) -> Retraction:
        """Withdraw the results of a study, and return them; none if all are withdrawn already.

        Nothing of them leaves from now on: what is owed is cancelled, the archive of the node
        offers them no longer, and what is being read or reported of them is void. The study is
        NOT_ANALYSED until a replay or a further image makes a result that supersedes this.

        Parameters
        ----------
        tell
            Writes the message to those who were told of the results; it is owed in the same
            transaction. None where nobody gets messages.

        Raises
        ------
        NotFound
            If there is no such study.
        IllegalMove
            If it has no result yet, or is a phantom of the node's own.
        """
        with self._database.write() as db:
            _hold(db, study_uid)
            planned = _planned(db, study_uid)
            if not planned.taken:
                return planned
            said = Withdrawal(by.name, why, now)
            taken = tuple(_withdraw(db, one, said) for one in planned.taken)
            numbers = [number for one in taken if (number := one.by_case) is not None]
            if tell is not None:
                announce_withdrawal(db, study_uid, numbers[0], tell, now)
            about = f"cases {', '.join(map(str, numbers))}: {why}"
            recorded(db, by, Deed.RETRACTED, now, study_uid=study_uid, about=about)
            return Retraction(study_uid, taken, planned.before)


def _hold(db: sa.Connection, study_uid: str) -> None:
    """Have others who move cases of the study wait; they are held in everyone's order."""
    mine = sa.select(series.c.series_instance_uid).where(series.c.study_instance_uid == study_uid)
    cases = sa.select(case.c.id).where(case.c.series_instance_uid.in_(mine))
    db.execute(cases.order_by(case.c.id).with_for_update()).all()


def _planned(db: sa.Connection, study_uid: str) -> Retraction:
    if db.execute(sa.select(canary).where(canary.c.study_instance_uid == study_uid)).first():
        raise IllegalMove(f"study {study_uid} is a phantom that the node sent to itself")
    rows = case_rows(db, of_study(study_uid))
    if not rows:
        raise NotFound(f"no study {study_uid}")
    chains: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        chains.setdefault((row.series_instance_uid, row.part), []).append(row)
    taken = tuple(found for chain in chains.values() if (found := result_of(chain)))
    before = tuple(row.withdrawn for row in rows if row.withdrawn)
    if not taken and not before:
        raise IllegalMove(f"study {study_uid} has no result yet: there is nothing to withdraw")
    return Retraction(study_uid, taken, before)


def result_of(chain: Sequence[Row]) -> Taken | None:
    """Return the result that stands of a part of a series; None if none does. Pure.

    Parameters
    ----------
    chain
        Its cases, by age.
    """
    withdrawn = [number for number, row in enumerate(chain, start=1) if row.withdrawn]
    since = tuple(chain[withdrawn[-1] if withdrawn else 0 :])
    results = [row for row in since if _is_result(row)]
    return Taken(since, results[-1]) if results else None


def _is_result(row: Row) -> bool:
    return bool(row.deliveries) or row.state in _HAS_RESULT or row.priority in _READ


def _withdraw(db: sa.Connection, taken: Taken, said: Withdrawal) -> Taken:
    """Open the case that withdraws a result, and cancel what is owed of it."""
    newest, shown = taken.cases[-1], taken.shown
    values = {
        "series_instance_uid": newest.series_instance_uid,
        "part": newest.part,
        "supersedes": newest.case_id,
        "flagged_at": said.at,
        "last_slice_at": shown.received_at,
        **{name: getattr(shown, name) for name in _AS_BEFORE},
        **withdrawn_again(said, said.at),
    }
    number = db.execute(case.insert().values(values).returning(case.c.id)).scalar_one()
    of_case = {"case_id": number, "who": said.who, "why": said.why, "at": said.at}
    db.execute(withdrawal.insert(), of_case)
    old = [row.case_id for row in taken.cases]
    db.execute(case.update().where(case.c.id.in_(old)).values(catalogued=True, **FREE))
    for each in old:
        owing.cancel(db, each)
    archive.withdraw_results(db, old)
    about = {"by": said.who, "why": said.why, "supersedes": newest.case_id}
    note(db, "withdrawn", newest.study_instance_uid, number, said.at, **about)
    return Taken(taken.cases, shown, number)


_AS_BEFORE = ("prior", "scan", "acquired", "closed_at", "closed_by", "saved_s")
