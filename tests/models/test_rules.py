"""The rules of a bundle: from what networks say of slices to the score of a volume."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rules import Opinion, Settings, triage_score


def test_calibration_keeps_the_order_and_is_the_papers_f_by_default() -> None:
    peaks = np.array([0.1, 0.5, 0.98], np.float32)
    np.testing.assert_allclose(Settings(operating_point=0.5).calibrate(peaks), peaks, rtol=1e-5)
    moved = Settings(operating_point=0.5, slope=0.7, intercept=-2.0).calibrate(peaks)
    assert (np.diff(moved) > 0).all()
    assert moved[1] == pytest.approx(1 / (1 + np.exp(2)))


@pytest.mark.parametrize(
    ("score", "expected"), [("max", 0.8), ("top-k mean", 0.6), ("paper", 0.45)]
)
def test_the_triage_score_follows_its_formula(score: str, expected: float) -> None:
    slices = np.array([0.05, 0.8, 0.2, 0.6, 0.09, 0.4, 0.25], np.float32)
    assert triage_score(slices, score, 0.1, 3) == pytest.approx(expected)


def test_the_papers_score_of_a_study_without_a_bleeding_slice_is_its_largest() -> None:
    assert triage_score(np.array([0.02, 0.07], np.float32), "paper", 0.1, 3) == pytest.approx(0.07)


def test_the_best_pair_counts_a_slice_that_is_alone_half() -> None:
    assert triage_score(
        np.array([0.0, 0.8, 0.0], np.float32), "best pair", 0.1, 3
    ) == pytest.approx(0.4)
    pair = np.array([0.9, 0.0, 0.6, 0.7], np.float32)
    assert triage_score(pair, "best pair", 0.1, 3) == pytest.approx(0.65)
    assert triage_score(pair[:1], "best pair", 0.1, 3) == pytest.approx(0.9)


scores = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12)


@given(scores, scores, st.booleans())
def test_more_slices_above_or_below_never_lower_the_best_pair(
    seen: list[float], more: list[float], below: bool
) -> None:
    whole = more + seen if below else seen + more
    part, all_of_it = (
        triage_score(np.array(each, np.float32), "best pair", 0.1, 3) for each in (seen, whole)
    )
    assert part <= all_of_it


@given(scores, st.data(), st.sampled_from(["max", "top-k mean", "best pair"]))
def test_a_slice_that_scores_more_never_lowers_the_score(
    seen: list[float], data: st.DataObject, score: str
) -> None:
    higher = list(seen)
    place = data.draw(st.integers(0, len(seen) - 1))
    higher[place] = data.draw(st.floats(seen[place], 1, width=32))
    before, after = (
        triage_score(np.array(each, np.float32), score, 0.1, 3) for each in (seen, higher)
    )
    assert before <= after + 1e-6


def test_the_best_pair_lies_between_half_of_the_largest_score_and_the_whole() -> None:
    seen = np.random.default_rng(1).random((50, 9)).astype(np.float32)
    for each in seen:
        assert each.max() / 2 <= triage_score(each, "best pair", 0.1, 3) <= each.max()


def test_settings_that_count_on_the_network_of_slices_refuse_to_do_without() -> None:
    rules = Settings(operating_point=0.5, slices_slope=1.0, map_weight=0.5)
    peaks = np.array([0.4], np.float32)
    with pytest.raises(ValueError, match="network of slices"):
        rules.calibrate(peaks)
    with pytest.raises(ValueError, match="map of the network of slices"):
        rules.mixed(peaks[None, None], None)


def test_without_the_network_of_slices_the_ensembles_own_calibration_holds() -> None:
    rules = Settings(
        operating_point=0.5, slope=0.3, slices_slope=1.0, ensemble_alone=Opinion(0.8, -1.0)
    )
    peaks, base_peaks = np.array([0.4, 0.9], np.float32), np.full((2, 2), 0.9, np.float32)
    alone = rules.without_slices()
    np.testing.assert_array_equal(alone.calibrate(peaks), Opinion(0.8, -1.0).calibrate(peaks))
    assert rules.uncertainty(peaks, base_peaks) == 0
    plain = Settings(operating_point=0.5, slope=0.3)
    assert plain.without_slices() is plain


def test_the_locked_operating_point_is_balanced_and_others_are_chosen_by_name() -> None:
    one = Settings(operating_point=0.5)
    assert one.points == {"balanced": 0.5}
    assert one.at("balanced") == one
    several = replace(one, operating_points={"balanced": 0.5, "sensitive": 0.2})
    assert several.at("sensitive").operating_point == 0.2
    assert several.at("sensitive").at("balanced") == several
