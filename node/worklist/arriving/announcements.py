"""Announcements: how many images a series has, told from outside its images.

They are kept also of series of which nothing has come yet. What is told of a series under another
study than the one it is filed under is not kept.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from node.announced import MPPS, Announcement, Listed, PerformedStep, StepStatus
from node.errors import Permanent
from node.states import State
from node.worklist.running.leases import FREE
from node.worklist.schema.database import Database, insert
from node.worklist.schema.tables import announcement, case, procedure_step, series, study

KEPT = timedelta(days=30)
"""How long the announcements of a study are kept of which no image comes. A modality's steps tell
of all its studies, also of those that the node never gets. Chosen: an image comes within days."""
MOST_IMAGES = 20_000
"""A longer list of one series is refused; a series of a head has some hundred images."""


class Step(StrEnum):
    """What became of a message about a procedure step."""

    NOTED = "NOTED"
    KNOWN = "KNOWN"
    """It was created before."""
    UNKNOWN = "UNKNOWN"
    """It was never created."""
    ENDED = "ENDED"
    """It was completed or discontinued before."""


class Announcements:
    """The worklist as those see it who tell how many images there are, or ask."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_step(self, uid: str, step: PerformedStep, now: datetime) -> Step:
        """Note a new procedure step; the undecided cases of its study are judged anew."""
        with self._database.write() as db:
            _in_turn(db)
            _forget(db, now)
            if _known(db, uid):
                return Step.KNOWN
            values = {"sop_instance_uid": uid, "at": now, "status": step.status}
            values |= {"modality": step.modality, "images": _plain(step.images)}
            for study_uid in step.study_instance_uids:
                db.execute(procedure_step.insert(), {**values, "study_instance_uid": study_uid})
                _make_due(db, study_uid, now)
        return Step.NOTED

    def set_step(
        self, uid: str, status: StepStatus | None, images: Listed | None, now: datetime
    ) -> tuple[Step, tuple[str, ...]]:
        """Note what has changed in a step; once it has ended, its list announces images.

        Parameters
        ----------
        status, images
            None where the message does not give them: they are as before.

        Returns
        -------
        Step
        tuple of str
            Series that were left out, because another study has them.
        """
        foreign: set[str] = set()
        with self._database.write() as db:
            _in_turn(db)
            rows = _known(db, uid)
            if not rows:
                return Step.UNKNOWN, ()
            if rows[0].status is not StepStatus.IN_PROGRESS:
                return Step.ENDED, ()
            new = status or StepStatus.IN_PROGRESS
            ended = new is not StepStatus.IN_PROGRESS
            listed = _listed(rows[0].images) if images is None else images
            values = {"status": new, "images": {} if ended else _plain(listed), "at": now}
            this = procedure_step.c.sop_instance_uid == uid
            db.execute(procedure_step.update().where(this).values(values))
            for row in rows:
                if ended:
                    foreign |= _add(db, row.study_instance_uid, listed, MPPS, now)
                _make_due(db, row.study_instance_uid, now)
        return Step.NOTED, tuple(sorted(foreign))

    def listed(
        self,
        study_uid: str,
        images: Listed,
        told_by: str,
        now: datetime,
        *,
        gone: frozenset[str] = frozenset(),
    ) -> tuple[str, ...]:
        """Add a list of images to those told before; undecided cases of the study are due at once.

        Parameters
        ----------
        gone
            Images that are no longer to be had.

        Returns
        -------
        tuple of str
            Series that were left out, because another study has them.

        Raises
        ------
        Permanent
            If a series has more than `MOST_IMAGES` images.
        """
        with self._database.write() as db:
            _in_turn(db)
            _forget(db, now)
            foreign = _add(db, study_uid, images, told_by, now, gone)
            _make_due(db, study_uid, now)
        return tuple(sorted(foreign))

    def counted(
        self, study_uid: str, series_uid: str, images: int, told_by: str, now: datetime
    ) -> None:
        """Note how many images a series has by an answer to whoever works on its case."""
        with self._database.write() as db:
            _put(db, study_uid, series_uid, told_by, images, (), now)


def of_study(db: sa.Connection, study_uid: str) -> Mapping[str, tuple[Announcement, ...]]:
    """Return what was told of each series of a study, by the UID of the series."""
    found: dict[str, tuple[Announcement, ...]] = {}
    told = announcement.select().where(announcement.c.study_instance_uid == study_uid)
    for row in db.execute(told.order_by(announcement.c.told_by)):
        one = Announcement(row.images, row.told_by, row.at)
        found[row.series_instance_uid] = (*found.get(row.series_instance_uid, ()), one)
    return found


def in_progress(db: sa.Connection, study_uid: str) -> bool:
    """Return whether a step of CT, or of a modality that it does not name, is in progress."""
    steps = procedure_step.c
    open_steps = sa.exists().where(
        steps.study_instance_uid == study_uid,
        steps.status == StepStatus.IN_PROGRESS,
        steps.modality.in_(("CT", "")),
    )
    return bool(db.execute(sa.select(open_steps)).scalar_one())


def _in_turn(db: sa.Connection) -> None:
    """Let others who announce wait: a list is added to what was told before. Readers go on."""
    if db.dialect.name == "postgresql":
        tables = f"{announcement.name}, {procedure_step.name}"
        db.execute(sa.text(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE"))


def _known(db: sa.Connection, uid: str) -> list[sa.Row[tuple[object, ...]]]:
    this = procedure_step.c.sop_instance_uid == uid
    return list(db.execute(procedure_step.select().where(this)))


def _add(
    db: sa.Connection,
    study_uid: str,
    images: Listed,
    told_by: str,
    now: datetime,
    gone: frozenset[str] = frozenset(),
) -> set[str]:
    """Add a list to those told before; return the series that another study has."""
    foreign = _elsewhere(db, study_uid, images)
    before = _before(db, study_uid, told_by)
    for uid in {*images, *(before if gone else ())} - foreign:
        listed = (before.get(uid, frozenset()) | images.get(uid, frozenset())) - gone
        if len(listed) > MOST_IMAGES:
            raise Permanent(f"more than {MOST_IMAGES} images of a series are announced")
        _put(db, study_uid, uid, told_by, len(listed), sorted(listed), now)
    return foreign


def _before(db: sa.Connection, study_uid: str, told_by: str) -> Listed:
    told = announcement.c
    query = sa.select(told.series_instance_uid, told.listed).where(
        told.study_instance_uid == study_uid, told.told_by == told_by
    )
    return {row.series_instance_uid: frozenset(row.listed) for row in db.execute(query)}


def _put(
    db: sa.Connection,
    study_uid: str,
    series_uid: str,
    told_by: str,
    images: int,
    listed: Iterable[str],
    now: datetime,
) -> None:
    new = {"images": images, "listed": list(listed), "at": now}
    key = {"study_instance_uid": study_uid, "series_instance_uid": series_uid, "told_by": told_by}
    row = insert(db, announcement).values(**key, **new)
    db.execute(row.on_conflict_do_update(index_elements=list(key), set_=new))


def _elsewhere(db: sa.Connection, study_uid: str, series_uids: Iterable[str]) -> set[str]:
    """Return those of the series that are filed under another study."""
    foreign = sa.select(series.c.series_instance_uid).where(
        series.c.series_instance_uid.in_(list(series_uids)),
        series.c.study_instance_uid != study_uid,
    )
    return set(db.execute(foreign).scalars())


def _make_due(db: sa.Connection, study_uid: str, now: datetime) -> None:
    """Let the undecided cases of a study be judged anew: what a worker makes of one now is void."""
    of_study = sa.select(series.c.series_instance_uid).where(
        series.c.study_instance_uid == study_uid
    )
    db.execute(
        case.update()
        .where(case.c.series_instance_uid.in_(of_study), case.c.state == State.RECEIVING)
        .values(due_at=now, **FREE)
    )


def _forget(db: sa.Connection, now: datetime) -> None:
    """Delete what was told long ago of studies of which nothing has come."""
    here = sa.select(study.c.study_instance_uid)
    for table in (announcement, procedure_step):
        old = table.c.at < now - KEPT
        db.execute(table.delete().where(old, table.c.study_instance_uid.not_in(here)))


def _plain(images: Listed) -> dict[str, list[str]]:
    return {series_uid: sorted(uids) for series_uid, uids in images.items()}


def _listed(plain: Mapping[str, list[str]]) -> Listed:
    return {series_uid: frozenset(uids) for series_uid, uids in plain.items()}
