"""How the node does: one line a study to count by, and how cases and deliveries stand.

By which of its cases a study counts is decided as for the worklist (`studies.rows`), here in
SQL, since thousands of studies are counted at once; a test holds the two together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.states import Priority, Reason, State
from node.worklist.schema.columns import DeliveryStatus, Mistake
from node.worklist.schema.database import Database
from node.worklist.schema.tables import (
    acknowledgement,
    case,
    delivery,
    event,
    instance,
    quarantine,
    series,
    study,
)
from node.worklist.schema.watch_tables import is_no_canary
from node.worklist.studies.chains import NOT_SUPERSEDED, WITHDRAWS
from node.worklist.studies.studies import DONE

ANSWERS = 500
"""Newest answers that are searched for the last one of each destination. A choice."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One study, as it counts.

    Attributes
    ----------
    caller, manufacturer
        Who sent its images, by AE title, and Manufacturer (0008,0070); of one of them.
    reason_code
        Of a study that was not analysed.
    door_to_flag_s
        Seconds from the last slice to the priority; None while there is none.
    agrees
        What was last said of it, and stands, where it was shown as suspected.
    missed
        Whether a hemorrhage was missed, in the words of a person that stand.
    case_id, probability, bundle
        Of the case that speaks for it.
    model, station, software, kernel
        ManufacturerModelName, StationName, SoftwareVersions and ConvolutionKernel of one of its
        images; "" of one that came before they were noted.
    """

    study_instance_uid: str
    received_at: datetime
    priority: Priority
    reason_code: str | None
    flagged_at: datetime | None
    door_to_flag_s: float | None
    caller: str
    manufacturer: str
    agrees: bool | None = None
    missed: bool = False
    case_id: int = 0
    probability: float | None = None
    bundle: str | None = None
    model: str = ""
    station: str = ""
    software: str = ""
    kernel: str = ""

    @property
    def withdrawn(self) -> bool:
        """Whether a person withdrew its result, and no other stands: none of the node's own."""
        return self.reason_code == Reason.WITHDRAWN


@dataclass(frozen=True, slots=True)
class Queued:
    """The cases of one state.

    `oldest_at` is when the last slice came of the one that waits longest; None where nothing waits.
    """

    state: State
    cases: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class DestinationLine:
    """How deliveries to one destination stand.

    Attributes
    ----------
    sent
        Since the time that was asked for.
    answered_at, answer, status
        When it was last tried, how that delivery stood then, and the peer's status verbatim, None
        where it gave none.
    """

    name: str
    owed: int = 0
    dead: int = 0
    sent: int = 0
    answered_at: datetime | None = None
    answer: DeliveryStatus | None = None
    status: int | None = None


class Statistics:
    """The worklist as those see it who answer for the node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, since: datetime) -> list[Counted]:
        """Return the studies whose first object came since then, in no order; no priors."""
        with self._database.read() as db:
            said = _judged(db, since)
            return [_counted(row, said) for row in db.execute(_speaking(since))]

    def queue(self) -> list[Queued]:
        """Return how many cases stand in each state, in the order of a case's life."""
        last = sa.func.coalesce(case.c.last_slice_at, series.c.last_received_at)
        query = (
            sa.select(case.c.state, sa.func.count(), sa.func.min(last))
            .join_from(case, series)
            .where(NOT_SUPERSEDED, is_no_canary(series.c.study_instance_uid))
            .group_by(case.c.state)
        )
        with self._database.read() as db:
            found = {state: (number, oldest) for state, number, oldest in db.execute(query)}
        ended = (*DONE, State.FAILED)
        return [
            Queued(state, number, None if state in ended else oldest)
            for state, (number, oldest) in ((s, found.get(s, (0, None))) for s in State)
        ]

    def destinations(self, since: datetime) -> dict[str, DestinationLine]:
        """Return how the deliveries stand, by the name of their destination.

        Parameters
        ----------
        since
            What was sent before is not counted.
        """
        status, count = delivery.c.status, sa.func.count
        query = sa.select(
            delivery.c.destination,
            count().filter(status == DeliveryStatus.OWED).label("owed"),
            count().filter(status == DeliveryStatus.DEAD).label("dead"),
            count()
            .filter(status == DeliveryStatus.SENT, delivery.c.sent_at >= since)
            .label("sent"),
        ).group_by(delivery.c.destination)
        with self._database.read() as db:
            answers = _last_answers(db)
            return {
                row.destination: DestinationLine(*row, *answers.get(row.destination, ()))
                for row in db.execute(query)
            }

    def last_arrival(self) -> datetime | None:
        """Return when the last object of a patient came; None if none ever did."""
        newest = series.c.last_received_at.desc()
        last = sa.select(series.c.last_received_at).order_by(newest).limit(1)
        last = last.where(is_no_canary(series.c.study_instance_uid))
        with self._database.read() as db:
            found: datetime | None = db.scalar(last)
        return found

    def quarantined(self) -> int:
        """Return how many objects wait for a person's decision."""
        waiting = sa.select(sa.func.count()).where(quarantine.c.decision.is_(None))
        with self._database.read() as db:
            return db.scalar(waiting) or 0


def _last_answers(db: sa.Connection) -> Mapping[str, tuple[Any, ...]]:
    query = sa.select(event.c.at, event.c.detail).where(event.c.what == "answered")
    found: dict[str, tuple[Any, ...]] = {}
    for at, detail in db.execute(query.order_by(event.c.id.desc()).limit(ANSWERS)):
        answer = at, DeliveryStatus(detail["delivery"]), detail.get("status")
        found.setdefault(detail["destination"], answer)
    return found


def _judged(db: sa.Connection, since: datetime) -> Mapping[str, tuple[bool | None, bool]]:
    """Return of each study whether the last word on its suspicion agrees, and whether it missed."""
    query = (
        sa.select(acknowledgement)
        .join(study)
        .where(study.c.first_received_at >= since, acknowledgement.c.undone_at.is_(None))
        .where(acknowledgement.c.agrees.is_not(None))
        .order_by(acknowledgement.c.id)
    )
    found: dict[str, tuple[bool | None, bool]] = {}
    for row in db.execute(query):
        agrees, _ = found.get(row.study_instance_uid, (None, False))
        agrees = row.agrees if row.shown is Priority.SUSPECTED else agrees
        found[row.study_instance_uid] = agrees, row.mistake is Mistake.MISSED
    return found


def _counted(r: sa.Row[Any], said: Mapping[str, tuple[bool | None, bool]]) -> Counted:
    agrees, missed = said.get(r.study_instance_uid, (None, False))
    withdrawn = r.reason_code == Reason.WITHDRAWN  # flagged when a person withdrew it
    flagged = r.flagged_at and not withdrawn
    door = (r.flagged_at - r.last_slice_at).total_seconds() if flagged else None
    priority = _SHOWN[r.voice]
    return Counted(
        r.study_instance_uid,
        r.first_received_at,
        priority,
        (r.reason_code or "") if priority is Priority.NOT_ANALYSED else None,
        r.flagged_at,
        door,
        r.caller or "",
        r.manufacturer or "",
        agrees,
        missed,
        r.id,
        r.probability,
        r.bundle,
        *(r._mapping[name] or "" for name in ("model", "station", "software", "kernel")),
    )


_SHOWN: Sequence[Priority] = (
    Priority.SUSPECTED,
    Priority.NOT_SUSPECTED,
    Priority.PENDING,
    Priority.NOT_ANALYSED,
    Priority.NOT_SUSPECTED,
    Priority.NOT_ANALYSED,
    Priority.NOT_ANALYSED,
)
"""By the place of `studies.rows._voice`."""
_OF_SCANNER: Mapping[str, str] = {
    "manufacturer": "manufacturer",
    "model": "manufacturer_model_name",
    "station": "station_name",
    "software": "software_versions",
    "kernel": "convolution_kernel",
}
"""What is told of the scanner, by the name of the header's value."""
_WITHOUT_RESULT = (State.NOT_ANALYSED, State.SKIPPED, State.FAILED)


def _speaking(since: datetime) -> sa.Select[Any]:
    """Return for each study the case that speaks for it, as `rows.speaking_for_study`."""
    standing = _standing(since)
    sure = -sa.func.coalesce(standing.c.probability, 0)
    alone = sa.literal("case ").concat(sa.cast(standing.c.id, sa.Text))
    scan = sa.case((standing.c.voice == 2, alone), else_=standing.c.scan)
    of_scan = sa.func.row_number().over(
        partition_by=(standing.c.study_instance_uid, scan),
        order_by=(standing.c.voice, sure, standing.c.id),
    )
    scans = sa.select(standing, sure.label("sure"), of_scan.label("of_scan")).cte("scans")
    worst = sa.case((scans.c.voice == 5, 3), else_=scans.c.voice)
    of_study = sa.func.row_number().over(
        partition_by=scans.c.study_instance_uid, order_by=(worst, scans.c.sure, scans.c.id)
    )
    ranked = sa.select(scans, of_study.label("of_study")).where(scans.c.of_scan == 1).cte("ranked")
    one = instance.alias("one")
    an_image = (
        sa.select(one.c.id)
        .where(one.c.series_instance_uid == ranked.c.series_instance_uid)
        .limit(1)
        .scalar_subquery()
    )
    wanted = [
        *("study_instance_uid", "first_received_at", "reason_code", "flagged_at", "last_slice_at"),
        *("voice", "id", "probability", "bundle"),
    ]
    said = (instance.c.header[key].as_string().label(name) for name, key in _OF_SCANNER.items())
    return (
        sa.select(*(ranked.c[name] for name in wanted), instance.c.caller, *said)
        .select_from(ranked)
        .outerjoin(instance, instance.c.id == an_image)
        .where(ranked.c.of_study == 1, ~ranked.c.prior)
    )


def _standing(since: datetime) -> sa.CTE:
    """Return the case that stands for each part of a series, as `rows._standing`.

    It is the newest one; where that was not read, the last one that was, if it is suspected and
    was not withdrawn.
    """
    read = sa.or_(
        case.c.priority == Priority.SUSPECTED,
        sa.and_(case.c.priority == Priority.NOT_SUSPECTED, case.c.state.not_in(_WITHOUT_RESULT)),
    )
    chain = (
        sa.select(
            sa.func.max(case.c.id).label("newest"),
            sa.func.max(sa.case((read, case.c.id))).label("last_read"),
            sa.func.max(sa.case((WITHDRAWS, case.c.id))).label("last_withdrawn"),
        )
        .join_from(case, series)
        .join(study)
        .where(study.c.first_received_at >= since, is_no_canary(study.c.study_instance_uid))
        .group_by(case.c.series_instance_uid, case.c.part)
        .cte("chain")
    )
    older, this = case.alias("older"), case.alias("this")
    stands = sa.func.coalesce(chain.c.last_withdrawn, 0) < chain.c.last_read
    stays = sa.and_(older.c.priority == Priority.SUSPECTED, stands)
    chosen = sa.case((stays, chain.c.last_read), else_=chain.c.newest)
    names = ("id", "series_instance_uid", "scan", "probability", "prior", "reason_code", "bundle")
    return (
        sa.select(
            *(this.c[name] for name in (*names, "flagged_at")),
            series.c.study_instance_uid,
            study.c.first_received_at,
            sa.func.coalesce(this.c.last_slice_at, series.c.last_received_at).label(
                "last_slice_at"
            ),
            _voice(this).label("voice"),
        )
        .select_from(chain)
        .outerjoin(older, older.c.id == chain.c.last_read)
        .join(this, this.c.id == chosen)
        .join(series, series.c.series_instance_uid == this.c.series_instance_uid)
        .join(study, study.c.study_instance_uid == series.c.study_instance_uid)
        .cte("standing")
    )


def _voice(one: sa.FromClause) -> sa.ColumnElement[int]:
    """Return the place of a case among those of its scan, as `rows._voice`."""
    suspected = one.c.priority == Priority.SUSPECTED
    unread = sa.or_(one.c.priority == Priority.NOT_ANALYSED, one.c.state.in_(_WITHOUT_RESULT))
    return sa.case(
        (suspected, 0),
        (sa.and_(unread, one.c.state == State.FAILED), 3),
        (sa.and_(unread, one.c.state == State.SKIPPED), 6),
        (unread, 5),
        (one.c.priority == Priority.PENDING, 2),
        (one.c.uncertain, 1),
        else_=4,
    )
