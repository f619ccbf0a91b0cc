"""How well the scores rank and what they are worth: ROC curve and calibration.

Both take studies whose own truth is known, each weighted by the studies that it stands for (inverse
probability of being adjudicated; Alonzo and Pepe, J R Stat Soc C 2005;54:173).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from node.archive.acceptance.figures import TOO_FEW, Z95, Bools, Floats, Ints, wilson

REPLICATIONS = 1000
"""Of the bootstrap. Chosen."""
BLOCK = 50
"""So many are computed at once, which bounds the memory."""
MOST_POINTS = 400
"""Of a curve in the report; what lies between is drawn straight. Chosen."""
BINS = 10
SENSITIVITIES = (0.80, 0.85, 0.90, 0.95)
"""Of the thresholds that are told beside the one in force."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Studies with a score and a known truth; all arrays are (n,).

    Attributes
    ----------
    scores
        Probabilities, 0..1.
    weights
        How many studies each stands for.
    """

    scores: Floats
    bleeds: Bools
    weights: Floats
    patient: Ints

    @property
    def has_both(self) -> bool:
        """Whether there are enough of both kinds for a curve."""
        return bool(min(self.bleeds.sum(), (~self.bleeds).sum()) >= TOO_FEW)


def roc(scored: Scored, seed: int = 0) -> dict[str, Any]:
    """Return the curve, its area with a 95 % interval, and the thresholds beside the one in force.

    The interval is of percentiles of the bootstrap by patient, within those with a bleed and those
    without; where nothing overlaps it is Newcombe's (Stat Med 2006;25:559, method 5).
    """
    told: dict[str, Any] = {
        "studies": len(scored.scores),
        "bleeds": int(scored.bleeds.sum()),
        "too_few": not scored.has_both,
    }
    if not scored.has_both:
        return told
    area = float(areas(scored, scored.weights[None])[0])
    low, high = _interval(scored, area, seed)
    points = _points(scored)
    return {
        **told,
        "auc": {"value": area, "low": low, "high": high},
        "replications": REPLICATIONS,
        "seed": seed,
        "points": _thinned(points),
        "thresholds": [_threshold(points, wanted) for wanted in SENSITIVITIES],
    }


def areas(scored: Scored, weights: Floats) -> Floats:
    """Return (r,) areas under the curve for (r, n) weights of the studies, ties counted half."""
    order = np.argsort(scored.scores, kind="stable")
    _, ties = np.unique(scored.scores[order], return_index=True)
    hits, alarms = (
        np.add.reduceat((weights * which)[:, order], ties, axis=1)
        for which in (scored.bleeds, ~scored.bleeds)
    )
    below = alarms.cumsum(1) - alarms / 2
    whole = hits.sum(1) * alarms.sum(1)
    found = np.full(len(weights), np.nan)
    np.divide((hits * below).sum(1), whole, out=found, where=whole > 0)
    return found


def _interval(scored: Scored, area: float, seed: int) -> tuple[float, float]:
    if area in (0.0, 1.0):
        return _separated(bool(area), int(scored.bleeds.sum()), int((~scored.bleeds).sum()))
    rng = np.random.default_rng(seed)
    names, patient = np.unique(scored.patient, return_inverse=True)
    with_bleed = np.bincount(patient, scored.bleeds, len(names)) > 0
    found = []
    for size in _blocks(REPLICATIONS):
        counts = np.zeros((size, len(names)))
        for group in (np.flatnonzero(with_bleed), np.flatnonzero(~with_bleed)):
            if len(group):
                evenly = np.full(len(group), 1 / len(group))
                counts[:, group] = rng.multinomial(len(group), evenly, size)
        found.append(areas(scored, counts[:, patient] * scored.weights))
    low, high = np.nanquantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)


def _blocks(whole: int) -> Sequence[int]:
    return [min(BLOCK, whole - done) for done in range(0, whole, BLOCK)]


def _separated(right: bool, positives: int, negatives: int) -> tuple[float, float]:
    """Return the interval of an area of 1 (or of 0 where not `right`), by the counts alone."""
    pairs, half = positives * negatives, (positives + negatives) / 2 - 1

    def too_far(area: float) -> float:
        variance = area * (1 + half * ((1 - area) / (2 - area) + area / (1 + area))) / pairs
        return 1 - area - Z95**2 * variance

    bound = float(optimize.brentq(too_far, 0, 1))
    return (bound, 1.0) if right else (0.0, 1 - bound)


def _points(scored: Scored) -> list[tuple[float, float, float]]:
    """Return threshold, false and true positive rate at each distinct score, the highest first."""
    order = np.argsort(-scored.scores, kind="stable")
    last_of_tie = np.r_[np.diff(scored.scores[order]) != 0, True]
    hits, alarms = (
        np.cumsum((scored.weights * which)[order])[last_of_tie]
        for which in (scored.bleeds, ~scored.bleeds)
    )
    thresholds = scored.scores[order][last_of_tie]
    rates = np.c_[thresholds, alarms / alarms[-1], hits / hits[-1]]
    return [(float(t), float(false), float(true)) for t, false, true in rates]


def _thinned(points: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    chosen = np.unique(
        np.linspace(0, len(points) - 1, min(MOST_POINTS, len(points))).round().astype(int)
    )
    return [list(points[each]) for each in chosen]


def _threshold(points: Sequence[tuple[float, float, float]], wanted: float) -> dict[str, float]:
    """Return the highest threshold that finds so many; looked up afterwards, so it flatters."""
    threshold, false, true = next(each for each in points if each[2] >= wanted - 1e-12)
    return {
        "wanted": wanted,
        "threshold": threshold,
        "sensitivity": true,
        "specificity": 1 - false,
    }


def calibration(scored: Scored) -> dict[str, Any]:
    """Return how often it bled where the score was what; bins of a tenth each.

    A bin's interval is Wilson's at the effective number of its studies (Kish): (sum of weights)^2 /
    (sum of squares).
    """
    told: dict[str, Any] = {
        "studies": len(scored.scores),
        "too_few": not scored.has_both,
    }
    if not scored.has_both:
        return told
    weights = scored.weights
    which = np.minimum((scored.scores * BINS).astype(int), BINS - 1)
    bins = [_bin(scored, which == number, number) for number in range(BINS)]
    held = [each for each in bins if each]
    whole = float(weights.sum())
    off = sum(each["weight"] * abs(each["predicted"] - each["observed"]) for each in held)
    return {
        **told,
        "bins": held,
        "predicted": float(weights @ scored.scores / whole),
        "observed": float(weights @ scored.bleeds / whole),
        "brier": float(weights @ (scored.scores - scored.bleeds) ** 2 / whole),
        "calibration_error": float(off / whole),
    }


def _bin(scored: Scored, held: Bools, number: int) -> dict[str, Any]:
    if not held.any():
        return {}
    weights, whole = scored.weights[held], float(scored.weights[held].sum())
    observed = float(weights @ scored.bleeds[held] / whole)
    low, high = wilson(observed, whole**2 / float((weights**2).sum()))
    return {
        "from": number / BINS,
        "to": (number + 1) / BINS,
        "studies": int(held.sum()),
        "weight": whole,
        "predicted": float(weights @ scored.scores[held] / whole),
        "observed": observed,
        "low": low,
        "high": high,
    }
