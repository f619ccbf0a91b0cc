"""Charts the node's outcomes by scanner, and says which of them changed. Pure.

Each scanner has two CUSUM charts of each outcome (`node.archive.charts`), for a rise and a fall,
against its first studies, or its first ones since a person renewed the baseline.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.archive.charts import Plan, Raised, Standing, Study, standings
from node.errors import BadConfiguration
from node.settings import Watch
from node.watch.agreement import Watched
from node.watch.outcomes import RATES, Charted, values
from node.worklist import ChartDecision, ChartLine, Decided, Release

MARGIN = 1.645
"""Standard errors of its baseline within which what is usual of a scanner is taken to lie: so each
chart has its stated run length with 95 % confidence, though its baseline is short. Chosen: without
it 11 of 12 simulated years of three scanners that did not change had a false alarm, with it 3."""
POINTS = 240
"""Points of a chart's course that are kept for its figure; each is the highest of its stretch."""
MARKS = 40
"""Dates that a figure shows at most, the last ones. Chosen."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The charts of one outcome of one scanner.

    Attributes
    ----------
    sides
        For a rise and for a fall; none while the baseline is learnt.
    why
        Why there is none, in a sentence; "" if there are both.
    standing
        The first alarm that nobody has acknowledged, and its chart.
    """

    scanner: str
    outcome: Charted
    sides: tuple[Standing, ...]
    why: str
    standing: tuple[Standing, Raised] | None
    marks: tuple[tuple[datetime, str], ...]

    def said(self) -> str:
        """Return the alarm that stands as a sentence; "" if none does."""
        if self.standing is None:
            return ""
        chart, raised = self.standing
        went = "rose" if chart.side == "rise" else "fell"
        return (
            f"{self.outcome} of {self.scanner} {went}, it seems since "
            f"{raised.since_time:%Y-%m-%d} (study {raised.since_study}; found at study "
            f"{raised.study}, {raised.time:%Y-%m-%d}); usual is {_usual(self.outcome, chart)}"
        )

    def line(self) -> ChartLine:
        """Return what the worklist keeps of it."""
        figure: dict[str, Any] = {
            "why": self.why,
            "charts": [one.to_json() for one in self.sides],
            "points": {one.side.value: _points(one) for one in self.sides},
            "marks": [[at.isoformat(), what] for at, what in self.marks],
        }
        return ChartLine(self.scanner, self.outcome.value, self.said(), figure)


def plan(watch: Watch, outcome: Charted) -> Plan:
    """Return what the charts of an outcome find, and how rarely all of them may be wrong."""
    return Plan(
        run_length=watch.run_length,
        kinds=len(Charted),
        baseline=watch.baseline,
        ranks=outcome not in RATES,
        margin=MARGIN,
    )


def charts(
    studies: Sequence[Watched],
    decisions: Sequence[ChartDecision],
    watch: Watch,
    releases: Sequence[Release] = (),
) -> list[Chart]:
    """Return the charts of every scanner and outcome, by scanner.

    Parameters
    ----------
    studies
        All that the worklist has, the first to come first.
    decisions
        What people decided of charts.
    releases
        Which bundles people promoted and rolled back.
    """
    marks = _marks(studies, releases)
    found = [
        chart
        for outcome in Charted
        for chart in _charts(outcome, values(studies, outcome), decisions, watch, marks)
    ]
    return sorted(found, key=lambda one: (one.scanner, list(Charted).index(one.outcome)))


def _charts(
    outcome: Charted,
    known: Sequence[Study],
    decisions: Iterable[ChartDecision],
    watch: Watch,
    marks: Mapping[str, Sequence[tuple[datetime, str]]],
) -> Iterable[Chart]:
    renewed = _latest(decisions, Decided.RENEWED)
    acknowledged = _latest(decisions, Decided.ACKNOWLEDGED)
    for scanner in sorted({one.scanner for one in known}):
        since = renewed.get((scanner, outcome.value))
        own = [one for one in known if one.scanner == scanner and (not since or one.time > since)]
        sides, why = _standings(own, plan(watch, outcome))
        standing = _standing(sides, acknowledged.get((scanner, outcome.value)))
        within = tuple(each for each in marks[scanner] if own and each[0] >= own[0].time)
        yield Chart(scanner, outcome, sides, why, standing, within[-MARKS:])


def _latest(decisions: Iterable[ChartDecision], what: Decided) -> dict[tuple[str, str], datetime]:
    """Return when people last decided so, by scanner and outcome; the oldest comes first."""
    found: dict[tuple[str, str], datetime] = {}
    for one in decisions:
        if one.what is what:
            found[one.scanner, one.outcome] = one.at
    return found


def _standings(own: Sequence[Study], by: Plan) -> tuple[tuple[Standing, ...], str]:
    if len(own) <= by.baseline:
        return (), f"its baseline is learnt: {len(own)} of {by.baseline} studies"
    try:
        found, left_out = standings(own, by)
    except BadConfiguration as error:
        return (), str(error)
    return tuple(found), next(iter(left_out.values()), "")


def _standing(
    sides: Iterable[Standing], acknowledged: datetime | None
) -> tuple[Standing, Raised] | None:
    raised = [
        (chart, alarm)
        for chart in sides
        for alarm in chart.alarms
        if acknowledged is None or alarm.time > acknowledged
    ]
    return min(raised, key=lambda one: one[1].time, default=None)


def _marks(
    studies: Iterable[Watched], releases: Iterable[Release]
) -> dict[str, list[tuple[datetime, str]]]:
    """Return of each scanner which dates its figures show, the oldest first.

    They are those on which a bundle first read a study of it, its software first made one, another
    scanner was first seen, and a person promoted a bundle or rolled one back.
    """
    decided = [(one.at, f"{one.what.words}: {one.bundle}") for one in releases]
    first: dict[tuple[str, str], datetime] = {}
    scanners: dict[str, datetime] = {}
    for one in studies:
        study = one.study
        scanners.setdefault(one.scanner, study.received_at)
        for what in (study.bundle or "", study.software and f"scanner software {study.software}"):
            if what:
                first.setdefault((one.scanner, what), study.received_at)
    found: dict[str, list[tuple[datetime, str]]] = {}
    for scanner in scanners:
        own = [(at, what) for (of, what), at in first.items() if of == scanner]
        new = [(at, f"new: {name}") for name, at in scanners.items() if name != scanner]
        found[scanner] = sorted(own + new + decided)
    return found


def _usual(outcome: Charted, chart: Standing) -> str:
    if outcome in RATES:
        usual, looked_for = 100 * chart.usual, 100 * chart.looked_for
        return f"{usual:.1f} %, the chart looks for {looked_for:.1f} %"
    return "its baseline, the chart looks for one standard deviation"


def _points(chart: Standing) -> list[tuple[str, float]]:
    """Return the course of a chart in parts of its limit, 0 to 1, no more than `POINTS` of it."""
    course = chart.course
    step = max(1, -(-len(course) // POINTS))
    parts = (course[start : start + step] for start in range(0, len(course), step))
    highest = (max(part, key=lambda one: one[1]) for part in parts)
    return [(at.isoformat(), round(min(stands / chart.limit, 1), 3)) for at, stands in highest]
