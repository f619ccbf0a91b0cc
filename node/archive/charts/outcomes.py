"""Outcomes of studies, charted for each scanner against its own first studies."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from math import sqrt
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from node.archive.charts.cusum import MeanChart, RateChart, Side, course
from node.archive.tables import cell, moment, number, rows
from node.errors import BadConfiguration

COLUMNS = ("time", "scanner", "value")


@dataclass(frozen=True, slots=True)
class Study:
    """What became of one study."""

    time: datetime
    scanner: str
    value: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the charts are to find, and how rarely they may be wrong.

    Attributes
    ----------
    run_length
        Studies of the department, all scanners together, up to the first false alarm of any chart.
    kinds
        Outcomes that are charted so, this one among them; the false alarms of all count.
    baseline
        First studies of each scanner that say what is usual; they are not charted.
    usual, deviation
        What is usual of every scanner, if it is known: nothing is learnt from a baseline then.
    odds
        Of a rate: by how much its odds change where it is to be found.
    shift
        Of a mean: what is to be found, in standard deviations.
    ranks
        Chart a value's normal score among the baseline in its place: for values far from normal.
    margin
        Standard errors of the baseline: so far from what it says, to the worse side, the charts
        begin, and their run length holds there too. They find what is farther than that alone.
    """

    run_length: float = 5000.0
    kinds: int = 1
    baseline: int = 200
    usual: float | None = None
    deviation: float | None = None
    odds: float = 2.0
    shift: float = 1.0
    ranks: bool = False
    margin: float = 0.0

    @property
    def each(self) -> float:
        """Run length of one chart, in studies of its scanner.

        Each study moves two charts of each kind, those of its own scanner, and any of them may
        alarm; see `run_length.together`.
        """
        return self.run_length * 2 * self.kinds


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm: at which study of the scanner, from 1, and since which its chart climbs."""

    study: int
    time: datetime
    since_study: int
    since_time: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a chart of one scanner stands.

    Attributes
    ----------
    studies, charted
        Studies of the scanner, and those that moved the chart.
    usual, deviation
        What is usual; a rate has no deviation of its own.
    looked_for
        The rate or mean that it is to find.
    stands, limit
        Where it stands and where it alarms.
    run_length
        Mean number of the scanner's studies up to a false alarm.
    run_length_if_off
        The same if what is usual differs to the worse side, by the plan's margin, or by one
        standard error of the baseline where it has none; None where no baseline was learnt from.
    delay
        Mean number of the scanner's studies until `looked_for` is found.
    course
        When each charted study was, and where it left the chart.
    """

    scanner: str
    side: Side
    kind: str
    studies: int
    charted: int
    usual: float
    deviation: float | None
    looked_for: float
    stands: float
    limit: float
    run_length: float
    run_length_if_off: float | None
    delay: float
    alarms: tuple[Raised, ...]
    course: tuple[tuple[datetime, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the chart as `--json` prints it."""
        alarms = [
            {
                "study": each.study,
                "time": each.time.isoformat(),
                "since_study": each.since_study,
                "since_time": each.since_time.isoformat(),
            }
            for each in self.alarms
        ]
        told = {name: value for name, value in asdict(self).items() if name != "course"}
        return {**told, "alarms": alarms}


def read_outcomes(file: Path) -> list[Study]:
    """Return the studies of a CSV file with columns `time`, `scanner` and `value`, in time's order.

    Raises
    ------
    BadConfiguration
        The message names the line.
    """
    studies = [
        Study(
            cell(file, line, row["time"], moment),
            row["scanner"],
            cell(file, line, row["value"], number),
        )
        for line, row in rows(file, COLUMNS)
    ]
    if len({study.time.tzinfo is None for study in studies}) == 2:
        raise BadConfiguration(f"{file}: some times have a zone and some have none")
    return sorted(studies, key=lambda study: study.time)


def standings(studies: Sequence[Study], plan: Plan) -> tuple[list[Standing], dict[str, str]]:
    """Return both charts of each scanner, and why a scanner has none.

    Values that are all 0 or 1 are charted as a rate, others as a mean.

    Raises
    ------
    BadConfiguration
        If the plan does not go with such values.
    """
    is_rate = all(study.value in (0.0, 1.0) for study in studies)
    _check(plan, is_rate=is_rate)
    found: list[Standing] = []
    left_out: dict[str, str] = {}
    for scanner in sorted({study.scanner for study in studies}):
        own = [study for study in studies if study.scanner == scanner]
        try:
            found += (_rates if is_rate else _means)(own, plan)
        except BadConfiguration as error:
            left_out[scanner] = str(error)
    return found, left_out


def _check(plan: Plan, *, is_rate: bool) -> None:
    stated = plan.usual is not None
    if is_rate and plan.ranks:
        raise BadConfiguration("all values are 0 or 1, a rate: they have no ranks")
    if is_rate and plan.usual is not None and not 0 < plan.usual < 1:
        raise BadConfiguration("all values are 0 or 1: the usual rate lies between 0 and 1")
    if stated and plan.ranks:
        raise BadConfiguration("ranks are taken among a baseline: state nothing usual")
    if not is_rate and stated != (plan.deviation is not None):
        raise BadConfiguration("of a mean state both what is usual and its deviation, or neither")
    if plan.deviation is not None and plan.deviation <= 0:
        raise BadConfiguration("the deviation is above 0")


def _rates(own: Sequence[Study], plan: Plan) -> list[Standing]:
    learnt = _baseline(own, plan)
    # Agresti's half a yes and half a no keep the rate off 0 and 1.
    usual = (sum(learnt) + 0.5) / (len(learnt) + 1) if plan.usual is None else plan.usual
    error = sqrt(usual * (1 - usual) / len(learnt)) if learnt else None
    return [_of_rate(own, len(learnt), usual, error, side, plan) for side in Side]


def _of_rate(
    own: Sequence[Study], learnt: int, usual: float, error: float | None, side: Side, plan: Plan
) -> Standing:
    away = 1 if side is Side.RISE else -1
    begins = _bound(usual, learnt, away * plan.margin) if learnt else usual
    odds = begins / (1 - begins) * (plan.odds if side is Side.RISE else 1 / plan.odds)
    chart = RateChart.designed(begins, odds / (1 + odds), plan.each)
    worse = None if error is None else min(max(usual + away * error, 0.0), 1.0)
    off = begins if plan.margin and learnt else worse
    return _standing(own, learnt, chart, "rate", usual, None, chart.shifted, off)


def _bound(rate: float, of: int, errors: float) -> float:
    """Return the rate from which this one is so many standard errors away (Wilson 1927)."""
    z2 = errors**2 / of
    half = errors * sqrt(rate * (1 - rate) / of + z2 / (4 * of))
    return (rate + z2 / 2 + half) / (1 + z2)


def _means(own: Sequence[Study], plan: Plan) -> list[Standing]:
    learnt = _baseline(own, plan)
    if plan.ranks:
        own, usual, deviation = _scored(own, learnt), 0.0, 1.0
    else:
        usual = fmean(learnt) if plan.usual is None else plan.usual
        deviation = stdev(learnt) if plan.deviation is None else plan.deviation
    if deviation <= 0:
        raise BadConfiguration("its baseline has the same value throughout")
    error = deviation / sqrt(len(learnt)) if learnt else None
    return [_of_mean(own, len(learnt), (usual, deviation), error, side, plan) for side in Side]


def _scored(own: Sequence[Study], learnt: Sequence[float]) -> list[Study]:
    """Put in each value's place the standard normal quantile of its rank among the baseline."""
    ordered, normal = sorted(learnt), NormalDist()
    return [
        replace(
            study,
            value=normal.inv_cdf(
                (bisect_left(ordered, study.value) + bisect_right(ordered, study.value) + 1)
                / (2 * len(ordered) + 2)
            ),
        )
        for study in own
    ]


def _of_mean(
    own: Sequence[Study],
    learnt: int,
    usual: tuple[float, float],
    error: float | None,
    side: Side,
    plan: Plan,
) -> Standing:
    mean, deviation = usual
    away = 1 if side is Side.RISE else -1
    begins = mean if error is None else mean + away * plan.margin * error
    chart = MeanChart.designed(side, begins, deviation, plan.shift, plan.each)
    worse = None if error is None else mean + away * (plan.margin or 1) * error
    looked_for = begins + away * plan.shift * deviation
    kind = "ranks" if plan.ranks else "mean"
    return _standing(own, learnt, chart, kind, mean, deviation, looked_for, worse)


def _baseline(own: Sequence[Study], plan: Plan) -> list[float]:
    """Return the values that say what is usual; none if that is stated."""
    if plan.usual is not None:
        return []
    if len(own) <= plan.baseline:
        raise BadConfiguration(f"{len(own)} studies, of which {plan.baseline} are its baseline")
    return [study.value for study in own[: plan.baseline]]


def _standing(
    own: Sequence[Study],
    learnt: int,
    chart: RateChart | MeanChart,
    kind: str,
    usual: float,
    deviation: float | None,
    looked_for: float,
    worse: float | None,
) -> Standing:
    went = [*course(chart, (study.value for study in own[learnt:]))]
    alarms = [alarm for _, alarm in went if alarm is not None]
    return Standing(
        scanner=own[0].scanner,
        side=chart.side,
        kind=kind,
        studies=len(own),
        charted=len(own) - learnt,
        usual=usual,
        deviation=deviation,
        looked_for=looked_for,
        stands=went[-1][0] if went else 0.0,
        limit=chart.limit,
        run_length=chart.run_length(usual),
        run_length_if_off=None if worse is None else chart.run_length(worse),
        delay=chart.run_length(looked_for),
        alarms=tuple(
            Raised(
                learnt + alarm.at + 1,
                own[learnt + alarm.at].time,
                learnt + alarm.since + 1,
                own[learnt + alarm.since].time,
            )
            for alarm in alarms
        ),
        course=tuple(
            (study.time, stands) for study, (stands, _) in zip(own[learnt:], went, strict=True)
        ),
    )
