"""Figures of read cases, the lock of the operating point, and the card that states both."""

import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.bundle import METADATA
from models.ensemble import Ensemble
from models.findings import Unreadable
from models.preprocess import Grid
from models.rules import Settings
from models.unet import InceptionUNet
from models.weighting import WeightModel
from training.bundles.card import failures, model_card
from training.metrics.combinations import MEAN, Combinations, names
from training.metrics.locking import lock, operating_point, platt
from training.metrics.measure import Result, figures, phantom_cases, read_cases
from training.recipes.recipe import BUNDLE, BadRecipe


def result(number: int, score: float, bleeds: bool, ml: float = 2.0) -> Result:
    """A case of four slabs, the second of which bleeds; its two base networks differ by 0.1."""
    truth = np.zeros((4, 5), bool)
    truth[1, 0] = bleeds
    scores = np.array([0.01, score, 0.02, 0.01], np.float32)
    return Result(
        number=number,
        truth_ml=ml * bleeds,
        found_ml=1.0,
        dense_ml=1.0,
        dice=0.5 if bleeds else float("nan"),
        peaks=scores,
        base_peaks=np.stack((scores, np.abs(scores - 0.1)), 1),
        slice_peaks=scores,
        slice_truth=truth,
        subtypes=np.tile(scores[:, None].astype(float), (1, 5)),
        slab_truth=truth,
    )


def with_slices(case: Result, score: float) -> Result:
    """The case, of which a network of slices says this where it bleeds, and 0.1 elsewhere."""
    labels = np.full((4, 6), 0.1, np.float32)
    labels[1] = score
    return replace(case, labels=labels, slice_labels=labels)


def test_figures_count_what_was_missed_and_what_was_alarmed() -> None:
    results = [result(1, 0.9, True, ml=30), result(2, 0.2, True), result(3, 0.7, False)]
    results += [result(4, 0.1, False), result(5, 0.3, False)]
    found = figures(results, Settings(operating_point=0.5, score="max", grid=Grid()))
    assert found["missed"] == [2]
    assert found["false_alarms"] == [3]
    assert found["sensitivity"]["count"] == "1/2"
    assert found["specificity"]["count"] == "2/3"
    assert found["case_auc"]["value"] == pytest.approx(4 / 6, abs=1e-4)
    assert found["sensitivity_by_ml"]["below 5 mL"]["count"] == "0/1"
    assert found["sensitivity_by_ml"]["5 to 25 mL"]["value"] is None
    assert found["sensitivity_by_ml"]["25 mL and more"]["count"] == "1/1"
    assert found["dice_by_ml"]["25 mL and more"]["count"] == 1
    assert found["dice_by_ml"]["5 to 25 mL"]["value"] is None
    assert found["absolute_volume_error_ml"]["value"] == pytest.approx((29 + 1) / 2)
    low, high = found["subtype_slice_auc"]["epidural"]["interval"]
    assert low <= found["subtype_slice_auc"]["epidural"]["value"] <= high
    assert found["subtype_slice_auc"]["subdural"]["value"] is None, "no slice shows any"


def test_separated_cases_still_have_an_interval_of_some_width() -> None:
    results = [result(k, 0.9 if k < 3 else 0.1, k < 3) for k in range(8)]
    found = figures(results, Settings(operating_point=0.5, score="max", grid=Grid()))
    low, high = found["case_auc"]["interval"]
    assert (found["case_auc"]["value"], high) == (1, 1)
    assert low < 0.9


def test_the_operating_point_lies_in_the_middle_of_the_widest_best_gap() -> None:
    scores = np.array([0.1, 0.2, 0.6, 0.9])
    truth = np.array([False, False, True, True])
    assert operating_point(scores, truth) == pytest.approx(0.4)


def test_locking_calibrates_and_separates_the_tuning_cases() -> None:
    results = [result(k, 0.9 + 0.01 * k, k > 4) for k in range(9)]
    locked = lock(Settings(operating_point=0.5, grid=Grid()), results)
    assert all((case.score(locked) >= locked.operating_point) == case.bleeds for case in results)
    assert 0 < locked.calibrate(np.array([0.9], np.float32))[0] < 0.4, "0.9 is a normal here"


def test_one_tuning_case_in_ten_is_left_uncertain() -> None:
    results = [result(k, 0.1 + 0.09 * k, k > 4) for k in range(10)]
    locked = lock(Settings(operating_point=0.5, grid=Grid()), results)
    uncertain = [locked.disagreement(case.base_peaks) >= locked.uncertain_from for case in results]
    assert sum(uncertain) == 1


def test_two_kinds_of_networks_are_weighed_by_what_each_knows() -> None:
    random = np.random.default_rng(0)
    cases = [
        with_slices(result(k, float(random.random()), k > 9), 0.5 + 0.4 * (k > 9))
        for k in range(20)
    ]
    locked = lock(Settings(operating_point=0.5, score="max", grid=Grid()), cases)
    assert locked.slices_slope > 10 * locked.slope >= 0
    assert all((case.score(locked) >= locked.operating_point) == case.bleeds for case in cases)
    assert locked.slices_alone.slope > 0 and locked.ensemble_alone != locked.slices_alone
    uncertain = [case.uncertainty(locked) >= locked.uncertain_from for case in cases]
    assert sum(uncertain) == 2, "one in ten"


def test_a_network_that_says_the_opposite_counts_nothing() -> None:
    cases = [
        with_slices(result(k, 0.5 + 0.04 * k, k > 4), 0.1 if k > 4 else 0.9) for k in range(10)
    ]
    locked = lock(Settings(operating_point=0.5, score="max", grid=Grid()), cases)
    assert locked.slices_slope == 0 < locked.slope


def test_the_calibration_of_one_opinion_is_the_most_likely_one() -> None:
    """Against scikit-learn's unpenalised regression on Platt's targets, each slice twice."""
    random = np.random.default_rng(1)
    values = random.normal(size=(200, 2))
    bleeds = random.random(200) < 1 / (1 + np.exp(-(values @ [1.0, 0.4] - 0.5)))
    n, m = bleeds.sum(), (~bleeds).sum()
    targets = np.where(bleeds, (n + 1) / (n + 2), 1 / (m + 2))
    twice = np.concatenate((values, values))
    truth = np.repeat([1, 0], 200)
    reference = LogisticRegression(C=np.inf, tol=1e-8).fit(
        twice, truth, sample_weight=np.concatenate((targets, 1 - targets))
    )
    slopes, intercept = platt(values, bleeds)
    np.testing.assert_allclose(slopes, reference.coef_[0], atol=1e-3)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-3)


def test_the_pictures_show_the_largest_missed_and_the_surest_false_alarms() -> None:
    rules = Settings(operating_point=0.5, score="max", grid=Grid())
    missed = [result(k, 0.1, True, ml=k) for k in range(1, 7)]
    alarmed = [result(10 + k, 0.6 + 0.05 * k, False) for k in range(6)]
    fine = [result(20, 0.9, True), result(21, 0.1, False)]
    assert failures([*missed, *alarmed, *fine], rules) == [6, 5, 4, 3, 15, 14, 13, 12]


def test_combinations_are_the_ensembles_own_parts() -> None:
    torch.manual_seed(3)
    bases = [InceptionUNet(8, 1).eval() for _ in range(5)]
    weights = WeightModel(5)
    torch.nn.init.normal_(weights.layers[-1].weight)
    whole = Ensemble(bases, weights).eval()
    image = torch.rand(2, 4, 32, 32)
    with torch.inference_mode():
        expected, found = whole(image), Combinations(whole).eval()(image)
    for ours, theirs in zip((*found[:2], found[3]), (*expected[:2], expected[3]), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(found[2][:, :6], expected[2], msg="the whole, then each alone")
    arms = names(("a", "b", "c", "d", "e"))
    assert found[2].shape == (2, 1 + len(arms))
    with torch.inference_mode():
        mean = whole.maps(image)[0].mean(1).flatten(1).sort(1).values[:, -8:].mean(1)
    torch.testing.assert_close(found[2][:, 1 + arms.index(MEAN)], mean)


def test_a_case_that_cannot_be_read_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    detector, (case,) = Mock(), phantom_cases((1,), "test")
    read = Mock(side_effect=[Unreadable("no skull found"), result(1, 0.9, True)])
    monkeypatch.setattr("training.metrics.measure._read", read)
    (found,) = read_cases(detector, [case, case])
    assert found.number == 1
    assert f"{case.name}: no skull found; case left out" in caplog.text


def test_cases_none_of_which_can_be_read_end_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "training.metrics.measure._read", Mock(side_effect=Unreadable("no skull found"))
    )
    assert read_cases(Mock(), []) == []
    with pytest.raises(BadRecipe, match='no skull found.*strip = "shipped"'):
        read_cases(Mock(), phantom_cases((1,), "test"))


def test_the_card_says_where_a_figure_has_no_interval() -> None:
    metadata = json.loads((BUNDLE / METADATA).read_text())
    metadata["measured"]["held-out"]["case_auc"] = {"value": 0.5, "interval": [None, None]}
    assert "| 0.500, no interval |" in model_card(metadata)
