"""What is no longer kept: the files of studies that nobody needs, by rule or by a person's will.

What is purged is decided and noted first. Then the files go, then it is noted that they are gone: a
crash leaves a purge that is gone on with. Rows stay, with what was found. An object that comes
again takes back its row; its file is removed only while the row says that it is purged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.case_folder import case_folder
from node.worklist.keeping.needs import (
    Kept,
    has_case,
    is_promised,
    kept_for,
    needs,
    nobody_saw,
    series_of,
)
from node.worklist.keeping.spent import forget, spent
from node.worklist.querying.archive import withdraw
from node.worklist.schema.archive_tables import archived_series
from node.worklist.schema.columns import Deed
from node.worklist.schema.database import Database
from node.worklist.schema.running_tables import purge
from node.worklist.schema.tables import (
    case,
    confirmation,
    delivery,
    instance,
    series,
    study,
)
from node.worklist.studies.chains import NotFound
from node.worklist.trail.audit import Actor, recorded
from node.worklist.trail.events import note
from node.worklist.watching.shadows import forget_pictures

_UID = study.c.study_instance_uid
AT_ONCE = 50
"""Files that are removed in one transaction. It bounds how long others wait to write; chosen."""


@dataclass(frozen=True, slots=True)
class Purge:
    """That a study's files go: the received ones, and with `results` the made ones too.

    Attributes
    ----------
    objects, size
        How many received objects go, and their bytes.
    series
        The series whose kept metadata go.
    """

    id: int
    study_instance_uid: str
    results: bool
    series: tuple[str, ...]
    objects: int
    size: int
    at: datetime


class Retention:
    """The worklist as those see it who remove files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def old(
        self,
        before: datetime,
        now: datetime,
        *,
        results: bool,
        after: str = "",
        limit: int = 500,
    ) -> list[str]:
        """Return studies that nothing happened to since `before` and that have files, by UID.

        The longest untouched come first. Few of them have to stay (`kept`).

        Parameters
        ----------
        after
            The last study of the list before, "" for the first.
        """
        last, received, delivered = _last_of(after), _received(), _delivered()
        some = study.c.purged_until.is_(None) | (received > study.c.purged_until)
        if results:
            some = some | has_case(case.c.purged_at.is_(None))
        query = (
            sa.select(study.c.study_instance_uid)
            .where(received < before, sa.func.coalesce(delivered, received) < before, some)
            .where(~nobody_saw(results=results))
            .where(*(~query.correlate(study).exists() for query, _ in needs(_UID, now)))
            .order_by(received, study.c.study_instance_uid)
        )
        with self._database.read() as db:
            if after:
                since = db.scalar(last)
                later = (received == since) & (study.c.study_instance_uid > after)
                query = query.where((received > since) | later)
            return list(db.execute(query.limit(limit)).scalars())

    def all_old(self, before: datetime, now: datetime, *, results: bool) -> list[str]:
        """Return all studies that `old` returns."""
        found = self.old(before, now, results=results)
        while some := found and self.old(before, now, results=results, after=found[-1]):
            found += some
        return found

    def kept(
        self, study_uid: str, *, results: bool, unacknowledged: timedelta, now: datetime
    ) -> Kept:
        """Return whether a study must stay, and how much would go.

        Parameters
        ----------
        unacknowledged
            How long after its delivery a suspected study that nobody acknowledged keeps its
            pixels; it keeps its results for ever.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        with self._database.read() as db:
            return kept_for(db, study_uid, results, unacknowledged, now)

    def decide(
        self,
        study_uid: str,
        by: Actor,
        why: str,
        now: datetime,
        *,
        results: bool,
        unacknowledged: timedelta,
    ) -> Purge | None:
        """Note that a study's files go, unless it must stay; `remove` does it.

        From now on its objects are no longer offered to queries.
        """
        with self._database.write() as db:
            _lock(db, study_uid)
            found = kept_for(db, study_uid, results, unacknowledged, now)
            if found.why:
                return None
            values = {
                "study_instance_uid": study_uid,
                "results": results,
                "series": _series(db, study_uid, results),
                "objects": found.objects,
                "size": found.size,
                "by": by.name,
                "why": why,
                "at": now,
            }
            _mark(db, study_uid, results, now)
            withdraw(db, study_uid, results=results)
            number = db.execute(purge.insert().values(values).returning(purge.c.id)).scalar_one()
            what = "results purged" if results else "pixels purged"
            note(db, what, study_uid, None, now, by=by.name, why=why, objects=found.objects)
            recorded(db, by, Deed.PURGED, now, study_uid=study_uid, about=f"{what}: {why}")
            return _purge(db.execute(purge.select().where(purge.c.id == number)).one())

    def under_way(self) -> list[Purge]:
        """Return the purges whose files are not all gone, oldest first."""
        query = purge.select().where(purge.c.done_at.is_(None)).order_by(purge.c.id)
        with self._database.read() as db:
            return [_purge(row) for row in db.execute(query)]

    def remove(self, one: Purge, unlink: Callable[[str], None], after: int = 0) -> int | None:
        """Remove the next received files; return the number to go on after, None after the last.

        Nobody takes back an object meanwhile: its row is held.

        Parameters
        ----------
        unlink
            Removes a file by its path below the data folder, if it is there.
        """
        mine = instance.c.series_instance_uid.in_(series_of(one.study_instance_uid))
        query = (
            sa.select(instance.c.id, instance.c.path)
            .where(mine, instance.c.purged_at.is_not(None), instance.c.id > after)
            .order_by(instance.c.id)
            .limit(AT_ONCE)
            .with_for_update()
        )
        with self._database.write() as db:
            rows = db.execute(query).all()
            for row in rows:
                unlink(row.path)
        return rows[-1].id if len(rows) == AT_ONCE else None

    def folders(self, one: Purge) -> list[str]:
        """Return the folders of the cases whose results go, below the data folder."""
        if not one.results:
            return []
        mine = case.c.series_instance_uid.in_(series_of(one.study_instance_uid))
        query = sa.select(case.c.id).where(mine, case.c.purged_at.is_not(None))
        with self._database.read() as db:
            return [case_folder(number) for number in db.execute(query).scalars()]

    def spent(self, before: datetime, now: datetime) -> list[str]:
        """Return the paths of bytes in quarantine that people decided before then not to file."""
        with self._database.read() as db:
            return spent(db, before, now)

    def forget(
        self,
        path: str,
        by: Actor,
        why: str,
        before: datetime,
        now: datetime,
        unlink: Callable[[str], bool],
    ) -> bool:
        """Remove such bytes, if they are still such; return whether they went.

        Nobody decides about their entries meanwhile: the rows are held.

        Parameters
        ----------
        unlink
            Removes the file of a path below the data folder, and returns whether it did.
        """
        with self._database.write() as db:
            return forget(db, path, by, why, before, now, unlink)

    def done(self, one: Purge, now: datetime) -> None:
        """Record that the files of a purge are gone."""
        with self._database.write() as db:
            db.execute(purge.update().where(purge.c.id == one.id).values(done_at=now))


# --- what goes -----------------------------------------------------------------------------------


def _mark(db: sa.Connection, study_uid: str, results: bool, now: datetime) -> None:
    """Say of all rows whose files go that they are purged."""
    gone = {"purged_at": now, "catalogued": True}
    of_study = series_of(study_uid)
    db.execute(
        instance.update()
        .where(instance.c.series_instance_uid.in_(of_study), instance.c.purged_at.is_(None))
        .where(~is_promised(now))  # since it was asked whether it must stay
        .values(gone)
    )
    db.execute(
        study.update()
        .where(study.c.study_instance_uid == study_uid)
        .values(pixels_purged_at=now, purged_until=_received())
    )
    if results:
        db.execute(
            case.update()
            .where(case.c.series_instance_uid.in_(of_study), case.c.purged_at.is_(None))
            .values(gone)
        )
        _forget_confirmations(db, study_uid)
        forget_pictures(db, sa.select(case.c.id).where(case.c.series_instance_uid.in_(of_study)))


def _forget_confirmations(db: sa.Connection, study_uid: str) -> None:
    """Delete what destinations were asked about results that are purged; none is awaited."""
    mine = case.c.series_instance_uid.in_(series_of(study_uid)) & case.c.purged_at.is_not(None)
    sent = sa.select(delivery.c.id).join_from(delivery, case).where(mine)
    db.execute(confirmation.delete().where(confirmation.c.delivery_id.in_(sent)))


def _series(db: sa.Connection, study_uid: str, results: bool) -> list[str]:
    """Return the UIDs of the series whose objects go."""
    received = set(db.execute(series_of(study_uid)).scalars())
    if results:
        made = archived_series.c.study_instance_uid == study_uid
        query = sa.select(archived_series.c.series_instance_uid).where(made)
        received |= set(db.execute(query).scalars())
    return sorted(received)


def _lock(db: sa.Connection, study_uid: str) -> None:
    """Hold the rows of the study's cases, then its own, as who files an image or moves a case."""
    cases = case.c.series_instance_uid.in_(series_of(study_uid))
    db.execute(sa.select(case.c.id).where(cases).order_by(case.c.id).with_for_update()).all()
    this = sa.select(_UID).where(study.c.study_instance_uid == study_uid).with_for_update()
    if db.execute(this).first() is None:
        raise NotFound(f"no study {study_uid}")


# --- conditions ----------------------------------------------------------------------------------


def _received() -> sa.ScalarSelect[Any]:
    """Return when the last image of a study came."""
    return (
        sa.select(sa.func.max(series.c.last_received_at))
        .where(series.c.study_instance_uid == study.c.study_instance_uid)
        .correlate(study)
        .scalar_subquery()
    )


def _delivered() -> sa.ScalarSelect[Any]:
    """Return when the last result of a study was delivered."""
    return (
        sa.select(sa.func.max(case.c.delivered_at))
        .join_from(case, series)
        .where(series.c.study_instance_uid == study.c.study_instance_uid)
        .correlate(study)
        .scalar_subquery()
    )


def _last_of(study_uid: str) -> sa.Select[Any]:
    return sa.select(sa.func.max(series.c.last_received_at)).where(
        series.c.study_instance_uid == study_uid
    )


def _purge(row: sa.Row[Any]) -> Purge:
    return Purge(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        results=row.results,
        series=tuple(row.series),
        objects=row.objects,
        size=row.size,
        at=row.at,
    )
