"""Lock what the bundle fixes beside the weights, never on the cases that measure it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from models.detector import Settings
from training.measure import Result

CERTAIN = 0.9
"""Share of the tuning cases that the disagreement of the base networks leaves certain (ours)."""


def lock(settings: Settings, tuning: Sequence[Result]) -> Settings:
    """Calibrate the slices and lock the operating point on the tuning cases.

    The operating point is the middle of the gap in which sensitivity + specificity is largest,
    the widest one in a tie. The score itself is fixed and does not depend on these few cases.
    """
    settings = calibrated(settings, tuning)
    scores = np.array([case.score(settings) for case in tuning])
    bleeds = np.array([case.bleeds for case in tuning])
    apart = [settings.disagreement(case.base_peaks) for case in tuning]
    return replace(
        settings,
        operating_point=operating_point(scores, bleeds),
        uncertain_from=float(np.quantile(apart, CERTAIN)),
    )


def calibrated(settings: Settings, tuning: Sequence[Result]) -> Settings:
    """Fit slope and intercept to the tuning cases' slices by maximum likelihood.

    The targets are Platt's (1999), drawn in from 0 and 1 by the size of each class, so that
    perfectly separated slices still have a finite fit.
    """
    peaks = np.concatenate([case.slice_peaks for case in tuning]).astype(np.float64)
    bleeds = np.concatenate([case.slice_truth.any(1) for case in tuning])
    n, m = bleeds.sum(), (~bleeds).sum()
    targets = np.where(bleeds, (n + 1) / (n + 2), 1 / (m + 2))
    bounded = np.clip(peaks, 1e-6, 1 - 1e-6)
    logits = np.log(bounded / (1 - bounded))

    def unlikelihood(fit: NDArray[np.float64]) -> float:
        scores = fit[0] * logits + fit[1]
        return float((np.logaddexp(0, scores) - targets * scores).mean())

    slope, intercept = optimize.minimize(unlikelihood, (1.0, 0.0), method="Nelder-Mead").x
    return replace(settings, slope=float(slope), intercept=float(intercept))


def operating_point(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the threshold of the largest sensitivity + specificity, in the middle of its gap."""
    edges = np.unique(np.r_[0.0, scores, 1.0])
    middles = (edges[1:] + edges[:-1]) / 2
    youden = [(scores[truth] >= t).mean() + (scores[~truth] < t).mean() for t in middles]
    best = np.flatnonzero(np.isclose(youden, max(youden)))
    return float(middles[max(best, key=lambda i: edges[i + 1] - edges[i])])
