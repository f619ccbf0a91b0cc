"""Radiologists' reports: what each says of a study, and those that are of no study here.

A report is a study's by accession number and patient, to the character. Of several that are final
or corrected the one counts that was given out last. No text is kept but the sentence that decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.reported import Answer, ReportLabel, ReportOf, ReportStatus
from node.worklist.schema.database import Database, insert
from node.worklist.schema.tables import study
from node.worklist.schema.watch_tables import is_no_canary, report, stray_report
from node.worklist.trail.events import note

COUNTS = (ReportStatus.FINAL, ReportStatus.CORRECTED)
"""A preliminary report may change until it is final: it says nothing of how the node does."""
NO_PATIENT = "it names no patient"
NO_STUDY = "no study here has its accession number"
OTHER_PATIENT = "its accession number is another patient's here"
OTHER_BIRTH_DATE = "the patient of its accession number has another birth date here"


@dataclass(frozen=True, slots=True)
class KeptReport:
    """What is kept of a report of a study."""

    study_instance_uid: str
    status: ReportStatus
    label: ReportLabel
    said_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Stray:
    """A report that is of no study here; `why` is a sentence."""

    accession_number: str
    patient_id: str
    why: str
    received_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return it as `ichnode watch --json` lists it; a stable interface."""
        return {**asdict(self), "received_at": self.received_at.isoformat()}


@dataclass(frozen=True, slots=True)
class ReportCounts:
    """The reports that came in a while.

    Attributes
    ----------
    answers
        How many of studies here say what; what came twice counts once.
    apart
        How many are of no study here.
    last_at
        When the last report came, of a study here or not, in that while or before; None if none is
        kept.
    """

    answers: Mapping[Answer, int]
    apart: int
    last_at: datetime | None

    @property
    def of_studies(self) -> int:
        """How many are of studies here."""
        return sum(self.answers.values())


class Reports:
    """The worklist as those see it who take reports, and compare them with the results."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, of: ReportOf) -> tuple[list[str], str]:
        """Return the studies that a report is of, and why there is none; "" if there is one."""
        same = study.c.accession_number == of.accession_number
        uid = study.c.study_instance_uid
        query = sa.select(study).where(same, is_no_canary(uid)).order_by(uid)
        with self._database.read() as db:
            found = db.execute(query).all()
        whose = [row for row in found if row.patient_id == of.patient.patient_id]
        born = of.patient.birth_date
        mine = [row for row in whose if not born or row.patient_birth_date == born]
        if not of.patient.patient_id or not of.accession_number:
            return [], NO_PATIENT
        if mine:
            return [row.study_instance_uid for row in mine], ""
        return [], OTHER_BIRTH_DATE if whose else OTHER_PATIENT if found else NO_STUDY

    def keep(self, of: ReportOf, studies: Sequence[str], label: ReportLabel, now: datetime) -> None:
        """Record what a report says of its studies; one that came before is left as it is."""
        said = {"answer": label.answer, "status": of.status}
        values = {
            "digest": of.digest,
            **said,
            "sentence": label.sentence,
            "rule": label.rule,
            "language": label.language,
            "said_at": of.said_at,
            "received_at": now,
        }
        with self._database.write() as db:
            db.execute(stray_report.delete().where(stray_report.c.digest == of.digest))
            for uid in studies:
                new = insert(db, report).values(**values, study_instance_uid=uid)
                if db.execute(new.on_conflict_do_nothing()).rowcount:
                    note(db, "report came", uid, None, now, **said)

    def keep_apart(self, of: ReportOf, why: str, now: datetime) -> None:
        """Record that a report came that is of no study here."""
        values = {
            "digest": of.digest,
            "accession_number": of.accession_number,
            "patient_id": of.patient.patient_id,
            "why": why,
            "received_at": now,
        }
        with self._database.write() as db:
            db.execute(
                insert(db, stray_report)
                .values(values)
                .on_conflict_do_update(index_elements=["digest"], set_={"why": why})
            )

    def of_study(self, study_uid: str) -> list[KeptReport]:
        """Return the reports of a study: those that do not count first, the one that does last."""
        mine = report.c.study_instance_uid == study_uid
        order = (report.c.status.in_(COUNTS), report.c.said_at, report.c.id)
        with self._database.read() as db:
            rows = db.execute(sa.select(report).where(mine).order_by(*order)).all()
        return [_kept(row) for row in rows]

    def counting(self) -> dict[str, KeptReport]:
        """Return the report that counts of each study that has one, by UID."""
        query = sa.select(report).where(report.c.status.in_(COUNTS))
        with self._database.read() as db:
            rows = db.execute(query.order_by(report.c.said_at, report.c.id)).all()
        return {row.study_instance_uid: _kept(row) for row in rows}

    def counts(self, since: datetime) -> ReportCounts:
        """Return how many reports came since then, and when the last of all did."""
        number = sa.func.count(sa.distinct(report.c.digest))
        said = sa.select(report.c.answer, number).where(report.c.received_at >= since)
        apart = sa.select(sa.func.count()).select_from(stray_report)
        last = (sa.select(sa.func.max(of.c.received_at)) for of in (report, stray_report))
        with self._database.read() as db:
            answers = {Answer(each): n for each, n in db.execute(said.group_by(report.c.answer))}
            others = db.scalar(apart.where(stray_report.c.received_at >= since)) or 0
            times = [at for one in last if (at := db.scalar(one))]
        return ReportCounts(answers, others, max(times, default=None))

    def strays(self, limit: int = 100) -> list[Stray]:
        """Return the last reports that are of no study here, the newest first."""
        query = sa.select(stray_report).order_by(stray_report.c.received_at.desc()).limit(limit)
        names = Stray.__dataclass_fields__
        with self._database.read() as db:
            rows = db.execute(query).mappings().all()
        return [Stray(**{name: row[name] for name in names}) for row in rows]

    def forget_strays(self, before: datetime) -> int:
        """Delete the reports of no study here that came before; return how many."""
        old = stray_report.c.received_at < before
        with self._database.write() as db:
            return db.execute(stray_report.delete().where(old)).rowcount


def _kept(row: sa.Row[Any]) -> KeptReport:
    label = ReportLabel(Answer(row.answer), row.sentence, row.rule, row.language)
    said = ReportStatus(row.status), label, row.said_at, row.received_at
    return KeptReport(row.study_instance_uid, *said)
