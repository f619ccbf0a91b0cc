"""The training table: what it holds of each slice, and how it is made once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.preprocess import Grid
from models.volume import Volume
from training.batches.canvases import make_table
from training.datasets import open_dataset
from training.datasets.case import Case, DataSet, Unreadable, known_any, study_labels
from training.datasets.splits import Split, part_of
from training.datasets.table import Located, Table

GRID = Grid(rows=96, columns=96, step_mm=2.0)
NAN = float("nan")


def strip(hu: np.ndarray) -> np.ndarray:
    """A skull stripper that takes what is as dense as brain."""
    return ((hu > 10) & (hu < 60)).astype(np.float32)


def head(name: str, slices: int = 6, off_mm: float = 0.0) -> Case:
    """A ball of brain in bone; an epidural lesion on its third slice."""
    y, x = np.meshgrid(*[np.arange(-120, 120, 3.0)] * 2, indexing="ij")
    radius = np.hypot(y, x - off_mm)
    plane = np.where(radius < 70, 30.0, np.where(radius < 78, 800.0, -1000.0))
    labels = np.zeros((slices, 5), np.float32)
    mask = np.zeros((slices, *plane.shape), bool)
    if slices > 2:
        labels[2, 0] = 1
        mask[2, 36:44, 40:44] = True
    bleeds = known_any(labels, 1)
    volume = Volume(
        hu=np.stack([plane + z for z in range(slices)]).astype(np.float32),
        positions_mm=np.outer(np.arange(slices) * 5.0, [0, 0, 1]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(3.0, 3.0),
        thickness_mm=5.0,
    )
    study = study_labels(labels, bleeds)
    return Case(name, name, volume, labels, bleeds, study, mask, kind="mask")


def boxed(name: str) -> Case:
    """One whose bleeding slices are boxed, and one of them not: its subtypes are half known."""
    case = head(name)
    labels = np.full_like(case.labels, np.nan)
    labels[:, 1] = bleeds = np.array([0, NAN, 1, 1, 0, 0], np.float32)
    study = study_labels(labels, bleeds)
    return replace(
        case, labels=labels, bleeds=bleeds, study=study, mask=None, boxes=case.mask, kind="box"
    )


def alone(name: str) -> Case:
    """A single slice that bleeds, off the middle of its picture."""
    case = head(name, 1, off_mm=30)
    labels = np.array([[0, 0, 0, 1, 0]], np.float32)
    return replace(
        case,
        labels=labels,
        bleeds=np.ones(1, np.float32),
        study=np.array([1, 0, 0, 0, 1, 0], np.float32),
        mask=None,
        kind="slice",
        neighbours=False,
    )


def data_set(site: str, *cases: Callable[[], Case], **more: bool) -> DataSet:
    loaders = {str(place): [load] for place, load in enumerate(cases)}
    unknown = dict.fromkeys(loaders, NAN)
    return DataSet(f"Set of {site}", "Who, 2020", "CC0", loaders, unknown, site=site, **more)


@pytest.fixture
def sets() -> list[DataSet]:
    return [
        data_set("masks", partial(head, "0"), partial(head, "1", 8)),
        data_set("boxes", partial(boxed, "0"), bleeders_only=True),
        data_set("slices", partial(alone, "0"), judge_only=True),
    ]


@pytest.fixture
def table(sets: list[DataSet], tmp_path: Path) -> Table:
    return make_table(sets, tmp_path, strip, GRID)


def test_every_slice_says_its_site_patient_and_labels(table: Table) -> None:
    assert len(table) == 6 + 8 + 6 + 1
    assert table.site.tolist() == ["masks"] * 14 + ["boxes"] * 6 + ["slices"]
    assert table.patient[[0, 6, 14]].tolist() == ["masks/0", "masks/1", "boxes/0"]
    assert table.labels[2].tolist() == [1, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(table.labels[14:20, 0], [0, NAN, 1, 1, 0, 0])
    assert [case.rows for case in table.cases] == [6, 8, 6, 1]
    assert [case.kind for case in table.cases] == ["mask", "mask", "box", "slice"]
    assert {case.licence for case in table.cases} == {"CC0"}
    assert table.bleeders_only == {"boxes"} and table.judge_only == {"slices"}


def test_a_positive_without_a_mask_says_nothing_of_where(table: Table) -> None:
    assert table.located[:6].tolist() == [Located.DRAWN] * 6
    assert table.located[14:20].tolist() == [0, 0, Located.BOXED, 0, 0, 0], (
        "where subtypes are unknown, a slice that is labelled free is not known to be"
    )
    assert table.located[20] == Located.NOWHERE
    assert [bool(table.slice(row).mask.any()) for row in (1, 2, 16, 17)] == [0, 1, 1, 0]


def test_the_brain_is_in_the_middle_of_the_canvas_also_of_a_single_slice(table: Table) -> None:
    for row in (3, 20):
        hu, brain, _ = table.slice(row)
        assert hu.shape == (96, 96)
        np.testing.assert_allclose(hu[48, 48], 30 if row == 20 else 33)
        columns = np.flatnonzero(brain.max(0) > 127)
        assert abs((columns[0] + columns[-1]) / 2 - 47.5) <= 1.5


def test_pixels_come_from_the_folder_of_the_row(table: Table) -> None:
    assert [int(table.slice(row).hu[48, 48]) for row in (0, 5, 6, 13, 14, 19)] == [
        *(30, 35, 30, 37, 30, 35)
    ]
    with pytest.raises(IndexError):
        table.slice(21)


def test_neighbours_are_of_the_same_case_or_the_slice_itself(table: Table) -> None:
    assert table.beside(0) == (0, 1)
    assert table.beside(5) == (4, 5)
    assert table.beside(7) == (6, 8)
    assert table.beside(20) == (20, 20)


def test_a_drawer_goes_from_site_to_class_to_patient_to_slice(table: Table) -> None:
    found = table.choices(np.ones(len(table), bool))
    assert list(found) == ["boxes", "masks", "slices"]
    assert set(found["masks"]) == {"normal", "any", "epidural"}
    assert {key: rows.tolist() for key, rows in found["masks"]["epidural"].items()} == {
        "masks/0": [2],
        "masks/1": [8],
    }
    assert found["boxes"]["any"]["boxes/0"].tolist() == [16, 17]
    assert found["boxes"]["normal"]["boxes/0"].tolist() == [14, 18, 19]
    assert set(found["slices"]) == {"any", "subarachnoid"}


def test_a_site_is_left_out_whole(table: Table) -> None:
    rest, held = table.leave_out("masks")
    assert set(table.site[rest]) == {"boxes", "slices"} and set(table.site[held]) == {"masks"}
    with pytest.raises(ValueError, match="no site 'mask'"):
        table.leave_out("mask")


def test_patients_are_in_one_part_and_a_split_that_is_given_counts_more(table: Table) -> None:
    parts = [table.where(part=part) for part in ("train", "tune", "test")]
    assert (np.sum(parts, axis=0) == 1).all()
    for patient in set(table.patient):
        assert sum(bool(part[table.patient == patient].any()) for part in parts) == 1
    told = {"masks": Split(("1",), (), ("0",))}
    rows = table.where(["masks"], "train", splits=told)
    assert set(table.patient[rows]) == {"masks/1"}


def test_parts_follow_from_the_name_alone_in_their_shares() -> None:
    parts = [part_of(f"rsna/ID_{n}") for n in range(4000)]
    assert abs(parts.count("test") / 4000 - 0.2) < 0.03
    assert abs(parts.count("tune") / 4000 - 0.15) < 0.03
    assert part_of("rsna/ID_7") == parts[7]
    assert parts != [part_of(f"rsna/ID_{n}", seed=1) for n in range(4000)]


def test_a_run_that_was_stopped_goes_on_behind_the_last_whole_patient(tmp_path: Path) -> None:
    read: list[str] = []

    def load(name: str, stop: bool) -> Case:
        read.append(name)
        if stop:
            raise KeyboardInterrupt
        return head(name)

    def broken() -> Case:
        raise Unreadable("broken")

    first = [partial(load, "0", False), broken, partial(load, "2", False), partial(load, "3", True)]
    with pytest.raises(KeyboardInterrupt):
        make_table([data_set("masks", *first)], tmp_path / "twice", strip, GRID)
    folder = tmp_path / "twice" / "set-of-masks"
    with (folder / "hu.raw").open("ab") as file:
        file.write(b"half a patient")
    with (folder / "patients.jsonl").open("a") as journal:
        journal.write('{"patient": "2", "ca')
    last = [partial(load, "0", False), broken, partial(load, "2", False), partial(load, "3", False)]
    again = make_table([data_set("masks", *last)], tmp_path / "twice", strip, GRID)
    whole = make_table([data_set("masks", *last)], tmp_path / "once", strip, GRID)
    assert read == ["0", "2", "3", "2", "3", "0", "2", "3"]
    assert [case.name for case in again.cases] == ["0", "2", "3"]
    assert again.cases == whole.cases
    np.testing.assert_array_equal(again.pixels[0].hu, whole.pixels[0].hu)
    np.testing.assert_array_equal(again.labels, whole.labels)
    read.clear()
    make_table([data_set("masks", *last)], tmp_path / "twice", strip, GRID)
    assert read == []


def test_a_folder_for_another_grid_or_without_a_case_is_refused(
    sets: list[DataSet], tmp_path: Path
) -> None:
    make_table(sets, tmp_path, strip, GRID)
    with pytest.raises(ValueError, match="another grid"):
        make_table(sets, tmp_path, strip, replace(GRID, step_mm=1.0))
    with pytest.raises(ValueError, match="no case"):
        make_table([data_set("none")], tmp_path, strip, GRID)
    with pytest.raises(FileNotFoundError):
        Table.open([tmp_path / "set-of-none"])


def test_the_listing_counts_by_site_and_subtype(table: Table) -> None:
    head_, *lines = (line.split() for line in table.listing().splitlines())
    rows = {line[0]: dict(zip(head_[1:], line[1:], strict=True)) for line in lines}
    assert rows["masks"]["labels"] == "mask" and rows["masks"]["patients"] == "2"
    assert rows["masks"]["slices"] == "14" and rows["masks"]["epidural"] == "2"
    assert rows["masks"]["normal"] == "12" and rows["boxes"]["boxed"] == "1"
    assert rows["boxes"]["intraparenchymal"] == rows["boxes"]["any"] == "2"
    assert rows["slices"]["subarachnoid"] == "1"


def test_real_sets_come_to_one_table(data: Path, tmp_path: Path) -> None:
    sets = []
    for kind, folder, count in (("rsna", "rsna_slices", 3), ("physionet", "physionet_ct_ich", 1)):
        opened = open_dataset(kind, data / folder)
        opened.loaders = {name: opened.loaders[name] for name in opened.patients()[:count]}
        sets.append(opened)
    table = make_table(sets, tmp_path, strip)
    assert table.slice(0).hu.shape == (192, 192)
    assert set(table.site) == {"rsna", "physionet"}
    for row in (0, len(table) - len(table) // 3):
        hu, brain, _ = table.slice(row)
        assert 20 < np.median(hu[brain > 127]) < 50
