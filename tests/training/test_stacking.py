"""Opinions count by what they are worth on sites that no network saw."""

from dataclasses import replace

import numpy as np
import pytest

from models.rules import Settings
from tests.support.readings import reading
from training.metrics.statistics import auc
from training.unseen import stacking
from training.unseen.stacking import (
    arms,
    point_figures,
    series_scores,
    slice_scores,
    with_doubt,
    with_points,
    with_score,
    with_weights,
)

FIXED = Settings(operating_point=0.5)


def test_the_better_opinion_counts_more_and_one_that_errs_counts_nothing() -> None:
    fitted = with_weights([reading(ensemble=1, lite=3)], FIXED)
    assert fitted.slices_slope > 2 * fitted.slope > 0
    wrong = with_weights([reading(ensemble=2, lite=-2)], FIXED)
    assert wrong.slices_slope == 0 and wrong.slope > 1


def test_sites_count_alike_however_many_slices_they_have() -> None:
    small, large = reading("small", series=20, lite=0, ensemble=3), reading("large", series=400)
    alone = with_weights([small], FIXED)
    both, twice = with_weights([small, large], FIXED), with_weights([small, small, large], FIXED)
    assert abs(twice.slices_slope - alone.slices_slope) < abs(
        both.slices_slope - alone.slices_slope
    )


def test_nothing_is_fitted_to_test_patients_nor_to_those_the_ensemble_learnt_from() -> None:
    site = reading()
    spoilt = np.isin(site.case, ["series 0", "series 1", "series 39"])
    wild = np.where(spoilt, 50.0, site.ensemble)
    for name in ("test", "fair"):
        marked = replace(site, ensemble=wild, **{name: spoilt if name == "test" else ~spoilt})
        expected = with_weights([site.only(~spoilt)], FIXED)
        found = with_weights([marked], FIXED)
        assert found.slope == pytest.approx(expected.slope, rel=1e-3)
        assert found.slices_slope == pytest.approx(expected.slices_slope, rel=1e-3)


def test_the_stack_ranks_slices_better_than_either_opinion() -> None:
    site = reading(series=200, ensemble=2, lite=2)
    said = arms(site, with_weights([reading(seed=1, series=200, ensemble=2, lite=2)], FIXED))
    areas = {name: auc(scores, site.labels[:, 0] == 1) for name, scores in said.items()}
    assert areas["stack"] > max(areas["ensemble"], areas["slices"])


def test_a_bleed_on_two_neighbours_is_ranked_best_by_its_pair() -> None:
    sites = [reading(series=300, slices=24, ensemble=1.5, lite=2.0)]
    assert with_score(sites, with_weights(sites, FIXED)).score == "best pair"


def test_operating_points_keep_what_they_promise_and_their_order() -> None:
    site = reading(series=200, ensemble=1.5, lite=1.5)
    rules = with_doubt([site], with_weights([site], replace(FIXED, score="best pair")))
    scores, bleeds = series_scores(site, slice_scores(site, rules), rules)
    rules = with_points(scores, bleeds, rules)
    points = rules.operating_points
    assert points["sensitive"] <= points["balanced"] <= points["quiet"]
    assert (scores[bleeds] < points["sensitive"]).mean() <= stacking.MISSED
    assert (scores[~bleeds] >= points["quiet"]).mean() <= stacking.ALARMS
    assert rules.operating_point == points["balanced"]
    assert 0 < rules.uncertain_from < 1


def test_figures_have_counts_intervals_and_predictive_values_at_each_prevalence() -> None:
    scores = np.array([0.9] * 18 + [0.1] * 2 + [0.1] * 27 + [0.9] * 3)
    bleeds = np.arange(50) < 20
    rules = replace(FIXED, operating_points={"balanced": 0.5})
    found = point_figures(scores, bleeds, rules)["balanced"]
    assert found["sensitivity"]["value"] == 0.9 and found["specificity"]["count"] == 27
    ppv = found["predictive"]["0.1"]["PPV"]
    assert ppv["value"] == pytest.approx(0.09 / (0.09 + 0.1 * 0.9))
    assert ppv["interval"][0] < ppv["value"] < ppv["interval"][1]
    assert "few" not in found
    fewer = point_figures(scores[:40], bleeds[:40], rules)["balanced"]
    assert fewer["few"] == "20 normal series: too few normals to say"
