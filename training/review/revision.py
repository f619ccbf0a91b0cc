"""The revision of the truth by a panel's majority (Kang 2023), and what it does to the figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.metrics.statistics import delong
from training.review.readings import LABELS, Labels, Reading, Result, ReviewError
from training.review.rules import (
    AI,
    THRESHOLD,
    Performance,
    Readings,
    ai_calls,
    performance,
    present,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the panel says about one case.

    Attributes
    ----------
    before, after
        Truth of each of `LABELS`; they differ only where the consensus contradicts `any`.
    positive, negative
        How many read it as bleeding and as not.
    panel
        How many readers there are; who did not read the case supports neither side.
    needed
        How many decide.
    """

    case: str
    before: Labels
    after: Labels
    positive: int
    negative: int
    panel: int
    needed: int

    @property
    def undecided(self) -> bool:
        """Whether neither side has as many as are needed."""
        return max(self.positive, self.negative) < self.needed

    @property
    def revised(self) -> bool:
        """Whether the truth changes."""
        return self.before[0] != self.after[0]


def majority(readers: int) -> int:
    """Return how many readers can revise a truth: Kang 2023's 4 of 6, in proportion, rounded up."""
    return -(-2 * readers // 3)


def revise(
    difficult: Sequence[Result], readings: Readings, needed: int | None = None
) -> list[Verdict]:
    """Revise the truth of each case that `needed` readers contradict (default `majority`).

    A truth that is revised to negative has no subtype; one revised to positive has those subtypes
    decided on which `needed` readers say the same, the others unlabelled. All else stays.

    Raises
    ------
    ReviewError
        If `needed` is no majority of the readers who read or more than they are, or if only one
        reader read.
    """
    readers, _ = present(readings)
    panel = len(readers)
    if panel < 2:
        raise ReviewError("one reader is no consensus: a truth is revised by two or more")
    needed = majority(panel) if needed is None else needed
    if not panel < 2 * needed <= 2 * panel:
        raise ReviewError(
            f"{needed} of {panel} readers cannot decide: choose from {panel // 2 + 1} to {panel}"
        )
    return [
        _verdict(each, [readings[reader].get(each.case) for reader in readers], needed)
        for each in difficult
    ]


def _verdict(case: Result, read: Sequence[Reading | None], needed: int) -> Verdict:
    votes = [
        [reading.labels[i] for reading in read if reading is not None] for i in range(len(LABELS))
    ]
    agreed = tuple(_consensus(each, needed) for each in votes)
    return Verdict(
        case=case.case,
        before=case.labels,
        after=case.labels if agreed[0] in (None, case.truth) else agreed,
        positive=votes[0].count(True),
        negative=votes[0].count(False),
        panel=len(read),
        needed=needed,
    )


def _consensus(votes: Sequence[bool | None], needed: int) -> bool | None:
    """Return what `needed` or more votes say; None where neither side has as many."""
    return next((label for label in (True, False) if votes.count(label) >= needed), None)


def revised_cases(cases: Sequence[Result], verdicts: Sequence[Verdict]) -> list[Result]:
    """Return all cases with the labels that the verdicts leave them."""
    after = {verdict.case: verdict.after for verdict in verdicts}
    return [replace(each, labels=after.get(each.case, each.labels)) for each in cases]


@dataclass(frozen=True, slots=True)
class Measured:
    """The AI on a set of cases.

    Attributes
    ----------
    auc, auc_interval
        Over the cases that it analysed, and its 95 % interval (DeLong); NaN without both classes.
    """

    performance: Performance
    auc: float
    auc_interval: tuple[float, float]


def measure_ai(cases: Sequence[Result], threshold: float = THRESHOLD) -> Measured:
    """Measure the AI against the truth as it stands in `cases`."""
    scores = [each.probability for each in cases if each.probability is not None]
    areas = delong(scores, [each.truth for each in cases if each.probability is not None])
    low, high = areas.intervals()[0]
    return Measured(
        performance(AI, ai_calls(cases, threshold), {each.case: each.truth for each in cases}),
        float(areas.areas[0]),
        (float(low), float(high)),
    )


def before_and_after(
    before: Sequence[Result], after: Sequence[Result], threshold: float = THRESHOLD
) -> dict[str, tuple[Measured, Measured]]:
    """Return the AI's figures with the old and the new truth, on all cases and on the difficult."""
    return {
        "all": (measure_ai(before, threshold), measure_ai(after, threshold)),
        "difficult": (
            measure_ai([each for each in before if each.difficult], threshold),
            measure_ai([each for each in after if each.difficult], threshold),
        ),
    }
