"""The CQ500 loader, on a small tree of DICOM series and reads."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets import open_dataset
from training.datasets.case import DataSet
from training.datasets.cq500 import read_reads
from training.datasets.series import Identity, uid, write_series

FINDINGS = (
    *("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "BleedLocation-Right"),
    *("ChronicBleed", "Fracture", "CalvarialFracture", "OtherFracture", "MassEffect"),
    "MidlineShift",
)
COLUMNS = ["name", "Category", *(f"R{r}:{finding}" for r in (1, 2, 3) for finding in FINDINGS)]


def write_reads(root: Path, *rows: dict[str, str]) -> None:
    with (root / "reads.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="0")
        writer.writeheader()
        writer.writerows(rows)


def write_ct(
    root: Path,
    study: int,
    folder: str,
    gap_mm: float = 10.0,
    slices: int = 9,
    kernel: str = "STANDARD",
    sagittal: bool = False,
) -> Path:
    """One series; its HU tell which it is and which slice."""
    heights = np.arange(slices) * gap_mm
    normal = np.array([-1.0, 0, 0] if sagittal else [0, 0, 1.0])
    axes = [0.0, 1, 0, 0, 0, -1] if sagittal else [1.0, 0, 0, 0, 1, 0]
    volume = Volume(
        hu=np.broadcast_to(heights[:, None, None], (slices, 4, 6)).astype(np.float32),
        positions_mm=heights[:, None] * normal,
        orientation=np.array(axes),
        spacing_mm=(0.5, 0.5),
        thickness_mm=gap_mm,
    )
    where = root / "qct01" / f"CQ500CT{study} CQ500CT{study}" / "Unknown Study" / folder
    identity = replace(Identity.of(f"CQ500CT{study}"), series_instance_uid=uid(folder))
    write_series(volume, where, identity, kernel=kernel)
    return where


def opened(root: Path, **options: str) -> DataSet:
    return open_dataset("cq500", root, cache=root / "index.jsonl", **options)


def bleed(name: str, *readers: int, finding: str = "SDH") -> dict[str, str]:
    """A row in which these readers saw a finding."""
    return {"name": name, "Category": "B1"} | {
        f"R{r}:{seen}": "1" for r in readers for seen in ("ICH", finding)
    }


def test_the_table_has_the_published_number_of_columns() -> None:
    assert len(COLUMNS) == 44


def test_a_study_bleeds_if_two_of_three_readers_say_so(tmp_path: Path) -> None:
    write_reads(tmp_path, bleed("CQ500-CT-1", 1, 3), bleed("CQ500-CT-2", 2))
    reads, problems = read_reads(tmp_path / "reads.csv")
    expected = [1.0, *(float(subtype == "subdural") for subtype in SUBTYPES)]
    assert reads["CQ500-CT-1"].tolist() == expected
    assert reads["CQ500-CT-2"].tolist() == [0.0] * 6
    assert problems == []


def test_without_two_equal_reads_a_label_is_unknown_and_named(tmp_path: Path) -> None:
    write_reads(tmp_path, bleed("CQ500-CT-1", 1) | {"R3:ICH": "", "R3:SDH": "?"})
    reads, problems = read_reads(tmp_path / "reads.csv")
    assert np.isnan(reads["CQ500-CT-1"][0])
    assert reads["CQ500-CT-1"][1] == 0
    assert len(problems) == 1


def test_slices_of_a_bleeding_study_are_unknown_where_it_shows_and_free_where_not(
    tmp_path: Path,
) -> None:
    write_reads(tmp_path, bleed("CQ500-CT-1", 1, 2, 3), {"name": "CQ500-CT-12"})
    write_ct(tmp_path, 1, "CT 5mm")
    write_ct(tmp_path, 12, "CT 5mm")
    data = opened(tmp_path)
    assert data.bleeding == {"CQ500-CT-1": 1, "CQ500-CT-12": 0}
    bleeding, normal = data.cases(data.patients())
    assert (bleeding.name, bleeding.patient) == ("CQ500-CT-1 CT 5mm", "CQ500-CT-1")
    assert np.isnan(bleeding.bleeds).all()
    assert np.isnan(bleeding.labels[:, SUBTYPES.index("subdural")]).all()
    assert (bleeding.labels[:, SUBTYPES.index("epidural")] == 0).all()
    assert (normal.labels == 0).all()
    assert (normal.bleeds == 0).all()
    assert bleeding.mask is None
    assert bleeding.volume.hu[:, 0, 0].tolist() == list(range(0, 90, 10))
    assert data.problems == []


def test_the_plain_thin_series_is_read_before_all_others(tmp_path: Path) -> None:
    write_reads(tmp_path, bleed("CQ500-CT-1", 1, 2, 3))
    write_ct(tmp_path, 1, "CT C THIN", gap_mm=5, slices=17)
    write_ct(tmp_path, 1, "CT 0.625mm", gap_mm=6, slices=15)
    write_ct(tmp_path, 1, "CT Plain")
    write_ct(tmp_path, 1, "CT PRE CONTRAST THIN", gap_mm=8, slices=11)
    for name in ("CT POST CONTRAST", "CT Thin Bone", "CT 4cc sec 150cc D3D on", "CT NECK PLAIN"):
        write_ct(tmp_path, 1, name)
    write_ct(tmp_path, 1, "CT PLAIN", kernel="BONEPLUS")
    write_ct(tmp_path, 1, "CT PLAIN 2", kernel="H60s")
    write_ct(tmp_path, 1, "CT Plain short", gap_mm=9)
    write_ct(tmp_path, 1, "CT Plain sag", sagittal=True)
    contrast = write_ct(tmp_path, 1, "CT Plain late") / "0003.dcm"
    ds = pydicom.dcmread(contrast)
    ds.ContrastBolusAgent = "Iohexol"
    ds.save_as(contrast)
    names = [case.name for case in opened(tmp_path, series="all").cases(["CQ500-CT-1"])]
    assert [name.removeprefix("CQ500-CT-1 ") for name in names] == [
        *("CT PRE CONTRAST THIN", "CT Plain", "CT 0.625mm", "CT C THIN")
    ]
    assert [case.name for case in opened(tmp_path).cases(["CQ500-CT-1"])] == names[:1]


def test_studies_without_images_or_reads_and_broken_files_are_named(tmp_path: Path) -> None:
    write_reads(tmp_path, {"name": "CQ500-CT-1"}, {"name": "CQ500-CT-2"}, {"name": "CQ500-CT-2"})
    folder = write_ct(tmp_path, 1, "CT Plain")
    write_ct(tmp_path, 7, "CT Plain")
    (folder / "0004.dcm").write_bytes(b"not DICOM")
    (folder / "0006.dcm").write_bytes((folder / "0006.dcm").read_bytes()[:-8])
    (folder / "copy.dcm").write_bytes((folder / "0009.dcm").read_bytes())
    data = opened(tmp_path)
    (case,) = data.cases(data.patients())
    assert np.diff(case.volume.positions_mm[:, 2]).tolist() == [10, 10, 20, 20, 10, 10]
    named = [
        line.replace(folder.relative_to(tmp_path).as_posix() + "/", "") for line in data.problems
    ]
    assert named[0] == "CQ500-CT-2: read twice in reads.csv, the first row is taken"
    assert named[1].startswith("0004.dcm: not a readable DICOM file")
    assert named[2] == "CQ500-CT-7: images, but no reads"
    assert named[3] == "CQ500-CT-2: no suitable series among 0, left out"
    assert named[4].startswith("copy.dcm: at the position of")
    assert named[5].startswith("0006.dcm: its pixels cannot be read")
    assert len(named) == 6


def test_without_the_reads_there_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(tmp_path)
