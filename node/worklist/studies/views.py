"""What people see: the rows of the worklist, read from the database."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from node.states import State
from node.worklist.schema.database import Database
from node.worklist.schema.tables import case, series, study
from node.worklist.schema.watch_tables import canary, is_no_canary
from node.worklist.studies.chains import NOT_SUPERSEDED, NotFound
from node.worklist.studies.open_cases import OPEN, OpenCase, open_cases
from node.worklist.studies.rows import Row, ScanLine, in_order, speaking_for_study
from node.worklist.studies.studies import case_rows, of_study, one_study, recent, study_rows
from node.worklist.trail import events
from node.worklist.trail.events import Event


class Views:
    """The worklist as people see it: on the page, in the terminal, as JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def worklist(self, now: datetime, since: datetime | None = None) -> list[Row]:
        """Return one row a study, in worklist order.

        Parameters
        ----------
        since
            Leave out studies that got no slice since then and are done with: all their cases were
            delivered or skipped, or somebody acknowledged them.
        """
        with self._database.read() as db:
            return in_order(study_rows(db, recent(since)), now)

    def study(self, study_uid: str) -> Row:
        """Return the row of one study.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        with self._database.read() as db:
            return one_study(db, study_uid)

    def history(self, study_uid: str) -> tuple[Row, ...]:
        """Return every case of the study by age, superseded ones too."""
        with self._database.read() as db:
            return tuple(case_rows(db, of_study(study_uid)))

    def scans(self, study_uid: str) -> tuple[ScanLine, ...]:
        """Return how each scan of the study stands, the worst first."""
        return speaking_for_study(self.history(study_uid)).scans

    def events(self, study_uid: str) -> list[Event]:
        """Return what happened to a study, oldest first."""
        with self._database.read() as db:
            return events.of_study(db, study_uid)

    def open_cases(self, states: Collection[State] = OPEN) -> list[OpenCase]:
        """Return the cases in these states by their age; superseded ones are left out."""
        with self._database.read() as db:
            return open_cases(db, states)

    def counts(self) -> Mapping[State, int]:
        """Return how many cases stand in each state; superseded ones are left out."""
        number = sa.func.count().label("number")
        patients = is_no_canary(series.c.study_instance_uid)
        query = sa.select(case.c.state, number).join_from(case, series).where(NOT_SUPERSEDED)
        query = query.where(patients).group_by(case.c.state)
        with self._database.read() as db:
            found = {row.state: row.number for row in db.execute(query)}
        return dict.fromkeys(State, 0) | found

    def is_canary(self, study_uid: str) -> bool:
        """Return whether a study is a phantom that the node sent to itself."""
        this = sa.select(canary.c.sent_at).where(canary.c.study_instance_uid == study_uid)
        with self._database.read() as db:
            return db.execute(this).first() is not None

    def find(self, name: str) -> str:
        """Return the UID of the study that a person means.

        Parameters
        ----------
        name
            A StudyInstanceUID, an accession number or a case's number.

        Raises
        ------
        NotFound
            If there is no such study, or the name is that of several.
        """
        with self._database.read() as db:
            return _find(db, name)[0]

    def find_case(self, name: str) -> int:
        """Return the number of the case that a person means.

        Where the name is that of a study, it is the case that speaks for the study, or the one
        that superseded it.

        Parameters
        ----------
        name
            As in `find`.

        Raises
        ------
        NotFound
            As in `find`.
        """
        with self._database.read() as db:
            uid, case_id = _find(db, name)
            return case_id or _newest(case_rows(db, of_study(uid)))


def _find(db: sa.Connection, name: str) -> tuple[str, int | None]:
    """Return the UID of the study that a person means, and the case if they named one."""
    uid, accession = study.c.study_instance_uid, study.c.accession_number
    named = sa.or_(uid == name, accession == name)
    found = set(db.execute(sa.select(uid).where(named)).scalars())
    if name in found:
        return name, None
    of_case = None
    if name.isascii() and name.isdigit() and len(name) < 10:
        by_case = sa.select(series.c.study_instance_uid).join(case).where(case.c.id == int(name))
        of_case = db.execute(by_case).scalar()
    if len(found) > 1:
        several = f"{len(found)} studies have the accession number {name}"
        raise NotFound(f"{several}: name one of them, {', '.join(sorted(found))}")
    if found and of_case not in (None, *found):
        raise NotFound(
            f"{name} is the accession number of study {found.pop()} and the number of a case of "
            f"study {of_case}: name the study by its UID"
        )
    if of_case is not None:
        return of_case, int(name)
    if found:
        return found.pop(), None
    raise NotFound(f"no study, accession number or case {name}")


def _newest(cases: Sequence[Row]) -> int:
    """Return the case of a study that speaks for it, or the last of those that superseded it."""
    by = {row.supersedes: row.case_id for row in cases}
    number = speaking_for_study(cases).case_id
    while number in by:
        number = by[number]
    return number
