"""What the node holds, received and made, as who queries and retrieves it sees it.

The archive's tables are an index of the files: `node.arrive.catalogue` fills them from the files
that no row speaks of yet, and nothing else depends on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from node.case_folder import case_folder
from node.identity import Identity
from node.states import Priority
from node.worklist.querying import matching
from node.worklist.querying.matching import BadQuery
from node.worklist.schema.archive_tables import archived_object, archived_series, archived_study
from node.worklist.schema.database import Database, insert
from node.worklist.schema.tables import case, instance, series
from node.worklist.schema.watch_tables import is_no_canary
from node.worklist.studies import corrections
from node.worklist.studies.studies import priorities

Value = str | int | None | Sequence[str]
Found = Mapping[str, Value]
"""The attributes of one answer by keyword; numbers are None where they are not known."""


def matched(level: "Level") -> frozenset[str]:
    """Return the keywords of the attributes that a query at this level can match."""
    above = () if level is Level.PATIENT else matching.OF_STUDY_PARTS
    return frozenset((*matching.attributes(level), *above))


class Level(StrEnum):
    """The levels of a query (PS3.4 C.6.1.1)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for, at one level.

    Attributes
    ----------
    keys
        The value to match by each attribute's keyword, as DICOM writes it; "" matches everything.
    limit, offset
        How many answers are wanted at most, and how many are passed over.
    """

    level: Level
    keys: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, as the archive's tables describe it: attributes by their columns' names."""

    study: Mapping[str, str]
    series: Mapping[str, str | int | None]
    object: Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A received object that the archive's tables do not know as it is now."""

    id: int
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class UnlistedReport:
    """A case whose report the archive's tables do not know as it is now."""

    case_id: int
    folder: str
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """An object that can be retrieved; `path` is relative to the data folder."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    rows: int | None
    """None for an object without pixels."""
    path: str
    sha256: str
    size: int
    case_id: int | None
    """The case that it was made for; None for an object that was received."""


class Archive:
    """The worklist as those see it who query and retrieve: DICOMweb, C-FIND, C-GET and C-MOVE."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the index -------------------------------------------------------------------------------

    def unlisted(self, limit: int) -> list[Unlisted]:
        """Return received objects that the tables do not know as they are now, the newest first."""
        patients = is_no_canary(series.c.study_instance_uid)
        query = sa.select(instance.c.id, instance.c.path, instance.c.sha256).join(series)
        query = (
            query.where(~instance.c.catalogued, patients)
            .order_by(instance.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as db:
            return [Unlisted(*row) for row in db.execute(query)]

    def unlisted_reports(self, limit: int) -> list[UnlistedReport]:
        """Return cases whose report the tables do not know as it is now."""
        patients = is_no_canary(series.c.study_instance_uid)
        query = sa.select(case.c.id, case.c.reported_at).join(series)
        query = query.where(~case.c.catalogued, patients)
        with self._database.read() as db:
            rows = db.execute(query.order_by(case.c.id.desc()).limit(limit)).all()
        return [UnlistedReport(row.id, case_folder(row.id), row.reported_at) for row in rows]

    def list_received(self, done: Sequence[tuple[Unlisted, Entry | None]]) -> None:
        """Describe received objects; None stands for a file that cannot be read any more."""
        with self._database.write() as db:
            valid = [pair for pair in done if _is_current(db, pair[0])]
            _describe(db, [(entry, None) for _, entry in valid if entry])
            same = instance.c.id.in_([found.id for found, _ in valid])
            db.execute(instance.update().where(same).values(catalogued=True))

    def list_report(self, found: UnlistedReport, entries: Sequence[Entry]) -> None:
        """Describe the objects of a case's report, in the place of those of an earlier report."""
        with self._database.write() as db:
            purged = sa.select(case.c.purged_at).where(case.c.id == found.case_id)
            if db.scalar(purged) is not None:
                return
            mine = archived_object.c.case_id == found.case_id
            uids = db.execute(sa.select(archived_object.c.series_instance_uid).where(mine))
            series = set(uids.scalars())
            db.execute(archived_object.delete().where(mine))
            _describe(db, [(entry, found.case_id) for entry in entries])
            _count(db, series)
            current = case.c.reported_at == found.reported_at
            same = sa.and_(case.c.id == found.case_id, current)
            db.execute(case.update().where(same).values(catalogued=True))

    # --- queries ---------------------------------------------------------------------------------

    def find(self, query: Query) -> list[Found]:
        """Return the answers to a query: at IMAGE level the instances, and so on.

        Studies are in the order of their dates, the newest first.

        Raises
        ------
        BadQuery
            If a value is of no form that its attribute has, or an attribute is not matched here.
        """
        with self._database.read() as db:
            found = db.execute(_select(query, db.dialect.name)).mappings()
            rows: list[dict[str, Any]] = [dict(row) for row in found]
            if query.level is Level.STUDY:
                _add_parts(db, rows)
        return list(rows)

    def priorities(self, studies: Sequence[str]) -> Mapping[str, Priority]:
        """Return how urgent the worklist shows these studies, by UID."""
        with self._database.read() as db:
            return priorities(db, studies)

    def identities(self, case_id: int) -> frozenset[Identity]:
        """Return whom the images of a case name, as the outbox does."""
        with self._database.read() as db:
            return corrections.identities(db, case_id)

    def stored(
        self, study: Sequence[str], series: Sequence[str] = (), objects: Sequence[str] = ()
    ) -> list[ArchivedObject]:
        """Return the objects of these studies, or of these series or UIDs of theirs, in order."""
        series_c, object_c = archived_series.c, archived_object.c
        query = (
            sa.select(
                series_c.study_instance_uid,
                object_c.series_instance_uid,
                object_c.sop_instance_uid,
                object_c.sop_class_uid,
                object_c.transfer_syntax_uid,
                object_c.rows,
                object_c.path,
                object_c.sha256,
                object_c.size,
                object_c.case_id,
            )
            .join_from(archived_object, archived_series, _IN_SERIES)
            .where(series_c.study_instance_uid.in_(study))
            .order_by(series_c.series_number, series_c.series_instance_uid)
            .order_by(object_c.instance_number, object_c.sop_instance_uid)
        )
        if series:
            query = query.where(series_c.series_instance_uid.in_(series))
        if objects:
            query = query.where(object_c.sop_instance_uid.in_(objects))
        with self._database.read() as db:
            return [ArchivedObject(**row) for row in db.execute(query).mappings()]


_IN_SERIES = archived_object.c.series_instance_uid == archived_series.c.series_instance_uid
_IN_STUDY = archived_series.c.study_instance_uid == archived_study.c.study_instance_uid


def _select(query: Query, dialect: str) -> sa.Select[Any]:
    known = matching.attributes(query.level)
    columns: list[sa.Label[Any]] = _labelled(known)
    chosen: sa.Select[Any]
    if query.level is Level.PATIENT:
        chosen = _patients()
    elif query.level is Level.STUDY:
        chosen = sa.select(*columns).select_from(archived_study)
    elif query.level is Level.SERIES:
        columns.append(archived_series.c.objects.label("NumberOfSeriesRelatedInstances"))
        chosen = sa.select(*columns).join_from(archived_series, archived_study, _IN_STUDY)
    else:
        columns.append(archived_object.c.transfer_syntax_uid.label("AvailableTransferSyntaxUID"))
        chosen = sa.select(*columns).join_from(archived_object, archived_series, _IN_SERIES)
        chosen = chosen.join(archived_study, _IN_STUDY)
    chosen = chosen.where(*_conditions(query, dialect)).order_by(*_order(query.level))
    return chosen.limit(query.limit).offset(query.offset or None)


def _conditions(query: Query, dialect: str) -> Iterable[sa.ColumnElement[bool]]:
    known = matching.attributes(query.level)
    if query.level is not Level.PATIENT:
        known = known | matching.OF_STUDY_PARTS
    for keyword, value in query.keys.items():
        if keyword not in known:
            raise BadQuery(f"{keyword} is not matched at the level {query.level}")
        condition = known[keyword].condition(keyword, value, dialect)
        if condition is not None:
            yield condition


def _order(level: Level) -> Sequence[Any]:
    if level is Level.PATIENT:
        return (archived_study.c.patient_id,)
    study = archived_study.c
    order: list[Any] = [study.study_date.desc(), study.study_time.desc(), study.study_instance_uid]
    if level is not Level.STUDY:
        order += [archived_series.c.series_number, archived_series.c.series_instance_uid]
    if level is Level.IMAGE:
        order += [archived_object.c.instance_number, archived_object.c.sop_instance_uid]
    return order


def _patients() -> sa.Select[Any]:
    """Return one row for each PatientID, of its study with the lowest UID."""
    study, other = archived_study, archived_study.alias("other")
    earlier = sa.exists().where(
        other.c.patient_id == study.c.patient_id,
        other.c.study_instance_uid < study.c.study_instance_uid,
    )
    count = sa.select(sa.func.count()).where(other.c.patient_id == study.c.patient_id)
    columns = _labelled(matching.PATIENT_ATTRIBUTES)
    studies = count.correlate(study).scalar_subquery().label("NumberOfPatientRelatedStudies")
    chosen: sa.Select[Any] = sa.select(*columns, studies).select_from(study)
    return chosen.where(~earlier)


def _labelled(known: Mapping[str, matching.Attribute]) -> list[sa.Label[Any]]:
    return [attribute.column.label(keyword) for keyword, attribute in known.items()]


def _add_parts(db: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add to each study what its series are: modalities and numbers."""
    by = {row["StudyInstanceUID"]: row for row in rows}
    for row in rows:
        row |= {"NumberOfStudyRelatedSeries": 0, "NumberOfStudyRelatedInstances": 0}
        row["ModalitiesInStudy"] = set()
    uid, series = archived_series.c.study_instance_uid, archived_series.c
    for some in _pieces(list(by)):
        query = sa.select(uid, series.modality, sa.func.count(), sa.func.sum(series.objects))
        grouped = query.where(uid.in_(some)).group_by(uid, series.modality)
        for study, modality, number, objects in db.execute(grouped):
            by[study]["ModalitiesInStudy"].add(modality)
            by[study]["NumberOfStudyRelatedSeries"] += number
            by[study]["NumberOfStudyRelatedInstances"] += int(objects)
    for row in rows:
        row["ModalitiesInStudy"] = sorted(row["ModalitiesInStudy"] - {""})


def _pieces(uids: Sequence[str], size: int = 500) -> Iterable[Sequence[str]]:
    """Yield the UIDs in pieces that a statement takes as parameters."""
    return (uids[start : start + size] for start in range(0, len(uids), size))


def withdraw(db: sa.Connection, study_uid: str, *, results: bool) -> None:
    """Offer the received objects of a study no longer, and with `results` nothing of it."""
    of_study = sa.select(archived_series.c.series_instance_uid).where(
        archived_series.c.study_instance_uid == study_uid
    )
    uids = db.execute(of_study).scalars().all()
    mine = archived_object.c.series_instance_uid.in_(of_study)
    some = sa.true() if results else archived_object.c.case_id.is_(None)
    db.execute(archived_object.delete().where(mine, some))
    _count(db, uids)
    empty = ~sa.exists().where(archived_series.c.study_instance_uid == study_uid)
    same = archived_study.c.study_instance_uid == study_uid
    db.execute(archived_study.delete().where(same, empty))


def withdraw_results(db: sa.Connection, case_ids: Sequence[int]) -> None:
    """Offer the results of these cases no longer; the received objects stay."""
    mine = archived_object.c.case_id.in_(case_ids)
    uids = db.execute(sa.select(archived_object.c.series_instance_uid).where(mine)).scalars().all()
    db.execute(archived_object.delete().where(mine))
    _count(db, uids)


def _is_current(db: sa.Connection, found: Unlisted) -> bool:
    same = sa.and_(
        instance.c.id == found.id,
        instance.c.sha256 == found.sha256,
        instance.c.purged_at.is_(None),
    )
    return db.execute(sa.select(instance.c.id).where(same)).scalar() is not None


def _describe(db: sa.Connection, entries: Sequence[tuple[Entry, int | None]]) -> None:
    """Write the rows of objects, received ones or of a case, and of their series and studies."""
    if not entries:
        return
    studies = {entry.study["study_instance_uid"]: (entry, of) for entry, of in entries}
    for entry, of_case in studies.values():
        keep = of_case is not None
        _put(db, archived_study, _named(entry.study), "study_instance_uid", keep=keep)
    series = {str(entry.series["series_instance_uid"]): entry.series for entry, _ in entries}
    for values in series.values():
        _put(db, archived_series, {**values, "objects": 0}, "series_instance_uid")
    for entry, of_case in entries:
        values = {**entry.object, "case_id": of_case}
        _put(db, archived_object, values, "sop_instance_uid")
    _count(db, series)


def _named(study: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values of a study with its names as they are compared."""
    names = ("patient_name", "referring_physician_name")
    return {**study, **{f"{name}_key": matching.folded(study[name]) for name in names}}


def _put(
    db: sa.Connection,
    table: sa.Table,
    values: Mapping[str, Any],
    key: str,
    *,
    keep: bool = False,
) -> None:
    """Insert a row, or bring it up to date; `keep` keeps one that is there."""
    new = insert(db, table).values(values)
    if keep:
        db.execute(new.on_conflict_do_nothing(index_elements=[key]))
    else:
        db.execute(new.on_conflict_do_update(index_elements=[key], set_=dict(values)))


def _count(db: sa.Connection, series: Iterable[str]) -> None:
    """Note how many objects the series have; one that has none any more is deleted."""
    uid = archived_series.c.series_instance_uid
    number = sa.select(sa.func.count()).where(archived_object.c.series_instance_uid == uid)
    for some in _pieces(sorted(series)):
        mine = uid.in_(some)
        counted = number.correlate(archived_series).scalar_subquery()
        db.execute(archived_series.update().where(mine).values(objects=counted))
        db.execute(archived_series.delete().where(mine, archived_series.c.objects == 0))
