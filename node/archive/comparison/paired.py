"""Figures of two bundles on the same studies, and of their difference.

McNemar's test is the exact one: of the studies on which the two differ, as many lean to either
side as by tosses of a coin. The interval of a difference is method 10 of Newcombe (Stat Med
1998;17:2635): Wilson's intervals of both shares, put together by the correlation of the answers,
which is corrected for continuity. Two things widen it, as they do the figures of one bundle (see
`node.archive.acceptance`): the sample of a cell of which nobody looked at the others, whose own
interval carries over (MOVER); and several studies of one patient, for which the number of studies
is divided by the ratio of the variances with and without patients (Obuchowski, Stat Med
1998;17:1495; the effective number as in Korn and Graubard 1998).
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from scipy import stats

from node.archive.acceptance import TOO_FEW, Bools, Counted, Figure, Floats, estimate, exact, wilson


@dataclass(frozen=True, slots=True)
class Table:
    """How often both bundles, one, or none had something; no whole number where some stand in."""

    both: float
    only_new: float
    only_old: float
    neither: float

    @property
    def of(self) -> float:
        """How many there are."""
        return self.both + self.only_new + self.only_old + self.neither

    def to_json(self) -> dict[str, float]:
        """Return it as the comparison's JSON has it."""
        return {
            "both": self.both,
            "only_new": self.only_new,
            "only_old": self.only_old,
            "neither": self.neither,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Studies that both bundles analysed.

    Attributes
    ----------
    old
        With the old bundle's answers.
    new
        (n,) what the new bundle said.
    """

    old: Counted
    new: Bools

    def only(self, chosen: Bools) -> "Answers":
        """Return those that are chosen, (n,) bool."""
        return Answers(self.old.only(chosen), self.new[chosen])


def mcnemar(only_new: int, only_old: int) -> float:
    """Return the two-sided p-value of McNemar's exact test; 1 where nothing differs."""
    differ = only_new + only_old
    return float(stats.binomtest(only_new, differ, 0.5).pvalue) if differ else 1.0


def newcombe(table: Table) -> tuple[float, float]:
    """Return the 95 % interval of the share of the new bundle less that of the old one.

    Its table must not be empty.
    """
    of = table.of
    new, old = (table.both + table.only_new) / of, (table.both + table.only_old) / of
    (new_low, new_high), (old_low, old_high) = wilson(new, of), wilson(old, of)
    shared = _correlation(table)
    difference = new - old
    down = _put_together(new - new_low, old_high - old, shared)
    up = _put_together(new_high - new, old - old_low, shared)
    return max(-1.0, difference - down), min(1.0, difference + up)


def _put_together(one: float, other: float, shared: float) -> float:
    return sqrt(max(0.0, one**2 - 2 * shared * one * other + other**2))


def _correlation(table: Table) -> float:
    """Return the correlation of the answers, drawn to 0 by half a study (Newcombe's phi)."""
    margins = (
        (table.both + table.only_new)
        * (table.only_old + table.neither)
        * (table.both + table.only_old)
        * (table.only_new + table.neither)
    )
    if margins <= 0:
        return 0.0
    cross = table.both * table.neither - table.only_new * table.only_old
    return (max(cross - table.of / 2, 0.0) if cross > 0 else cross) / sqrt(margins)


def flagged_table(old: Bools, new: Bools) -> Table:
    """Return how often both, one or none of the bundles flagged a study; (n,) each."""
    return _counted(old, new, np.ones(len(new)))


def change(figure: Figure, answers: Answers) -> dict[str, Any]:
    """Return sensitivity or specificity of both bundles, their difference, and McNemar's test.

    The test takes the studies whose own truth is known.
    """
    table = _table(figure, answers, answers.old.bleeds)
    own = answers.only(~answers.old.undecided)
    tested = _table(figure, own, own.old.bleeds)
    only_new, only_old = round(tested.only_new), round(tested.only_old)
    return {
        "old": estimate(figure, answers.old).to_json(),
        "new": estimate(figure, replace(answers.old, flagged=answers.new)).to_json(),
        "table": table.to_json(),
        "difference": _difference(figure, answers, table),
        "mcnemar": {
            "studies": round(tested.of),
            "only_new": only_new,
            "only_old": only_old,
            "p": mcnemar(only_new, only_old),
        },
    }


def _difference(figure: Figure, answers: Answers, table: Table) -> dict[str, float | None]:
    if table.of < TOO_FEW:
        return {"value": None, "low": None, "high": None}
    value = _share(table)
    effect = _design_effect(figure, answers, value)
    fewer = Table(*(count / effect for count in table.to_json().values()))
    low, high = newcombe(fewer)
    down, up = (value - low) ** 2, (high - value) ** 2
    for number, (bleeding, looked_at) in answers.old.samples.items():
        stood_for = answers.old.undecided & (answers.old.cell == number)
        if not stood_for.any():
            continue
        ends = [
            _share(_table(figure, answers, np.where(stood_for, end, answers.old.bleeds))) - value
            for end in exact(bleeding, looked_at)
        ]
        down += min(0.0, *ends) ** 2
        up += max(0.0, *ends) ** 2
    return {
        "value": value,
        "low": max(-1.0, value - sqrt(down)),
        "high": min(1.0, value + sqrt(up)),
    }


def _share(table: Table) -> float:
    return (table.only_new - table.only_old) / table.of if table.of > 0 else 0.0


def _weights(figure: Figure, bleeds: Floats) -> Floats:
    return bleeds if figure is Figure.SENSITIVITY else 1 - bleeds


def _table(figure: Figure, answers: Answers, bleeds: Floats) -> Table:
    """Return how often each bundle was right among bleeds, or among studies without one."""
    right = figure is Figure.SENSITIVITY
    return _counted(answers.old.flagged == right, answers.new == right, _weights(figure, bleeds))


def _counted(old: Bools, new: Bools, weights: Floats) -> Table:
    return Table(
        *(float(weights[which].sum()) for which in (old & new, ~old & new, old & ~new, ~old & ~new))
    )


def _design_effect(figure: Figure, answers: Answers, value: float) -> float:
    """Return by how much studies of one patient widen the variance of a difference; at least 1."""
    right = figure is Figure.SENSITIVITY
    weights = _weights(figure, answers.old.bleeds)
    moved = (answers.new == right).astype(float) - (answers.old.flagged == right)
    off = weights * (moved - value)
    if not off.any():
        off = weights
    alone = float((off**2).sum())
    together = float((np.bincount(answers.old.patient, off) ** 2).sum())
    return max(1.0, together / alone)
