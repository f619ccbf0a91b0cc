"""Lock what the bundle fixes beside the weights, never on the cases that measure it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from models.rules import Opinion, Settings, logits
from training.metrics.measure import Result
from training.metrics.statistics import Bools, Floats

CERTAIN = 0.9
"""Share of the tuning cases that the disagreement of the networks leaves certain (ours)."""


def lock(settings: Settings, tuning: Sequence[Result]) -> Settings:
    """Calibrate the slices and lock the operating point on the tuning cases.

    The operating point is the middle of the gap in which sensitivity + specificity is largest,
    the widest one in a tie. The score itself is fixed and does not depend on these few cases.
    """
    settings = calibrated(settings, tuning)
    scores = np.array([case.score(settings) for case in tuning])
    bleeds = np.array([case.bleeds for case in tuning])
    settings = replace(settings, operating_point=operating_point(scores, bleeds))
    return replace(settings, uncertain_from=uncertain_from(settings, tuning))


def calibrated(settings: Settings, tuning: Sequence[Result]) -> Settings:
    """Fit slopes and intercept to the tuning cases' slices, of both kinds of networks if there are.

    Each kind is fitted by itself as well, see `models.rules.Settings.uncertainty`.
    """
    bleeds = np.concatenate([case.slice_truth.any(1) for case in tuning])
    peaks = logits(np.concatenate([case.slice_peaks for case in tuning]))[:, None]
    (slope,), intercept = platt(peaks, bleeds)
    labels = [case.slice_labels for case in tuning if case.slice_labels is not None]
    if not labels:
        return replace(settings, slope=slope, intercept=intercept)
    named = logits(np.concatenate(labels)[:, :1])
    (slices_slope,), slices_intercept = platt(named, bleeds)
    both, together = platt(np.column_stack((peaks, named)), bleeds)
    return replace(
        settings,
        slope=both[0],
        slices_slope=both[1],
        intercept=together,
        ensemble_alone=Opinion(slope, intercept),
        slices_alone=Opinion(slices_slope, slices_intercept),
    )


def platt(
    opinions: Floats, bleeds: Bools, weight: Floats | None = None
) -> tuple[tuple[float, ...], float]:
    """Return the slopes and the intercept of a logistic of several opinions, most likely ones.

    The targets are Platt's (1999), drawn in from 0 and 1 by the size of each class, so that
    perfectly separated slices still have a finite fit. No slope is negative: a network that says
    more of a slice never lowers its score.

    Parameters
    ----------
    opinions
        (n, k) float64, the logits of k networks.
    bleeds
        (n,) bool.
    weight
        (n,) how much each slice counts; None counts all alike.
    """
    n, m = bleeds.sum(), (~bleeds).sum()
    targets = np.where(bleeds, (n + 1) / (n + 2), 1 / (m + 2))
    columns = np.column_stack((opinions, np.ones(len(opinions))))
    parts = np.ones(len(targets)) if weight is None else weight
    parts = parts / parts.sum()

    def unlikelihood(fit: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = columns @ fit
        slant = columns.T @ (parts * (expit(scores) - targets))
        return float(parts @ (np.logaddexp(0, scores) - targets * scores)), slant

    count = opinions.shape[1]
    begin, bounds = np.r_[np.ones(count), 0.0], [*[(0, None)] * count, (None, None)]
    fit = optimize.minimize(unlikelihood, begin, jac=True, method="L-BFGS-B", bounds=bounds).x
    *slopes, intercept = map(float, fit)
    return tuple(slopes), intercept


def uncertain_from(settings: Settings, tuning: Sequence[Result]) -> float:
    """Return the disagreement that leaves `CERTAIN` of the tuning cases certain."""
    return float(np.quantile([case.uncertainty(settings) for case in tuning], CERTAIN))


def operating_point(scores: Floats, truth: Bools) -> float:
    """Return the threshold of the largest sensitivity + specificity, in the middle of its gap."""
    edges, middles = gaps(scores)
    youden = [(scores[truth] >= t).mean() + (scores[~truth] < t).mean() for t in middles]
    best = np.flatnonzero(np.isclose(youden, max(youden)))
    return float(middles[max(best, key=lambda i: edges[i + 1] - edges[i])])


def gaps(scores: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the gaps between scores from 0 to 1, (k + 1,), and their middles, (k,)."""
    edges = np.unique(np.r_[0.0, scores, 1.0])
    return edges, (edges[1:] + edges[:-1]) / 2
