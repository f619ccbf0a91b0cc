"""The charts of the watch as small figures: a rise goes up to its limit, a fall down. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.worklist import ChartLine

WIDE, HALF = 240, 30
"""Width of a figure, and its height from the middle to a limit, in its own units."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A date in a figure: `x` from its left, and what was new then."""

    x: float
    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Figure:
    """The charts of one outcome of one scanner.

    Attributes
    ----------
    said
        The alarm that stands, in a sentence; "" if none does.
    told
        What is usual and what would be found, in words; why there is no chart where there is none.
    rise, fall
        Points of the two courses, "x,y x,y"; "" without a chart.
    """

    outcome: str
    said: str
    told: str
    rise: str
    fall: str
    marks: tuple[Mark, ...]
    begins: datetime | None
    ends: datetime | None


def by_scanner(lines: Iterable[ChartLine]) -> dict[str, list[Figure]]:
    """Return the figures of each scanner, in the order of the lines."""
    found: dict[str, list[Figure]] = {}
    for line in lines:
        found.setdefault(line.scanner, []).append(figure(line))
    return found


def figure(line: ChartLine) -> Figure:
    """Return the figure of one outcome of one scanner."""
    points = {
        side: [(datetime.fromisoformat(at), height) for at, height in each]
        for side, each in line.figure["points"].items()
    }
    times = [at for each in points.values() for at, _ in each]
    if not times:
        return Figure(line.outcome, line.said, line.figure["why"], "", "", (), None, None)
    begins, ends = min(times), max(times)
    marks = tuple(
        Mark(_x(at, begins, ends), at, what)
        for at, what in ((datetime.fromisoformat(at), what) for at, what in line.figure["marks"])
        if begins < at <= ends
    )
    return Figure(
        line.outcome,
        line.said,
        "; ".join(_told(one) for one in line.figure["charts"]),
        _course(points.get("rise", ()), begins, ends, -HALF),
        _course(points.get("fall", ()), begins, ends, HALF),
        marks,
        begins,
        ends,
    )


def _told(chart: Mapping[str, Any]) -> str:
    """Return how far a chart stands, and what it finds in how many studies."""
    rate = chart["kind"] == "rate"
    finds = f"to {100 * chart['looked_for']:.1f} %" if rate else "by one deviation"
    stands = 100 * chart["stands"] / chart["limit"]
    return f"{chart['side']} {finds} in {chart['delay']:.0f} studies, at {stands:.0f} %"


def _course(
    points: Sequence[tuple[datetime, float]], begins: datetime, ends: datetime, to_limit: float
) -> str:
    return " ".join(f"{_x(at, begins, ends):.1f},{height * to_limit:.1f}" for at, height in points)


def _x(at: datetime, begins: datetime, ends: datetime) -> float:
    whole = (ends - begins).total_seconds()
    return WIDE * (at - begins).total_seconds() / whole if whole else 0.0
