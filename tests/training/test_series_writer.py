"""The CT series that demo and tests feed to the node are what a scanner would have written."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from models.volume import Volume
from tests.conftest import require_program
from training.datasets.series import Identity, uid, write_series

TILT_DEG = 18.5


def tilted(slices: int = 3) -> Volume:
    """An asymmetric, anisotropic volume under a gantry tilt, with uneven slice gaps."""
    tilt = np.radians(TILT_DEG)
    heights = np.cumsum(np.linspace(4.0, 7.0, slices))
    return Volume(
        hu=np.random.default_rng(5).integers(-1000, 2000, (slices, 21, 34)).astype(np.float32),
        positions_mm=np.stack([np.full(slices, -91.3), np.full(slices, -120.7), heights], axis=1),
        orientation=np.array([1, 0, 0, 0, np.cos(tilt), -np.sin(tilt)]),
        spacing_mm=(0.51, 0.43),
        thickness_mm=5.0,
    )


def test_hounsfield_values_and_geometry_survive_the_round_trip(tmp_path: Path) -> None:
    volume = tilted()
    for index, path in enumerate(write_series(volume, tmp_path, Identity.of("round trip"))):
        ds = pydicom.dcmread(path)
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_array_equal(hu, volume.hu[index])
        np.testing.assert_allclose(ds.ImagePositionPatient, volume.positions_mm[index], atol=1e-6)
        np.testing.assert_allclose(ds.ImageOrientationPatient, volume.orientation, atol=1e-9)
        assert tuple(ds.PixelSpacing) == volume.spacing_mm
        assert ds.InstanceNumber == index + 1


@pytest.mark.parametrize(("signed", "bits"), [(True, 16), (False, 16), (False, 12)])
def test_stored_bits_change_nothing_about_the_values(
    tmp_path: Path, signed: bool, bits: int
) -> None:
    volume = tilted()
    paths = write_series(volume, tmp_path, Identity.of("bits"), signed=signed, bits_stored=bits)
    ds = pydicom.dcmread(paths[1])
    assert (ds.PixelRepresentation, ds.BitsStored) == (int(signed), bits)
    np.testing.assert_array_equal(ds.pixel_array + ds.RescaleIntercept, volume.hu[1])


def test_a_value_that_does_not_fit_the_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        write_series(tilted(), tmp_path, Identity.of("bits"), signed=True, bits_stored=12)


def test_padding_is_declared_in_stored_units(tmp_path: Path) -> None:
    volume = tilted()
    hu = volume.hu.copy()
    hu[:, 0, :] = -2000
    paths = write_series(replace(volume, hu=hu), tmp_path, Identity.of("padding"), padding_hu=-2000)
    ds = pydicom.dcmread(paths[0])
    assert (ds.pixel_array[0] == ds.PixelPaddingValue).all()


def test_images_in_acquisition_counts_the_slices_where_it_is_sent(tmp_path: Path) -> None:
    identity = Identity.of("count")
    silent = write_series(tilted(), tmp_path / "silent", identity)
    telling = write_series(tilted(), tmp_path / "telling", identity, images_in_acquisition=True)
    assert "ImagesInAcquisition" not in pydicom.dcmread(silent[0])
    assert pydicom.dcmread(telling[0]).ImagesInAcquisition == 3


def test_the_same_seed_gives_the_same_identity_and_another_seed_another() -> None:
    assert Identity.of("a") == Identity.of("a")
    mine, other = Identity.of("a"), Identity.of("b")
    assert mine.patient_id != other.patient_id
    assert mine.study_instance_uid != other.study_instance_uid
    assert all(
        UID(value).is_valid
        for value in (mine.study_instance_uid, mine.series_instance_uid, uid("x", "y"))
    )


def test_two_series_of_one_study_share_no_instance_uid(tmp_path: Path) -> None:
    first = Identity.of("study")
    second = replace(first, series_instance_uid=uid("study", "second"), series_number=3)
    paths = [
        *write_series(tilted(), tmp_path / "1", first),
        *write_series(tilted(), tmp_path / "2", second),
    ]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert len({ds.SOPInstanceUID for ds in headers}) == 6
    assert len({ds.StudyInstanceUID for ds in headers}) == 1


@pytest.mark.data
def test_gantry_tilt_has_the_sign_that_a_real_scanner_gives_it(data: Path, tmp_path: Path) -> None:
    source = next(
        ds
        for path in sorted((data / "ge_head_tilt").rglob("*"))
        if path.is_file() and pydicom.misc.is_dicom(path)
        for ds in [pydicom.dcmread(path)]
    )
    volume = replace(tilted(), orientation=np.array(source.ImageOrientationPatient, np.float64))
    ds = pydicom.dcmread(write_series(volume, tmp_path, Identity.of("tilt"))[0])
    assert float(ds.GantryDetectorTilt) == pytest.approx(float(source.GantryDetectorTilt), abs=0.1)


@pytest.mark.peer
@pytest.mark.parametrize("signed", [True, False])
def test_dciodvfy_finds_nothing_to_complain_about(tmp_path: Path, signed: bool) -> None:
    require_program("dciodvfy")
    paths = write_series(
        tilted(), tmp_path, Identity.of("peer"), signed=signed, images_in_acquisition=True
    )
    for path in paths:
        said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
        assert "Error" not in said.stdout + said.stderr
        assert "Warning" not in said.stdout + said.stderr
        assert "CTImage" in said.stderr
