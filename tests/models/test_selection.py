"""The ways to select features: what each keeps, and that each is one affine map."""

import numpy as np
import pytest

from models import selection
from models.selection import Selection, fit


def features(n: int = 200) -> np.ndarray:
    """(n, 5), of standard deviations 1, 5, 0.1, 3 and 2 around a mean that is not 0."""
    noise = np.random.default_rng(0).normal(size=(n, 5))
    return (noise * [1, 5, 0.1, 3, 2] + [7, -2, 40, 0, 1]).astype(np.float32)


def test_principal_components_are_uncorrelated_and_keep_the_most_variance() -> None:
    mixed = features() @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    chosen = fit(mixed.astype(np.float32), "pca", 3)
    kept = np.cov(chosen(mixed.astype(np.float32)).T)
    largest = np.linalg.eigvalsh(np.cov(mixed.T))[::-1][:3]
    np.testing.assert_allclose(kept, np.diag(largest), atol=1e-3 * largest[0])


def test_all_principal_components_keep_the_distances() -> None:
    vectors = features()
    kept = fit(vectors, "pca", 5)(vectors)
    np.testing.assert_allclose(
        np.linalg.norm(kept[3] - kept[8]), np.linalg.norm(vectors[3] - vectors[8]), rtol=1e-4
    )


def test_the_features_of_largest_deviation_are_kept_as_they_are() -> None:
    vectors = features()
    np.testing.assert_array_equal(fit(vectors, "deviation", 2)(vectors), vectors[:, [1, 3]])


def test_a_features_weight_is_its_largest_over_the_labels() -> None:
    vectors = features()
    classifier = np.array([[0.1, 0.2, 0, 0.5, 0.4], [-9, 0.1, 0, 0.1, 0.4]], np.float32)
    largest = fit(vectors, "largest", 2, classifier)
    smallest = fit(vectors, "smallest", 2, classifier)
    np.testing.assert_array_equal(largest(vectors), vectors[:, [0, 3]])
    np.testing.assert_array_equal(smallest(vectors), vectors[:, [2, 1]])


def test_all_keeps_every_feature_whatever_the_count() -> None:
    vectors = features()
    np.testing.assert_array_equal(fit(vectors, "all", 2)(vectors), vectors)


def test_at_most_the_papers_number_of_vectors_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "FITTED_ON", 50)
    vectors = features(150)
    vectors[1] = 1e6  # evenly spaced rows pass it over
    assert fit(vectors, "pca", 1).mean.max() < 100


def test_a_selection_is_an_affine_map() -> None:
    chosen = Selection(np.array([1, 2], np.float32), np.array([[3, 4]], np.float32))
    np.testing.assert_array_equal(chosen(np.array([[2, 4]], np.float32)), [[11]])


@pytest.mark.parametrize(
    ("n", "how", "count", "says"),
    [
        (200, "deviation", 6, "cannot keep 6 of 5"),
        (3, "pca", 4, "3 vectors have no 4 principal components"),
        (200, "largest", 2, "needs the classifier's weights"),
    ],
)
def test_what_cannot_be_selected_is_refused(
    n: int, how: selection.How, count: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        fit(features(n), how, count)
