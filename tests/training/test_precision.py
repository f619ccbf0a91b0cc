"""Precision: what counts as astray, and a small suite read for real."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.runtime import available_runtimes
from tests.support import ROOT
from training.precision import (
    SHIPPED,
    Deviation,
    compare,
    deviation,
    drawn_ahead,
    store_phantom,
)

REFERENCE = np.array([0.10, 0.495, 0.90, np.nan])


def test_the_same_scores_are_tolerable() -> None:
    found = deviation(REFERENCE, REFERENCE.copy(), 0.5)
    assert found == Deviation(largest=0.0, beyond=0, flips=0, unread=1)
    assert found.tolerable


def test_a_small_difference_that_crosses_the_operating_point_is_a_flip() -> None:
    found = deviation(REFERENCE, REFERENCE + 0.006, 0.5)
    assert found.largest == pytest.approx(0.006)
    assert (found.beyond, found.flips) == (0, 1)
    assert not found.tolerable


def test_a_difference_beyond_the_limit_counts_though_no_flag_flips() -> None:
    found = deviation(REFERENCE, REFERENCE - [0, 0, 0.02, 0], 0.5)
    assert (found.beyond, found.flips) == (1, 0)
    assert not found.tolerable


def test_a_case_that_one_runtime_cannot_read_is_a_flip_and_no_agreement() -> None:
    found = deviation(REFERENCE, np.array([np.nan, 0.495, 0.90, np.nan]), 0.5)
    assert (found.flips, found.unread) == (1, 2)
    assert not found.tolerable


def test_no_readable_case_leaves_no_difference_to_state() -> None:
    nothing = np.full(2, np.nan)
    assert deviation(nothing, nothing, 0.5).largest == 0.0


def test_the_shipped_networks_hold_the_limits_on_a_few_phantoms(
    networks: Path, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "networks").symlink_to(networks)
    seeds = range(2)
    found = compare(ROOT / SHIPPED, tmp_path, seeds, tmp_path / "store", matrix=96)
    assert set(found) == set(available_runtimes()) - {"torch"}
    assert all(each.tolerable for each in found.values())
    cases = json.loads((tmp_path / "precision-cases.json").read_text())
    assert list(cases) == [str(seed) for seed in seeds]
    assert all(0 < score < 1 for case in cases.values() for score in case.values())
    table = (tmp_path / "precision.md").read_text()
    assert "phantom, 2 cases" in table
    assert all(f"| {name} |" in table for name in found)


@pytest.mark.slow
def test_a_second_run_finds_its_phantoms_drawn(tmp_path: Path) -> None:
    (first,) = drawn_ahead(range(1), tmp_path, 64)
    (stored,) = tmp_path.glob("phantoms-*/0.npz")
    written = stored.stat().st_mtime_ns
    store_phantom(0, stored.parent, 64)
    assert stored.stat().st_mtime_ns == written
    assert first.hu.shape[1:] == (64, 64)
