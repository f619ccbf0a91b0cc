from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy import ndimage

from models.side import Side, side_of
from models.volume import Volume
from training.datasets import physionet

SPACING = (0.9, 0.7)
SHAPE = (6, 260, 300)


def head(
    turn_deg: float = 0.0, shift_mm: tuple[float, float] = (0.0, 0.0), width_mm: float = 68.0
) -> tuple[Volume, np.ndarray]:
    """A skull that is turned and lies off centre; (z, y, x) mm to its own left."""
    _, y, x = np.indices(SHAPE)
    v = (y - SHAPE[1] / 2) * SPACING[0] - shift_mm[0]
    u = (x - SHAPE[2] / 2) * SPACING[1] - shift_mm[1]
    turn = np.radians(turn_deg)
    across, along = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    egg = np.hypot(across / width_mm, along / 85)
    hu = np.where(egg < 1, 30, -1000) + np.where((egg < 1) & (egg > 0.92), 900, 0)
    hu[:, -14:, 40:-40] = 400  # a headrest
    lean = np.radians(17)
    volume = Volume(
        hu.astype(np.float32),
        np.stack([np.full(6, -100.0), np.full(6, -120.0), np.arange(6) * 5.0], axis=1),
        np.array([1, 0, 0, 0, np.cos(lean), -np.sin(lean)]),
        SPACING,
        5.0,
    )
    return volume, across


TURNS = [(0.0, (0.0, 0.0)), (25.0, (8.0, -14.0)), (-30.0, (-6.0, 17.0))]


@pytest.mark.parametrize(("turn_deg", "shift_mm"), TURNS)
@pytest.mark.parametrize(
    ("low", "high", "side"),
    [
        (15, 40, Side.LEFT),
        (-40, -15, Side.RIGHT),
        (-5, 5, Side.MIDDLE),
        (-30, 30, Side.BOTH),
        (3, 40, Side.LEFT),
    ],
    ids=["left", "right", "midline", "both", "left of the midline"],
)
def test_side_is_that_of_the_skull_however_the_head_lies(
    turn_deg: float, shift_mm: tuple[float, float], low: int, high: int, side: Side
) -> None:
    volume, across = head(turn_deg, shift_mm)
    mask = (across > low) & (across < high) & (volume.hu == 30)
    mask[0] = False
    assert side_of(volume, mask) is side


def test_side_is_the_patients_whichever_way_the_rows_run() -> None:
    volume, across = head(20.0)
    mask = (across > 15) & (across < 40)
    mirrored = replace(
        volume,
        orientation=volume.orientation * [-1, 1, 1, 1, 1, 1],
        positions_mm=volume.positions_mm[::-1],
    )
    assert side_of(volume, mask) is Side.LEFT
    assert side_of(mirrored, mask) is Side.RIGHT


def test_no_side_is_told_where_the_skull_does_not_show_it() -> None:
    volume, across = head()
    mask = (across > 15) & (across < 40)
    open_skull = volume.hu.copy()
    open_skull[:, :60] = 30
    round_head, _ = head(width_mm=85)
    lying = replace(
        volume,
        orientation=np.array([0.0, 1, 0, 0, 0, -1]),
        positions_mm=volume.positions_mm[:, [2, 1, 0]] * [-1, 1, 1],
    )
    assert side_of(replace(volume, hu=open_skull), mask) is None
    assert side_of(round_head, mask) is None
    assert side_of(lying, mask) is None  # sagittal
    assert side_of(volume, np.zeros_like(mask)) is None
    assert side_of(volume, mask, whole=int(mask.sum() * 2.5)) is None  # most is not shown


def test_lesion_of_few_slices_is_judged_by_those_with_a_closed_skull() -> None:
    volume, across = head()
    hu = volume.hu.copy()
    hu[:2, :60] = 30
    mask = (across > 15) & (across < 40)
    assert side_of(replace(volume, hu=hu), mask) is Side.LEFT


@pytest.mark.data
@pytest.mark.parametrize(
    ("number", "side"),
    [(68, Side.RIGHT), (70, Side.LEFT), (74, Side.RIGHT), (81, Side.LEFT), (97, Side.LEFT)],
)
def test_side_of_real_bleeds_is_that_of_the_radiologists_outline(
    data: Path, number: int, side: Side
) -> None:
    case = physionet.load(data / "physionet_ct_ich", number)
    assert side_of(case.volume, case.mask) is side
    turned = replace(
        case.volume,
        hu=ndimage.rotate(case.volume.hu, 15, (1, 2), reshape=False, order=1, cval=-1000),
    )
    mask = ndimage.rotate(case.mask.astype(float), 15, (1, 2), reshape=False, order=1) > 0.5
    assert side_of(turned, mask) is side


@pytest.mark.data
def test_side_on_the_real_tilted_head(data: Path) -> None:
    files = [dcmread(path) for path in (data / "ge_head_tilt").glob("*.dcm")]
    files.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    first = files[0]
    volume = Volume(
        np.stack([ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept for ds in files]).astype(
            np.float32
        ),
        np.array([ds.ImagePositionPatient for ds in files], float),
        np.array(first.ImageOrientationPatient, float),
        tuple(map(float, first.PixelSpacing)),
    )
    mask = np.zeros(volume.hu.shape, bool)
    mask[16:22, 200:230, 300:320] = True  # at the right of the picture
    assert side_of(volume, mask) is Side.LEFT
    assert side_of(volume, mask[:, :, ::-1]) is Side.RIGHT
