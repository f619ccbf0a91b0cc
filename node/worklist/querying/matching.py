"""Attribute matching (PS3.4 C.2.2.2) as conditions of SQL; QIDO-RS and C-FIND share it.

Values come as DICOM writes them: a backslash between several UIDs, "*" and "?" as wildcards, "-" in
a range of dates or times. An empty value, or "*" alone, matches everything.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from node.errors import Permanent
from node.worklist.schema.archive_tables import archived_object, archived_series, archived_study

MOST_STARS = 4
"""How many "*" a value may have. The time of a comparison grows by the length of the text to this
power."""
MOST_UIDS = 1000
"""How many UIDs a list may have: an estimate of what a client asks for at once."""


class BadQuery(Permanent):
    """A value that no attribute can match; the message names the attribute."""


Condition = sa.ColumnElement[bool]
_Match = Callable[[str, sa.Column[Any], str, str], Condition]
"""Condition of (the attribute's keyword, its column, the value, the name of the SQL dialect)."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that can be matched and returned: where its value stands, how it matches."""

    column: sa.Column[Any]
    match: _Match
    compared: sa.Column[Any] | None = None
    """The column that is compared, if it is another."""

    def condition(self, keyword: str, value: str, dialect: str) -> Condition | None:
        """Return the condition that the attribute matches a value; None where each does.

        Raises
        ------
        BadQuery
            If the value is of no form that the attribute has.
        """
        value = value.strip(" \0")
        if not value.strip("*"):
            return None
        column = self.column if self.compared is None else self.compared
        return self.match(keyword, column, value, dialect)


def folded(name: str) -> str:
    """Return a name as it is compared: no case, no empty components at the end of a group."""
    text = unicodedata.normalize("NFC", name).casefold()
    groups = ("^".join(map(str.strip, group.split("^"))) for group in text.split("="))
    return "=".join(group.rstrip("^ ") for group in groups).rstrip("=")


def one_of(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a list of UIDs."""
    del dialect
    uids = value.split("\\")
    if len(uids) > MOST_UIDS or not all(re.fullmatch(r"[0-9.]{1,64}", uid) for uid in uids):
        raise BadQuery(f"{keyword}: not a list of at most {MOST_UIDS} UIDs")
    return column.in_(uids)


def like(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a text, with wildcards; capitals and small letters differ."""
    if "*" not in value and "?" not in value:
        return column == value
    value = re.sub(r"\*+", "*", value)
    if value.count("*") > MOST_STARS:
        raise BadQuery(f"{keyword}: more than {MOST_STARS} '*' in a value")
    if dialect == "sqlite":
        return column.op("GLOB", is_comparison=True)(value.replace("[", "[[]"))
    escaped = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%").replace("?", "_")
    return column.like(escaped, escape="\\")


def name_like(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a person's name, or one of its component groups; case makes no difference."""
    name = folded(value)
    forms = [name, f"{name}=*", f"*={name}", f"*={name}=*"]
    if name.endswith("*"):
        forms = [name, f"*={name}"]
    return sa.or_(*(like(keyword, column, form, dialect) for form in forms))


def dated(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a date or a range of dates, YYYYMMDD."""
    return _within(keyword, column, value, r"\d{8}", dialect)


def timed(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a time or a range of times; what a time leaves out may be anything."""
    return _within(keyword, column, value, r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?", dialect)


def numbered(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a whole number."""
    del dialect
    if not re.fullmatch(r"[+-]?\d{1,9}", value):
        raise BadQuery(f"{keyword}: not a whole number")
    return column == int(value)


def _within(keyword: str, column: sa.Column[Any], value: str, form: str, dialect: str) -> Condition:
    del dialect
    first, dash, last = value.partition("-")
    first, last = first.strip(), last.strip() if dash else first.strip()
    if not all(re.fullmatch(form, end) for end in (first, last) if end):
        raise BadQuery(f"{keyword}: neither a value nor a range")
    ends = [column != ""]
    if first:
        ends.append(column >= first)
    if last:
        ends.append(column <= f"{last}~")  # "~" comes after digits: 0930 means until 09:30:59.9
    return sa.and_(*ends)


def _modality(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a study of which a series matches."""
    either = sa.or_(*(like(keyword, column, one, dialect) for one in value.split("\\")))
    of_it = archived_series.c.study_instance_uid == archived_study.c.study_instance_uid
    inner = sa.select(sa.literal(1)).select_from(archived_series).where(of_it, either)
    return inner.correlate(archived_study).exists()


def _sop_class(keyword: str, column: sa.Column[Any], value: str, dialect: str) -> Condition:
    """Match a study of which an object matches."""
    inner = (
        sa.select(sa.literal(1))
        .select_from(archived_series.join(archived_object, _IN_SERIES))
        .where(archived_series.c.study_instance_uid == archived_study.c.study_instance_uid)
        .where(one_of(keyword, column, value, dialect))
    )
    return inner.correlate(archived_study).exists()


_IN_SERIES = archived_object.c.series_instance_uid == archived_series.c.series_instance_uid
_study, _series, _object = archived_study.c, archived_series.c, archived_object.c

PATIENT_ATTRIBUTES = {
    "PatientName": Attribute(_study.patient_name, name_like, _study.patient_name_key),
    "PatientID": Attribute(_study.patient_id, like),
    "PatientBirthDate": Attribute(_study.patient_birth_date, dated),
    "PatientSex": Attribute(_study.patient_sex, like),
}
STUDY_ATTRIBUTES = PATIENT_ATTRIBUTES | {
    "StudyInstanceUID": Attribute(_study.study_instance_uid, one_of),
    "StudyDate": Attribute(_study.study_date, dated),
    "StudyTime": Attribute(_study.study_time, timed),
    "AccessionNumber": Attribute(_study.accession_number, like),
    "StudyID": Attribute(_study.study_id, like),
    "StudyDescription": Attribute(_study.study_description, like),
    "ReferringPhysicianName": Attribute(
        _study.referring_physician_name, name_like, _study.referring_physician_name_key
    ),
}
OF_STUDY_PARTS = {
    "ModalitiesInStudy": Attribute(_series.modality, _modality),
    "SOPClassesInStudy": Attribute(_object.sop_class_uid, _sop_class),
}
"""Attributes of a study that its series and objects have; they are matched, and counted apart."""
SERIES_ATTRIBUTES = {
    "SeriesInstanceUID": Attribute(_series.series_instance_uid, one_of),
    "Modality": Attribute(_series.modality, like),
    "SeriesNumber": Attribute(_series.series_number, numbered),
    "SeriesDescription": Attribute(_series.series_description, like),
    "BodyPartExamined": Attribute(_series.body_part_examined, like),
    "ProtocolName": Attribute(_series.protocol_name, like),
    "SeriesDate": Attribute(_series.series_date, dated),
    "SeriesTime": Attribute(_series.series_time, timed),
    "PerformedProcedureStepStartDate": Attribute(
        _series.performed_procedure_step_start_date, dated
    ),
    "PerformedProcedureStepStartTime": Attribute(
        _series.performed_procedure_step_start_time, timed
    ),
}
OBJECT_ATTRIBUTES = {
    "SOPInstanceUID": Attribute(_object.sop_instance_uid, one_of),
    "SOPClassUID": Attribute(_object.sop_class_uid, one_of),
    "InstanceNumber": Attribute(_object.instance_number, numbered),
    "Rows": Attribute(_object.rows, numbered),
    "Columns": Attribute(_object.columns, numbered),
    "BitsAllocated": Attribute(_object.bits_allocated, numbered),
    "NumberOfFrames": Attribute(_object.number_of_frames, numbered),
}


@cache
def attributes(level: str) -> dict[str, Attribute]:
    """Return what is matched and returned at a level, by keyword: that of the levels above too."""
    return {
        "PATIENT": PATIENT_ATTRIBUTES,
        "STUDY": STUDY_ATTRIBUTES,
        "SERIES": STUDY_ATTRIBUTES | SERIES_ATTRIBUTES,
        "IMAGE": STUDY_ATTRIBUTES | SERIES_ATTRIBUTES | OBJECT_ATTRIBUTES,
    }[level]
