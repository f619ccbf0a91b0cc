"""The charts of the watch as they were last drawn, and what people decided of them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.worklist.running.alarms import ended
from node.worklist.schema.columns import Decided, Deed
from node.worklist.schema.database import Database
from node.worklist.schema.watch_tables import alarm, chart, chart_decision
from node.worklist.studies.chains import NotFound
from node.worklist.trail.audit import Actor, recorded

ALARM = "watch: "
"""What the names of the watch's alarms begin with."""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """The charts of one outcome of one scanner, as they were last drawn.

    Attributes
    ----------
    said
        The alarm that stands, in a sentence; "" if none does.
    figure
        `why` there is no chart, or `charts` (the objects of `ichnode archive chart --json`),
        `points` of both sides, each a time and how far up to its limit, and `marks`, dates with
        what was new.
    """

    scanner: str
    outcome: str
    said: str
    figure: Mapping[str, Any]

    @property
    def alarm(self) -> str:
        """What its alarm is called."""
        return f"{ALARM}{self.outcome} of {self.scanner}"

    def to_json(self) -> dict[str, Any]:
        """Return it as `ichnode watch --json` prints it; a stable interface."""
        figure = {name: self.figure[name] for name in ("why", "charts", "marks")}
        return {"scanner": self.scanner, "outcome": self.outcome, "alarm": self.said, **figure}


@dataclass(frozen=True, slots=True)
class ChartDecision:
    """That a person acknowledged an alarm, or that what is usual is learnt anew from then on."""

    scanner: str
    outcome: str
    what: Decided
    who: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ChartCounts:
    """How many charts have an alarm, have none, and are not drawn: their baseline is learnt."""

    alarmed: int = 0
    calm: int = 0
    learning: int = 0


class Charts:
    """The worklist as those see it who chart the node's outcomes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def draw(self, lines: Iterable[ChartLine], now: datetime) -> None:
        """Replace the charts by these."""
        values = [{**asdict(line), "drawn_at": now} for line in lines]
        with self._database.write() as db:
            db.execute(chart.delete())
            if values:
                db.execute(chart.insert(), values)

    def drawn(self) -> list[ChartLine]:
        """Return the charts as they were last drawn, by scanner."""
        names = ChartLine.__dataclass_fields__
        query = sa.select(*(chart.c[name] for name in names)).order_by(chart.c.id)
        with self._database.read() as db:
            return [ChartLine(**row) for row in db.execute(query).mappings()]

    def counts(self) -> ChartCounts:
        """Return how they stood when they were last drawn, without their figures."""
        state = sa.case(
            (chart.c.said != "", "alarmed"),
            (chart.c.figure["why"].as_string() != "", "learning"),
            else_="calm",
        )
        each = sa.select(state.label("state")).subquery()
        query = sa.select(each.c.state, sa.func.count().label("number")).group_by(each.c.state)
        with self._database.read() as db:
            found = {row.state: row.number for row in db.execute(query)}
        return ChartCounts(**found)

    def drawn_at(self) -> datetime | None:
        """Return when they were last drawn; None if never, or of nothing."""
        with self._database.read() as db:
            found: datetime | None = db.scalar(sa.select(sa.func.max(chart.c.drawn_at)))
        return found

    def decisions(self) -> list[ChartDecision]:
        """Return what people decided, the oldest first."""
        names = ChartDecision.__dataclass_fields__
        query = sa.select(*(chart_decision.c[name] for name in names)).order_by(chart_decision.c.id)
        with self._database.read() as db:
            return [ChartDecision(**row) for row in db.execute(query).mappings()]

    def decide(
        self, what: Decided, scanner: str, outcome: str, by: Actor, why: str, now: datetime
    ) -> int:
        """Acknowledge alarms of a scanner, or have its baselines learnt anew; return of how many.

        Their alarms end at once.

        Parameters
        ----------
        outcome
            "" for all of the scanner.

        Raises
        ------
        NotFound
            If there is no such chart; to acknowledge, if none of them has an alarm.
        """
        with self._database.write() as db:
            mine = chart.c.scanner == scanner
            mine = sa.and_(mine, chart.c.outcome == outcome) if outcome else mine
            if what is Decided.ACKNOWLEDGED:
                mine = sa.and_(mine, chart.c.said != "")
            names = sa.select(chart.c.outcome).where(mine).order_by(chart.c.id)
            found = db.execute(names).scalars().all()
            if not found:
                alarmed = " with an alarm" if what is Decided.ACKNOWLEDGED else ""
                raise NotFound(
                    f"no chart{alarmed} of {outcome or 'anything'} of scanner {scanner!r}: "
                    "see ichnode watch --charts"
                )
            for one in found:
                values = {"scanner": scanner, "outcome": one, "what": what}
                values |= {"who": by.name, "why": why, "at": now}
                db.execute(chart_decision.insert(), values)
                ended(db, ChartLine(scanner, one, "", {}).alarm, now)
                same = sa.and_(chart.c.scanner == scanner, chart.c.outcome == one)
                db.execute(chart.update().where(same).values(said=""))
            told = f"{what.lower()}: {', '.join(found)} of {scanner}"
            recorded(db, by, Deed.WATCH, now, about=f"{told}: {why}" if why else told)
        return len(found)

    def alarms(self) -> list[str]:
        """Return the names of the watch's alarms that stand."""
        mine = sa.and_(alarm.c.ended_at.is_(None), alarm.c.what.startswith(ALARM, autoescape=True))
        with self._database.read() as db:
            return list(db.execute(sa.select(alarm.c.what).where(mine)).scalars())
