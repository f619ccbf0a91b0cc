"""One model's scores of cases: its figures with their intervals, and models compared.

Patients are resampled, never slices, and tests count patients too. Where a figure is 0 or 1 no
draw varies, and an interval of no width would claim certainty: Wilson's interval (Newcombe's for
an AUC) by the number of patients stands there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.classifiers import LABELS
from training.losses import CLASSES
from training.metrics.statistics import (
    Bools,
    Floats,
    delong,
    draws,
    holm,
    percentiles,
    separated,
    weighted_auc,
    weighted_share,
    wilson,
)
from training.metrics.tables import Cell

INTERVALS = "Intervals: 95 %, 500 bootstrap replications over patients, stratified"

METHOD = (
    f"{INTERVALS} (Wilson's or Newcombe's by the number of patients where the figure is 0 or 1). "
    "p: DeLong's paired test, placements summed within each patient (Obuchowski 1997), adjusted by "
    "Holm's rule over the tests of its column."
)
"""How the cells come about, for a table's notes."""

Edge = Callable[[bool], tuple[float, float]]
"""The interval of a figure that is 1 (True) or 0 (False)."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One model's scores of a set of cases (slices or studies).

    Attributes
    ----------
    truth
        (n,) bool.
    score
        (n,) float; a higher score is more suspect.
    patient
        (n,) the patient of each case, by number or name.
    threshold
        A case is called positive from here: 0.5 [paper], or the point locked on the tuning set.

    Raises
    ------
    ValueError
        The shapes differ, or a case has no score: leave it out and say so, for it would be
        counted as called negative.
    """

    truth: Bools
    score: Floats
    patient: NDArray[Any]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _check(self.score, (len(self.patient),), self.truth)

    def only(self, keep: Bools) -> "Scores":
        """Return the cases of (n,) `keep`."""
        return replace(
            self, truth=self.truth[keep], score=self.score[keep], patient=self.patient[keep]
        )

    def among(self, positives: Bools) -> "Scores":
        """Return these positive cases and all negative ones."""
        return self.only(~self.truth | positives)

    def measure(self) -> dict[str, Cell]:
        """AUC, sensitivity, specificity, accuracy, PPV and NPV with their intervals."""
        called = self.score >= self.threshold
        correct = called == self.truth
        groups = {
            "sensitivity": self.truth,
            "specificity": ~self.truth,
            "accuracy": np.ones_like(self.truth),
            "PPV": called,
            "NPV": ~called,
        }

        def figures(weights: Floats) -> Floats:
            shares = [weighted_share(correct, group, weights) for group in groups.values()]
            return np.column_stack([weighted_auc(self.score, self.truth, weights), *shares])

        positives, negatives = (_count(self.patient[each]) for each in (self.truth, ~self.truth))
        edges: list[Edge] = [lambda right: separated(right, positives, negatives)]
        edges += [_none_or_all(self.patient[group]) for group in groups.values()]
        area, *shares = estimate(figures, self.patient, self.truth, edges)
        # One patient alone does not vary from draw to draw, and no interval says so.
        if min(positives, negatives) == 1 and area.value not in (0, 1):
            area = replace(area, interval=None)
        return {"AUC": area} | dict(zip(groups, shares, strict=True))

    def count(self) -> str:
        """How many cases of how many patients these are."""
        cases = f"{len(self.truth)} cases ({self.truth.sum()} positive)"
        return f"{cases}, {_count(self.patient)} patients"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One model's probabilities of the six labels.

    Attributes
    ----------
    truth, score
        (n, 6) bool and float, in the order of `LABELS`.
    patient
        (n,) the patient of each slice or scan.
    threshold
        As in `Scores`, of every label.

    Raises
    ------
    ValueError
        As of `Scores`.
    """

    truth: Bools
    score: Floats
    patient: NDArray[Any]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _check(self.score, (len(self.patient), len(LABELS)), self.truth)

    def of(self, label: str) -> Scores:
        """Return the cases' scores of one label."""
        column = LABELS.index(label)
        return Scores(self.truth[:, column], self.score[:, column], self.patient, self.threshold)

    def by_scan(self, scan: NDArray[Any]) -> "Labelled":
        """Return scans of the slices: the largest of their slices [paper: Burduja 2020].

        Parameters
        ----------
        scan
            (n,) scan of each slice.
        """
        _, first, which = np.unique(scan, return_index=True, return_inverse=True)
        score = np.full((len(first), len(LABELS)), -np.inf)
        np.maximum.at(score, which, self.score)
        truth = np.zeros(score.shape, bool)
        np.logical_or.at(truth, which, self.truth)
        return Labelled(truth, score, self.patient[first], self.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """One model's probabilities of the exclusive classes.

    Attributes
    ----------
    truth
        (n,) int, index into `CLASSES`.
    score
        (n, 6) float, softmax over `CLASSES`.
    patient
        (n,) the patient of each image.

    Raises
    ------
    ValueError
        As of `Scores`.
    """

    truth: NDArray[np.integer[Any]]
    score: Floats
    patient: NDArray[Any]

    def __post_init__(self) -> None:
        _check(self.score, (len(self.patient), len(CLASSES)))

    def figures(self, weights: Floats) -> Floats:
        """(r, 8) accuracy, mean AUC of each class present against the rest, each sensitivity.

        Parameters
        ----------
        weights
            (r, n) how often each image is drawn.
        """
        correct = self.score.argmax(1) == self.truth
        members = [self.truth == index for index in range(len(CLASSES))]
        present = [index for index, member in enumerate(members) if member.any()]
        areas = [weighted_auc(self.score[:, i], members[i], weights) for i in present]
        area = np.mean(areas, axis=0) if areas else np.full(len(weights), np.nan)
        shares = [weighted_share(correct, member, weights) for member in members]
        return np.column_stack([weighted_share(correct, correct | True, weights), area, *shares])

    def measure(self) -> list[Cell]:
        """`figures` with their intervals."""
        shares = (_none_or_all(self.patient[self.truth == i]) for i in range(len(CLASSES)))
        edges = [_none_or_all(self.patient), None, *shares]
        return estimate(self.figures, self.patient, self.truth > 0, edges)

    def count(self) -> str:
        """How many images of how many patients these are."""
        return f"{len(self.truth)} images, {_count(self.patient)} patients"


def _check(score: Floats, shape: tuple[int, ...], truth: NDArray[Any] | None = None) -> None:
    """Raise ValueError unless scores are numbers of this shape, and truths bool of the same."""
    if score.shape != shape:
        raise ValueError(f"scores of shape {score.shape} for {shape}")
    if truth is not None and (truth.shape != shape or truth.dtype != bool):
        raise ValueError(f"truths of {truth.dtype} {truth.shape} where bool {shape} is needed")
    if unread := int(np.isnan(score).sum()):
        raise ValueError(f"{unread} scores are missing: leave those cases out and say so")


def estimate(
    figures: Callable[[Floats], Floats],
    patient: NDArray[Any],
    positive: Bools,
    edges: Sequence[Edge | None] | None = None,
) -> list[Cell]:
    """Return f figures of all cases as cells, with bootstrap intervals over patients.

    Parameters
    ----------
    figures
        (r, f) of (r, n) weights, see `training.metrics.statistics.draws`.
    patient
        (n,) the patient of each case.
    positive
        (n,) patients with a positive case are a stratum of their own.
    edges
        (f,) intervals of those figures that may be 0 or 1 without any doubt left to draw.
    """
    bounds = percentiles(draws(figures, patient, positive)).T
    values = figures(np.ones((1, len(patient))))[0]
    return [
        Cell(float(value), edge(bool(value))) if edge and value in (0, 1) else Cell.of(value, bound)
        for value, bound, edge in zip(values, bounds, edges or [None] * len(values), strict=True)
    ]


def _none_or_all(patient: NDArray[Any]) -> Edge:
    """Wilson's interval of none or all of these patients."""
    patients = _count(patient)
    return lambda right: wilson(patients if right else 0, patients)


def _count(patient: NDArray[Any]) -> int:
    return len(np.unique(patient))


def counts(sets: Mapping[str, Scores | Classes]) -> str:
    """How many cases each set has, in one sentence."""
    return "; ".join(f"{name}: {cases.count()}" for name, cases in sets.items()) + "."


def refuse_other_cases(one: Scores | Labelled, other: Scores | Labelled, name: str) -> None:
    """Raise ValueError unless both are of the same cases, which paired comparisons need."""
    if not (np.array_equal(one.truth, other.truth) and np.array_equal(one.patient, other.patient)):
        raise ValueError(f"{name}: other cases than the reference's, so no paired comparison")


def compare(arms: Mapping[str, Scores], reference: str) -> dict[str, float]:
    """DeLong's p of every other arm against the reference; NaN where there is no test.

    Raises
    ------
    ValueError
        The reference is missing, or an arm is of other cases.
    """
    if reference not in arms:
        raise ValueError(f"the reference {reference!r} is not among {sorted(arms)}")
    cases = arms[reference]
    for name, scores in arms.items():
        refuse_other_cases(cases, scores, name)
    found = delong([scores.score for scores in arms.values()], cases.truth, cases.patient)
    _, p = found.compare(list(arms).index(reference))
    return {name: float(value) for name, value in zip(arms, p, strict=True) if name != reference}


def adjusted(p: Mapping[Any, float]) -> dict[Any, float | None]:
    """Holm's adjustment over all of them; None where there was no test."""
    return {
        key: None if np.isnan(value) else float(value)
        for key, value in zip(p, holm(list(p.values())), strict=True)
    }
