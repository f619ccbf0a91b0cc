"""How far two people agree beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two people and its 95 % interval.

    Attributes
    ----------
    studies
        How many both decided.
    agreed
        Of how many they said the same.
    value, low, high
        NaN where both said one and the same of all: then there is no chance to go beyond.
    """

    people: tuple[str, str]
    studies: int
    agreed: int
    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Return it as the report's JSON has it; null for what cannot be said."""
        figures = {"value": self.value, "low": self.low, "high": self.high}
        told = {name: None if np.isnan(value) else value for name, value in figures.items()}
        return {
            "people": list(self.people),
            "studies": self.studies,
            "agreed": self.agreed,
            **told,
        }


def kappa(people: tuple[str, str], pairs: Sequence[tuple[str, str]]) -> Kappa:
    """Return Cohen's kappa (1960) with the large-sample interval of Fleiss, Cohen and Everitt.

    Psychological Bulletin 72:323, 1969, eq. 13. The interval is cut at -1 and 1, and means little
    below some 30 studies.

    Parameters
    ----------
    pairs
        What each of the two said of every study that both decided.
    """
    n, agreed = len(pairs), sum(first == second for first, second in pairs)
    names = sorted({answer for pair in pairs for answer in pair})
    shares = np.zeros((len(names), len(names)))
    for first, second in pairs:
        shares[names.index(first), names.index(second)] += 1 / n
    rows, columns = shares.sum(1), shares.sum(0)
    observed, chance = float(np.trace(shares)), float(rows @ columns)
    if len(names) < 2 or chance >= 1:
        return Kappa(people, n, agreed, nan, nan, nan)
    value = (observed - chance) / (1 - chance)
    both = rows[:, None] + columns[None, :]  # (k, k): row i and column j
    on = float((np.diag(shares) * (1 - np.diag(both) * (1 - value)) ** 2).sum())
    crossed = rows[None, :] + columns[:, None]  # marginals the other way round
    off = shares * crossed**2
    away = float((1 - value) ** 2 * (off.sum() - np.trace(off)))
    last = (value - chance * (1 - value)) ** 2
    half = Z95 * sqrt(max(on + away - last, 0) / n) / (1 - chance)
    return Kappa(people, n, agreed, value, max(-1.0, value - half), min(1.0, value + half))
