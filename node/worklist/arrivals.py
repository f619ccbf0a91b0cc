"""What comes in: received objects are filed or set aside, and the study they make up."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.errors import Retryable
from node.records import Header, Instance, Series, StoredObject
from node.worklist import filing
from node.worklist.database import Clash, Database
from node.worklist.filing import Arrival
from node.worklist.tables import instance, series

RACES = 5
"""How often the first images of one study may meet before one of them gives up. Each race has a
winner, so few repeats suffice; an estimate."""


class Arrivals:
    """The worklist as those see it who bring objects: `node.arrive`, and who assembles them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, header: Header, stored: StoredObject, *, caller: str, now: datetime) -> Arrival:
        """File a received object under its study and series, or set it aside.

        An image for a case that has left RECEIVING opens a case that supersedes it. An image for a
        case that a worker is assembling takes the claim away: a plan made without it is void.
        """
        for _ in range(RACES):
            try:
                with self._database.write() as db:
                    return _file(db, header, stored, caller, now)
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
        """Return the study's series, and the instances of each, by arrival."""
        of_study = series.c.study_instance_uid == study_uid
        with self._database.read() as db:
            found = db.execute(sa.select(series).where(of_study)).all()
            received = sa.select(instance).join(series).where(of_study).order_by(instance.c.id)
            instances: dict[str, list[Instance]] = {row.series_instance_uid: [] for row in found}
            for row in db.execute(received):
                instances[row.series_instance_uid].append(_instance(row))
        listed = [_series(row, instances[row.series_instance_uid]) for row in found]
        return tuple(sorted(listed, key=lambda s: (s.first_received_at, s.series_instance_uid)))


def _file(
    db: sa.Connection, header: Header, stored: StoredObject, caller: str, now: datetime
) -> Arrival:
    known = filing.look_up(db, header)
    if known.sha256 == stored.sha256:
        return Arrival.DUPLICATE
    if against := filing.objection(known, header):
        code, reason = against
        filing.set_aside(db, stored, code, reason, caller, now, header)
        return Arrival.CHANGED if code is Arrival.CHANGED else Arrival.CONFLICT
    filing.keep(db, known, header, stored, caller, now)
    return Arrival.NEW


def _series(row: sa.Row[Any], instances: list[Instance]) -> Series:
    return Series(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        instances=tuple(instances),
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        released_at=row.released_at,
    )


def _instance(row: sa.Row[Any]) -> Instance:
    stored = StoredObject(row.path, row.sha256, row.size)
    return Instance(Header.from_json(row.header), stored, row.received_at)
