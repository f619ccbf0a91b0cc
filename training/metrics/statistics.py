"""Figures and their uncertainty.

Scores and truths are (n,) arrays over cases; an AUC's models are (k, n). A figure that the cases
cannot give (one class only, nothing flagged) is NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

Z95 = float(stats.norm.ppf(0.975))

EXACT_BELOW = 25
"""Fewer discordant pairs than these call for McNemar's exact test (Rosner's rule: 20 to 25)."""

LABEL_WEIGHTS = (2, 1, 1, 1, 1, 1)
"""RSNA 2019: "any" counts twice, each of the five subtypes once."""

BLOCK = 50
"""This many draws are weighed at once, which bounds the memory."""

CLIP = 1e-15
"""The log loss sees no probability nearer to 0 or 1 (as the challenge's scorer; Burduja 2020)."""


def auc(scores: Sequence[float] | Floats, truth: Sequence[bool] | Bools) -> float:
    """Area under the ROC curve, ties counted half; NaN unless both classes are there."""
    positive = np.asarray(truth, bool)
    ranks = stats.rankdata(scores)
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def roc_curve(scores: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates, both from 0 to 1, one point for each distinct score."""
    scores, positive = np.asarray(scores), np.asarray(truth, bool)
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.r_[np.diff(scores[order]) != 0, True]
    hits, alarms = (np.cumsum(which[order])[last_of_tie] for which in (positive, ~positive))
    return np.r_[0.0, alarms / alarms[-1]], np.r_[0.0, hits / hits[-1]]


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """AUCs of several models on the same cases, and how they vary together.

    Attributes
    ----------
    areas
        (k,) AUC of each model.
    covariance
        (k, k) of the areas; NaN where fewer than two patients have a class.
    patients
        How many patients have a positive case, and how many a negative one.
    """

    areas: Floats
    covariance: Floats
    patients: tuple[int, int]

    def intervals(self) -> Floats:
        """(k, 2) 95 % intervals, on the logit scale (Pepe 2003, 5.2), which keeps them in 0..1.

        Classes that are separated leave no variance: see `separated`.
        """
        variances = np.diag(self.covariance)
        return np.array([self._interval(*each) for each in zip(self.areas, variances, strict=True)])

    def _interval(self, area: float, variance: float) -> tuple[float, float]:
        if area in (0, 1):
            return separated(bool(area), *self.patients)
        spread = Z95 * np.sqrt(max(variance, 0)) / (area * (1 - area))
        odds = area / (1 - area) * np.exp(np.array([-spread, spread]))
        low, high = odds / (1 + odds)
        return float(low), float(high)

    def compare(self, reference: int = 0) -> tuple[Floats, Floats]:
        """Test each model's area against the reference model's, paired.

        Returns
        -------
        z, p
            (k,) each, two-sided. z = 0 and p = 1 where the areas are the same; NaN where they
            differ without any variance, for which there is no test.
        """
        difference = self.areas - self.areas[reference]
        own = np.diag(self.covariance)
        variance = own + own[reference] - 2 * self.covariance[:, reference]
        z = np.full(len(difference), np.nan)
        z[np.abs(difference) < 1e-12] = 0
        tested = (variance > 1e-15) & (z != 0)
        z[tested] = difference[tested] / np.sqrt(variance[tested])
        return z, 2 * stats.norm.sf(np.abs(z))


def delong(scores: ArrayLike, truth: ArrayLike, patients: ArrayLike | None = None) -> Areas:
    """Areas under correlated ROC curves by DeLong 1988, in the fast form of Sun and Xu 2014.

    Slices of one patient are not independent cases. With `patients` the placements are summed
    within each patient first (Obuchowski 1997, doi 10.2307/2533958), which is DeLong's own
    estimate where each patient has one case.

    Parameters
    ----------
    scores
        (k, n) of k models, or (n,) of one.
    truth
        (n,) bool.
    patients
        (n,) patient of each case; None where each case is a patient.
    """
    scores, positive = np.atleast_2d(np.asarray(scores, float)), np.asarray(truth, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    models = len(scores)
    if n == 0 or m == 0:
        return Areas(np.full(models, np.nan), np.full((models, models), np.nan), (n, m))
    placements = _placements(scores, positive)
    areas = placements[:, positive].mean(1)
    cases = np.arange(n + m) if patients is None else np.asarray(patients)
    names, patient = np.unique(cases, return_inverse=True)
    off = (placements - areas[:, None]).T / np.where(positive, n, m)[:, None]
    x, y = np.zeros((2, len(names), models))  # (patients, models) each
    np.add.at(x, patient[positive], off[positive])
    np.add.at(y, patient[~positive], off[~positive])
    with_x, with_y = (len(np.unique(patient[which])) for which in (positive, ~positive))
    covariance = (
        _unbiased(with_x) * x.T @ x
        + _unbiased(with_y) * y.T @ y
        + _unbiased(len(names)) * (x.T @ y + y.T @ x)
    )
    return Areas(areas, covariance, (with_x, with_y))


def _placements(scores: Floats, positive: Bools) -> Floats:
    """(k, n): the share of the other class that each case is on the right side of."""
    ahead: Floats = stats.rankdata(scores, axis=1)
    for which in (positive, ~positive):
        ahead[:, which] -= stats.rankdata(scores[:, which], axis=1)
        ahead[:, which] /= np.count_nonzero(~which)
    return np.where(positive, ahead, 1 - ahead)


def _unbiased(count: int) -> float:
    return count / (count - 1) if count > 1 else float("nan")


def separated(right: bool, positives: int, negatives: int) -> tuple[float, float]:
    """95 % interval of an AUC of 1 (or of 0 where not `right`), by the counts alone.

    No case overlaps, so neither DeLong nor the bootstrap finds any variance, and their interval
    of no width would claim certainty. Newcombe 2006 (method 5, doi 10.1002/sim.2324) takes the
    areas from which 1 is not too far by Hanley and McNeil's variance.
    """
    pairs, half = positives * negatives, (positives + negatives) / 2 - 1

    def too_far(area: float) -> float:
        variance = area * (1 + half * ((1 - area) / (2 - area) + area / (1 + area))) / pairs
        return 1 - area - Z95**2 * variance

    bound = float(optimize.brentq(too_far, 0, 1))
    return (bound, 1.0) if right else (0.0, 1 - bound)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion."""
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float],
    strata: Sequence[bool] | Bools,
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
    low, high = percentiles(np.array(found, float))
    return float(low), float(high)


def resample(strata: ArrayLike, replications: int = 500, seed: int = 0) -> NDArray[np.int64]:
    """Return (replications, patients): how often each patient is drawn, within its stratum.

    The bootstrap for figures that take weights, many draws at once. The same strata and seed draw
    the same patients, so that differences between models are paired.
    """
    random = np.random.default_rng(seed)
    strata = np.asarray(strata)
    counts = np.zeros((replications, len(strata)), np.int64)
    for value in np.unique(strata):
        group = np.flatnonzero(strata == value)
        evenly = np.full(len(group), 1 / len(group))
        counts[:, group] = random.multinomial(len(group), evenly, replications)
    return counts


def draws(
    figures: Callable[[Floats], Floats],
    patients: ArrayLike,
    positive: ArrayLike,
    replications: int = 500,
    seed: int = 0,
) -> Floats:
    """Return (replications, f): figures of the cases of the patients drawn.

    Parameters
    ----------
    figures
        (r, f) of (r, n) float weights, which say how often each case is drawn.
    patients
        (n,) the patient of each case.
    positive
        (n,) bool; patients with a positive case are a stratum of their own.
    """
    names, patient = np.unique(patients, return_inverse=True)
    strata = np.bincount(patient, np.asarray(positive), len(names)) > 0
    counts = resample(strata, replications, seed)
    blocks = np.array_split(counts, -(-replications // BLOCK))
    return np.concatenate([figures(block[:, patient].astype(float)) for block in blocks])


def weighted_auc(scores: ArrayLike, truth: ArrayLike, weights: ArrayLike) -> Floats:
    """(r,) area under the ROC curve for each of (r, n) weights of the cases; NaN as in `auc`."""
    scores, positive, weights = np.asarray(scores), np.asarray(truth, bool), np.asarray(weights)
    order = np.argsort(scores)
    _, ties = np.unique(scores[order], return_index=True)
    hits, alarms = (
        np.add.reduceat((weights * which)[:, order], ties, axis=1) if len(ties) else weights * 0.0
        for which in (positive, ~positive)
    )
    beaten = alarms.cumsum(1) - alarms / 2
    return _ratio((hits * beaten).sum(1), hits.sum(1) * alarms.sum(1))


def weighted_share(correct: Bools, group: Bools, weights: Floats) -> Floats:
    """(r,) share of the group that is correct, for each of (r, n) weights; NaN of an empty one."""
    return _ratio(weights @ (group & correct), weights @ group)


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def percentiles(draws: Floats) -> Floats:
    """(2, ...): the 2.5 and 97.5 % percentiles of (r, ...) draws.

    A draw that cannot give the figure (NaN) is left out; NaN where none can.
    """
    lost = np.isnan(draws).all(0)
    bounds = np.nanquantile(np.where(lost, 0.0, draws), (0.025, 0.975), axis=0)
    return np.where(lost, np.nan, bounds)


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p that two readers of the same cases are right equally often.

    The exact binomial test below `EXACT_BELOW` discordant pairs, chi-squared with Edwards'
    continuity correction from there on.

    Parameters
    ----------
    first, second
        (n,) bool, whether each reader is right on each case.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    if b + c == 0:
        return 1.0
    if b + c < EXACT_BELOW:
        return float(stats.binomtest(b, b + c).pvalue)
    return float(stats.chi2.sf(max(abs(b - c) - 1, 0) ** 2 / (b + c), df=1))


def holm(p: ArrayLike) -> Floats:
    """Adjust (k,) p values by Holm's step-down rule (1979); a NaN is no test and does not count."""
    given = np.asarray(p, float)
    order = np.argsort(given)[: np.count_nonzero(~np.isnan(given))]
    adjusted = np.full(given.shape, np.nan)
    steps = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def fleiss_kappa(readings: ArrayLike) -> float:
    """Agreement of several readers beyond chance (Fleiss 1971).

    Parameters
    ----------
    readings
        (cases, readers) category that each reader names.

    Returns
    -------
    float
        1 at full agreement, 0 at chance; NaN where only one category is ever named.
    """
    readings = np.asarray(readings)
    readers = readings.shape[1]
    counts = np.stack([(readings == name).sum(1) for name in np.unique(readings)], axis=1)
    agreed = (counts * (counts - 1)).sum(1).mean() / (readers * (readers - 1))
    by_chance = ((counts.sum(0) / counts.sum()) ** 2).sum()
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Mean squared distance of the probabilities from what was true; 0 is best."""
    return float(np.mean((np.asarray(probabilities, float) - np.asarray(truth, bool)) ** 2))


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """What was predicted and what came, in those of the equally wide bins of 0..1 that hold cases.

    Attributes
    ----------
    predicted, observed
        (b,) mean probability and share of positives.
    count
        (b,) cases.
    """

    predicted: Floats
    observed: Floats
    count: NDArray[np.intp]


def reliability(probabilities: ArrayLike, truth: ArrayLike, bins: int = 10) -> Reliability:
    """Group the cases by their probability; ValueError where one lies outside 0..1."""
    probabilities = np.asarray(probabilities, float)
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise ValueError("these are no probabilities: they do not lie in 0..1")
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    held = count > 0
    predicted, observed = (
        np.bincount(bin_of, np.asarray(each, float), bins)[held] / count[held]
        for each in (probabilities, truth)
    )
    return Reliability(predicted, observed, count[held])


def calibration_error(probabilities: ArrayLike, truth: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: how far `Reliability.predicted` is off, weighted by count."""
    found = reliability(probabilities, truth, bins)
    return float(np.average(np.abs(found.predicted - found.observed), weights=found.count))


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float, float]:
    """PPV and NPV at this share of positives (Bayes); NaN where nothing is called so."""
    hits, misses = sensitivity * prevalence, (1 - sensitivity) * prevalence
    quiet, alarms = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    return _share(hits, hits + alarms), _share(quiet, quiet + misses)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def slice_losses(probabilities: ArrayLike, truth: ArrayLike) -> Floats:
    """(n,) loss of each slice: their mean is the RSNA 2019 challenge's weighted log loss.

    Parameters
    ----------
    probabilities, truth
        (n, 6), "any" and then the five subtypes.
    """
    chances = np.clip(np.asarray(probabilities, float), CLIP, 1 - CLIP)
    losses = -np.log(np.where(np.asarray(truth, bool), chances, 1 - chances))
    return np.asarray(np.average(losses, axis=1, weights=LABEL_WEIGHTS))
