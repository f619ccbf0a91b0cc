"""Slices in order along their normal, checked against independent DICOM libraries."""

import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from models.volume import Volume
from node.dicom.read.geometry import stack
from node.dicom.read.pixels import load_volume
from node.errors import Refused
from node.records import Header, SeriesPlan
from node.states import Reason
from tests.conftest import require_program
from tests.support.builder import (
    HEAD,
    Edit,
    Scan,
    again,
    alone,
    each,
    encoded,
    one,
    series,
    store,
    without,
)

SQRT3 = 3**0.5
TOO_LONG = ["9e9", "9e9", "0", "9e9", "-9e9", "0"]
TURNED = HEAD(orientation=(SQRT3 / 2, 0.5, 0, -0.5, SQRT3 / 2, 0))
OBLIQUE = HEAD(orientation=(SQRT3 / 2, 0.5, 0, -0.48, 0.48 * SQRT3, -0.28))
BACKWARDS = each(InstanceNumber=lambda i: 30 - i)
REGULAR: dict[str, tuple[Scan, *tuple[Edit, ...]]] = {
    "upright": (HEAD,),
    "square pixels": (HEAD(spacing_mm=(3.0, 3.0)),),
    "turned by 30 degrees": (TURNED,),
    "oblique": (OBLIQUE,),
    "oblique, numbered backwards": (OBLIQUE, BACKWARDS),
    "numbered backwards": (HEAD, BACKWARDS),
    "mirrored": (HEAD(orientation=(-1, 0, 0, 0, 1, 0)),),
    "prone": (HEAD(orientation=(-1, 0, 0, 0, -1, 0)),),
    "thin": (HEAD(gaps_mm=(1.25,) * 40),),
}
LEANING: dict[str, tuple[Scan, *tuple[Edit, ...]]] = {
    "tilted": (HEAD(tilt_deg=18.5),),
    "tilted down, numbered backwards": (HEAD(tilt_deg=-18.5), BACKWARDS),
    "oblique and tilted": (OBLIQUE(tilt_deg=9),),
    "tilted, of two spacings": (HEAD(tilt_deg=18.5, gaps_mm=(4.0,) * 14 + (7.0,) * 13),),
}
FACTOR = 1.6


def headers(scan: Scan, *edits: Edit) -> list[Header]:
    return [instance.header for instance in series(scan, *edits).instances]


def load(files: list[bytes], folder: Path) -> tuple[SeriesPlan, Volume]:
    _, plan = alone(store(files, folder))
    assert plan is not None
    return plan, load_volume(plan, folder)


def build(folder: Path, scan: Scan, *edits: Edit) -> tuple[SeriesPlan, Volume]:
    images = scan.build()
    for edit in edits:
        images = edit(images)
    return load([encoded(ds) for ds in reversed(images)], folder)


def real(data: Path, folder: Path) -> tuple[SeriesPlan, Volume]:
    return load([p.read_bytes() for p in sorted((data / "ge_head_tilt").glob("*.dcm"))], folder)


def nifti(folder: Path, name: str = "series") -> nibabel.Nifti1Image:
    """What dcm2niix makes of the folder, before it straightens a tilt or evens out the spacing.

    "series_Tilt_1" is the image straightened.
    """
    require_program("dcm2niix")
    out = folder / "nifti"
    out.mkdir()
    command = ["dcm2niix", "-b", "n", "-z", "n", "-o", out, "-f", "series", folder]
    subprocess.run(command, check=True, capture_output=True)
    return nibabel.load(out / f"{name}.nii")


def as_nifti(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume as NIfTI has it: (x, y, z), rows from below, and the affine to RAS.

    The affine's third column is the mean step from slice to slice.
    """
    rows = volume.hu.shape[1]
    down = volume.orientation[3:] * volume.spacing_mm[0]
    affine = np.eye(4)
    affine[:3, 0] = volume.orientation[:3] * volume.spacing_mm[1]
    affine[:3, 1] = -down
    affine[:3, 2] = (volume.positions_mm[-1] - volume.positions_mm[0]) / (len(volume.hu) - 1)
    affine[:3, 3] = volume.positions_mm[0] + (rows - 1) * down
    return volume.hu[:, ::-1].transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.peer
@pytest.mark.parametrize("name", REGULAR)
def test_dcm2niix_finds_the_same_voxels_at_the_same_places(name: str, tmp_path: Path) -> None:
    _, volume = build(tmp_path, *REGULAR[name])
    image = nifti(tmp_path)
    voxels, affine = as_nifti(volume)
    assert image.affine == pytest.approx(affine, abs=1e-3)
    assert np.array_equal(np.asarray(image.dataobj), voxels)


@pytest.mark.peer
@pytest.mark.data
def test_the_real_tilted_head_is_the_one_of_dcm2niix(data: Path, tmp_path: Path) -> None:
    # dcm2niix shears the row axis of a tilted affine and has one step for all slices, so only what
    # it leaves alone is compared: the voxels in their order, the first corner, the column axis.
    # All the rest is compared where it has straightened the head, zone by zone.
    _, volume = real(data, tmp_path)
    image = nifti(tmp_path)
    voxels, affine = as_nifti(volume)
    assert np.array_equal(np.maximum(np.asarray(image.dataobj), -1024), voxels)
    assert image.affine[:3, 0] == pytest.approx(affine[:3, 0], abs=1e-4)
    assert image.affine[:3, 3] == pytest.approx(affine[:3, 3], abs=1e-3)
    assert image.affine[2, 1] == pytest.approx(affine[2, 1], abs=1e-4)


@pytest.mark.peer
def test_dcm2niix_straightens_a_tilted_phantom_from_where_we_find_its_slices(
    tmp_path: Path,
) -> None:
    # Upwards only: where the tilt is negative, dcm2niix moves the origin the wrong way.
    tilted = HEAD(tilt_deg=18.5).having(GantryDetectorTilt=18.5)
    _, volume = build(tmp_path, tilted)
    assert_straightened(volume, nifti(tmp_path, "series_Tilt_1"))


@pytest.mark.peer
@pytest.mark.data
@pytest.mark.parametrize("zone", [slice(14), slice(14, 28)], ids=["fossa", "vertex"])
def test_dcm2niix_straightens_the_real_tilted_head_from_where_we_find_its_slices(
    data: Path, tmp_path: Path, zone: slice
) -> None:
    # One zone at a time: dcm2niix would resample two to one spacing.
    plan, volume = real(data, tmp_path / "whole")
    (tmp_path / "zone").mkdir()
    for ref in plan.slices[zone]:
        (tmp_path / "zone" / ref.path).symlink_to(tmp_path / "whole" / ref.path)
    part = replace(volume, hu=volume.hu[zone], positions_mm=volume.positions_mm[zone])
    assert_straightened(part, nifti(tmp_path / "zone", "series_Tilt_1"))


def assert_straightened(volume: Volume, image: nibabel.Nifti1Image) -> None:
    """Each slice of ours lies in a plane of the image, and shows there what the image shows.

    dcm2niix moves the slices along their columns until they stand upon each other, and interpolates
    between two rows: that gives half a Hounsfield unit of rounding, a little more at steep edges.
    """
    rows_mm, columns_mm = volume.spacing_mm
    count = volume.hu.shape[1]
    across, down = volume.orientation[:3] * columns_mm, volume.orientation[3:] * rows_mm
    gap = volume.normal * np.diff(volume.locations_mm).mean()
    to_ras = np.array([-1, -1, 1])
    steps = np.stack([across, -down, gap]) * to_ras
    assert image.affine[:3, :3] == pytest.approx(steps.T, abs=1e-4)
    corners = (volume.positions_mm + (count - 1) * down) * to_ras  # NIfTI counts rows from below
    at = (np.c_[corners, np.ones(len(corners))] @ np.linalg.inv(image.affine).T)[:, :3]
    assert at[:, 0] == pytest.approx(0, abs=1e-3)
    assert at[:, 2] == pytest.approx(np.arange(len(at)), abs=1e-3)
    seen = np.asarray(image.dataobj)
    for z, start in enumerate(at[:, 1]):
        place = np.arange(seen.shape[1]) - start
        lower = np.floor(place).astype(int)
        both = (lower >= 0) & (lower + 1 < count)
        part, ours = (place - lower)[both], volume.hu[z, ::-1].T
        below, above = ours[:, lower[both]], ours[:, lower[both] + 1]
        apart = np.abs(seen[:, both, z] - (below * (1 - part) + above * part))
        measured = np.minimum(below, above) > -1024  # padding is not
        assert measured.mean() > 0.1
        assert apart[measured].max() < 1


@pytest.mark.data
def test_each_slice_of_the_real_tilted_head_lies_where_simpleitk_says(
    data: Path, tmp_path: Path
) -> None:
    assert_where_simpleitk_says(*real(data, tmp_path), tmp_path)


@pytest.mark.parametrize("name", LEANING)
def test_each_slice_of_a_leaning_series_lies_where_simpleitk_says(
    name: str, tmp_path: Path
) -> None:
    assert_where_simpleitk_says(*build(tmp_path, *LEANING[name]), tmp_path)


def assert_where_simpleitk_says(plan: SeriesPlan, volume: Volume, root: Path) -> None:
    _, rows, columns = volume.hu.shape
    for ref, position, hu in zip(plan.slices, volume.positions_mm, volume.hu, strict=True):
        image = sitk.ReadImage(root / ref.path)
        for x, y in ((0, 0), (columns - 1, 0), (0, rows - 1), (30, 20)):
            here = position + x * volume.spacing_mm[1] * volume.orientation[:3]
            here = here + y * volume.spacing_mm[0] * volume.orientation[3:]
            assert here == pytest.approx(image.TransformIndexToPhysicalPoint((x, y, 0)), abs=1e-3)
        assert np.array_equal(np.maximum(sitk.GetArrayFromImage(image)[0], -1024), hu)


@pytest.mark.data
def test_the_real_tilted_head_has_two_zones_and_a_narrow_seam(data: Path, tmp_path: Path) -> None:
    plan, volume = real(data, tmp_path)
    gaps = np.diff(volume.locations_mm)
    assert gaps == pytest.approx([4.002] * 13 + [1.081] + [6.999] * 13, abs=1e-3)
    assert volume.orientation[[1, 2, 3]] == pytest.approx([0, 0, 0])
    assert plan.limitations[:2] == (
        "gantry tilt 18.5 degrees",
        "slice spacing varies from 1.1 to 7.0 mm",
    )


@pytest.mark.parametrize("name", REGULAR)
def test_simpleitk_reads_the_same_volume_of_a_regular_series(name: str, tmp_path: Path) -> None:
    plan, volume = build(tmp_path, *REGULAR[name])
    detector = sitk.ImageSeriesReader()
    detector.SetFileNames([str(tmp_path / ref.path) for ref in plan.slices])
    image = detector.Execute()
    direction = np.reshape(image.GetDirection(), (3, 3))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.hu)
    assert image.GetOrigin() == pytest.approx(volume.positions_mm[0], abs=1e-4)
    assert image.GetSpacing()[:2] == pytest.approx(volume.spacing_mm[::-1])
    assert image.GetSpacing()[2] == pytest.approx(np.diff(volume.locations_mm)[0], abs=1e-4)
    assert direction.T.ravel() == pytest.approx(np.r_[volume.orientation, volume.normal], abs=1e-5)


@pytest.mark.parametrize("tilt_deg", [-30, -18.5, 7, 30])
def test_a_tilted_stack_knows_its_tilt_and_keeps_its_spacing(tilt_deg: float) -> None:
    ordered = stack(headers(HEAD(tilt_deg=tilt_deg)), FACTOR)
    assert ordered.tilt_deg == pytest.approx(abs(tilt_deg), abs=1e-3)
    assert ordered.gaps_mm == pytest.approx([5.0] * 29, abs=1e-4)
    assert ordered.coverage_mm == pytest.approx(150, abs=1e-3)


def test_rounded_cosines_become_unit_vectors_at_right_angles() -> None:
    rounded = headers(HEAD.having(ImageOrientationPatient=[0.966, 0.259, 0, -0.258, 0.966, 0.001]))
    row, column = stack(rounded, FACTOR).plane.orientation.reshape(2, 3)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-12)
    assert np.linalg.norm(column) == pytest.approx(1, abs=1e-12)
    assert row @ column == pytest.approx(0, abs=1e-12)


def test_the_hole_is_named_by_its_neighbours() -> None:
    (hole,) = stack(headers(HEAD, without(9)), FACTOR).holes
    assert hole.after == 8
    assert (hole.gap_mm, hole.unseen_mm) == pytest.approx((10.0, 5.0))


@pytest.mark.parametrize("index", range(1, 29))
def test_no_single_slice_can_be_lost_unnoticed(index: int) -> None:
    whole = headers(HEAD)
    (hole,) = stack(whole[:index] + whole[index + 1 :], FACTOR).holes
    assert hole.after == index - 1


def test_a_gap_is_no_hole_where_the_thickness_of_its_slices_fills_it() -> None:
    thick = [replace(h, slice_thickness_mm=10.0) for h in headers(HEAD, without(9))]
    assert max(stack(thick, FACTOR).gaps_mm) == pytest.approx(10.0)


def test_a_copy_is_kept_for_comparison() -> None:
    twice = stack(headers(HEAD, again(4)), FACTOR)
    assert (len(twice.slices), len(twice.copies)) == (30, 1)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (one(3, ImagePositionPatient=None), "1 of 30 images do not say where they lie"),
        (one(3, PixelSpacing=[4, 3]), "different PixelSpacing"),
        (one(3, Columns=70), "different or no matrix .*56 x 70, 56 x 80"),
        (one(3, FrameOfReferenceUID="1.2"), "different frames of reference"),
        (one(3, ImageOrientationPatient=[1, 0, 0, 0, 0.99, 0.14]), "different orientation"),
        (one(3, ImagePositionPatient=[-90, -110, -57]), "shifted sideways by up to"),
        (one(3, ImagePositionPatient=["-98.75", "-110", "2e5"]), "further away than a scanner"),
        (each(PixelSpacing=lambda _: ["1e6", "1e6"]), "PixelSpacing is missing, not positive or"),
        (each(PixelSpacing=lambda _: ["1e-9", "1e-9"]), "PixelSpacing is missing, not positive or"),
        (each(Rows=lambda _: 65535), "field of .* fits no scanner"),
        (each(ImageOrientationPatient=lambda _: TOO_LONG), "no pair of unit vectors"),
    ],
)
def test_what_is_wrong_with_the_geometry_is_said(edit: Edit, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        stack(headers(HEAD, edit), FACTOR)
    assert caught.value.code is Reason.GEOMETRY
