"""Which of a classifier's features a sequence reader sees (Burduja 2020)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
How = Literal["pca", "deviation", "largest", "smallest", "all"]

FITTED_ON = 30_000
"""Feature vectors that the selection is fitted on at most (Burduja 2020)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One affine map for all ways to select: features less `mean`, times `components`.

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
    """Choose what to keep of features.

    The paper's further way, the six predictions alone, is "all" of the predictions, given as
    features.

    Parameters
    ----------
    features
        (n, F) vectors of training slices. Of more than `FITTED_ON`, evenly spaced ones are used
        (ours; the paper does not say which).
    how
        "pca": the first principal components; "deviation": the features with the largest standard
        deviation; "largest", "smallest": those with the largest or smallest absolute weight in the
        classifier, the largest over its labels (ours; the paper does not say how it joins the six);
        "all": every feature.
    count
        Features to keep, 120 or 192 in the paper; "all" keeps every one.
    classifier
        (labels, F) weights of the classifier's linear layer, for "largest" and "smallest".

    Raises
    ------
    ValueError
        If there are fewer features, or vectors for "pca", than `count`, or no classifier where one
        is needed.
    """
    total = features.shape[1]
    if how == "all":
        return _pick(np.arange(total), total)
    if not 0 < count <= total:
        raise ValueError(f"cannot keep {count} of {total} features")
    rows = np.linspace(0, len(features) - 1, min(len(features), FITTED_ON)).astype(int)
    fitted = features[rows].astype(np.float32)
    if how == "pca":
        return _principal(fitted, count)
    if how == "deviation":
        return _pick(np.argsort(-fitted.std(0), kind="stable")[:count], total)
    if classifier is None:
        raise ValueError(f"{how!r} needs the classifier's weights")
    weight = np.abs(classifier).max(0)
    order = np.argsort(-weight if how == "largest" else weight, kind="stable")
    return _pick(order[:count], total)


def _pick(chosen: NDArray[np.intp], total: int) -> Selection:
    """Keep the features of these indices as they are."""
    return Selection(np.zeros(total, np.float32), np.eye(total, dtype=np.float32)[chosen])


def _principal(features: Array, count: int) -> Selection:
    """Keep the directions of largest variance."""
    if count > len(features):
        raise ValueError(f"{len(features)} vectors have no {count} principal components")
    mean = features.mean(0)
    components = np.linalg.svd(features - mean, full_matrices=False)[2][:count]
    return Selection(mean, components)
