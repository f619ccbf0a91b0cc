"""Canaries: phantoms that the node sends to itself, and what came of each.

A study is a canary by its UID in this table, which the node wrote before it sent the phantom, and
by nothing that a header says: no patient's study can be taken for one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.case_folder import case_folder
from node.settings import Canary as Limits
from node.states import Priority
from node.worklist.running.alarms import ended, standing_alarm
from node.worklist.schema.columns import Deed
from node.worklist.schema.database import Database
from node.worklist.schema.running_tables import purge
from node.worklist.schema.tables import (
    announcement,
    case,
    confirmation,
    delivery,
    event,
    instance,
    procedure_step,
    series,
    study,
)
from node.worklist.schema.watch_tables import canary
from node.worklist.studies.rows import Row
from node.worklist.studies.studies import of_study, study_rows
from node.worklist.trail.audit import Actor, recorded

ALARM = "canary"
"""What its alarm is called."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the node found in a canary."""

    priority: Priority
    probability: float
    volume_ml: float
    bundle: str

    def __str__(self) -> str:
        of = f"{self.priority}, probability {self.probability:.3f}, {self.volume_ml:.1f} mL"
        return f"{of}, by {self.bundle}"


@dataclass(frozen=True, slots=True)
class Canary:
    """A phantom that the node sent to itself.

    Attributes
    ----------
    phantom
        SHA-256 of the phantom.
    ended_at
        When its answer was judged; None while it is waited for.
    trouble
        What was wrong with it, in a sentence; None if nothing was.
    found, door_to_flag_s
        None where it has no result.
    """

    study_instance_uid: str
    sent_at: datetime
    phantom: str
    ended_at: datetime | None
    trouble: str | None
    found: Finding | None
    door_to_flag_s: float | None


@dataclass(frozen=True, slots=True)
class CanaryStanding:
    """How the node stands by its canaries.

    Attributes
    ----------
    on
        Whether canaries are sent by the settings in force.
    sound
        The last one with which nothing was wrong; None before the first.
    trouble
        What is wrong, in a sentence; "" if nothing is.
    """

    on: bool
    sound: Canary | None
    trouble: str

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode canary --json`; a stable interface."""
        sound = self.sound and {
            **asdict(self.sound),
            "sent_at": self.sound.sent_at.isoformat(),
            "ended_at": self.sound.ended_at and self.sound.ended_at.isoformat(),
        }
        return {"on": self.on, "trouble": self.trouble, "sound": sound}


class Canaries:
    """The worklist as those see it who try the node by a phantom."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def send(self, study_uid: str, phantom: str, now: datetime) -> None:
        """Record that a phantom is about to be sent as this study."""
        values = {"study_instance_uid": study_uid, "phantom": phantom, "sent_at": now}
        with self._database.write() as db:
            db.execute(canary.insert().values(values))

    def end(
        self,
        study_uid: str,
        now: datetime,
        *,
        trouble: str | None = None,
        found: Finding | None = None,
        door_to_flag_s: float | None = None,
    ) -> None:
        """Record what came of a phantom; the first sound answer of a bundle is its reference."""
        values: dict[str, Any] = {"ended_at": now, "trouble": trouble}
        values["door_to_flag_s"] = door_to_flag_s
        with self._database.write() as db:
            if found is not None:
                phantom = db.scalar(sa.select(canary.c.phantom).where(_is(study_uid)))
                first = trouble is None and _reference(db, found.bundle, phantom or "") is None
                values |= {name: getattr(found, name) for name in Finding.__dataclass_fields__}
                values["reference"] = first
            db.execute(canary.update().where(_is(study_uid)).values(values))

    def accept(self, by: Actor, now: datetime) -> Finding | None:
        """Make the last finding the reference of its bundle, and end the alarm; None without one.

        For a person who knows why the finding changed.
        """
        read = canary.c.probability.is_not(None)
        newest = sa.select(canary).where(read).order_by(canary.c.sent_at.desc()).limit(1)
        with self._database.write() as db:
            last = db.execute(newest).one_or_none()
            if last is None:
                return None
            same = sa.and_(canary.c.bundle == last.bundle, canary.c.phantom == last.phantom)
            db.execute(canary.update().where(same).values(reference=False))
            this = _is(last.study_instance_uid)
            db.execute(canary.update().where(this).values(reference=True, trouble=None))
            ended(db, ALARM, now)
            found = _finding(last)
            told = f"canaries are compared with {found}"
            recorded(db, by, Deed.CANARY, now, study_uid=last.study_instance_uid, about=told)
        return found

    def reference(self, bundle: str, phantom: str) -> Finding | None:
        """Return what a bundle found in a phantom when it was noted first; None before that."""
        with self._database.read() as db:
            return _reference(db, bundle, phantom)

    def waiting(self) -> list[Canary]:
        """Return the phantoms whose answer was not judged yet, oldest first."""
        query = sa.select(canary).where(canary.c.ended_at.is_(None)).order_by(canary.c.sent_at)
        with self._database.read() as db:
            return [_canary(row) for row in db.execute(query)]

    def last(self, *, sound: bool = False) -> Canary | None:
        """Return the last phantom, or the last one with which nothing was wrong."""
        query = sa.select(canary).order_by(canary.c.sent_at.desc()).limit(1)
        if sound:
            query = query.where(canary.c.ended_at.is_not(None), canary.c.trouble.is_(None))
        with self._database.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else _canary(row)

    def answer(self, study_uid: str) -> Row | None:
        """Return how a phantom stands in the worklist; None if nothing of it came."""
        with self._database.read() as db:
            return next(iter(study_rows(db, of_study(study_uid))), None)

    def standing(self, limits: Limits, now: datetime) -> CanaryStanding:
        """Return how the node stands; silence is told also where nothing judges answers any more.

        Parameters
        ----------
        limits
            The settings in force.
        """
        sound = self.last(sound=True)
        if not limits.every_min:
            return CanaryStanding(False, sound, "")
        with self._database.read() as db:
            alarm = standing_alarm(db, ALARM)
        if alarm is not None:
            since = f"{alarm.raised_at.astimezone():%d %b %H:%M}"
            return CanaryStanding(True, sound, f"{alarm.said} (since {since})")
        if sound is None:
            none_yet = "none came back yet: whether the node receives and reads is not known"
            return CanaryStanding(True, None, none_yet)
        if now - sound.sent_at > 2 * limits.every + limits.limit:
            at = f"{sound.sent_at.astimezone():%d %b %H:%M}"
            return CanaryStanding(True, sound, f"none came back since {at}: see the jobs")
        return CanaryStanding(True, sound, "")

    # --- what is left of old ones ----------------------------------------------------------------

    def old(self, before: datetime) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Return phantoms sent before that have files: UID, received files, folders of cases."""
        query = sa.select(canary.c.study_instance_uid).where(
            canary.c.sent_at < before, canary.c.purged_at.is_(None)
        )
        with self._database.read() as db:
            uids = db.execute(query.order_by(canary.c.sent_at)).scalars().all()
            return [(uid, *_files(db, uid)) for uid in uids]

    def purge(self, study_uid: str, now: datetime) -> None:
        """Delete all rows of a phantom but that of the canary itself, once its files are gone."""
        with self._database.write() as db:
            if not db.execute(canary.update().where(_is(study_uid)).values(purged_at=now)).rowcount:
                return
            mine = sa.select(series.c.series_instance_uid).where(
                series.c.study_instance_uid == study_uid
            )
            cases = sa.select(case.c.id).where(case.c.series_instance_uid.in_(mine))
            sent = sa.select(delivery.c.id).where(delivery.c.case_id.in_(cases))
            db.execute(confirmation.delete().where(confirmation.c.delivery_id.in_(sent)))
            db.execute(delivery.delete().where(delivery.c.case_id.in_(cases)))
            db.execute(event.delete().where(event.c.study_instance_uid == study_uid))
            db.execute(
                case.update().where(case.c.series_instance_uid.in_(mine)).values(supersedes=None)
            )
            db.execute(case.delete().where(case.c.series_instance_uid.in_(mine)))
            db.execute(instance.delete().where(instance.c.series_instance_uid.in_(mine)))
            for table in (series, announcement, procedure_step, purge, study):
                db.execute(table.delete().where(table.c.study_instance_uid == study_uid))


def _is(study_uid: str) -> sa.ColumnElement[bool]:
    return canary.c.study_instance_uid == study_uid


def _files(db: sa.Connection, study_uid: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    mine = series.c.study_instance_uid == study_uid
    files = db.execute(sa.select(instance.c.path).join(series).where(mine)).scalars()
    cases = db.execute(sa.select(case.c.id).join(series).where(mine)).scalars()
    return tuple(files), tuple(map(case_folder, cases))


def _reference(db: sa.Connection, bundle: str, phantom: str) -> Finding | None:
    this = sa.and_(canary.c.bundle == bundle, canary.c.phantom == phantom, canary.c.reference)
    row = db.execute(sa.select(canary).where(this).limit(1)).one_or_none()
    return None if row is None else _finding(row)


def _finding(row: sa.Row[Any]) -> Finding | None:
    if row.probability is None:
        return None
    return Finding(row.priority, row.probability, row.volume_ml or 0.0, row.bundle or "")


def _canary(row: sa.Row[Any]) -> Canary:
    names: Sequence[str] = ("study_instance_uid", "sent_at", "phantom", "ended_at", "trouble")
    values = {name: row._mapping[name] for name in names}
    return Canary(**values, found=_finding(row), door_to_flag_s=row.door_to_flag_s)
