"""A model's figures and their intervals, and models compared on the same cases."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.simulated import labelled, scores
from training.metrics.scores import Labelled, Scores, adjusted, compare
from training.metrics.statistics import auc, delong, holm, wilson
from training.metrics.tables import Cell


def test_a_case_without_a_score_is_refused_and_not_called_negative() -> None:
    with pytest.raises(ValueError, match="1 scores are missing"):
        Scores(np.array([True, False]), np.array([np.nan, 0.1]), np.arange(2))


def test_labels_that_are_no_plain_yes_or_no_are_refused() -> None:
    with pytest.raises(ValueError, match="bool"):
        Scores(np.array([1.0, np.nan]), np.array([0.4, 0.1]), np.arange(2))


def test_figures_are_those_of_the_scores_and_lie_in_their_intervals() -> None:
    cases = scores()
    found = cases.measure()
    called = cases.score >= 0.5
    expected = {
        "AUC": auc(cases.score, cases.truth),
        "sensitivity": called[cases.truth].mean(),
        "specificity": (~called)[~cases.truth].mean(),
        "accuracy": (called == cases.truth).mean(),
        "PPV": cases.truth[called].mean(),
        "NPV": (~cases.truth)[~called].mean(),
    }
    assert {name: cell.value for name, cell in found.items()} == pytest.approx(expected)
    for cell in found.values():
        assert cell.interval is not None
        assert cell.interval[0] < cell.value < cell.interval[1]


def test_the_threshold_is_the_models_own() -> None:
    cases = scores()
    strict = replace(cases, threshold=0.9).measure()
    assert strict["AUC"] == cases.measure()["AUC"]
    assert strict["specificity"].value > cases.measure()["specificity"].value


def test_slices_of_few_patients_have_wider_intervals_than_as_many_patients() -> None:
    alone = scores()
    own = np.random.default_rng(3).normal(0, 2, 20)
    few = replace(alone, patient=np.arange(80) // 4, score=alone.score + np.repeat(own, 4))
    widths = [
        np.ptp(each.measure()["AUC"].interval)
        for each in (few, replace(few, patient=np.arange(80)))
    ]
    assert widths[0] > widths[1]


def test_perfect_figures_have_an_interval_by_the_number_of_patients() -> None:
    truth = np.arange(60) < 30
    found = Scores(truth, truth.astype(float), np.arange(60) // 3).measure()
    assert found["sensitivity"] == Cell(1.0, wilson(10, 10))
    assert found["AUC"].value == 1
    assert 0.7 < found["AUC"].interval[0] < 0.95


def test_one_bleeding_patient_gives_figures_without_intervals() -> None:
    truth = np.arange(40) < 4
    score = np.where(np.arange(40) % 2, 0.7, 0.3)
    found = Scores(truth, score, np.arange(40) // 4).measure()
    assert found["AUC"] == Cell(0.5)
    assert found["sensitivity"] == Cell(0.5)
    assert Scores(truth, score, np.arange(40)).measure()["AUC"].interval is not None


@pytest.mark.parametrize("truth", [np.zeros(6, bool), np.ones(6, bool), np.zeros(0, bool)])
def test_a_class_without_cases_gives_cells_that_say_so(truth: np.ndarray) -> None:
    cases = Scores(truth, np.linspace(0, 0.4, len(truth)), np.arange(len(truth)))
    found = cases.measure()
    assert found["AUC"].text(3) == "no case"
    assert found["PPV"].text(3) == "no case"
    assert (found["sensitivity"].value is None) == (not truth.any())


def test_slices_of_a_scan_need_not_lie_together() -> None:
    slices = labelled(1, 1)
    order = np.random.default_rng(0).permutation(60)
    shuffled = Labelled(slices.truth[order], slices.score[order], slices.patient[order])
    expected, found = slices.by_scan(slices.patient), shuffled.by_scan(slices.patient[order])
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.truth, expected.truth)
    np.testing.assert_array_equal(found.patient, np.arange(20))


def test_every_other_arm_is_tested_against_the_reference() -> None:
    arms = {"weak": scores(0.3), "located": scores(2, seed=1), "both": scores(2, seed=2)}
    rows = [each.score for each in arms.values()]
    _, p = delong(rows, arms["weak"].truth, arms["weak"].patient).compare(1)
    assert compare(arms, "located") == {"weak": p[0], "both": p[2]}


def test_arms_of_other_cases_are_not_compared() -> None:
    with pytest.raises(ValueError, match="other cases"):
        compare({"one": scores(), "other": scores(n=70)}, "one")
    with pytest.raises(ValueError, match="reference"):
        compare({"located": scores()}, "weak")


def test_a_test_that_could_not_be_made_does_not_count_in_the_adjustment() -> None:
    found = adjusted({"a": 0.01, "b": float("nan"), "c": 0.04})
    assert found == {"a": holm([0.01, 0.04])[0], "b": None, "c": 0.04}
