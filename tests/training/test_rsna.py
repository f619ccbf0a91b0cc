"""The RSNA 2019 loader, on a small tree of DICOM files as sparse as the real ones."""

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from models.findings import SUBTYPES
from training.datasets import dicom, open_dataset
from training.datasets.case import DataSet

TILT = np.radians(18)
TILTED = [1.0, 0.0, 0.0, 0.0, float(np.cos(TILT)), float(-np.sin(TILT))]


def write_slice(
    path: Path,
    z_mm: float,
    patient: str = "ID_aa11bb22",
    series: str = "ID_1f6d1e8aeb",
    stored: NDArray[np.int16] | None = None,
    intercept: float = -1024,
    **more: object,
) -> None:
    """One file as the challenge has them: no SOPClassUID, no InstanceNumber, UIDs that are none."""
    ds = Dataset()
    with disable_value_validation():
        ds.SOPInstanceUID = path.stem
        ds.Modality = "CT"
        ds.PatientID = patient
        ds.StudyInstanceUID = "ID_2a" + series[5:]
        ds.SeriesInstanceUID = series
        ds.ImagePositionPatient = [-3.0, 4.0, z_mm]
        ds.ImageOrientationPatient = TILTED
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = 6, 4
        ds.PixelSpacing = [0.5, 0.6]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = 1
        ds.RescaleIntercept, ds.RescaleSlope = intercept, 1
        pixels = np.full((6, 4), round(z_mm) + 1024, np.int16) if stored is None else stored
        ds.PixelData = pixels.tobytes()
        for keyword, value in more.items():
            setattr(ds, keyword, value)
        ds.preamble = bytes(128)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = path.stem
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path.parent.mkdir(exist_ok=True, parents=True)
        ds.save_as(path, implicit_vr=False, little_endian=True)


def write_table(root: Path, shown: dict[str, list[str]], *extra: str) -> None:
    """Six rows an image, the types it shows labelled 1, and whatever else."""
    rows = ["ID,Label", *extra]
    for image, types in shown.items():
        rows += [f"{image}_{name},{int(name in types)}" for name in (*SUBTYPES, "any")]
    (root / "stage_2_train.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two patients; the names of the first one's files run against the order of its slices."""
    folder = tmp_path / "stage_2_train"
    for name, z_mm in (("ID_000000003", 10.0), ("ID_000000002", 15.0), ("ID_000000001", 20.0)):
        write_slice(folder / f"{name}.dcm", z_mm)
    write_slice(folder / "ID_000000009.dcm", 33.0, "ID_cc33dd44", "ID_9999999999")
    shown = {"ID_000000002": ["any", "subdural"], "ID_000000001": [], "ID_000000003": []}
    write_table(tmp_path, shown | {"ID_000000009": []})
    return tmp_path


def opened(tree: Path) -> DataSet:
    return open_dataset("rsna", tree, cache=tree / "cache" / "index.jsonl")


def test_slices_come_along_the_tilted_normal_with_their_own_labels(tree: Path) -> None:
    data = opened(tree)
    (case,) = data.cases(["ID_aa11bb22"])
    assert case.name == "ID_1f6d1e8aeb"
    assert case.volume.positions_mm[:, 2].tolist() == [10, 15, 20]
    assert case.volume.hu[:, 0, 0].tolist() == [10, 15, 20]
    np.testing.assert_allclose(np.diff(case.volume.locations_mm), 5 * np.cos(TILT))
    assert case.volume.spacing_mm == (0.5, 0.6)
    assert case.labels[:, SUBTYPES.index("subdural")].tolist() == [0, 1, 0]
    assert case.labels.sum() == 1
    assert case.bleeds.tolist() == [0, 1, 0]
    assert case.study.tolist() == [1, 0, 0, 0, 0, 1]
    assert case.mask is None
    assert data.problems == []


def test_patients_are_known_by_their_labels_before_a_pixel_is_read(tree: Path) -> None:
    assert opened(tree).bleeding == {"ID_aa11bb22": 1, "ID_cc33dd44": 0}


def test_repeated_rows_are_dropped_and_counted_and_contradictions_are_unknown(tree: Path) -> None:
    table = tree / "stage_2_train.csv"
    table.write_text(
        table.read_text()
        + "ID_000000001_any,0\nID_000000003_any,1\nID_000000002_bruise,1\nID_000000002_any,2\n"
    )
    data = opened(tree)
    (case,) = data.cases(["ID_aa11bb22"])
    np.testing.assert_array_equal(case.bleeds, [np.nan, 1, 0])
    assert data.problems == [
        "ID_000000003_any: labelled both 0 and 1, taken as unknown",
        "stage_2_train.csv: no label in the row ID_000000002_bruise,1",
        "stage_2_train.csv: no label in the row ID_000000002_any,2",
        "stage_2_train.csv: 2 rows repeat an image and type, dropped",
    ]


def test_broken_missing_and_unlabelled_files_are_named_and_the_rest_is_read(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tree / "stage_2_train"
    (folder / "ID_000000009.dcm").write_bytes(b"not DICOM")
    cut = folder / "ID_000000002.dcm"
    cut.write_bytes(cut.read_bytes()[:-10])
    write_slice(folder / "ID_000000004.dcm", 25.0)
    write_slice(folder / "ID_000000005.dcm", 30.0, ImagePositionPatient=None)
    table = tree / "stage_2_train.csv"
    table.write_text(table.read_text() + "ID_00000000f_any,1\n")
    data = opened(tree)
    (case,) = data.cases(data.patients())
    assert case.volume.positions_mm[:, 2].tolist() == [10, 20, 25]
    np.testing.assert_array_equal(case.bleeds, [0, 0, np.nan])
    np.testing.assert_array_equal(case.study[0], np.nan)
    named = "\n".join(data.problems)
    for expected in (
        "ID_00000000f: labelled, but there is no file",
        "ID_000000004: no label",
        "ID_000000009.dcm: not a readable DICOM file",
        "ID_000000005.dcm: does not say to which series or place it belongs",
        "ID_000000002.dcm: its pixels cannot be read",
    ):
        assert expected in named
        assert expected in caplog.text
    assert len(data.problems) == 6, "the file without a place has no label either"
    assert "1 cases of 1 patients read, 1 problems" in caplog.text


def test_a_second_file_at_a_position_and_one_of_another_matrix_are_left_out(tree: Path) -> None:
    folder = tree / "stage_2_train"
    write_slice(folder / "ID_00000000a.dcm", 15.02)
    write_slice(
        folder / "ID_00000000b.dcm", 25.0, Rows=3, Columns=8, stored=np.zeros((3, 8), np.int16)
    )
    (case,) = opened(tree).cases(["ID_aa11bb22"])
    assert case.volume.positions_mm[:, 2].tolist() == [10, 15, 20]
    assert [line.partition(":")[0][-16:] for line in case.problems] == [
        "ID_00000000b.dcm",
        "ID_00000000a.dcm",
    ]


def test_twelve_bit_slices_with_a_lost_intercept_are_repaired(tree: Path) -> None:
    hu = np.array([[-1000, -600, -1, 0], [40, 80, 1000, 2000]], np.int16)
    lost = np.tile(hu & 4095, (3, 1)).astype(np.int16)  # below zero wrapped to the top of 12 bits
    path = tree / "stage_2_train" / "ID_000000009.dcm"
    twelve = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    write_slice(path, 33, "ID_cc33dd44", "ID_9999999999", stored=lost, intercept=0, **twelve)
    (case,) = opened(tree).cases(["ID_cc33dd44"])
    np.testing.assert_array_equal(case.volume.hu[0], np.tile(hu, (3, 1)))


def test_a_slice_that_never_lost_its_intercept_is_left_alone(tree: Path) -> None:
    stored = np.tile(np.arange(4, dtype=np.int16) * 1000, (6, 1))
    path = tree / "stage_2_train" / "ID_000000009.dcm"
    twelve = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    write_slice(path, 33, "ID_cc33dd44", "ID_9999999999", stored=stored, intercept=-1024, **twelve)
    (case,) = opened(tree).cases(["ID_cc33dd44"])
    assert case.volume.hu[0, 0].tolist() == [-1024, -24, 976, 1976]


def test_headers_are_read_once_and_broken_ones_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tree / "stage_2_train" / "ID_000000009.dcm"
    broken.write_bytes(b"not DICOM")
    opened(tree)
    asked = []
    real = dicom.read_header
    monkeypatch.setattr(
        dicom, "read_header", lambda root, path: asked.append(path) or real(root, path)
    )
    write_slice(broken, 33.0, "ID_cc33dd44", "ID_9999999999")
    again = opened(tree)
    assert asked == ["stage_2_train/ID_000000009.dcm"]
    assert again.patients() == ["ID_aa11bb22", "ID_cc33dd44"]
    assert next(again.cases(["ID_aa11bb22"])).volume.hu.shape == (3, 6, 4)


def test_many_headers_are_read_by_several_processes_to_the_same_index(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"stage_2_train/ID_00000000{n}.dcm" for n in (1, 2, 3, 9)]
    alone = dicom.index(tree, paths, tree / "alone.jsonl")
    monkeypatch.setattr(dicom, "FEW", 2)
    assert dicom.index(tree, paths, tree / "together.jsonl") == alone


def test_a_missing_folder_of_images_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path, {})
    with pytest.raises(FileNotFoundError, match="stage_2_train_images"):
        opened(tmp_path)


def test_a_kind_that_does_not_exist_is_refused_with_the_kinds_that_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="physionet-nifti"):
        open_dataset("rsna2019", tmp_path)
