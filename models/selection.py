"""Which of a classifier's features the sequence model gets (Burduja 2020)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
How = Literal["pca", "deviation", "largest", "smallest", "all"]

FITTED_ON = 30_000
"""Largest number of feature vectors that a selection is fitted on (Burduja 2020)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """An affine map: features less `mean`, times `components`. Every way to select gives one.

    Attributes
    ----------
    mean
        (F,) float32.
    components
        (k, F) float32; a row for each selected feature or principal component.
    """

    mean: Array
    components: Array

    def __call__(self, features: Array) -> Array:
        """(n, F) features -> (n, k) selected, float32."""
        return np.asarray((features - self.mean) @ self.components.T, np.float32)


def fit(
    features: Array, how: How = "pca", count: int = 120, classifier: Array | None = None
) -> Selection:
    """Return which features to keep, and how.

    A further way of the paper keeps the six predictions alone: give them as the features, with
    "all".

    Parameters
    ----------
    features
        (n, F) vectors of training slices. If there are more than `FITTED_ON`, evenly spaced ones
        are used (ours; the paper does not say which).
    how
        "pca": the first principal components; "deviation": the features with the largest standard
        deviation; "largest", "smallest": those with the largest or smallest absolute weight in the
        classifier; of a feature's weights for the labels the largest counts (ours; the paper does
        not say how it joins the six); "all": every feature.
    count
        How many features to keep, 120 or 192 in the paper; ignored with "all".
    classifier
        (labels, F) weights of the classifier's linear layer, for "largest" and "smallest".

    Raises
    ------
    ValueError
        If there are fewer features than `count`, fewer vectors than `count` for "pca", or no
        classifier where one is needed.
    """
    total = features.shape[1]
    if how == "all":
        return _pick(np.arange(total), total)
    if not 0 < count <= total:
        raise ValueError(f"cannot keep {count} of {total} features")
    # At most FITTED_ON rows, evenly spaced: (n, F) -> (m, F).
    rows = np.linspace(0, len(features) - 1, min(len(features), FITTED_ON)).astype(int)
    fitted = features[rows].astype(np.float32)
    if how == "pca":
        return _principal(fitted, count)
    if how == "deviation":
        return _pick(np.argsort(-fitted.std(0), kind="stable")[:count], total)
    if classifier is None:
        raise ValueError(f"{how!r} needs the classifier's weights")
    weight = np.abs(classifier).max(0)  # (labels, F) -> (F,)
    order = np.argsort(-weight if how == "largest" else weight, kind="stable")
    return _pick(order[:count], total)


def _pick(chosen: NDArray[np.intp], total: int) -> Selection:
    """Return the selection that keeps the features of these indices unchanged."""
    return Selection(np.zeros(total, np.float32), np.eye(total, dtype=np.float32)[chosen])


def _principal(features: Array, count: int) -> Selection:
    """Return the selection of the directions with the largest variance."""
    if count > len(features):
        raise ValueError(f"{len(features)} vectors have no {count} principal components")
    mean = features.mean(0)
    # The right singular vectors, largest singular value first: (F or m, F) -> (count, F).
    components = np.linalg.svd(features - mean, full_matrices=False)[2][:count]
    return Selection(mean, components)
