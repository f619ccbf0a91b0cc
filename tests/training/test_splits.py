"""Patients dealt into parts and folds, written and read back."""

from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT
from training.datasets.splits import folds, read, read_split, rotate, split_patients, write

BLEEDING = {f"p{i}": float(i < 12) for i in range(40)} | {"odd one": float("nan")}
SHIPPED = ROOT / "config" / "recipes" / "physionet-split.toml"


def share(part: tuple[str, ...]) -> int:
    return sum(BLEEDING[patient] == 1 for patient in part)


def test_each_patient_is_in_one_fold_and_bleeding_ones_are_spread_evenly() -> None:
    parts = folds(list(BLEEDING), list(BLEEDING.values()), k=5, seed=3)
    assert sorted(patient for part in parts for patient in part) == sorted(BLEEDING)
    assert {len(part) for part in parts} == {8, 9}
    assert {share(part) for part in parts} == {2, 3}


def test_folds_depend_on_the_seed_and_not_on_the_order_of_patients() -> None:
    patients, bleeds = list(BLEEDING), list(BLEEDING.values())
    assert folds(patients, bleeds, 5, 1) == folds(patients[::-1], bleeds[::-1], 5, 1)
    assert folds(patients, bleeds, 5, 1) != folds(patients, bleeds, 5, 2)


def test_a_patient_given_twice_is_not_dealt_into_two_folds() -> None:
    with pytest.raises(ValueError, match="twice"):
        folds(["a", "b", "a"], [1, 0, 1], k=2, seed=0)


def test_turning_the_folds_tests_each_patient_once() -> None:
    parts = folds(list(BLEEDING), list(BLEEDING.values()), k=5, seed=3)
    turns = [rotate(parts, fold) for fold in range(5)]
    assert sorted(p for turn in turns for p in turn.test) == sorted(BLEEDING)
    for turn in turns:
        assert len({*turn.train, *turn.tune, *turn.test}) == len(BLEEDING)
        assert len(turn.train) + len(turn.tune) + len(turn.test) == len(BLEEDING)


def test_a_split_keeps_the_share_of_bleeding_patients() -> None:
    split = split_patients(BLEEDING, tune=0.25, test=0.25, seed=1)
    assert (share(split.train), share(split.tune), share(split.test)) == (6, 3, 3)
    assert len(split.train) + len(split.tune) + len(split.test) == len(BLEEDING)


def test_what_is_written_is_read_back_and_says_how_it_came_about(tmp_path: Path) -> None:
    path = tmp_path / "folds.toml"
    parts = folds(list(BLEEDING), list(BLEEDING.values()), k=3, seed=7)
    named = {f"fold{place}": part for place, part in enumerate(parts)}
    write(path, named, "Patients of a made-up set.\nStratified by bleeding.", seed=7)
    assert read(path) == named
    head = path.read_text().splitlines()[:3]
    assert head[1:] == [
        "# Stratified by bleeding.",
        "# Seed 7; patients: fold0 14, fold1 14, fold2 13.",
    ]


def test_a_shared_patient_is_neither_written_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "split.toml"
    parts = {"train": ["1", "2"], "tune": [], "test": ["2"]}
    with pytest.raises(ValueError, match="two parts: 2"):
        write(path, parts, "", seed=0)
    path.write_text('train = [1, 2]\ntune = []\ntest = ["2"]\n')
    with pytest.raises(ValueError, match="two parts: 2"):
        read_split(path)


def test_a_file_of_folds_is_not_taken_for_a_split(tmp_path: Path) -> None:
    path = tmp_path / "folds.toml"
    write(path, {"fold0": ["a"], "fold1": ["b"]}, "Two.", seed=0)
    with pytest.raises(ValueError, match="instead of train, tune, test"):
        read_split(path)


def test_the_shipped_split_of_numbers_is_read_as_names() -> None:
    split = read_split(SHIPPED)
    assert np.array([len(split.train), len(split.tune), len(split.test)]).tolist() == [40, 10, 12]
    assert split.tune[0] == "63"
