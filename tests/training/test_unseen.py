"""What is found and what is flagged in vain on sites left out, and what peers say of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.rules import Settings
from tests.support.readings import reading
from training.metrics.statistics import auc
from training.unseen.found import alarms_table, found_table, peers_table
from training.unseen.stacking import arms, with_weights

SITES = [reading("a", lite=4), reading("b", seed=1, series=60)]
RULES = with_weights(SITES, Settings(operating_point=0.5, score="best pair"))


def test_each_opinion_finds_its_share_where_both_let_nine_of_ten_pass() -> None:
    site = SITES[0]
    table = found_table([(site, RULES)])
    assert list(table.rows) == ["a, any", "a, subdural", "a, series below 5 mL"]
    bleeding, *_, more, share = table.rows["a, subdural"]
    scores, normal = arms(site, RULES)["stack"], site.labels[:, 0] == 0
    shown = site.labels[:, 5] == 1
    limit = np.sort(scores[normal])[int(np.ceil(0.9 * (normal.sum() - 1)))]
    assert (bleeding.value, more.value) == (shown.sum(), (scores[shown] > limit).sum())
    assert share.value == pytest.approx((scores[shown] > limit).mean())
    assert (scores[normal] > limit).mean() <= 0.1
    assert table.rows["a, series below 5 mL"][0].value == 4, "of 1 to 4 mL"


def test_a_site_that_shows_no_normal_slice_has_no_row() -> None:
    site = SITES[0]
    assert not found_table([(site.only(site.labels[:, 0] == 1), RULES)]).rows


def test_false_alarms_are_counted_among_the_series_that_do_not_bleed() -> None:
    site, points = SITES[1], {"sensitive": 0.0, "balanced": 0.5, "quiet": 1.0}
    rules = replace(RULES, operating_points=points)
    table = alarms_table([site, reading("c", bleeding=1.0)], rules)
    assert list(table.rows) == ["b, sensitive", "b, balanced", "b, quiet"]
    values = [[cell.value for cell in row] for row in table.rows.values()]
    assert values[0] == [30, 30, 100.0] and values[2] == [30, 0, 0.0]
    assert table.rows["b, quiet"][2].interval == pytest.approx((0, 11.35), abs=0.01)


def told(path: Path, bleeding: str = "1") -> Path:
    rows = [f"series {each},{bleeding if each < 30 else 0},{1 - each / 60}" for each in range(60)]
    path.write_text("patient,bleeding,perfect\n" + "\n".join(rows) + "\n")
    return path


def test_peers_stand_beside_the_network_on_the_same_patients(tmp_path: Path) -> None:
    table = peers_table(SITES[1], RULES, told(tmp_path / "peers.csv"))
    assert list(table.rows) == ["network of slices", "perfect"]
    assert [cell.value for cell in table.rows["perfect"]] == [60, 30, 1.0]
    best = [SITES[1].slices[rows].max() for rows in SITES[1].series]
    expected = auc(np.array(best), np.arange(60) < 30)
    assert table.rows["network of slices"][2].value == pytest.approx(expected, abs=0.1)


def test_peers_of_other_patients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="otherwise who bleeds"):
        peers_table(SITES[1], RULES, told(tmp_path / "peers.csv", bleeding="0"))
    (tmp_path / "none.csv").write_text("patient,bleeding,peer\nnobody,1,0.5\n")
    with pytest.raises(ValueError, match="no patient"):
        peers_table(SITES[1], RULES, tmp_path / "none.csv")
