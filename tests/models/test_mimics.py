"""A marked region that looks like a known mimic gets a sentence; blood at the same place none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.mimics import sentences
from models.preprocess import Array, Canvas, Frame, Grid
from models.slabs import make_slabs
from models.standard_head import BRAIN_MM
from models.volume import Volume

SHAPE, SPACING = (27, 190, 172), (1.1, 1.0)

Paint = tuple[float, Callable[[Array, Array, Array], Array]]
"""HU, and from the standard head's coordinates where it lies (bool)."""


def ball(x: float, y: float, z: float, radius: float = 4.5) -> Callable[..., Array]:
    return lambda a, b, c: (a - x) ** 2 + (b - y) ** 2 + (c - z) ** 2 < radius**2


def pair(x: float, y: float, z: float, radius: float = 4.5) -> Callable[..., Array]:
    return lambda a, b, c: (np.abs(a) - x) ** 2 + (b - y) ** 2 + (c - z) ** 2 < radius**2


def depth(x: Array, y: Array, z: Array) -> Array:
    """About how deep a point lies under the inner table, mm."""
    return 85 * (1 - np.sqrt(sum((a / b) ** 2 for a, b in zip((x, y, z), BRAIN_MM, strict=True))))


def falx(x: Array, y: Array, z: Array) -> Array:
    return (np.abs(x) < 1.2) & (np.abs(y) < 55) & (z > 20) & (depth(x, y, z) > 6)


def subdural_on_the_falx(x: Array, y: Array, z: Array) -> Array:
    return (x > 0) & (x < 6) & (np.abs(y) < 40) & (z > 20) & (depth(x, y, z) > 6)


def sinus(x: Array, y: Array, z: Array) -> Array:
    near = (depth(x, y, z) > 0) & (depth(x, y, z) < 9)
    return (np.abs(x) < 5) & near & (y > 20) & (z > -20)


def part_of_the_sinus(x: Array, y: Array, z: Array) -> Array:
    return sinus(x, y, z) & (z > 15) & (z < 35)


def tentorium(x: Array, y: Array, z: Array) -> Array:
    side = np.abs(x)
    leaf = 3 - 0.42 * side - 0.36 * np.maximum(y - 32, 0) - 0.6 * np.maximum(32 - y, 0)
    return (np.abs(z - leaf) < 2.5) & (y > 25) & (side > 12) & (depth(x, y, z) > 6)


def left_leaf(x: Array, y: Array, z: Array) -> Array:
    return tentorium(x, y, z) & (x > 0)


def streak(x: Array, y: Array, z: Array) -> Array:
    return (np.abs(x) < 18) & (np.abs(y - 14) < 4) & (np.abs(z + 40) < 4)


PETROUS: Paint = (900.0, pair(38, 14, -40, 14))


def patient_points(flipped: bool, tilt_deg: float) -> tuple[Volume, Array, Array, Array]:
    """A volume without a head, and where its voxels lie in the standard head."""
    count, rows, columns = SHAPE
    lean, turn = np.radians(tilt_deg), -1.0 if flipped else 1.0
    right, down = np.array([turn, 0, 0]), np.array([0, turn * np.cos(lean), -turn * np.sin(lean)])
    middle = np.array([3.0, -8.0, 40.0])  # of the head in the patient
    centres = middle + np.arange(-12, count - 12)[:, None] * np.array([0, 0, 5.0])
    corner = right * SPACING[1] * (columns - 1) / 2 + down * SPACING[0] * (rows - 1) / 2
    volume = Volume(
        np.full(SHAPE, -1000, np.float32),
        centres - corner,
        np.concatenate([right, down]),
        SPACING,
        5.0,
    )
    y, x = np.arange(rows)[:, None] * SPACING[0], np.arange(columns) * SPACING[1]
    points = [
        volume.positions_mm[:, i, None, None] + y * down[i] + x * right[i] - middle[i]
        for i in range(3)
    ]
    return volume, *points


def said(
    *paints: Paint,
    marked: Callable[..., Array],
    flipped: bool = False,
    tilt_deg: float = 0.0,
    noise_hu: float = 3.0,
) -> tuple[str, ...]:
    """Return what is said of a head with these paints, where `marked` is marked."""
    volume, x, y, z = patient_points(flipped, tilt_deg)
    deep = depth(x, y, z)
    hu = np.where(deep > 0, 32.0, np.where(deep > -7, 900.0, np.where(deep > -12, 20.0, -1000.0)))
    for value, where in paints:
        hu[where(x, y, z) & (deep > 0)] = value
    hu += np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    volume = replace(volume, hu=hu.astype(np.float32))
    slabs = make_slabs(volume, 5.0)
    inside = make_slabs(replace(volume, hu=(deep > 0).astype(np.float32)), 5.0)
    frame = Frame(((SHAPE[1] - 1) * SPACING[0] / 2, (SHAPE[2] - 1) * SPACING[1] / 2), 208, 176, 1.0)
    canvas = Canvas(frame.sample(slabs), np.clip(frame.sample(inside), 0, 1), frame)
    mask = marked(x, y, z) & (deep > 0)
    assert mask.any()
    return sentences(volume, slabs, canvas, mask, Grid())


CALCIFIED = {
    "pineal gland": ball(0, 29, 0),
    "choroid plexus of the left lateral ventricle": ball(20, 34, 9),
    "choroid plexus of the right lateral ventricle": ball(-20, 34, 9),
    "left basal ganglia, as on the other side": pair(20, -4, 0),
    "on the falx": lambda x, y, z: (np.abs(x) < 2.5) & ball(0, -30, 45, 8)(x, y, z),
}


@pytest.mark.parametrize("place", CALCIFIED)
def test_what_is_denser_than_blood_where_calcium_forms_may_be_calcium(place: str) -> None:
    where = CALCIFIED[place]
    marked = (lambda *at: where(*at) & (at[0] > 0)) if "as on the other side" in place else where
    (first,) = said((170, where), marked=marked)
    assert place in first and "may be calcium" in first and "HU" in first


@pytest.mark.parametrize("hu", [50, 65, 80])
@pytest.mark.parametrize("place", CALCIFIED)
def test_blood_at_the_same_place_gets_no_sentence(place: str, hu: float) -> None:
    where = CALCIFIED[place]
    assert not any("calcium" in text for text in said((hu, where), marked=where))


def test_blood_around_a_calcified_plexus_gets_no_sentence() -> None:
    blood = ball(20, 34, 9, 14)
    assert said((65, blood), (170, ball(20, 34, 9)), marked=blood) == ()


def test_calcium_of_one_side_of_the_basal_ganglia_gets_no_sentence() -> None:
    assert said((170, ball(20, -4, 0)), marked=ball(20, -4, 0)) == ()


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("tilt_deg", [-18.0, 18.0])
def test_the_place_is_the_patient_s_however_the_slices_lie(flipped: bool, tilt_deg: float) -> None:
    where = ball(20, 34, 9)
    (only,) = said((170, where), marked=where, flipped=flipped, tilt_deg=tilt_deg)
    assert "choroid plexus of the left" in only


MIMICS = {
    "falx": ([(52.0, falx)], falx, "may be the falx"),
    "sinus": ([(66.0, sinus)], part_of_the_sinus, "may be dense blood in the sinus"),
    "tentorium": ([(52.0, tentorium)], left_leaf, "may be the tentorium"),
    "streak": ([(46.0, streak), PETROUS], streak, "may be beam hardening"),
}


@pytest.mark.parametrize("name", MIMICS)
def test_a_sheet_a_sinus_or_a_streak_is_named(name: str) -> None:
    paints, marked, words = MIMICS[name]
    (only,) = said(*paints, marked=marked)
    assert words in only


BLEEDS = {
    "subdural on the falx": ([(66.0, subdural_on_the_falx)], subdural_on_the_falx),
    "thin, dense subdural on the falx": ([(74.0, falx)], falx),
    "subdural where the sinus is": ([(66.0, part_of_the_sinus)], part_of_the_sinus),
    "subdural on one leaf of the tentorium": ([(66.0, left_leaf)], left_leaf),
    "pale subdural on one leaf of the tentorium": ([(52.0, left_leaf)], left_leaf),
    "bleed of the pons": ([(66.0, streak), PETROUS], streak),
    "bleed of the lobe": ([(62.0, ball(35, -20, 30, 12))], ball(35, -20, 30, 12)),
}


@pytest.mark.parametrize("name", BLEEDS)
def test_a_bleed_at_the_place_of_a_mimic_gets_no_sentence(name: str) -> None:
    paints, marked = BLEEDS[name]
    assert said(*paints, marked=marked) == ()


def test_the_largest_region_is_named_first_and_small_ones_are_passed_over() -> None:
    large, small = ball(20, 34, 9, 6), ball(0, 29, 0, 4)
    speck = ball(-20, 34, 9, 1.2)
    every = ((170.0, large), (170.0, small), (170.0, speck))
    texts = said(*every, marked=lambda *at: large(*at) | small(*at) | speck(*at))
    assert [text.split(" (")[0] for text in texts] == [
        "The largest marked region",
        "A marked region",
    ]


def test_a_head_of_which_little_was_scanned_gets_no_sentence() -> None:
    where = ball(20, 34, 9)
    volume, x, y, z = patient_points(flipped=False, tilt_deg=0.0)
    hu = np.where(where(x, y, z), 170, 32).astype(np.float32)[12:18]
    volume = replace(volume, hu=hu, positions_mm=volume.positions_mm[12:18])
    slabs = make_slabs(volume, 5.0)
    canvas = Canvas(
        slabs.hu, np.ones_like(slabs.hu), Frame((100.0, 86.0), *slabs.hu.shape[1:], 1.0)
    )
    assert sentences(volume, slabs, canvas, hu > 100, Grid()) == ()
