"""What the admin page counts, from one line a study. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median, quantiles

from node.states import Priority
from node.worklist import Counted

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of another."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """In 0..1; None of nothing."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % score interval (Wilson 1927, doi:10.2307/2276774); None of nothing."""
        if not self.of:
            return None
        p, n, z2 = self.hits / self.of, self.of, Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Figures:
    """How the node did on a group of studies.

    Attributes
    ----------
    studies
        How many came; those without a result yet count here alone.
    suspected
        Of the studies that were analysed.
    not_analysed
        Of the studies that have a result, whichever.
    agreed
        Those that a person agreed with, of the suspected ones that a person judged (the positive
        predictive value, as far as those that were judged stand for all).
    missed
        Studies in which a person found a hemorrhage that was not suspected.
    door_s
        Median and 90 % quantile of the seconds from the last slice to the priority; None of
        nothing.
    reasons
        How many studies were not analysed for each reason, the most frequent first.
    """

    name: str
    studies: int
    suspected: Share
    not_analysed: Share
    agreed: Share
    missed: int
    door_s: tuple[float, float] | None
    reasons: tuple[tuple[str, Share], ...]


@dataclass(frozen=True, slots=True)
class Day:
    """How many studies came on a day, and how many of all got their result on it."""

    day: date
    came: int
    decided: int


def figures(name: str, studies: Sequence[Counted]) -> Figures:
    """Return the figures of a group of studies."""
    stands = Counter(one.priority for one in studies)
    analysed = stands[Priority.SUSPECTED] + stands[Priority.NOT_SUSPECTED]
    decided = analysed + stands[Priority.NOT_ANALYSED]
    judged = [one.agrees for one in studies if one.agrees is not None]
    reasons = Counter(one.reason_code for one in studies if one.reason_code is not None)
    return Figures(
        name=name,
        studies=len(studies),
        suspected=Share(stands[Priority.SUSPECTED], analysed),
        not_analysed=Share(stands[Priority.NOT_ANALYSED], decided),
        agreed=Share(sum(judged), len(judged)),
        missed=sum(one.missed for one in studies),
        door_s=middle_and_tail(
            [one.door_to_flag_s for one in studies if one.door_to_flag_s is not None]
        ),
        reasons=tuple((code, Share(n, decided)) for code, n in reasons.most_common()),
    )


def middle_and_tail(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 90 % quantile, as numpy's `quantile`; None of nothing."""
    if len(values) < 2:
        return (values[0], values[0]) if values else None
    return median(values), quantiles(values, n=10, method="inclusive")[-1]


def grouped(studies: Iterable[Counted], name: Callable[[Counted], str]) -> list[Figures]:
    """Return the figures of each group that `name` makes, by name."""
    groups: dict[str, list[Counted]] = {}
    for one in studies:
        groups.setdefault(name(one), []).append(one)
    return [figures(each, groups[each]) for each in sorted(groups)]


def scanner(one: Counted) -> str:
    """Return who sent a study: the calling AE title, and the scanner's maker if known."""
    return ", ".join(filter(None, (one.caller or "no AE title", one.manufacturer)))


def week(one: Counted) -> str:
    """Return the week in which a study came by this machine's clock (ISO 8601: "2026-W47")."""
    year, number, _ = one.received_at.astimezone().isocalendar()
    return f"{year}-W{number:02}"


def days(studies: Iterable[Counted], now: datetime, count: int) -> list[Day]:
    """Return the last days by this machine's clock, today first."""
    studies = list(studies)
    came = Counter(one.received_at.astimezone().date() for one in studies)
    decided = Counter(one.flagged_at.astimezone().date() for one in studies if one.flagged_at)
    today = now.astimezone().date()
    last = [today - timedelta(days=n) for n in range(count)]
    return [Day(each, came[each], decided[each]) for each in last]
