"""Hounsfield volumes from pictures, and the three data sets that come as such."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.findings import SUBTYPES
from training.datasets import open_dataset
from training.datasets.pictures import hounsfield, read_grey, upwards, volume_of

SIDE = 160


def head(radius: float = 50, brain: int = 96, couch: bool = True) -> NDArray[np.uint8]:
    """(y, x) a ring of bone round brain of this grey, scalp fat round it, and a couch below."""
    y, x = np.mgrid[:SIDE, :SIDE]
    far = np.hypot(y - 70, x - 80)
    grey = np.where(far < radius, brain, 0)
    grey[(far >= radius - 6) & (far < radius)] = 255
    grey[(far >= radius + 4) & (far < radius + 5.5)] = 110  # skin, beyond a ring of fat
    if couch:
        grey[150:153] = 255
    return grey.astype(np.uint8)


def save(path: Path, grey: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(grey).save(path, quality=95)


def test_grey_becomes_hounsfield_and_what_lies_beyond_the_window_is_guessed() -> None:
    hu, seen = hounsfield(head())
    assert abs(hu[70, 80] - 96 / 255 * 80) < 0.01
    assert hu[70, 80 - 47] == 700, "white is bone"
    assert hu[70, 80 - 52] == -30, "black inside the skin is fat"
    assert hu[5, 5] == -1000 and not seen[5, 5]


@pytest.mark.parametrize("gap", [0, 10])
def test_the_couch_is_removed_also_where_the_head_lies_on_it(gap: int) -> None:
    grey = np.roll(head(couch=False), 150 - 126 - gap, axis=0)
    grey[150:153] = 255
    hu, seen = hounsfield(grey)
    assert (hu[151, :40] == -1000).all() and (hu[151, 120:] == -1000).all()
    assert seen[70:110, 60:100].all()


def test_a_picture_of_nothing_or_of_the_couch_alone_is_all_air() -> None:
    grey = np.zeros((SIDE, SIDE), np.uint8)
    assert (hounsfield(grey)[0] == -1000).all()
    grey[150:153] = 255
    assert (hounsfield(grey)[0] == -1000).all()


def test_the_heads_width_gives_the_size_of_a_pixel_and_its_height_the_distance() -> None:
    volume = volume_of([head()] * 33)
    assert abs(volume.spacing_mm[0] * 110 - 155) < 5
    assert np.allclose(np.diff(volume.locations_mm), 5)
    assert volume.thickness_mm == 5


def test_a_slice_of_the_vertex_is_not_taken_for_the_heads_width() -> None:
    assert volume_of([head(radius=20)]).spacing_mm[0] == 250 / SIDE


def test_a_series_from_the_vertex_down_is_told_by_its_ends() -> None:
    greys = [head(radius) for radius in np.linspace(50, 12, 12)]
    assert upwards(volume_of(greys))
    assert not upwards(volume_of(greys[::-1]))


def test_a_broken_picture_is_none_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"none")
    assert read_grey(tmp_path / "a.jpg") is None
    assert "a.jpg" in caplog.text
    assert read_grey(tmp_path / "b.jpg") is None


def rsna(root: Path) -> Path:
    rows = ["file,any," + ",".join(SUBTYPES), "ID_a.jpg,1,0,0,0,0,1", "ID_b.jpg,0,0,0,0,0,0"]
    (root / "slices.csv").write_text("\n".join([*rows, "ID_c.jpg,0,0,0,0,0,0"]) + "\n")
    save(root / "ID_a.jpg", head())
    save(root / "ID_b.jpg", head(40))
    return root


def test_rsna_slices_stand_alone_with_six_labels(tmp_path: Path) -> None:
    data = open_dataset("rsna", rsna(tmp_path))
    first, second = data.cases(data.patients())
    assert (first.name, first.patient, first.site, first.kind) == ("ID_a", "ID_a", "rsna", "slice")
    assert not first.neighbours and first.mask is None and first.licence == data.licence
    assert first.study.tolist() == [1, 0, 0, 0, 0, 1]
    assert second.bleeds.tolist() == [0]
    assert data.bleeding == {"ID_a": 1, "ID_b": 0, "ID_c": 0}
    assert data.problems == ["ID_c.jpg: no picture; case left out"]


def phe_sich(root: Path) -> Path:
    rows = ["file,patient,slice,bleeds,boxes_xywh", "7_10.jpg,7,10,1,0.5 0.4 0.25 0.1"]
    rows += ["7_02.jpg,7,2,0,", "7_03.jpg,7,3,,", "7_04.jpg,7,4,1,0.2 0.2 0.1 0.1; 0.9 0.9 0.4 0.1"]
    rows += ["8_00.jpg,8,0,0,", "7_11.jpg,7,11,0,"]
    (root / "slices.csv").write_text("\n".join(rows) + "\n")
    for name, grey in (("7_02", 80), ("7_03", 90), ("7_04", 100), ("7_10", 110)):
        save(root / f"{name}.jpg", head(brain=grey))
    return root


def test_phe_sich_has_boxes_and_slices_that_say_nothing(tmp_path: Path) -> None:
    data = open_dataset("phe_sich", phe_sich(tmp_path))
    (case,) = data.cases(data.patients())
    np.testing.assert_array_equal(case.bleeds, [0, np.nan, 1, 1])
    np.testing.assert_allclose(
        case.volume.hu[:, 70, 80], np.array([80, 90, 100, 110]) / 3.19, atol=1
    )
    assert case.boxes is not None and case.mask is None and case.kind == "box"
    assert case.boxes.sum((1, 2)).tolist() == [0, 0, 16 * 16 + 16 * 48, 16 * 40]
    assert case.boxes[3, 56:72, 60:100].all()
    within = SUBTYPES.index("intraparenchymal")
    np.testing.assert_array_equal(case.labels[:, within], case.bleeds)
    others = np.delete(case.labels, within, axis=1)
    assert np.isnan(others).all(), "blood in the ventricles is not labelled"
    assert data.bleeders_only and data.bleeding == {"7": 1, "8": 0}
    assert data.problems == [
        "7_11.jpg: no picture of the series' size, slice left out",
        "patient 8: none of 1 slices has a picture; case left out",
    ]


def near_east(root: Path) -> Path:
    radii = np.linspace(50, 12, 12)
    rows = ["file,patient,series_bleeds,order,window"]
    for patient, bleeds, window, order in (("H1", 1, "", radii), ("N2", 0, "odd", radii[::-1])):
        for place, radius in enumerate(order, 1):
            save(root / patient / f"{place:03d}.jpg", head(radius))
            rows.append(f"{patient}/{place:03d}.jpg,{patient},{bleeds},{place},{window}")
    (root / "series.csv").write_text("\n".join(rows) + "\n")
    return root


def test_near_east_knows_a_series_alone_and_turns_what_runs_down(tmp_path: Path) -> None:
    data = open_dataset("near_east", near_east(tmp_path))
    bled, free = data.cases(data.patients())
    assert bled.kind == free.kind == "series"
    assert np.isnan(bled.bleeds).all() and np.isnan(bled.labels).all()
    np.testing.assert_array_equal(bled.study, [1, *[np.nan] * 5])
    assert (free.bleeds == 0).all() and (free.study == 0).all()
    assert bled.fair_window and not free.fair_window
    assert upwards(bled.volume) and upwards(free.volume)
    assert data.judge_only
    assert data.problems == ["patient N2: another window, Hounsfield values are off"]


@pytest.mark.parametrize(
    ("kind", "folder", "patients"),
    [("rsna", "rsna_slices", 6), ("phe_sich", "phe_sich", 2), ("near_east", "near_east", 2)],
)
def test_real_pictures_have_the_density_of_brain(
    data: Path, kind: str, folder: str, patients: int
) -> None:
    opened = open_dataset(kind, data / folder)
    chosen = opened.patients()[:: len(opened.patients()) // patients][:patients]
    cases = list(opened.cases(chosen))
    assert len(cases) == patients
    for case in cases:
        hu = case.volume.hu[len(case.volume.hu) // 2]
        soft = hu[(hu > 5) & (hu < 60)]
        assert 20 < np.median(soft) < 50
        assert 0.55 < case.volume.spacing_mm[0] < 0.95


def test_the_real_sets_are_whole(data: Path) -> None:
    sets = {kind: open_dataset(kind, data / kind) for kind in ("phe_sich", "near_east")}
    sets["rsna"] = open_dataset("rsna", data / "rsna_slices")
    assert {kind: len(each.patients()) for kind, each in sets.items()} == {
        "phe_sich": 79,
        "near_east": 25,
        "rsna": 2294,
    }
    assert sum(sets["near_east"].bleeding.values()) == 10
    assert sum(sets["rsna"].bleeding.values()) == 342
    assert sum(sets["phe_sich"].bleeding.values()) == 79
