"""Figures and their uncertainty."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def auc(scores: Sequence[float] | Floats, truth: Sequence[bool] | NDArray[np.bool_]) -> float:
    """Area under the ROC curve, ties counted half; NaN unless both classes are there."""
    positive = np.asarray(truth, bool)
    ranks = stats.rankdata(scores)
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion."""
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float],
    strata: Sequence[bool],
    replications: int = 500,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a figure under resampling of patients within their stratum.

    Parameters
    ----------
    figure
        Takes indices of the patients drawn.
    strata
        One entry for each patient, for example whether it bleeds.
    replications
        Kang 2023 draws 500.
    """
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(np.asarray(strata) == value) for value in sorted(set(strata))]
    found = [
        figure(np.concatenate([random.choice(group, len(group)) for group in groups]))
        for _ in range(replications)
    ]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
