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
    skull: tuple[Paint, ...] = (),
    flipped: bool = False,
    tilt_deg: float = 0.0,
    noise_hu: float = 3.0,
) -> tuple[str, ...]:
    """Return what is said of a head with these paints, where `marked` is marked.

    What is painted lies inside the skull, but for `skull`.
    """
    volume, x, y, z = patient_points(flipped, tilt_deg)
    deep = depth(x, y, z)
    hu = np.where(deep > 0, 32.0, np.where(deep > -7, 900.0, np.where(deep > -12, 20.0, -1000.0)))
    for value, where in paints:
        hu[where(x, y, z) & (deep > 0)] = value
    for value, where in skull:
        hu[where(x, y, z)] = value
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


def on_the_dura(x: Array, y: Array, z: Array) -> Array:
    return ball(52, -10, 22, 13)(x, y, z) & (depth(x, y, z) > 1)


def lens(x: Array, y: Array, z: Array) -> Array:
    """An epidural: 10 mm deep, five times as long."""
    along = (y + 10) ** 2 + (z - 22) ** 2
    return (x > 0) & (depth(x, y, z) > 1) & (depth(x, y, z) < 12 * (1 - along / 27**2))


def crescent(x: Array, y: Array, z: Array) -> Array:
    return (x > 0) & (np.abs(y) < 50) & (z > 0) & (depth(x, y, z) > 1) & (depth(x, y, z) < 10)


def sheet(x: Array, y: Array, z: Array) -> Array:
    return (x > 0) & (np.abs(y + 10) < 40) & (z > 0) & (depth(x, y, z) > 1) & (depth(x, y, z) < 6)


def both(x: Array, y: Array, z: Array) -> Array:
    return on_the_dura(x, y, z) | sheet(x, y, z)


def in_white_matter(x: Array, y: Array, z: Array) -> Array:
    return ball(30, -20, 26, 8)(x, y, z)


def oedema(x: Array, y: Array, z: Array) -> Array:
    return ball(30, -20, 26, 24)(x, y, z) & (depth(x, y, z) > 9)


def rim_of_oedema(x: Array, y: Array, z: Array) -> Array:
    return ball(30, -20, 26, 12)(x, y, z)


def territory(x: Array, y: Array, z: Array) -> Array:
    return (x > 25) & (np.abs(y + 5) < 32) & (np.abs(z - 25) < 15) & (depth(x, y, z) < 30)


def gyri(x: Array, y: Array, z: Array) -> Array:
    """A ribbon of cortex, 4 mm thick, that dives into sulci."""
    top = 11 + 8 * np.sin(y / 7)
    return territory(x, y, z) & (depth(x, y, z) > top) & (depth(x, y, z) < top + 5)


def on_the_surface(x: Array, y: Array, z: Array) -> Array:
    return territory(x, y, z) & (depth(x, y, z) > 4) & (depth(x, y, z) < 9)


TUMOURS = {
    "meningioma": ([(50.0, on_the_dura)], on_the_dura, "tumour such as a meningioma"),
    "metastasis": ([(20.0, oedema), (52.0, in_white_matter)], in_white_matter, "of oedema in the"),
    "laminar necrosis": ([(20.0, territory), (50.0, gyri)], gyri, "laminar necrosis"),
}


@pytest.mark.parametrize("name", TUMOURS)
def test_a_tumour_or_a_dead_cortex_is_named(name: str) -> None:
    paints, marked, words = TUMOURS[name]
    (only,) = said(*paints, marked=marked)
    assert words in only and "may be" in only


MASSES_OF_BLOOD = {
    "fresh clot on the dura": ([(68.0, on_the_dura)], on_the_dura),
    "clot with a pale edge": ([(44.0, on_the_dura), (56.0, ball(50, -10, 22, 9))], on_the_dura),
    "epidural, pale": ([(50.0, lens)], lens),
    "subdural, pale": ([(50.0, crescent)], crescent),
    "pale bleed of the lobe": ([(50.0, ball(32, -20, 30, 12))], ball(32, -20, 30, 12)),
    "clot that spreads on the dura": ([(50.0, on_the_dura), (50.0, sheet)], both),
    "bleed with its rim": ([(20.0, rim_of_oedema), (52.0, in_white_matter)], in_white_matter),
    "fresh bleed in much oedema": ([(20.0, oedema), (70.0, in_white_matter)], in_white_matter),
    "bleed of an infarct": ([(20.0, territory), (52.0, in_white_matter)], in_white_matter),
    "blood between gyri": ([(50.0, gyri)], gyri),
    "fresh blood between gyri": ([(20.0, territory), (70.0, gyri)], gyri),
    "thin subdural over an infarct": ([(20.0, territory), (50.0, on_the_surface)], on_the_surface),
}


@pytest.mark.parametrize("name", MASSES_OF_BLOOD)
def test_a_bleed_of_the_form_of_a_tumour_gets_no_sentence(name: str) -> None:
    paints, marked = MASSES_OF_BLOOD[name]
    assert said(*paints, marked=marked) == ()


def vault_at(y: float, z: float, half_mm: float) -> Callable[..., Array]:
    """Bone of the left side around this place."""
    return lambda a, b, c: (a > 30) & (np.abs(b - y) < half_mm) & (np.abs(c - z) < 12)


BLED: Paint = (60.0, crescent)
OPENED = {
    "burr hole": ((30.0, vault_at(0, 25, 6)), "gap in the skull vault"),
    "lost flap": ((30.0, vault_at(0, 25, 20)), "gap in the skull vault"),
    "clip": ((3000.0, ball(45, 0, 25, 3)), "metal"),
}


@pytest.mark.parametrize("name", OPENED)
def test_blood_beside_a_trace_of_an_operation_says_that_it_may_be_expected(name: str) -> None:
    trace, words = OPENED[name]
    texts = said(BLED, marked=crescent, skull=(trace,))
    assert len(texts) == 1 and words in texts[0]
    assert "blood may be expected" in texts[0] and "new blood looks the same" in texts[0]


def test_air_is_a_trace_of_an_operation_only_where_the_vault_was_opened() -> None:
    air: Paint = (-900.0, ball(0, -62, 25, 5))
    hole: Paint = (30.0, lambda a, b, c: vault_at(0, 25, 6)(-a, b, c))  # of the other side
    frontal = (60.0, ball(14, -56, 25, 7))
    (only,) = said(frontal, marked=frontal[1], skull=(air, hole))
    assert "from air inside the skull, as after an operation" in only
    assert said(frontal, marked=frontal[1], skull=(air,)) == ()


UNOPENED = {
    "fracture": (30.0, vault_at(0, 25, 1.5)),
    "sutures of both sides": (30.0, lambda a, b, _: (np.abs(b) < 1.6) & (np.abs(a) > 20)),
    "hole of the other side": (30.0, lambda a, b, c: vault_at(0, 25, 6)(-a, b, c)),
    "hole at the back": (30.0, lambda a, b, c: ball(0, 88, 25, 8)(a, b, c)),
}


@pytest.mark.parametrize("name", UNOPENED)
def test_blood_away_from_a_hole_or_beside_a_slit_gets_no_sentence(name: str) -> None:
    where = ball(48, -10, 22, 7)
    assert said((60.0, where), marked=where, skull=(UNOPENED[name],)) == ()


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
