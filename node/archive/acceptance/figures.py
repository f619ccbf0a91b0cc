"""Sensitivity, specificity and predictive values, with intervals that know what nobody looked at.

Where every study's truth is known and each patient has one study, an interval is Wilson's (1927).
Two things widen it:

- Studies of one patient are not independent. The variance is that of sums by patient
  (linearisation; Cochran, Sampling Techniques, 1977, 9.3), and Wilson's interval is taken at the
  number of independent studies that has this variance (Korn and Graubard 1998; for Wilson's
  interval Dean and Pagano, J Surv Stat Methodol 2015;3:484).
- Of studies that agree only a sample was adjudicated. The share of bleeds in the sample of a cell
  stands for the cell's others (Begg and Greenes, Biometrics 1983;39:207), and its own interval
  (Clopper and Pearson's: such shares are small, where Wilson's holds less often than it says)
  carries over: the figure is computed at either end of it, and the distances are added in
  quadrature (MOVER: Newcombe, Stat Med 1998;17:873; Zou and Donner, Stat Med 2008;27:1693). A
  sample without any bleed therefore still leaves room for bleeds that nobody saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

Z95 = float(stats.norm.ppf(0.975))

TOO_FEW = 10
"""Of fewer studies than these no figure is given: its interval would span most of 0..1. Chosen."""


class Figure(StrEnum):
    """What is said of the node."""

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    PPV = "ppv"
    NPV = "npv"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share and its 95 % interval.

    Attributes
    ----------
    hits, of
        Its numerator and denominator; no whole numbers where studies stand for others.
    value, low, high
        None where `of` is below `TOO_FEW`.
    independent
        The number of independent studies that would have its variance by patients alone.
    """

    hits: float
    of: float
    value: float | None
    low: float | None
    high: float | None
    independent: float

    def to_json(self) -> dict[str, Any]:
        """Return it as the report's JSON has it."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "hits": self.hits,
            "of": self.of,
            "independent": self.independent,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """The studies that figures are computed of; all arrays are (n,).

    Attributes
    ----------
    flagged
        What the node said.
    bleeds
        The truth, 0 or 1; of an undecided study the share of bleeds in its cell's sample.
    undecided
        Whether nobody looked, so that the sample of its cell stands for it.
    cell, patient
        Numbers of the study's cell and patient.
    samples
        By number of a cell: how many of its sample bleed, and how many the sample has.
    """

    flagged: Bools
    bleeds: Floats
    undecided: Bools
    cell: Ints
    patient: Ints
    samples: Mapping[int, tuple[int, int]]

    def only(self, chosen: Bools) -> "Counted":
        """Return those that are chosen, (n,) bool; the samples stay those of all."""
        return replace(
            self,
            flagged=self.flagged[chosen],
            bleeds=self.bleeds[chosen],
            undecided=self.undecided[chosen],
            cell=self.cell[chosen],
            patient=self.patient[chosen],
        )


def wilson(share: float, number: float) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share of a number, which need not be whole."""
    if number <= 0:
        return 0.0, 1.0
    square = Z95**2 / number
    middle = (share + square / 2) / (1 + square)
    half = Z95 * np.sqrt(share * (1 - share) / number + square / (4 * number)) / (1 + square)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def exact(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson (1934)."""
    interval = stats.binomtest(hits, of).proportion_ci(method="exact")
    return float(interval.low), float(interval.high)


def estimate(figure: Figure, counted: Counted) -> Estimate:
    """Return a figure of the studies."""
    share, hits, of = _ratio(figure, counted, counted.bleeds)
    if of < TOO_FEW:
        return Estimate(hits, of, None, None, None, of)
    independent = _independent(figure, counted, share, of)
    low, high = wilson(share, independent)
    down, up = (share - low) ** 2, (high - share) ** 2
    for number, (bleeding, looked_at) in counted.samples.items():
        stood_for = counted.undecided & (counted.cell == number)
        if not stood_for.any():
            continue
        ends = [
            _ratio(figure, counted, np.where(stood_for, end, counted.bleeds))[0] - share
            for end in exact(bleeding, looked_at)
        ]
        down += min(0.0, *ends) ** 2
        up += max(0.0, *ends) ** 2
    low, high = max(0.0, share - np.sqrt(down)), min(1.0, share + np.sqrt(up))
    return Estimate(hits, of, share, float(low), float(high), independent)


def estimates(counted: Counted) -> dict[Figure, Estimate]:
    """Return all figures of the studies."""
    return {figure: estimate(figure, counted) for figure in Figure}


def prevalence(counted: Counted) -> float | None:
    """Return the share of bleeds; None without studies."""
    return float(counted.bleeds.mean()) if len(counted.bleeds) else None


def _terms(figure: Figure, flagged: Bools) -> tuple[Floats, Floats, Floats, Floats]:
    """Return (n,) each: what a study adds to numerator and denominator if it bleeds; and if not."""
    yes, no = flagged.astype(float), (~flagged).astype(float)
    one, none = np.ones(len(flagged)), np.zeros(len(flagged))
    match figure:
        case Figure.SENSITIVITY:
            return yes, one, none, none
        case Figure.SPECIFICITY:
            return none, none, no, one
        case Figure.PPV:
            return yes, yes, none, yes
        case Figure.NPV:
            return none, no, no, no


def _ratio(figure: Figure, counted: Counted, bleeds: Floats) -> tuple[float, float, float]:
    """Return a figure, its numerator and its denominator."""
    hits_if, of_if, hits_else, of_else = _terms(figure, counted.flagged)
    hits = float((hits_else + bleeds * (hits_if - hits_else)).sum())
    of = float((of_else + bleeds * (of_if - of_else)).sum())
    return (hits / of if of > 0 else float("nan")), hits, of


def _independent(figure: Figure, counted: Counted, share: float, of: float) -> float:
    """Return how many independent studies have the variance of this figure by patients."""
    hits_if, of_if, hits_else, of_else = _terms(figure, counted.flagged)
    off_if, off_else = hits_if - share * of_if, hits_else - share * of_else
    off = off_else + counted.bleeds * (off_if - off_else)
    chance = counted.bleeds * (1 - counted.bleeds) * (off_if - off_else) ** 2
    sums = np.bincount(counted.patient, off)
    variance = float((sums**2).sum() + chance[counted.undecided].sum())
    if 0 < share < 1 and variance > 0:
        return min(of, share * (1 - share) * of**2 / variance)
    weights = np.bincount(counted.patient, of_else + counted.bleeds * (of_if - of_else))
    return float(of**2 / (weights**2).sum())
