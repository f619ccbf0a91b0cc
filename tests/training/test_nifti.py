"""The NIfTI loaders (BHSD, INSTANCE, PhysioNet 1.3.1), on files whose axes point every way."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from numpy.typing import NDArray

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets import open_dataset
from training.datasets.case import Unreadable
from training.datasets.nifti import read_scan

SHAPE = (6, 5, 4)  # of the file: i, j, k
LANDMARK_RAS = np.array([31.0, -12.0, 57.0])
"""Where the one dense voxel lies: right, posterior, up."""

OBLIQUE = np.array([[0.9950, -0.0998, 0.0], [0.0978, 0.9752, -0.1987], [0.0198, 0.1977, 0.9801]])


def write(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def scan(axes: str, turned: NDArray[np.float64] | None = None) -> tuple[NDArray[np.int16], NDArray]:
    """A scan with anisotropic voxels whose axes point to `axes`, and its affine.

    One voxel off the middle is dense, and lies at `LANDMARK_RAS`.
    """
    place = (4, 1, 2)
    values = np.full(SHAPE, -3024, np.int16)  # scanners pad like this
    values[place] = 70
    affine = np.diag((0.4, 0.6, 5.0, 1.0))
    affine[:3, :3] = (np.eye(3) if turned is None else turned) @ affine[:3, :3]
    affine[:3, 3] = LANDMARK_RAS - affine[:3, :3] @ place
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes)
    )
    return (
        orientations.apply_orientation(values, turn),
        affine @ orientations.inv_ornt_aff(turn, SHAPE),
    )


def landmark_lps(volume: Volume) -> NDArray[np.float64]:
    """Where the dense voxel lies by the volume's own geometry, as DICOM reckons."""
    z, y, x = np.argwhere(volume.hu == 70)[0]
    row, column = volume.orientation[:3], volume.orientation[3:]
    return (
        volume.positions_mm[z] + row * volume.spacing_mm[1] * x + column * volume.spacing_mm[0] * y
    )


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "RPI", "LAI", "ARS", "PLI"])
@pytest.mark.parametrize("turned", [None, OBLIQUE], ids=["straight", "oblique"])
def test_the_same_voxel_lies_at_the_same_place_however_the_axes_point(
    axes: str, turned: NDArray[np.float64] | None, tmp_path: Path
) -> None:
    values, affine = scan(axes, turned)
    write(tmp_path / "a.nii", values, affine)
    volume = read_scan(tmp_path / "a.nii", None).volume
    np.testing.assert_allclose(landmark_lps(volume), LANDMARK_RAS * [-1, -1, 1], atol=1e-3)
    straight = np.array([1.0, 0, 0, 0, 1, 0])
    assert volume.orientation @ straight > 1.9, "x runs to the left, y to the back"
    assert volume.normal[2] > 0.9, "slices run from the feet to the head"
    np.testing.assert_allclose(np.diff(volume.locations_mm), 5.0, atol=1e-3)
    assert volume.spacing_mm == pytest.approx((0.6, 0.4), abs=1e-3)
    assert volume.hu.min() == -1024


def test_a_gantry_tilt_stays_in_the_positions(tmp_path: Path) -> None:
    values, affine = scan("LPS")
    affine[1, 2] = 1.5  # each slice steps sideways
    write(tmp_path / "a.nii", values, affine)
    volume = read_scan(tmp_path / "a.nii", None).volume
    np.testing.assert_allclose(
        np.diff(volume.positions_mm, axis=0), [[0, -1.5, 5.0]] * 3, atol=1e-4
    )
    np.testing.assert_allclose(np.diff(volume.locations_mm), 5.0, atol=1e-4)


@pytest.mark.parametrize("axes", ["SPL", "LSP"])
def test_a_file_that_is_not_axial_is_unreadable(axes: str, tmp_path: Path) -> None:
    values, affine = scan(axes)
    write(tmp_path / "a.nii", values, affine)
    with pytest.raises(Unreadable, match="third axis"):
        read_scan(tmp_path / "a.nii", None)


def test_a_file_without_an_orientation_says_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(scan("RAS")[0], None)
    nibabel.save(image, tmp_path / "a.nii")
    assert "records no orientation" in read_scan(tmp_path / "a.nii", None).problems[0]


def bhsd(root: Path, name: str, axes: str = "LPS", **lesions: tuple[int, int, int]) -> None:
    """A volume of BHSD with a voxel of each lesion; codes by name."""
    codes = dict(zip(("edh", "iph", "ivh", "sah", "sdh", "odd"), range(1, 7), strict=True))
    values, affine = scan(axes)
    drawn = np.zeros(values.shape, np.uint8)
    for lesion, place in lesions.items():
        drawn[place] = codes[lesion]
    write(root / "images" / f"{name}.nii.gz", values, affine)
    write(root / "ground truths" / f"{name}.nii.gz", drawn, affine)


@pytest.mark.parametrize("kind", ["edh", "iph", "ivh", "sah", "sdh"])
def test_codes_of_bhsd_become_subtypes_of_slices(kind: str, tmp_path: Path) -> None:
    order = ("edh", "iph", "ivh", "sah", "sdh")
    bhsd(tmp_path, "ID_0b10cbee_ID_f91d6a7cd2", **{kind: (4, 1, 2)})
    data = open_dataset("bhsd", tmp_path)
    (case,) = data.cases(["ID_0b10cbee"])
    column = order.index(kind)
    assert case.labels.sum() == case.labels[2, column] == 1
    assert case.bleeds.tolist() == [0, 0, 1, 0]
    assert case.study.tolist() == [1.0, *(float(place == column) for place in range(5))]
    assert case.mask is not None
    assert np.argwhere(case.mask).tolist() == [[2, 1, 4]]
    assert data.problems == []


def test_masks_turn_with_their_image(tmp_path: Path) -> None:
    values, affine = scan("ARI")
    write(tmp_path / "images" / "a.nii.gz", values, affine)
    write(tmp_path / "ground truths" / "a.nii.gz", (values == 70).astype(np.uint8), affine)
    (case,) = open_dataset("bhsd", tmp_path).cases(["a"])
    np.testing.assert_array_equal(case.mask, case.volume.hu == 70)


def test_broken_and_missing_files_of_bhsd_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    for name in ("whole", "cut", "bare", "small", "shifted", "odd"):
        bhsd(tmp_path, name, sdh=(0, 0, 0))
    bhsd(tmp_path, "odd", sdh=(0, 0, 0), odd=(1, 1, 1))
    images, masks = tmp_path / "images", tmp_path / "ground truths"
    whole = (images / "cut.nii.gz").read_bytes()
    (images / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (images / "text.nii.gz").write_text("no image")
    (masks / "bare.nii.gz").unlink()
    values, affine = scan("LPS")
    write(masks / "small.nii.gz", np.zeros((6, 5, 3), np.uint8), affine)
    write(masks / "shifted.nii.gz", np.zeros(values.shape, np.uint8), affine + 0.5)
    write(masks / "alone.nii.gz", np.zeros(values.shape, np.uint8), affine)
    data = open_dataset("bhsd", tmp_path)
    cases = {case.name: case for case in data.cases(data.patients())}
    assert cases.keys() == {"whole", "bare", "small", "shifted", "odd"}
    assert cases["bare"].mask is None
    assert np.isnan(cases["bare"].labels).all()
    assert np.isnan(cases["small"].study).all()
    assert cases["shifted"].mask is not None
    named = "\n".join(data.problems)
    for expected in (
        "alone.nii.gz: mask without an image",
        "bare.nii.gz: no mask",
        "small.nii.gz: shape (6, 5, 3), its image (6, 5, 4); mask left out",
        "shifted.nii.gz: another affine than its image",
        "odd.nii.gz: mask holds the unknown codes [6]",
        "text.nii.gz:",
        "cut.nii.gz:",
    ):
        assert expected in named
    assert sum(line.endswith("case left out") for line in data.problems) == 2


def test_subtypes_of_instance_are_unknown_where_it_bleeds_and_absent_elsewhere(
    tmp_path: Path,
) -> None:
    values, affine = scan("RAS")
    write(tmp_path / "train_2" / "data" / "001.nii.gz", values, affine)
    write(tmp_path / "train_2" / "label" / "001.nii.gz", (values == 70).astype(np.uint8), affine)
    (case,) = open_dataset("instance", tmp_path).cases(["001"])
    assert case.bleeds.tolist() == [0, 0, 1, 0]
    assert np.isnan(case.labels[2]).all()
    assert (case.labels[[0, 1, 3]] == 0).all()
    np.testing.assert_array_equal(case.study, [1, *[np.nan] * 5])


DIAGNOSIS = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,"
    "No_Hemorrhage,Fracture_Yes_No"
)


@pytest.fixture
def physionet(tmp_path: Path) -> Path:
    """Patient 49, its file from the head to the feet, bleeds on the file's slice 2; 50 does not."""
    values, affine = scan("LPI")
    for number in ("049", "050"):
        write(tmp_path / "ct_scans" / f"{number}.nii", values, affine)
        drawn = values == 70 if number == "049" else values == 1
        write(tmp_path / "masks" / f"{number}.nii", drawn.astype(np.uint8) * 255, affine)
    shown = {("49", 2): "0,1,0,0,0,0,0"}
    rows = [
        f"{p},{s},{shown.get((p, s), '0,0,0,0,0,1,0')}" for p in ("49", "50") for s in (4, 3, 2, 1)
    ]
    (tmp_path / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join([DIAGNOSIS, *rows]) + "\n")
    (tmp_path / "patient_demographics.csv").write_text(
        '"Patient Number","Age\n(years)",Gender,"Hemorrhage type based on the\nradiologists",,\n'
        ",,,Intraventricular,Intraparenchymal,\n49,50,Male,,1,\n50,3,Female,,,\n59,30,Male,,,\n"
    )
    return tmp_path


def test_labels_of_physionet_follow_the_slices_of_the_file(physionet: Path) -> None:
    data = open_dataset("physionet-nifti", physionet)
    assert data.bleeding == {"49": 1, "50": 0}
    bleeding, normal = data.cases(data.patients())
    where = int(np.argwhere(bleeding.volume.hu == 70)[0][0])
    assert bleeding.bleeds.tolist() == [float(z == where) for z in range(4)]
    assert bleeding.labels[where].tolist() == [name == "intraparenchymal" for name in SUBTYPES]
    assert bleeding.mask is not None
    assert bleeding.mask.any((1, 2)).tolist() == [z == where for z in range(4)]
    assert normal.study.tolist() == [0] * 6
    assert data.problems == ["patient 59: no scan"], "the header's newlines name no patient"


def test_slices_without_labels_labels_without_slices_and_masks_that_miss_are_named(
    physionet: Path,
) -> None:
    table = physionet / "hemorrhage_diagnosis_raw_ct.csv"
    table.write_text(
        table.read_text().replace("49,1,0,0,0,0,0,1,0\n", "49,5,0,0,0,0,0,1,0\n")
        + "49,4,0,0,0,0,1,0,0\n51,1,0,0,0,0,0,1,0\n"
    )
    (physionet / "masks" / "050.nii").unlink()
    values, affine = scan("LPI")
    write(physionet / "ct_scans" / "052.nii", values, affine)
    data = open_dataset("physionet-nifti", physionet)
    first, second, third = data.cases(data.patients())
    assert np.isnan(first.bleeds).sum() == 1
    assert second.mask is None
    assert np.isnan(third.labels).all()
    assert data.problems == [
        "patient 49, slice 4: two rows, the last is taken",
        "patient 51: no scan",
        "patient 59: no scan",
        "patient 52: scan without labels",
        "049.nii: 1 slices of 4 without labels",
        "049.nii: labels for 1 slices that the scan has not",
        "049.nii, slice 4: labelled hemorrhage without a mask",
        "050.nii: missing; mask left out",
        "052.nii: missing; mask left out",
        "052.nii: 4 slices of 4 without labels",
    ]
