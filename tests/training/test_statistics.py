"""Figures are judged by brute force, by worked examples and by how often intervals hold."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from training.metrics import statistics
from training.metrics.statistics import Areas, auc, delong

CASES = st.integers(4, 24).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, (2, n), elements=st.integers(0, 5)),  # few values, so many ties
        arrays(bool, n).filter(lambda truth: 2 <= truth.sum() <= len(truth) - 2),
        arrays(np.int8, n, elements=st.integers(0, 6)),
    )
)


def brute_auc(scores, truth) -> float:
    pairs = list(product(scores[truth], scores[~truth]))
    return sum(1.0 if p > q else 0.5 if p == q else 0.0 for p, q in pairs) / len(pairs)


def brute_delong(scores, truth) -> np.ndarray:
    """The definition: covariances of the structural components, every pair compared."""
    kernel = np.array(
        [
            [[1.0 if p > q else 0.5 if p == q else 0.0 for q in row[~truth]] for p in row[truth]]
            for row in scores
        ]
    )
    n, m = kernel.shape[1:]
    return np.cov(kernel.mean(2)) / n + np.cov(kernel.mean(1)) / m


def brute_obuchowski(scores, truth, patients) -> float:
    """Variance of one area by the sums S10, S01 and S11 of Obuchowski 1997, patient by patient."""
    area, positives, negatives = brute_auc(scores, truth), scores[truth], scores[~truth]
    names = np.unique(patients)
    x, y = [], []
    for name in names:
        own = patients == name
        above = [np.mean((s > negatives) + 0.5 * (s == negatives)) for s in scores[own & truth]]
        below = [np.mean((s < positives) + 0.5 * (s == positives)) for s in scores[own & ~truth]]
        x.append(sum(v - area for v in above))
        y.append(sum(v - area for v in below))
    x, y = np.array(x), np.array(y)
    big_m, big_n = truth.sum(), (~truth).sum()
    i10, i01, i = len(set(patients[truth])), len(set(patients[~truth])), len(names)
    s10, s01 = i10 / (i10 - 1) / big_m * x @ x, i01 / (i01 - 1) / big_n * y @ y
    s11 = i / (i - 1) * x @ y
    return s10 / big_m + s01 / big_n + 2 * s11 / (big_m * big_n)


@given(CASES)
def test_auc_and_delong_equal_their_definitions_with_ties(case) -> None:
    scores, truth, _ = case
    found = delong(scores, truth)
    areas = [brute_auc(row, truth) for row in scores]
    np.testing.assert_allclose(found.areas, areas, atol=1e-12)
    np.testing.assert_allclose([auc(row, truth) for row in scores], areas, atol=1e-12)
    np.testing.assert_allclose(found.covariance, brute_delong(scores, truth), atol=1e-12)


@given(CASES)
def test_delong_over_patients_equals_obuchowskis_sums(case) -> None:
    scores, truth, patients = case
    if min(len(set(patients[truth])), len(set(patients[~truth]))) < 2:
        return
    found = delong(scores, truth, patients)
    expected = [brute_obuchowski(row, truth, patients) for row in scores]
    np.testing.assert_allclose(np.diag(found.covariance), expected, atol=1e-12)


def test_the_auc_is_mann_whitneys_u() -> None:
    random = np.random.default_rng(0)
    scores, truth = random.integers(0, 30, 200), random.random(200) < 0.3
    u = stats.mannwhitneyu(scores[truth], scores[~truth]).statistic
    assert auc(scores, truth) == pytest.approx(u / (truth.sum() * (~truth).sum()))


def test_the_roc_curve_runs_from_corner_to_corner_and_encloses_the_auc() -> None:
    random = np.random.default_rng(1)
    scores, truth = random.integers(0, 9, 100), random.random(100) < 0.4
    alarms, hits = statistics.roc_curve(scores, truth)
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(hits, alarms) == pytest.approx(auc(scores, truth))


def test_a_model_compared_with_itself_or_with_the_same_ranks_has_p_1() -> None:
    random = np.random.default_rng(2)
    truth = random.random(60) < 0.5
    scores = random.normal(truth, 1)
    z, p = delong([scores, scores, np.exp(scores), random.normal(size=60)], truth).compare(0)
    assert (list(z[:3]), list(p[:3])) == ([0, 0, 0], [1, 1, 1])
    assert p[3] < 0.05


def test_the_paired_test_is_the_difference_over_its_standard_error() -> None:
    random = np.random.default_rng(3)
    truth = random.random(80) < 0.5
    scores = random.normal(truth, 1, (2, 80))
    found, covariance = delong(scores, truth), brute_delong(scores, truth)
    difference = brute_auc(scores[1], truth) - brute_auc(scores[0], truth)
    z = difference / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    tested_z, tested_p = found.compare(0)
    assert tested_z[1] == pytest.approx(z)
    assert tested_p[1] == pytest.approx(2 * stats.norm.cdf(-abs(z)))


def test_areas_that_differ_without_variance_are_not_tested() -> None:
    truth = np.array([True, True, False, False])
    _, p = delong([[3, 4, 1, 2], [1, 2, 3, 4]], truth).compare(0)
    assert p[0] == 1
    assert np.isnan(p[1])


def test_one_class_alone_has_no_area_no_interval_and_no_test() -> None:
    found = delong([[0.1, 0.9], [0.2, 0.3]], [True, True])
    assert np.isnan([*found.areas, *found.intervals().ravel(), *found.compare(0)[1]]).all()
    assert np.isnan(auc([0.1, 0.9], [True, True]))


def test_delongs_interval_holds_the_true_area_in_about_95_of_100_samples() -> None:
    random = np.random.default_rng(4)
    truth = np.arange(80) < 30
    true_area = stats.norm.cdf(1.5 / np.sqrt(2))
    samples = random.normal(1.5 * truth, 1, (1000, 80))
    low, high = delong(samples, truth).intervals().T
    assert 0.93 <= np.mean((low <= true_area) & (true_area <= high)) <= 0.97


def test_only_the_interval_over_patients_holds_where_slices_of_a_patient_are_alike() -> None:
    random = np.random.default_rng(5)
    patients = np.repeat(np.arange(60), 10)
    truth = patients % 2 == 0
    true_area = stats.norm.cdf(1 / np.sqrt(2))
    held = []
    for _ in range(300):
        own = random.normal(0, np.sqrt(0.7), 60)[patients]
        scores = truth + own + random.normal(0, np.sqrt(0.3), 600)
        intervals = [delong(scores, truth, by).intervals()[0] for by in (patients, None)]
        held.append([low <= true_area <= high for low, high in intervals])
    by_patient, by_slice = np.mean(held, axis=0)
    assert by_patient >= 0.92
    assert by_slice < 0.75


def test_separated_classes_have_an_interval_that_narrows_with_the_counts() -> None:
    truth = np.arange(20) < 10
    low, high = delong(truth.astype(float), truth).intervals()[0]
    assert high == 1
    assert 0.75 < low < 0.95
    assert statistics.separated(True, 100, 100)[0] > low
    assert statistics.separated(False, 10, 10) == pytest.approx((0, 1 - low))


def test_separated_classes_bound_the_area_by_hanley_and_mcneils_variance() -> None:
    n, m = 12, 12
    area, _ = statistics.separated(True, n, m)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)) / (n * m)
    assert (1 - area) / np.sqrt(variance) == pytest.approx(1.96, abs=1e-3)


def test_the_bootstrap_draws_patients_within_their_stratum_and_the_same_ones_again() -> None:
    strata = np.arange(50) < 20
    assert statistics.bootstrap(lambda picks: strata[picks].sum(), strata) == (20, 20)
    figure = np.random.default_rng(6).normal(size=50)
    low, high = statistics.bootstrap(lambda picks: figure[picks].mean(), strata)
    assert (low, high) == statistics.bootstrap(lambda picks: figure[picks].mean(), strata)
    assert low < figure.mean() < high


def test_draws_as_weights_keep_each_stratum_and_give_the_same_interval() -> None:
    strata = np.arange(60) < 20
    figure = np.random.default_rng(6).normal(strata, 1)
    counts = statistics.resample(strata, 4000)
    assert set(counts[:, :20].sum(1)) == {20}
    assert set(counts[:, 20:].sum(1)) == {40}
    by_weight = statistics.percentiles(counts @ figure / 60)
    by_pick = statistics.bootstrap(lambda picks: figure[picks].mean(), strata, 4000)
    np.testing.assert_allclose(by_weight, by_pick, atol=0.02)


@given(CASES, st.integers(0, 99))
def test_the_weighted_area_is_that_of_the_cases_repeated(case, seed: int) -> None:
    scores, truth, _ = case
    weights = np.random.default_rng(seed).integers(0, 3, (3, len(truth)))
    expected = [auc(np.repeat(scores[0], row), np.repeat(truth, row)) for row in weights]
    np.testing.assert_allclose(statistics.weighted_auc(scores[0], truth, weights), expected)


def test_the_bootstraps_interval_of_a_mean_is_about_the_normal_one() -> None:
    values = np.random.default_rng(7).normal(size=400)
    found = statistics.bootstrap(lambda picks: values[picks].mean(), [True] * 400)
    expected = stats.norm.interval(0.95, values.mean(), values.std() / 20)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_draws_that_cannot_give_a_figure_are_left_out_of_its_interval() -> None:
    draws = np.array([[0.0, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    low, high = statistics.percentiles(draws)
    assert (low[0], high[0]) == pytest.approx((0.025, 0.975))
    assert np.isnan([low[1], high[1]]).all()


def test_wilsons_interval_is_the_textbooks() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert statistics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert statistics.wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)


def calls(both: int, first: int, second: int) -> tuple[list[bool], list[bool]]:
    pairs = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second
    one, other = zip(*pairs, strict=True)
    return list(one), list(other)


def test_mcnemar_is_exact_for_few_discordant_pairs() -> None:
    exact = 2 * sum(comb(22, k) for k in range(7)) / 2**22
    assert statistics.mcnemar(*calls(139, 6, 16)) == pytest.approx(exact)
    assert exact == pytest.approx(0.0525, abs=1e-4)


def test_mcnemar_corrects_for_continuity_where_pairs_are_many() -> None:
    # 121 against 59 discordant pairs: (|121 - 59| - 1)^2 / 180 = 20.672.
    p = statistics.mcnemar(*calls(134, 121, 59))
    assert p == pytest.approx(stats.chi2.sf(20.6722, 1), rel=1e-3)
    assert statistics.mcnemar(*calls(0, 20, 20)) == 1


def test_mcnemar_of_readers_who_never_disagree_is_1() -> None:
    assert statistics.mcnemar(*calls(10, 0, 0)) == 1


def test_holm_steps_down_and_never_lets_a_larger_p_become_the_smaller() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1, 1])


def test_holm_does_not_count_what_was_not_tested() -> None:
    adjusted = statistics.holm([0.02, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.04])
    assert np.isnan(adjusted[1])


def test_fleiss_kappa_is_0_210_for_the_well_known_ten_cases_of_fourteen_readers() -> None:
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    readings = [np.repeat(np.arange(5), row) for row in counts]
    assert statistics.fleiss_kappa(readings) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_is_1_at_full_agreement_and_unknown_where_nothing_varies() -> None:
    assert statistics.fleiss_kappa([[1, 1, 1], [0, 0, 0]]) == 1
    assert np.isnan(statistics.fleiss_kappa([[1, 1], [1, 1]]))


def test_brier_and_calibration_are_right_for_cases_worked_by_hand() -> None:
    probabilities, truth = [0.1, 0.1, 0.8, 1.0], [False, True, True, True]
    assert statistics.brier(probabilities, truth) == pytest.approx((0.01 + 0.81 + 0.04) / 4)
    found = statistics.reliability(probabilities, truth)
    np.testing.assert_allclose(found.predicted, [0.1, 0.8, 1.0])
    np.testing.assert_allclose(found.observed, [0.5, 1, 1])
    np.testing.assert_array_equal(found.count, [2, 1, 1])
    assert statistics.calibration_error(probabilities, truth) == pytest.approx((0.8 + 0.2) / 4)


def test_scores_outside_0_to_1_are_no_probabilities() -> None:
    with pytest.raises(ValueError, match="no probabilities"):
        statistics.reliability([0.2, 55], [False, True])


def test_honest_probabilities_are_calibrated_and_inflated_ones_are_not() -> None:
    random = np.random.default_rng(8)
    probabilities = random.random(20000)
    truth = random.random(20000) < probabilities
    assert statistics.calibration_error(probabilities, truth) < 0.02
    assert statistics.calibration_error(np.sqrt(probabilities), truth) > 0.1


def test_predictive_values_are_those_of_a_thousand_patients() -> None:
    # 60 bleed, of whom 54 are called; of 940 others 94 are called.
    ppv, npv = statistics.predictive_values(0.9, 0.9, 0.06)
    assert (ppv, npv) == pytest.approx((54 / 148, 846 / 852))
    assert np.isnan(statistics.predictive_values(0, 1, 0.15)[0])


def test_the_log_loss_counts_any_twice() -> None:
    truth = np.zeros((1, 6), bool)
    chances = np.full((1, 6), 1e-15)
    for label, weight in enumerate((2, 1, 1, 1, 1, 1)):
        wrong = chances.copy()
        wrong[0, label] = 0.5
        (loss,) = statistics.slice_losses(wrong, truth)
        assert loss == pytest.approx(weight * np.log(2) / 7)


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    loss = statistics.slice_losses(np.ones((2, 6)), np.zeros((2, 6), bool))
    assert loss == pytest.approx(-np.log(1e-15), rel=1e-2)


def test_intervals_say_nothing_about_a_variance_that_is_unknown() -> None:
    alone = Areas(np.array([0.7]), np.array([[np.nan]]), (1, 1))
    assert np.isnan(alone.intervals()).all()
