"""What comes in: received objects are filed or set aside, and the study they make up."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.errors import Outage, Retryable
from node.group_commit import GroupCommit
from node.records import Header, Instance, Series, StoredObject
from node.worklist.arriving import announcements, filing, lookup
from node.worklist.arriving.lookup import Arrival, Known
from node.worklist.schema.database import Clash, Database
from node.worklist.schema.tables import instance, quarantine, series
from node.worklist.studies import corrections
from node.worklist.studies.corrections import Correction

RACES = 5
"""How often the first images of one study may meet before one of them gives up. Each race has a
winner, so few repeats suffice; an estimate."""


@dataclass(frozen=True, slots=True)
class Received:
    """An object whose bytes are durable, on its way into the worklist."""

    header: Header
    stored: StoredObject
    caller: str
    now: datetime
    cut_short: str | None = None
    is_there: Callable[[], bool] = lambda: True


class Arrivals:
    """The worklist as those see it who bring objects: `node.arrive`, and who assembles them.

    Objects that threads add at the same moment share a transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._commits = GroupCommit(self.add_all, shared=Outage)

    def add(
        self,
        header: Header,
        stored: StoredObject,
        *,
        caller: str,
        now: datetime,
        cut_short: str | None = None,
        is_there: Callable[[], bool] = lambda: True,
    ) -> Arrival:
        """File a received object under its study and series, or set it aside.

        An image for a case that has left RECEIVING opens a case that supersedes it. An image for a
        case that a worker is assembling takes the claim away: a plan made without it is void.

        Parameters
        ----------
        cut_short
            How its pixels are cut short. Such an object is an image of its series that is set aside
            until a whole one of its SOPInstanceUID comes, which takes its place.
        is_there
            Whether its bytes are on disk. They may not be, where they were just being purged.

        Raises
        ------
        Retryable
            Also if they are not: it is filed when it is sent again.
        """
        return self._commits.join(Received(header, stored, caller, now, cut_short, is_there))

    def add_all(self, objects: Sequence[Received]) -> list[Arrival]:
        """File objects in one transaction; those of a series stay in their order.

        Cases are locked in one order, so that two processes do not wait for each other.
        """
        order = sorted(range(len(objects)), key=lambda i: objects[i].header.series_instance_uid)
        for _ in range(RACES):
            try:
                with self._database.write() as db:
                    found = {i: _file(db, objects[i]) for i in order}
                return [found[i] for i in range(len(objects))]
            except Clash as clash:
                last = clash
        raise Retryable("others file objects of this study at the same time: send again") from last

    def set_aside(
        self, stored: StoredObject, *, code: str, reason: str, caller: str, now: datetime
    ) -> None:
        """Record an object that is kept but cannot be filed."""
        with self._database.write() as db:
            filing.set_aside(db, stored, code, reason, caller, now)

    def release(self, series_uids: Iterable[str], now: datetime) -> None:
        """Record that an association which carried these series was released.

        It is evidence: the undecided cases of their studies are due at once.
        """
        with self._database.write() as db:
            filing.release(db, list(series_uids), now)

    def study(self, study_uid: str) -> tuple[Series, ...]:
        """Return the study's series, the instances of each by arrival, and what was told of it.

        Where the study's identity was corrected, the headers of its instances name the patient
        whose it is now.
        """
        of_study = series.c.study_instance_uid == study_uid
        with self._database.read() as db:
            found = db.execute(sa.select(series).where(of_study)).all()
            received = sa.select(instance).join(series).where(of_study).order_by(instance.c.id)
            instances: dict[str, list[Instance]] = {row.series_instance_uid: [] for row in found}
            corrected = corrections.of_study(db, study_uid)
            for row in db.execute(received):
                instances[row.series_instance_uid].append(_instance(row, corrected))
            short = {
                row.series_instance_uid: row.images for row in db.execute(_cut_short(study_uid))
            }
            told = announcements.of_study(db, study_uid)
            in_progress = announcements.in_progress(db, study_uid)
        listed = [
            Series(
                series_instance_uid=(uid := row.series_instance_uid),
                study_instance_uid=row.study_instance_uid,
                instances=tuple(instances[uid]),
                first_received_at=row.first_received_at,
                last_received_at=row.last_received_at,
                released_at=row.released_at,
                cut_short=short.get(uid, 0),
                associations=row.associations,
                announcements=told.get(uid, ()),
                in_progress=in_progress,
            )
            for row in found
        ]
        return tuple(sorted(listed, key=lambda s: (s.first_received_at, s.series_instance_uid)))


def _file(db: sa.Connection, received: Received) -> Arrival:
    header, stored = received.header, received.stored
    caller, now, cut_short = received.caller, received.now, received.cut_short
    known = lookup.look_up(db, header)
    if known.sha256 == stored.sha256:
        if known.purged:
            filing.take_back(db, known, header, now)
            if not received.is_there():
                raise Retryable("it was just being purged: send it again")
        return Arrival.DUPLICATE
    against = lookup.objection(known, header)
    if cut_short is not None and (against is None or against[0] is Arrival.CHANGED):
        filing.set_cut_short_aside(db, known, header, stored, cut_short, caller, now)
        return Arrival.CUT_SHORT
    if against is not None and _gives_way(known, header, against[0]):
        filing.make_room(db, header, Arrival.CUT_SHORT, "it has no pixel data", now)
        filing.keep(db, known, header, stored, caller, now)
        filing.replace_cut_short(db, header, now)
        return Arrival.NEW
    if against is not None:
        code, reason = against
        filing.set_aside(db, stored, code, reason, caller, now, header)
        return Arrival.CHANGED if code is Arrival.CHANGED else Arrival.CONFLICT
    filing.keep(db, known, header, stored, caller, now)
    if known.cut_short:
        filing.replace_cut_short(db, header, now)
    return Arrival.NEW


def _gives_way(known: Known, header: Header, code: str) -> bool:
    """Return whether the object filed before has no pixels, and this one is the same with them."""
    bare = known.has_pixel_data is False and header.has_pixel_data
    in_place = known.filed_under == header.series_instance_uid
    return bare and in_place and code == Arrival.CHANGED


def _cut_short(study_uid: str) -> sa.Select[Any]:
    """Return how many images of each series of a study wait for whole ones."""
    images = sa.func.count(quarantine.c.sop_instance_uid.distinct()).label("images")
    return (
        sa.select(quarantine.c.series_instance_uid, images)
        .where(quarantine.c.study_instance_uid == study_uid)
        .where(quarantine.c.code == Arrival.CUT_SHORT, quarantine.c.decision.is_(None))
        .group_by(quarantine.c.series_instance_uid)
    )


def _instance(row: sa.Row[Any], corrected: list[Correction]) -> Instance:
    stored = StoredObject(row.path, row.sha256, row.size)
    header = corrections.resolved(Header.from_json(row.header), corrected)
    return Instance(header, stored, row.received_at, row.purged_at)
