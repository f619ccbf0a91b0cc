"""Which of several readable series of a study is read. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from node.cases.eligibility import WHOLE_HEAD_MM, Verdict
from node.cases.header_words import is_sharp

READING_THICKNESS_MM = 5.0


def _coverage_mm(verdict: Verdict) -> float:
    return verdict.stack.coverage_mm if verdict.stack else 0.0


def thickness_mm(verdict: Verdict) -> float | None:
    """Return the median slice thickness, else the median spacing, mm; None if both are unknown."""
    known = [h.slice_thickness_mm for h in verdict.headers if h.slice_thickness_mm]
    if not known and verdict.stack:
        known = list(verdict.stack.gaps_mm)
    return float(np.median(known)) if known else None


def _doublings_from_ideal(verdict: Verdict) -> float:
    """Return how often the slice thickness must be doubled or halved to reach the best one.

    The value is rounded to one decimal, so that 4.8 mm is as good as 5. It is 0 if the thickness is
    unknown.
    """
    thickness = thickness_mm(verdict) or READING_THICKNESS_MM
    return float(round(abs(np.log2(thickness / READING_THICKNESS_MM)), 1))


@dataclass(frozen=True, slots=True)
class Preference:
    """One line of the ranking: the series with the smaller value is preferred.

    Attributes
    ----------
    at_best
        The lowest value that further images can bring; None if they cannot change the value.
    """

    name: str
    value: Callable[[Verdict], float]
    at_best: float | None = None


RANKING = (
    Preference(
        f"covers {WHOLE_HEAD_MM:.0f} mm or more",
        lambda v: _coverage_mm(v) < WHOLE_HEAD_MM,
        at_best=False,
    ),
    Preference("no slice missing", lambda v: bool(v.stack and v.stack.holes), at_best=False),
    Preference("no contrast agent", lambda v: v.contrast),
    Preference("soft-tissue kernel", lambda v: any(map(is_sharp, v.headers))),
    Preference("original images", lambda v: any("DERIVED" in h.image_type for h in v.headers)),
    Preference(
        f"slice thickness nearest to {READING_THICKNESS_MM:.0f} mm",
        _doublings_from_ideal,
    ),
    Preference("longer coverage", lambda v: -round(_coverage_mm(v), -1), at_best=-np.inf),
    Preference("more slices", lambda v: -float(len(v.images)), at_best=-np.inf),
)
"""Which of several readable series of a study is read: the first line in which they differ decides.

The order is chosen: nothing can make up for tissue that was not scanned, contrast imitates blood,
and a bone kernel buries blood in noise; 5 mm is what the ensemble was trained on. Series that
are equal throughout are told apart by SeriesInstanceUID.
"""


def rank(verdict: Verdict, *, at_best: bool = False) -> tuple[float | str, ...]:
    """Return the sort key of `RANKING`; with `at_best`, the best that further images can bring."""
    values = (
        p.at_best if at_best and p.at_best is not None else float(p.value(verdict)) for p in RANKING
    )
    return (*values, verdict.series.series_instance_uid, verdict.series.part.number)


def read_instead(winner: Verdict, loser: Verdict) -> str:
    """Return the reason of OTHER_SERIES_READ: which series is read instead, and why."""
    return f"series {winner.name} is read instead: {lost_by(winner, loser)}"


def lost_by(winner: Verdict, loser: Verdict) -> str:
    """Return the first line of the ranking in which the two differ."""
    for preference in RANKING:
        if preference.value(winner) != preference.value(loser):
            return preference.name
    return "equal in every respect, told apart by its UID"
