"""Coverage: which CT studies an archive lists, and which of them never came, or came in part.

Whether a study is here is seen whenever somebody asks, from what was filed by then. So one that
comes late leaves the list by itself, and one that came once is not missed again when its images are
removed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.announced import Shows, Told
from node.settings import Coverage as Asked
from node.worklist.schema.columns import Deed
from node.worklist.schema.database import Database, insert
from node.worklist.schema.tables import instance, quarantine, series
from node.worklist.schema.watch_tables import coverage_round, performed_study
from node.worklist.studies.chains import NotFound
from node.worklist.trail.audit import Actor, recorded
from node.worklist.watching.gaps import Gap, Known, Round, SourceLine, Standing, Uncovered

KEPT = timedelta(days=8)
"""How long a row is kept that a source lists no more and that is settled: longer than the longest
`coverage.hours`, so that no study is asked about twice."""

LATE = 3
"""A source that was not asked for this many intervals is not asked. Chosen: a node that starts
again may skip one."""


class Coverage:
    """The worklist as those see it who compare it with an archive."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, source: str) -> dict[str, Known]:
        """Return what is known of the studies that a source listed, by UID."""
        with self._database.read() as db:
            rows = db.execute(
                sa.select(performed_study).where(performed_study.c.source == source)
            ).all()
            here = _here(db, [row.study_instance_uid for row in rows if not _settled(row)])
        return {
            row.study_instance_uid: Known(
                row.images,
                row.shows,
                row.series,
                row.exact,
                here.get(row.study_instance_uid, {}),
                _settled(row),
            )
            for row in rows
        }

    def told(
        self, source: str, studies: Sequence[Told], now: datetime, *, cut_off: bool = False
    ) -> None:
        """Record what a source lists; what it listed before stays."""
        with self._database.write() as db:
            for one in studies:
                _put(db, source, one, now)
            rows = db.execute(sa.select(performed_study).where(_OPEN)).all()
            here = _here(db, [row.study_instance_uid for row in rows])
            for row in rows:
                if _is_all_here(row.series, here.get(row.study_instance_uid)):
                    db.execute(performed_study.update().where(_same(row)).values(came_at=now))
            db.execute(
                performed_study.delete().where(~_OPEN, performed_study.c.last_told_at < now - KEPT)
            )
            answered = {"answered_at": now, "studies": len(studies), "cut_off": cut_off}
            _note(db, source, {"asked_at": now, "error": None, **answered})

    def failed(self, source: str, error: str, now: datetime) -> None:
        """Record that a source did not answer, and why."""
        with self._database.write() as db:
            _note(db, source, {"asked_at": now, "error": error})

    def rounds(self) -> list[Round]:
        """Return how the last question to each source went, by name."""
        with self._database.read() as db:
            found = db.execute(sa.select(coverage_round).order_by(coverage_round.c.source))
            return [Round(**row) for row in found.mappings()]

    def uncovered(self, now: datetime, grace: timedelta) -> list[Uncovered]:
        """Return the studies that are not all here: never seen ones first, then the newest.

        Parameters
        ----------
        grace
            How long after it was first listed, or after its last image, a study is on its way.
        """
        with self._database.read() as db:
            rows = db.execute(sa.select(performed_study).where(_OPEN)).all()
            uids = [row.study_instance_uid for row in rows]
            here, aside, last = _here(db, uids), _set_aside(db, uids), _last_image(db, uids)
        found = []
        for row in rows:
            uid = row.study_instance_uid
            if not _is_all_here(row.series, here.get(uid)):
                since = max(row.first_told_at, last.get(uid, row.first_told_at))
                came = uid in here or uid in aside
                gap = Gap.IN_PART if came else Gap.NEVER_SEEN
                waits = now - since < grace
                found.append(_uncovered(row, Gap.ON_ITS_WAY if waits else gap, here.get(uid, {})))
        newest = sorted(found, key=lambda one: one.performed, reverse=True)
        return sorted(newest, key=lambda one: list(Gap).index(one.gap))

    def standing(self, asked: Asked, now: datetime) -> Standing:
        """Return what lacks by the settings in force, and how each source that they name does."""
        last = {one.source: one for one in self.rounds()}
        names = dict.fromkeys((*asked.ask, *last))
        lines = (
            SourceLine(name, last.get(name), _trouble(name, last.get(name), asked, now))
            for name in names
        )
        return Standing(tuple(self.uncovered(now, asked.grace)), tuple(lines))

    def set_aside(self, study_uid: str, by: Actor, now: datetime) -> None:
        """Record that a person looked after a study: it is no longer listed.

        Raises
        ------
        NotFound
            If no source listed such a study, or it is not missed.
        """
        this = performed_study.c.study_instance_uid == study_uid
        done = {"set_aside_at": now, "set_aside_by": by.name}
        with self._database.write() as db:
            if not db.execute(performed_study.update().where(this, _OPEN).values(done)).rowcount:
                raise NotFound(f"no source has a study {study_uid} that is missed here")
            told = "taken off the list of studies that never came"
            recorded(db, by, Deed.COVERAGE, now, study_uid=study_uid, about=told)


_OPEN = sa.and_(
    performed_study.c.came_at.is_(None),
    performed_study.c.set_aside_at.is_(None),
    performed_study.c.shows != Shows.OTHER,
)
"""What is missed unless it is found to be here."""


def _trouble(name: str, last: Round | None, asked: Asked, now: datetime) -> str:
    """Return why it is not known what lacks of a source; "" if it is known."""
    unknown = "what never came from it is not known"
    if name not in asked.ask:
        return ""
    if last is None:
        return f"{name} was not asked yet: {unknown}"
    answered = last.answered_at
    since = f"since {answered.astimezone():%d %b %H:%M}" if answered else "yet"
    if last.error is not None:
        return f"{name} did not answer {since}, {unknown}: {last.error}"
    if answered is None or now - answered > LATE * asked.every:
        return f"{name} was not asked {since}, {unknown}: see the job coverage"
    if last.cut_off:
        return f"{name} lists more than {asked.most_studies} studies: some were not compared"
    return ""


def _settled(row: sa.Row[Any]) -> bool:
    return row.came_at is not None or row.set_aside_at is not None


def _same(row: sa.Row[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(
        performed_study.c.source == row.source,
        performed_study.c.study_instance_uid == row.study_instance_uid,
    )


def _put(db: sa.Connection, source: str, one: Told, now: datetime) -> None:
    study = one.study
    said = {
        "study_date": study.study_date,
        "study_time": study.study_time,
        "patient_id": study.patient_id,
        "accession_number": study.accession_number,
        "study_description": study.study_description,
        "images": study.images,
        "shows": one.shows,
        "series": dict(one.series),
        "exact": one.exact,
        "last_told_at": now,
    }
    first = {"source": source, "study_instance_uid": study.study_instance_uid, "first_told_at": now}
    same_count = performed_study.c.images.is_not_distinct_from(study.images)
    came = sa.case((same_count, performed_study.c.came_at), else_=None)
    db.execute(
        insert(db, performed_study)
        .values(**first, **said)
        .on_conflict_do_update(
            index_elements=["source", "study_instance_uid"], set_=said | {"came_at": came}
        )
    )


def _note(db: sa.Connection, source: str, values: Mapping[str, Any]) -> None:
    db.execute(
        insert(db, coverage_round)
        .values(source=source, **values)
        .on_conflict_do_update(index_elements=["source"], set_=dict(values))
    )


def _is_all_here(there: Mapping[str, int | None], here: Mapping[str, int] | None) -> bool:
    """Return whether something came, and no fewer images of each series than are told."""
    if here is None:
        return False
    return all(count is not None and here.get(uid, 0) >= count for uid, count in there.items())


def _here(db: sa.Connection, uids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many images of each series of these studies were filed, by study."""
    query = (
        sa.select(series.c.study_instance_uid, series.c.series_instance_uid, sa.func.count())
        .join_from(series, instance)
        .group_by(series.c.study_instance_uid, series.c.series_instance_uid)
    )
    found: dict[str, dict[str, int]] = {}
    for some in _pieces(uids):
        for study_uid, uid, count in db.execute(query.where(series.c.study_instance_uid.in_(some))):
            found.setdefault(study_uid, {})[uid] = count
    return found


def _set_aside(db: sa.Connection, uids: Sequence[str]) -> set[str]:
    """Return those of these studies of which something went into quarantine."""
    column = quarantine.c.study_instance_uid
    return {
        uid
        for some in _pieces(uids)
        for uid in db.execute(sa.select(column).where(column.in_(some)).distinct()).scalars()
    }


def _last_image(db: sa.Connection, uids: Sequence[str]) -> dict[str, datetime]:
    """Return when the last image came of each of these studies."""
    column = series.c.study_instance_uid
    query = sa.select(column, sa.func.max(series.c.last_received_at)).group_by(column)
    return {
        uid: last
        for some in _pieces(uids)
        for uid, last in db.execute(query.where(column.in_(some)))
    }


def _pieces(uids: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    return (uids[start : start + size] for start in range(0, len(uids), size))


def _uncovered(row: sa.Row[Any], gap: Gap, here: Mapping[str, int]) -> Uncovered:
    counts = list(row.series.values())
    there = row.images if not counts else None if None in counts else sum(counts)
    return Uncovered(
        source=row.source,
        study_instance_uid=row.study_instance_uid,
        gap=gap,
        shows=row.shows,
        performed=f"{row.study_date} {row.study_time[:6]}".strip(),
        patient_id=row.patient_id,
        accession_number=row.accession_number,
        study_description=row.study_description,
        here=sum(here.values()),
        there=there,
        first_told_at=row.first_told_at,
    )
