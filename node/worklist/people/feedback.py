"""What people say of results: they have seen one, and agree with it or not.

Feedback is a row with a person and a time. It can be undone, and the row then says by whom; it is
never deleted. Of what stands, the newest counts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.errors import Permanent
from node.states import Priority
from node.worklist.schema.columns import Deed, Mistake
from node.worklist.schema.database import Database
from node.worklist.schema.tables import acknowledgement
from node.worklist.studies.rows import Row
from node.worklist.studies.studies import of_studies, one_study, study_rows
from node.worklist.trail.audit import Actor, recorded
from node.worklist.trail.events import note


class Outdated(Permanent):
    """The study shows another result than the one that the person saw."""


class NothingToUndo(Permanent):
    """The person has no feedback on this study that stands."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a person says of a study's result.

    Attributes
    ----------
    agrees
        None: the person has seen it, and says no more.
    mistake, place, reason
        Of somebody who disagrees: in which way the result is wrong, where, and why, in words.
    """

    agrees: bool | None = None
    mistake: Mistake | None = None
    place: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """An opinion as it is recorded; `shown` is the result that it is about."""

    number: int
    who: str
    at: datetime
    shown: Priority
    opinion: Opinion
    undone_at: datetime | None
    undone_by: str | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A study that a person disagrees about, as it may leave the node: nobody is named.

    Attributes
    ----------
    series_instance_uid, case_id, probability
        Of the case that speaks for the study now.
    shown
        The result that the person disagreed with.
    """

    study_instance_uid: str
    series_instance_uid: str
    case_id: int
    probability: float | None
    shown: Priority
    mistake: Mistake
    place: str
    reason: str


class Feedback:
    """The worklist as those see it who read studies and say so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(
        self,
        study_uid: str,
        who: str,
        opinion: Opinion,
        now: datetime,
        *,
        saw: Priority | None = None,
        signed: Actor | None = None,
    ) -> None:
        """Record what a person says of the study's row as it stands.

        Parameters
        ----------
        saw
            The priority that the person saw, if it is known.
        signed
            Who it is for the audit trail, if that person signed in.

        Raises
        ------
        NotFound
            If there is no such study.
        Outdated
            If the study has another priority by now than `saw`; nothing was recorded.
        """
        with self._database.write() as db:
            shown = one_study(db, study_uid).priority
            if saw is not None and saw is not shown:
                raise Outdated(f"the study was {saw} and is {shown} now: look at it again")
            line = {"study_instance_uid": study_uid, "who": who, "shown": shown, "at": now}
            line |= {"agrees": opinion.agrees, "mistake": opinion.mistake}
            line |= {"place": opinion.place or None, "reason": opinion.reason or None}
            db.execute(acknowledgement.insert(), line)
            note(db, "feedback", study_uid, None, now, agrees=opinion.agrees, shown=shown)
            if signed:
                recorded(db, signed, Deed.FEEDBACK, now, study_uid=study_uid)

    def undo(self, study_uid: str, who: str, now: datetime, *, signed: Actor | None = None) -> None:
        """Take back the newest feedback on a study that stands and is this person's.

        Raises
        ------
        NothingToUndo
            If there is none.
        """
        newest = (
            sa.select(sa.func.max(acknowledgement.c.id))
            .where(acknowledgement.c.study_instance_uid == study_uid)
            .where(acknowledgement.c.who == who, acknowledgement.c.undone_at.is_(None))
            .scalar_subquery()
        )
        undo = acknowledgement.update().where(acknowledgement.c.id == newest)
        with self._database.write() as db:
            if db.execute(undo.values(undone_at=now, undone_by=who)).rowcount != 1:
                raise NothingToUndo("there is no feedback of yours on this study to undo")
            note(db, "feedback undone", study_uid, None, now)
            if signed:
                recorded(db, signed, Deed.UNDONE, now, study_uid=study_uid)

    def of_study(self, study_uid: str) -> list[Said]:
        """Return everything that was said of a study, oldest first, undone or not."""
        query = sa.select(acknowledgement).where(acknowledgement.c.study_instance_uid == study_uid)
        with self._database.read() as db:
            return [_said(row) for row in db.execute(query.order_by(acknowledgement.c.id))]

    def disagreements(self) -> list[Disagreement]:
        """Return the studies that somebody disagrees about, the oldest disagreement first.

        Of each person the last judgement that stands counts; of several people who disagree about
        a study, the last one speaks. The study's PatientID and accession number are taken out of
        the words; a name in them is known to nobody but a person.
        """
        standing = (
            sa.select(sa.func.max(acknowledgement.c.id))
            .where(acknowledgement.c.undone_at.is_(None), acknowledgement.c.agrees.is_not(None))
            .group_by(acknowledgement.c.study_instance_uid, acknowledgement.c.who)
        )
        query = sa.select(acknowledgement).where(
            acknowledgement.c.id.in_(standing), acknowledgement.c.mistake.is_not(None)
        )
        with self._database.read() as db:
            found = db.execute(query.order_by(acknowledgement.c.id)).all()
            last = {row.study_instance_uid: row for row in found}
            rows = {row.study_instance_uid: row for row in study_rows(db, of_studies(list(last)))}
        return [_disagreement(rows[uid], said) for uid, said in last.items()]


def _disagreement(row: Row, said: sa.Row[Any]) -> Disagreement:
    known = (row.patient_id, row.accession_number)
    return Disagreement(
        row.study_instance_uid,
        row.series_instance_uid,
        row.case_id,
        row.probability,
        said.shown,
        said.mistake,
        without(said.place or "", known),
        without(said.reason or "", known),
    )


def without(text: str, known: Iterable[str]) -> str:
    """Return a text with each of these identifiers replaced, where it stands as a word."""
    for one in sorted(filter(None, (each.strip() for each in known)), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(one)}(?!\w)", "[removed]", text, flags=re.IGNORECASE)
    return text


def _said(row: sa.Row[Any]) -> Said:
    opinion = Opinion(row.agrees, row.mistake, row.place or "", row.reason or "")
    return Said(row.id, row.who, row.at, row.shown, opinion, row.undone_at, row.undone_by)
