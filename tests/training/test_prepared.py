"""Cases brought to the networks' grids, and the caches that hold them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.preprocess import Grid
from models.volume import Volume
from training.batches import prepared
from training.batches.prepared import Slices, digest, heads_of, slices_of
from training.datasets.case import Case, known_any, study_labels

GRID = Grid(rows=32, columns=32)


def strip(hu: np.ndarray) -> np.ndarray:
    """A skull stripper that takes all for brain."""
    return np.ones(hu.shape, np.float32)


def head(name: str, slices: int = 12, gap_mm: float = 5.0) -> Case:
    """A ball of brain in a shell of bone; a lesion on its third slice."""
    z, y, x = np.meshgrid(
        (np.arange(slices) - slices / 2) * gap_mm,
        *[np.arange(-100, 100, 4.0)] * 2,
        indexing="ij",
    )
    radius = np.sqrt(x**2 + y**2 + (1.5 * z) ** 2)
    hu = np.where(radius < 70, 30.0, np.where(radius < 78, 800.0, -1000.0)).astype(np.float32)
    labels = np.zeros((slices, 5), np.float32)
    labels[2:3, 4] = 1
    bleeds = known_any(labels, 1)
    mask = np.zeros(hu.shape, bool)
    mask[2:3, 20:26, 20:26] = True
    volume = Volume(
        hu=hu,
        positions_mm=np.outer(np.arange(slices) * gap_mm, [0, 0, 1]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(4.0, 4.0),
        thickness_mm=gap_mm,
    )
    return Case(name, name, volume, labels, bleeds, study_labels(labels, bleeds), mask)


def test_a_cache_on_disk_holds_what_numpy_would_have_saved(tmp_path: Path) -> None:
    cases = [head("7"), head("9", slices=11), head("7")]
    got = slices_of(cases, GRID, strip, tmp_path / "all")
    assert got.patient.tolist() == [7] * 12 + [9] * 11 + [7] * 12
    alone = [slices_of([case], GRID, strip, tmp_path / str(i)) for i, case in enumerate(cases)]
    for name in Slices._fields:
        whole = np.concatenate([getattr(each, name) for each in alone])
        np.save(tmp_path / "whole.npy", whole)
        assert (tmp_path / "all" / f"{name}.npy").read_bytes() == (
            tmp_path / "whole.npy"
        ).read_bytes(), name


def test_a_finished_cache_is_not_made_again(tmp_path: Path) -> None:
    def never() -> Iterator[Case]:
        raise AssertionError("read again")
        yield

    first = slices_of([head("7")], GRID, strip, tmp_path)
    np.testing.assert_array_equal(slices_of(never(), GRID, strip, tmp_path).hu, first.hu)


def test_a_cache_of_no_case_is_an_error_and_is_not_taken_for_finished(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="no case"):
            heads_of([], GRID, tmp_path)


def test_without_a_mask_only_slices_labelled_free_are_located(tmp_path: Path) -> None:
    whole = head("ID_a")
    labels = whole.labels.copy()
    labels[5, 0] = np.nan
    cases = [replace(whole, mask=None, labels=labels), replace(whole, patient="ID_b")]
    got = slices_of(cases, GRID, strip, tmp_path)
    bare, drawn = got.located[:12], got.located[12:]
    assert np.flatnonzero(~bare).tolist() == [2, 5]
    assert drawn.all()
    assert np.isnan(got.patient_ml[:12]).all()
    assert got.mask.any((1, 2)).nonzero()[0].tolist() == [14]
    numbers = json.loads((tmp_path / "done.json").read_text())["patients"]
    assert [numbers["ID_a"], numbers["ID_b"]] == [got.patient[0], got.patient[-1]] == [0, 1]


def test_a_slab_shows_what_one_of_its_thin_slices_shows_and_is_unknown_if_one_is(
    tmp_path: Path,
) -> None:
    thin = head("7", slices=40, gap_mm=1.25)  # four slices a slab
    labels = np.zeros((40, 5), np.float32)
    labels[1, 0], labels[2, 0], labels[5, 0] = 1, np.nan, np.nan
    got = slices_of([replace(thin, labels=labels)], GRID, strip, tmp_path)
    np.testing.assert_array_equal(got.labels[:3, 0], [1, np.nan, 0])


def test_a_case_without_a_brain_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = head("7")
    air = replace(whole, name="empty", volume=replace(whole.volume, hu=whole.volume.hu * 0 - 1000))
    got = slices_of([air, whole], GRID, strip, tmp_path)
    assert set(got.patient) == {7} and len(got.hu) == 12
    assert "empty: no tissue as wide as a head found" in caplog.text


def test_a_slice_without_neighbours_needs_no_skull_stripper(tmp_path: Path) -> None:
    def never(_: np.ndarray) -> np.ndarray:
        raise AssertionError("one slice is no head")

    whole = head("7", slices=1)
    got = slices_of([replace(whole, neighbours=False)], GRID, never, tmp_path)
    assert got.hu.shape == (1, 256, 224)
    assert got.hu[0, 128, 112] == 30 and got.brain[0, 128, 112] > 127


def test_large_data_is_told_by_its_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("one")
    first = digest(tmp_path)
    monkeypatch.setattr(prepared, "WHOLE_BYTES", 1)
    sizes = digest(tmp_path)
    (tmp_path / "a").write_text("two")
    assert digest(tmp_path) == sizes != first
    (tmp_path / "a").write_text("three")
    assert digest(tmp_path) != sizes
