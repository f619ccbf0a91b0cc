"""The configurable adapter, on data sets of made-up formats."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets import open_dataset
from training.datasets.case import DataSet
from training.datasets.series import Identity, write_series

HEAD = 'name = "made up"\ncitation = "nobody"\nlicence = "none"\n'
GREY = """
[images]
path = '(?P<patient>p\\d+)/(?P<case>\\w+)/(?P<slice>\\d+)\\.png'
format = "grey"
slope = 2.0
intercept = -1000.0
spacing_mm = [0.5, 0.4]
slice_mm = 3.0
first = "head"
"""
TABLE = """
[labels]
file = "labels.csv"
key_column = "image"
key = "{case}-{slice}"
yes = ["Y"]
no = ["N"]
fields = {any = "ICH", epidural = "EDH"}
"""
MASKS = """
[masks]
file = "masks/{case}/{slice}.png"
missing = "unknown"
codes = {1 = "epidural", 2 = "subdural"}
"""
POLYGONS = """
[polygons]
file = "shapes/{case}_{slice}.json"
missing = "empty"
list = "result.shapes"
points = "points"
label = "class.name"
codes = {SDH = "subdural"}
"""


def opened(root: Path, *parts: str) -> DataSet:
    (root / "mapping.toml").write_text(HEAD + "".join(parts))
    return open_dataset("adapter", root, mapping=root / "mapping.toml")


def picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Patient p1's scan c1: 16-bit slices 1 (at the head), 2 and 10, of 4 rows and 6 columns."""
    for number in (1, 2, 10):
        values = np.full((4, 6), 500 + number, np.uint16)
        values[0, 5] = 0
        picture(tmp_path / "p1" / "c1" / f"{number}.png", values)
    (tmp_path / "labels.csv").write_text("image,ICH,EDH\nc1-1,N,N\nc1-2,Y,?\nc1-10,Y,Y\n")
    return tmp_path


def test_grey_images_are_put_in_order_from_the_feet_and_scaled(tree: Path) -> None:
    (case,) = opened(tree, GREY).cases(["p1"])
    assert (case.name, case.patient) == ("c1", "p1")
    assert case.volume.hu[:, 0, 0].tolist() == [20, 4, 2]
    assert case.volume.hu[0, 0, 5] == -1000
    assert case.volume.positions_mm[:, 2].tolist() == [-30, -6, -3]
    assert case.volume.spacing_mm == (0.5, 0.4)
    assert np.isnan(case.labels).all()
    assert case.mask is None


def test_labels_of_a_table_are_taken_by_key_and_the_rest_is_unknown(tree: Path) -> None:
    data = opened(tree, GREY, TABLE)
    (case,) = data.cases(["p1"])
    epidural = SUBTYPES.index("epidural")
    np.testing.assert_array_equal(case.labels[:, epidural], [1, np.nan, 0])
    assert case.bleeds.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(np.isnan(case.labels[:, 4]), [True, True, False])
    assert case.study[:2].tolist() == [1, 1]
    assert data.problems == ["c1-2: epidural is '?', neither yes nor no"]


def test_masks_have_subtypes_by_code_and_a_missing_one_leaves_the_case_without(tree: Path) -> None:
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1, 2], drawn[3, 5] = 2, 7
    picture(tree / "masks" / "c1" / "2.png", drawn)
    picture(tree / "masks" / "c1" / "10.png", drawn % 2)
    (case,) = opened(tree, GREY, TABLE, MASKS).cases(["p1"])
    assert case.mask is not None, "slice 1 has no mask and is labelled free"
    assert np.argwhere(case.mask).tolist() == [[0, 3, 5], [1, 1, 2], [1, 3, 5]]
    (case,) = (data := opened(tree, GREY, MASKS)).cases(["p1"])
    assert case.mask is None
    assert "c1: lesions of 1 slices are not drawn, no mask" in data.problems
    np.testing.assert_array_equal(case.bleeds, [1, 1, np.nan])
    assert case.labels[0].tolist() == [1, 0, 0, 0, 0], "every lesion of the slice has a subtype"
    assert np.isnan(case.labels[1]).all(), "code 7 may be any of them"


def shapes(*polygons: dict[str, Any]) -> str:
    return json.dumps({"result": {"shapes": polygons}})


def test_polygons_are_filled_at_their_rows_and_columns_and_named(tree: Path) -> None:
    (tree / "shapes").mkdir()
    square = [[1, 0], [3, 0], [3, 2], [1, 2]]
    (tree / "shapes" / "c1_2.json").write_text(
        shapes(
            {"class": {"name": "SDH"}, "points": square},
            {"class": {"name": "SDH"}, "points": [5, 3, 5, 3, 5, 3]},
            {"class": {"name": "fracture"}, "points": square},
        )
    )
    data = opened(tree, GREY, POLYGONS)
    (case,) = data.cases(["p1"])
    assert case.mask is not None
    expected = np.zeros((4, 6), bool)
    expected[0:3, 1:4] = True
    expected[3, 5] = True
    np.testing.assert_array_equal(case.mask[1], expected)
    assert not case.mask[[0, 2]].any()
    assert case.labels[:, SUBTYPES.index("subdural")].tolist() == [0, 1, 0]
    assert case.bleeds.tolist() == [0, 1, 0]
    assert data.problems == ["c1_2.json: the polygon 'fracture' is not in polygons.codes"]


def test_broken_files_are_named_and_the_rest_is_read(tree: Path) -> None:
    (tree / "p1" / "c1" / "2.png").write_bytes(b"no picture")
    picture(tree / "p1" / "c1" / "3.png", np.zeros((5, 6), np.uint16))
    picture(tree / "p2" / "c2" / "1.png", np.zeros((4, 6, 3), np.uint8))
    (tree / "shapes").mkdir()
    (tree / "shapes" / "c1_1.json").write_text('{"result": {}}')
    (tree / "labels.csv").write_text("image,ICH,EDH\nc1-1,Y,N\nc1-1,Y,Y\n")
    data = opened(tree, GREY, TABLE, POLYGONS)
    (case,) = data.cases(data.patients())
    assert len(case.volume.hu) == 2
    assert case.mask is None, "the polygons of a bleeding slice are lost"
    named = "\n".join(data.problems)
    for expected in (
        "labels.csv: c1-1 twice, the last is taken",
        "p1/c1/2.png: not a readable grey image, slice left out",
        "p1/c1/3.png: of another size than the first slice, left out",
        "c1_1.json: its polygons cannot be read",
        "slice p1/c1/10: no label (KeyError('c1-10'))",
        "p2/c2/1.png: no slice can be read; case left out",
    ):
        assert expected in named


def test_labels_of_json_files_are_found_by_dotted_path(tree: Path) -> None:
    (tree / "notes").mkdir()
    content = {"findings": [{"bleed": 1, "kind": {"sah": 0}}]}
    (tree / "notes" / "c1.10.json").write_text(json.dumps(content))
    mapped = """
[labels]
file = "notes/{case}.{slice}.json"
yes = ["1"]
no = ["0"]
fields = {any = "findings.0.bleed", subarachnoid = "findings.0.kind.sah"}
"""
    data = opened(tree, GREY, mapped)
    (case,) = data.cases(["p1"])
    np.testing.assert_array_equal(case.bleeds, [1, np.nan, np.nan])
    assert case.labels[0, SUBTYPES.index("subarachnoid")] == 0
    assert len(data.problems) == 2, "two slices have no file"


def test_dicom_images_are_put_in_order_by_position_and_keep_their_labels(tmp_path: Path) -> None:
    heights = np.array([0.0, 5, 10])
    volume = Volume(
        hu=np.broadcast_to(heights[:, None, None], (3, 4, 6)).astype(np.float32),
        positions_mm=np.outer(heights, [0, 0, 1]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(0.5, 0.5),
    )
    files = write_series(volume, tmp_path / "scan", Identity.of("a"))
    for name, file in zip(("b", "c", "a"), files, strict=True):
        file.rename(tmp_path / "scan" / f"{name}.dcm")
    (tmp_path / "scan" / "d.dcm").write_bytes(b"not DICOM")
    (tmp_path / "labels.csv").write_text("image,ICH,EDH\nscan-a,N,N\nscan-b,Y,N\nscan-c,N,N\n")
    images = "[images]\npath = '(?P<case>\\w+)/(?P<slice>\\w)\\.dcm'\nformat = \"dicom\"\n"
    data = opened(tmp_path, images, TABLE)
    (case,) = data.cases(["scan"])
    assert case.volume.hu[:, 0, 0].tolist() == [0, 5, 10]
    assert case.bleeds.tolist() == [1, 0, 0]
    assert [line[:10] for line in data.problems] == ["scan/d.dcm"]


def test_nifti_images_take_masks_by_voxel_and_labels_by_slice_of_the_file(tmp_path: Path) -> None:
    values = np.zeros((6, 4, 3), np.int16)
    values[5, 0, 0] = 70  # the file runs from the head to the feet
    affine = np.diag((0.5, 0.5, -5.0, 1.0))
    (tmp_path / "masks").mkdir()
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "one.nii")
    nibabel.save(nibabel.Nifti1Image(values // 70, affine), tmp_path / "masks" / "one.nii")
    (tmp_path / "labels.csv").write_text("image,ICH,EDH\none-1,Y,N\none-2,N,N\none-3,N,N\n")
    images = "[images]\npath = '(?P<case>\\w+)\\.nii'\nformat = \"nifti\"\n"
    masks = '[masks]\nfile = "masks/{case}.nii"\nmissing = "unknown"\n'
    (case,) = (data := opened(tmp_path, images, TABLE, masks)).cases(["one"])
    np.testing.assert_array_equal(case.mask, case.volume.hu == 70)
    assert case.bleeds.tolist() == [0, 0, 1]
    assert data.problems == []


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((GREY.replace("slope", "slpoe"),), "slpoe"),
        ((GREY.replace("spacing_mm = [0.5, 0.4]", ""),), "carry no geometry"),
        ((GREY.replace("?P<case>", ""),), "must name the groups"),
        ((GREY, MASKS.replace("{case}", "{hospital}")), "no group hospital"),
        ((GREY, MASKS, POLYGONS), "without masks"),
        ((GREY, TABLE.replace('"EDH"', '"EPI"')), "no column EPI"),
        ((GREY, TABLE.replace('key = "{case}-{slice}"', "")), "needs key_column and key"),
    ],
)
def test_a_mapping_that_cannot_be_followed_is_refused(
    parts: tuple[str, ...], why: str, tree: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        opened(tree, *parts)


def test_a_pattern_that_matches_nothing_is_said(tmp_path: Path) -> None:
    assert opened(tmp_path, GREY).problems[0].startswith("no file below")
