"""Figures of the acceptance report and their intervals, against other libraries and by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from statsmodels.api import OLS
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint, samplesize_confint_proportion

from node.archive.acceptance.curves import Scored, calibration, roc
from node.archive.acceptance.figures import Counted, Estimate, Figure, estimate, wilson
from node.archive.acceptance.planning import bleeds_needed, predictive, studies_needed
from node.archive.adjudication import kappa


def table(found: int, missed: int, alarms: int, quiet: int) -> Counted:
    """Studies of a table of four cells, each of a patient of its own, all of known truth."""
    sizes = (found, missed, alarms, quiet)
    n = sum(sizes)
    return Counted(
        flagged=np.repeat([True, False, True, False], sizes),
        bleeds=np.repeat([1.0, 1.0, 0.0, 0.0], sizes),
        undecided=np.zeros(n, bool),
        cell=np.repeat(range(4), sizes),
        patient=np.arange(n),
        samples={
            number: (size if number < 2 else 0, size) for number, size in enumerate(sizes) if size
        },
    )


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (1, 20), (37, 42), (50, 50), (180, 4000)])
def test_wilsons_interval_is_that_of_statsmodels(hits: int, of: int) -> None:
    theirs = proportion_confint(hits, of, method="wilson")
    assert wilson(hits / of, of) == pytest.approx(theirs, abs=1e-12)


def test_where_all_is_known_and_each_patient_has_one_study_an_interval_is_wilsons() -> None:
    counted = table(37, 5, 60, 498)
    for figure, hits, of in (
        (Figure.SENSITIVITY, 37, 42),
        (Figure.SPECIFICITY, 498, 558),
        (Figure.PPV, 37, 97),
        (Figure.NPV, 498, 503),
    ):
        found = estimate(figure, counted)
        assert (found.hits, found.of, found.value) == pytest.approx((hits, of, hits / of))
        low, high = proportion_confint(hits, of, method="wilson")
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_studies_of_one_patient_widen_an_interval_as_cluster_robust_errors_do() -> None:
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(60), rng.integers(1, 5, 60))
    flagged = rng.random(len(patient)) < np.repeat(rng.beta(2, 1, 60), np.bincount(patient))
    counted = replace(
        table(len(patient), 0, 0, 0), flagged=flagged, patient=patient, samples={0: (1, 1)}
    )
    found = estimate(Figure.SENSITIVITY, counted)
    theirs = OLS(flagged.astype(float), np.ones(len(patient))).fit(
        cov_type="cluster", cov_kwds={"groups": patient, "use_correction": False}
    )
    share = flagged.mean()
    assert found.independent == pytest.approx(share * (1 - share) / theirs.bse[0] ** 2)
    assert found.independent < len(patient)


def weighted(bleeding: int, sample: int, cell: int) -> Counted:
    """40 bleeds found, 10 missed, and a cell of unflagged studies of which a sample was seen."""
    counted = table(40, 10, 0, cell)
    last = np.arange(50, 50 + cell)
    bleeds, undecided = counted.bleeds.copy(), counted.undecided.copy()
    bleeds[last] = bleeding / sample
    bleeds[last[:sample]] = np.arange(sample) < bleeding
    undecided[last[sample:]] = True
    samples = {0: (40, 40), 1: (10, 10), 3: (bleeding, sample)}
    return replace(counted, bleeds=bleeds, undecided=undecided, samples=samples)


def test_a_sample_of_agreements_is_weighted_back_by_begg_and_greenes() -> None:
    found = estimate(Figure.SENSITIVITY, weighted(bleeding=1, sample=20, cell=400))
    by_hand = 40 / (40 + 10 + 400 * 1 / 20)
    assert found.value == pytest.approx(by_hand)
    assert found.of == pytest.approx(70)
    never = 40 / 51  # as if the whole cell had been looked at
    assert found.value < never - 0.1


def test_a_sample_without_a_bleed_leaves_room_for_those_that_nobody_saw() -> None:
    found = estimate(Figure.SENSITIVITY, weighted(bleeding=0, sample=20, cell=400))
    plain = estimate(Figure.SENSITIVITY, table(40, 10, 0, 400))
    assert found.value == plain.value == pytest.approx(0.8)
    assert found.high == pytest.approx(plain.high)
    upper = proportion_confint(0, 20, method="beta")[1]
    at_worst = 40 / (50 + 380 * upper)
    assert found.low is not None and found.low <= at_worst < 0.4
    larger = estimate(Figure.SENSITIVITY, weighted(bleeding=0, sample=200, cell=400))
    assert larger.low is not None and larger.low > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("missed_and_agreed", [0.0, 0.01, 0.03])
def test_the_interval_of_a_weighted_figure_holds_the_truth_as_often_as_it_says(
    missed_and_agreed: float,
) -> None:
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(400):
        found, missed = rng.binomial(60, 0.85), 0
        missed = 60 - found
        agreed = rng.binomial(600, missed_and_agreed)
        seen = rng.hypergeometric(agreed, 600 - agreed, 60)
        counted = table(found, missed, 0, 600)
        last = np.arange(60, 660)
        bleeds, undecided = counted.bleeds.copy(), counted.undecided.copy()
        bleeds[last] = seen / 60
        bleeds[last[:60]] = np.arange(60) < seen
        undecided[last[60:]] = True
        samples = {0: (found, found), 1: (missed, missed), 3: (int(seen), 60)}
        told = estimate(
            Figure.SENSITIVITY,
            replace(counted, bleeds=bleeds, undecided=undecided, samples=samples),
        )
        truth = 60 * 0.85 / (60 + 600 * missed_and_agreed)
        held += told.low <= truth <= told.high  # type: ignore[operator]
    assert held / 400 >= 0.93


def test_of_too_few_studies_no_figure_is_given() -> None:
    found = estimate(Figure.SENSITIVITY, table(8, 1, 0, 50))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert (found.hits, found.of) == (8, 9)


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(lambda each: sum(each) >= 12))
def test_an_interval_always_holds_its_figure_and_stays_in_0_to_1(sizes: list[int]) -> None:
    for figure in Figure:
        found = estimate(figure, table(*sizes))
        if found.value is not None:
            assert found.low is not None and found.high is not None
            assert 0 <= found.low <= found.value <= found.high <= 1
            json.dumps(found.to_json())


def scored(n: int = 300, *, weights: bool = True) -> Scored:
    rng = np.random.default_rng(5)
    bleeds = rng.random(n) < 0.2
    scores = np.clip(np.where(bleeds, 0.65, 0.3) + rng.normal(0, 0.2, n), 0, 1).round(2)
    weight = rng.choice([1.0, 12.0], n) if weights else np.ones(n)
    return Scored(scores, bleeds, weight, np.arange(n))


@pytest.mark.parametrize("weights", [True, False])
def test_the_area_under_the_curve_is_that_of_scikit_learn(weights: bool) -> None:
    given = scored(weights=weights)
    theirs = roc_auc_score(given.bleeds, given.scores, sample_weight=given.weights)
    told = roc(given)
    assert told["auc"]["value"] == pytest.approx(theirs)
    assert told["auc"]["low"] < theirs < told["auc"]["high"]


def test_scores_that_do_not_overlap_have_an_interval_all_the_same() -> None:
    given = scored(weights=False)
    told = roc(replace(given, scores=np.where(given.bleeds, 0.9, 0.1)))
    assert told["auc"]["value"] == 1
    assert 0.9 < told["auc"]["low"] < 1 == told["auc"]["high"]


def test_without_enough_of_both_kinds_there_is_neither_curve_nor_calibration() -> None:
    given = scored(60)
    few = replace(given, bleeds=np.arange(60) < 9)
    assert roc(few) == {"studies": 60, "bleeds": 9, "too_few": True}
    assert calibration(few) == {"studies": 60, "too_few": True}


def test_three_points_at_90_percent_need_385_bleeds_and_12834_studies_at_3_percent() -> None:
    assert bleeds_needed() == 385
    assert samplesize_confint_proportion(0.9, 0.03) == pytest.approx(384.15, abs=0.01)
    assert studies_needed(385, 0.03) == 12834


def exact(value: float, number: int) -> Estimate:
    low, high = wilson(value, number)
    return Estimate(value * number, number, value, low, high, number)


def test_predictive_values_at_a_prevalence_follow_bayes_with_an_interval_by_logits() -> None:
    found = predictive({Figure.SENSITIVITY: exact(0.9, 400), Figure.SPECIFICITY: exact(0.8, 4000)})
    at_3 = next(each for each in found if each["prevalence"] == 0.03)
    assert at_3["ppv"]["value"] == pytest.approx(0.9 * 0.03 / (0.9 * 0.03 + 0.2 * 0.97))
    assert at_3["npv"]["value"] == pytest.approx(0.8 * 0.97 / (0.8 * 0.97 + 0.1 * 0.03))
    rng = np.random.default_rng(2)
    se, sp = rng.binomial(400, 0.9, 40_000) / 400, rng.binomial(4000, 0.8, 40_000) / 4000
    for name, drawn in (
        ("ppv", se * 0.03 / (se * 0.03 + (1 - sp) * 0.97)),
        ("npv", sp * 0.97 / (sp * 0.97 + (1 - se) * 0.03)),
    ):
        low, high = np.quantile(drawn, (0.025, 0.975))
        width = high - low
        assert at_3[name]["low"] == pytest.approx(low, abs=0.1 * width)
        assert at_3[name]["high"] == pytest.approx(high, abs=0.1 * width)


def test_kappa_and_its_interval_are_those_of_statsmodels() -> None:
    counts = np.array([[20, 5, 3], [4, 15, 2], [1, 3, 9]])
    names = ("bleeds", "cannot tell", "none")
    pairs = [
        (names[row], names[column])
        for row in range(3)
        for column in range(3)
        for _ in range(counts[row, column])
    ]
    found, theirs = kappa(("anna", "ben"), pairs), cohens_kappa(counts)
    assert (found.value, found.low, found.high) == pytest.approx(
        (theirs.kappa, theirs.kappa_low, theirs.kappa_upp)
    )
    assert (found.studies, found.agreed) == (62, 44)


def test_where_all_is_one_answer_kappa_says_nothing() -> None:
    found = kappa(("anna", "ben"), [("none", "none")] * 12)
    assert found.to_json()["value"] is None and found.agreed == 12
