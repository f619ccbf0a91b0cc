"""The PhysioNet CT-ICH loader, on a small tree made here and on the real data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.findings import SUBTYPES
from tests.support import ROOT
from training.datasets.case import Unreadable
from training.datasets.physionet import hounsfield, load, open_jpg, patients, read_split

SPLIT = ROOT / "config" / "recipes" / "physionet-split.toml"
COLUMNS = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,"
    "No_Hemorrhage,Fracture_Yes_No,has_brain,has_bone,has_mask"
)


def grey(path: Path, value: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((32, 32), value, np.uint8)).save(path, quality=95)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Patient 7: three slices and one without images; patient 81: bone numbered two higher."""
    rows = [COLUMNS, "81,1,0,0,0,0,0,1,0,1,1,0", "7,10,0,1,0,0,0,0,0,1,1,1"]
    rows += ["7,2,0,0,0,0,0,1,0,1,0,0", "7,1,0,0,0,0,0,1,0,0,0,0", "7,3,0,0,0,0,0,1,0,1,1,0"]
    (tmp_path / "slices.csv").write_text("\n".join(rows) + "\n")
    for index, value in ((2, 100), (3, 110), (10, 120)):
        grey(tmp_path / "brain" / f"007_{index:02d}.jpg", value)
    for index in (3, 10):
        grey(tmp_path / "bone" / f"007_{index:02d}.jpg", 80)
    grey(tmp_path / "mask" / "007_10.jpg", 250)
    grey(tmp_path / "brain" / "081_01.jpg", 255)
    grey(tmp_path / "bone" / "081_03.jpg", 200)
    return tmp_path


def test_slices_come_in_the_order_of_their_numbers_with_masks_and_labels(tree: Path) -> None:
    patient = load(tree, 7)
    assert patients(tree) == [7, 81]
    assert patient.volume.positions_mm[:, 2].tolist() == [10, 15, 50]
    np.testing.assert_allclose(
        patient.volume.hu[:, 5, 5], np.array([100, 110, 120]) / 255 * 120 - 20, atol=1
    )
    assert patient.mask is not None
    assert patient.mask.any((1, 2)).tolist() == [False, False, True]
    assert patient.labels[2].tolist() == [name == "intraparenchymal" for name in SUBTYPES]
    assert patient.bleeds.tolist() == [0, 0, 1]
    assert patient.study.tolist() == [1, 0, 1, 0, 0, 0]


def test_missing_images_are_named_and_counted(tree: Path) -> None:
    assert load(tree, 7).problems == (
        "007_01.jpg: no brain image, slice left out",
        "007_02.jpg: no bone image, bone and air guessed",
    )


def test_a_broken_image_is_left_out_and_said(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "brain" / "007_03.jpg").write_bytes(b"not a picture")
    patient = load(tree, 7)
    assert len(patient.volume.hu) == 2
    assert "007_03.jpg: no brain image, slice left out" in patient.problems
    assert "007_03.jpg" in caplog.text


def test_patient_81_takes_the_bone_images_numbered_two_higher(tree: Path) -> None:
    bone_hu = 200 / 255 * 3200 - 900
    assert abs(load(tree, 81).volume.hu.mean() - bone_hu) < 15


def test_an_image_of_another_size_is_not_stacked(tree: Path) -> None:
    Image.fromarray(np.zeros((16, 32), np.uint8)).save(tree / "brain" / "007_10.jpg")
    Image.fromarray(np.zeros((16, 32), np.uint8)).save(tree / "bone" / "007_03.jpg")
    patient = load(tree, 7)
    assert patient.problems[2:] == (
        "007_03.jpg: no bone image, bone and air guessed",
        "007_10.jpg: another size, (16, 32), slice left out",
    )


def test_a_patient_without_slices_is_unreadable(tree: Path) -> None:
    with pytest.raises(Unreadable, match="patient 5"):
        load(tree, 5)


def test_the_data_set_goes_on_after_a_patient_that_cannot_be_read_and_counts_problems(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "brain" / "081_01.jpg").unlink()
    opened = open_jpg(tree)
    assert opened.patients() == ["7", "81"]
    assert opened.bleeding == {"7": 1, "81": 0}
    assert [case.name for case in opened.cases(["5", "81", "7"])] == ["007"]
    assert opened.problems == [
        "patient 5 is not in the data set",
        "patient 81: none of 1 slices has a brain image; case left out",
        "007_01.jpg: no brain image, slice left out",
        "007_02.jpg: no bone image, bone and air guessed",
    ]
    assert "1 cases of 3 patients read, 4 problems" in caplog.text


def test_hounsfield_values_come_from_brain_inside_its_window_and_from_bone_beyond() -> None:
    brain = np.array([[0, 128, 255, 255]], np.uint8)
    bone = np.array([[0, 78, 150, 70]], np.uint8)
    hu = hounsfield(brain, bone)[0]
    assert hu[0] == -1000
    assert abs(hu[1] - 40) < 1
    assert abs(hu[2] - (150 / 255 * 3200 - 900)) < 1
    assert hu[3] == 100, "bone's coarse steps never pull a saturated pixel below the brain window"


def test_the_split_keeps_patients_apart_and_uses_all(data: Path) -> None:
    split = read_split(SPLIT)
    everyone = split.train + split.tune + split.test
    assert len(set(everyone)) == len(everyone)
    assert sorted(everyone) == patients(data / "physionet_ct_ich")


def test_a_split_that_shares_a_patient_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.toml"
    path.write_text("train = [1, 2]\ntune = [2]\ntest = [3]\n")
    with pytest.raises(ValueError, match=r"two parts: 2"):
        read_split(path)


@pytest.mark.parametrize("number", [50, 81, 97])
def test_real_brains_have_the_density_of_brain(data: Path, number: int) -> None:
    hu = load(data / "physionet_ct_ich", number).volume.hu
    soft = hu[len(hu) // 2]
    assert 24 < np.median(soft[(soft > 5) & (soft < 60)]) < 45
    assert soft.max() > 800
