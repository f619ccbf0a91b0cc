"""A site is read by networks that never saw it, beside the shipped ones on the same slices."""

from pathlib import Path

import numpy as np
import pytest

from models.classifiers import LABELS
from models.rules import Settings
from tests.support.readings import reading
from tests.support.recipes import small_recipe
from training.batches.drawing import fitted
from training.metrics.scores import Scores
from training.metrics.statistics import auc
from training.recipes.recipe import BadRecipe
from training.unseen import crossing
from training.unseen.crossing import (
    ARMS,
    COLUMNS,
    gain,
    keep,
    series_table,
    site_rows,
    sites_table,
    stacked,
)
from training.unseen.left_out import LeftOut
from training.unseen.settled import read_settled
from training.unseen.stacking import STACK, with_weights

RULES = Settings(operating_point=0.5, score="best pair")


def test_each_label_that_a_site_shows_has_a_row_against_the_slices_that_show_none() -> None:
    site = reading(series=6, slices=8)
    epidural = np.flatnonzero(site.labels[:, 0] == 1)[:2]
    site.labels[epidural] = [1, 1, 0, 0, 0, 0]
    random = np.random.default_rng(0)
    scores = {arm: site.labels[:, 0] * 0.3 + random.random(48) for arm in ARMS}
    rows = site_rows(site, scores)
    assert list(rows) == ["a, any", "a, epidural", "a, subdural"]
    assert [cell.value for cell in rows["a, any"][:3]] == [48, 6, 6]
    assert [cell.value for cell in rows["a, epidural"][:3]] == [44, 2, 6]
    subdural = site.labels[:, LABELS.index("subdural")] == 1
    chosen = subdural | (site.labels[:, 0] == 0)
    expected = auc(scores["slices"][chosen], subdural[chosen])
    assert rows["a, subdural"][5].value == pytest.approx(expected)


def test_a_site_of_bleeding_slices_alone_has_no_row() -> None:
    site = reading(series=3)
    bleeding = site.only(site.labels[:, 0] == 1)
    assert not site_rows(bleeding, dict.fromkeys(ARMS, bleeding.slices))


def test_a_site_is_scored_by_weights_of_the_others() -> None:
    sites = [reading("a"), reading("b", seed=1, ensemble=3, lite=0), reading("c", bleeding=1.0)]
    table = sites_table(sites, RULES)
    assert list(table.rows) == [
        "a, any",
        "a, subdural",
        "b, any",
        "b, subdural",
        "c, any",
        "c, subdural",
    ]
    assert len(table.columns) == len(COLUMNS)
    by_b = with_weights([sites[1]], RULES)  # c bleeds in all its patients: no weight comes from it
    expected = auc(crossing.arms(sites[0], by_b)["stack"], sites[0].labels[:, 0] == 1)
    assert table.rows["a, any"][6].value == pytest.approx(expected)


def test_series_are_judged_where_a_site_shows_both_kinds() -> None:
    sites = [reading("a"), reading("b", seed=1), reading("c", bleeding=1.0), reading("d", slices=1)]
    judge = reading("judge", seed=5, series=20)
    judge.labels[:] = np.nan
    table = series_table(sites, [judge], RULES)
    assert list(table.rows) == ["a, series", "b, series", "judge, series"]
    assert [cell.value for cell in table.rows["judge, series"][:3]] == [20, 10, 20]


def test_what_was_chosen_is_written_for_the_export(tmp_path: Path) -> None:
    sites = [reading("a"), reading("b", seed=1)]
    rules, figures = stacked(sites, [], RULES)
    table = sites_table(sites, RULES)
    keep(tmp_path, rules, figures, [table])
    settled = read_settled(tmp_path / STACK)
    assert settled is not None and settled.settle(RULES) == rules
    assert set(settled.figures) == set(rules.points) == {"sensitive", "balanced", "quiet"}
    assert [each.markdown() for each in settled.tables] == [table.markdown()]


def test_what_was_read_is_kept_and_read_again(tmp_path: Path) -> None:
    site = reading()
    site.save(tmp_path / "kept" / "a.npz")
    again = LeftOut.load(tmp_path / "kept" / "a.npz")
    assert again.site == "a"
    np.testing.assert_array_equal(again.opinions, site.opinions)
    np.testing.assert_array_equal(again.patient, site.patient)


def test_the_gain_is_the_difference_of_the_areas_with_an_interval() -> None:
    random = np.random.default_rng(1)
    truth, patient = random.random(400) < 0.3, np.arange(400)
    worse = Scores(truth, random.random(400), patient)
    better = Scores(truth, truth + 0.5 * random.random(400), patient)
    cell = gain(better, worse)
    assert cell.value == pytest.approx(1 - auc(worse.score, truth))
    assert cell.interval is not None and 0.3 < cell.interval[0] < cell.value < cell.interval[1]
    with pytest.raises(ValueError, match="other cases"):
        gain(better.only(patient < 300), worse)


def test_planes_are_cut_or_padded_to_the_network_s_canvas() -> None:
    planes = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)
    found = fitted(planes, (6, 4))
    assert found.shape == (2, 6, 4)
    assert (found[:, [0, -1]] == -1000).all()
    assert (found[:, 1:-1] == planes[:, :, 1:-1]).all()


def test_a_recipe_that_leaves_no_site_out_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="needs leave_site_out"):
        crossing.cross_sites(small_recipe(tmp_path), tmp_path)
