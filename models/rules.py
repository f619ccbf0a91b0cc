"""What a bundle fixes beside its weights: how what its networks say becomes a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.preprocess import Array, Grid

Score = Literal["paper", "max", "top-k mean", "best pair"]
Subtypes = Literal["ensemble", "sequence", "slices"]
KeySlice = Literal["lesion", "attention"]
PointName = Literal["sensitive", "balanced", "quiet"]


def logits(probabilities: Array) -> NDArray[np.float64]:
    """Probabilities 0..1 of any shape -> their logits, float64; those of 0 and 1 are bounded."""
    bounded = np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _logistic(values: NDArray[np.float64]) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)


@dataclass(frozen=True, slots=True)
class Opinion:
    """The calibration of one kind of network alone: Platt's logistic on the logit of what it says.

    Slope 1 and intercept 0 change nothing.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def calibrate(self, probabilities: Array) -> Array:
        """(s,) float32, what the network says of each slice, 0..1 -> (s,) float32, 0..1."""
        return _logistic(self.slope * logits(probabilities) + self.intercept)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the bundle fixes beside the weights.

    Attributes
    ----------
    operating_point
        Triage score from which a volume is suspected, 0..1; locked on the tuning patients.
    mask_threshold
        Probability on the map from which a voxel belongs to the lesion, 0..1.
    slope, slices_slope, intercept
        Of the score of a slice, see `calibrate`; no slope is negative.
    score
        How slice scores become the triage score, see `triage_score`.
    tau
        Slice score from which a slice counts as one with hemorrhage. The paper states no value;
        this one is ours.
    top_k
        Slices averaged by the score "top-k mean".
    uncertain_from
        Disagreement of the networks from which a volume is uncertain; locked on the tuning
        patients.
    subtypes
        Which network names subtypes: the head of one base network, the sequence model, or the
        network of slices.
    key_slice
        Which slice to show first: the one with most lesion, or the one with most attention.
    least_brain_ml, least_bone
        What counts as a head, see `models.preprocess.confirm_head`.
    grid
        The lattices on which the networks' input is sampled.
    map_weight
        Part of the network of slices in the map, 0..1; the ensemble's fused map has the rest.
    ensemble_alone, slices_alone
        Calibration of either kind of network without the other, see `uncertainty`.
    operating_points
        Those that a bundle offers, by their names; if it offers any, "balanced" is one of them and
        is `operating_point`.
    point
        Name of the one in force.
    """

    operating_point: float
    mask_threshold: float = 0.5
    slope: float = 1.0
    intercept: float = 0.0
    score: Score = "top-k mean"
    tau: float = 0.1
    top_k: int = 3
    uncertain_from: float = 1.0
    subtypes: Subtypes = "ensemble"
    key_slice: KeySlice = "lesion"
    least_brain_ml: float = 200.0
    least_bone: float = 0.4
    grid: Grid = field(default_factory=Grid)
    slices_slope: float = 0.0
    map_weight: float = 0.0
    ensemble_alone: Opinion = field(default_factory=Opinion)
    slices_alone: Opinion = field(default_factory=Opinion)
    operating_points: Mapping[str, float] = field(default_factory=dict)
    point: PointName = "balanced"

    @property
    def hears_slices(self) -> bool:
        """Whether scores or map depend on the network of slices."""
        return self.slices_slope > 0 or self.map_weight > 0

    def calibrate(self, peaks: Array, bleeding: Array | None = None) -> Array:
        """Return the probability that a slice bleeds, from what the networks say of it (ours).

        It is a logistic: slope * logit(peak) + slices_slope * logit(bleeding) + intercept. For the
        peak alone that is Platt's: the largest of many pixels is no probability, and networks
        trained with Dice push it towards 1. The numbers are the bundle's, fitted on slices that
        the networks did not learn from; slope 1, slices_slope 0 and intercept 0 change nothing.

        Parameters
        ----------
        peaks
            (s,) float32, 0..1, each slice's peak of the ensemble's map.
        bleeding
            (s,) float32, 0..1, the probability by the network of slices; None without it.

        Returns
        -------
        NDArray
            (s,) float32, 0..1.

        Raises
        ------
        ValueError
            If the settings count on the network of slices and it is not there.
        """
        values = self.slope * logits(peaks) + self.intercept
        if self.slices_slope > 0:
            if bleeding is None:
                raise ValueError("these settings need what the network of slices says")
            values += self.slices_slope * logits(bleeding)
        return _logistic(values)

    def triage(self, slice_scores: Array) -> float:
        """Return the triage score of calibrated slice scores, see `triage_score`."""
        return triage_score(slice_scores, self.score, self.tau, self.top_k)

    def uncertainty(self, peaks: Array, base_peaks: Array, bleeding: Array | None = None) -> float:
        """Return how far the networks disagree (ours), 0..1.

        With two kinds of networks it is the difference of the triage scores that either kind would
        give alone, each by its own calibration: networks that learnt alike are wrong alike, and
        their agreement says little. With the ensemble alone see `disagreement`.

        Parameters
        ----------
        peaks, bleeding
            As in `calibrate`.
        base_peaks
            (s, N) float32, 0..1; N base networks.
        """
        if bleeding is None:
            return self.disagreement(base_peaks)
        return abs(
            self.triage(self.ensemble_alone.calibrate(peaks))
            - self.triage(self.slices_alone.calibrate(bleeding))
        )

    def disagreement(self, base_peaks: Array) -> float:
        """Return how far the base networks disagree (ours), 0..0.5.

        It is the standard deviation of the triage scores that each of them would give alone.

        Parameters
        ----------
        base_peaks
            (s, N) float32, 0..1; N base networks.
        """
        by_peaks = self.without_slices()
        alone = [self.triage(by_peaks.calibrate(peaks)) for peaks in base_peaks.T]
        return float(np.std(alone))

    def mixed(self, fused: Array, lesion: Array | None) -> Array:
        """Return the map that marks the lesion: the ensemble's, or the weighted mean of two.

        Parameters
        ----------
        fused, lesion
            (s, rows, columns) float32, 0..1, by the ensemble and by the network of slices.

        Raises
        ------
        ValueError
            If the settings count on the network of slices and it is not there.
        """
        if self.map_weight == 0:
            return fused
        if lesion is None:
            raise ValueError("these settings need the map of the network of slices")
        weight = np.float32(self.map_weight)
        return np.asarray((1 - weight) * fused + weight * lesion)

    def without_slices(self) -> Settings:
        """Return the settings for the ensemble alone; its operating point is not locked anew."""
        if not self.hears_slices and self.subtypes != "slices":
            return self
        alone = (
            self.ensemble_alone if self.slices_slope > 0 else Opinion(self.slope, self.intercept)
        )
        return replace(
            self,
            slope=alone.slope,
            intercept=alone.intercept,
            slices_slope=0.0,
            map_weight=0.0,
            subtypes="ensemble" if self.subtypes == "slices" else self.subtypes,
        )

    @property
    def points(self) -> Mapping[str, float]:
        """The operating points to choose from; the locked one alone is called "balanced"."""
        return self.operating_points or {"balanced": self.operating_point}

    def at(self, point: PointName) -> Settings:
        """Return the settings with another operating point in force.

        Raises
        ------
        KeyError
            If there is none of this name.
        """
        return replace(self, operating_point=self.points[point], point=point)


def triage_score(slice_scores: Array, score: Score, tau: float, top_k: int) -> float:
    """Return the score of a volume from the scores of its slices.

    "paper" is the mean over the slices with hemorrhage, which score `tau` or more. If no slice
    scores that much, it is the largest score. This score is not monotone: one more weak slice
    lowers it.

    "max", "top-k mean" and "best pair" (ours) never fall as a slice's score rises. "best pair" is
    the largest mean of two neighbours, or the score of a slice that is alone: one slice that errs
    by itself counts half. It does not fall as slices are added above or below two or more; it can
    as one is put between two, as "top-k mean" can while there are fewer than k. That slices are
    missing is no matter of the score: then nothing is cleared (`node.cases.clearance`).

    Parameters
    ----------
    slice_scores
        (s,) float32, each slice's calibrated probability, 0..1, in their order in the head.
    """
    ordered = np.sort(slice_scores)[::-1]
    if score == "top-k mean":
        return float(ordered[:top_k].mean())
    if score == "best pair" and len(slice_scores) > 1:
        return float((slice_scores[1:] + slice_scores[:-1]).max() / 2)
    bleeding = ordered[ordered >= tau]
    if score != "paper" or len(bleeding) == 0:
        return float(ordered[0])
    return float(bleeding.mean())
