"""Preprocessing: orientation, slabs, lattices and the way back."""

from dataclasses import replace

import numpy as np
import pytest

from models.findings import Unreadable
from models.preprocess import (
    Frame,
    Grid,
    channels,
    coarse_head,
    confirm_head,
    lattice,
    make_canvas,
    resampling,
)
from models.slabs import AIR, make_slabs
from models.volume import Volume

SPACING = (0.9, 0.7)


def head(tilt: float = 0.0, gap: float = 5.0, count: int = 30, offset: float = 0.0) -> Volume:
    """An ellipsoid of skull around brain, with a bright spot left, anterior and high."""
    z, y, x = np.mgrid[:count, :220, :260].astype(np.float32)
    mm = np.stack(((z - count / 2) * gap, (y - 110) * SPACING[0], (x - 130) * SPACING[1] - offset))
    radius = np.sqrt((mm[0] / 75) ** 2 + (mm[1] / 90) ** 2 + (mm[2] / 72) ** 2)
    hu = np.where(radius < 0.9, 32, np.where(radius < 1, 1000, -1000)).astype(np.float32)
    spot = np.hypot(mm[1] + 40, mm[2] - 30) < 8
    hu[spot & (np.abs(mm[0] - 20) < 12)] = 70
    positions = np.array([(0, tilt * k * gap, k * gap) for k in range(count)], float)
    return Volume(hu, positions, np.array([1.0, 0, 0, 0, 1, 0]), SPACING, gap)


def turned(volume: Volume, transpose: bool, flip_y: bool, flip_x: bool) -> Volume:
    """The same head, stored with other row and column directions."""
    hu, row, column = volume.hu, volume.orientation[:3], volume.orientation[3:]
    positions, spacing = volume.positions_mm.copy(), volume.spacing_mm
    if flip_y:
        hu, column = hu[:, ::-1], -column
        positions[:, 1] += (hu.shape[1] - 1) * spacing[0]
    if flip_x:
        hu, row = hu[:, :, ::-1], -row
        positions[:, 0] += (hu.shape[2] - 1) * spacing[1]
    if transpose:
        hu, row, column, spacing = hu.swapaxes(1, 2), column, row, spacing[::-1]
    oriented = np.r_[row, column]
    if np.cross(row, column)[2] < 0:
        hu, positions = hu[::-1], positions[::-1]
    return Volume(hu, positions, oriented, spacing, volume.thickness_mm)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
def test_any_storage_order_gives_the_same_slabs_and_restores_to_its_own(
    transpose: bool, flip_y: bool, flip_x: bool
) -> None:
    straight = make_slabs(head(), 5.0)
    volume = turned(head(), transpose, flip_y, flip_x)
    found = make_slabs(volume, 5.0)
    np.testing.assert_array_equal(found.hu, straight.hu)
    assert found.spacing_mm == straight.spacing_mm
    bright = (found.hu == 70).astype(np.uint8)[found.of_slice]
    np.testing.assert_array_equal(found.restore(bright), volume.hu == 70)


def test_thin_slices_are_averaged_to_slabs_of_about_five_millimetres() -> None:
    volume = head(gap=1.25, count=120)
    found = make_slabs(volume, 5.0)
    assert len(found.hu) == 30
    np.testing.assert_array_equal(np.bincount(found.of_slice), np.full(30, 4))
    np.testing.assert_allclose(found.hu[3], volume.hu[12:16].mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.diff(found.locations_mm), 5.0)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
def test_slices_of_one_millimetre_join_into_the_same_slabs_whichever_way_they_are_stored(
    transpose: bool, flip_y: bool, flip_x: bool
) -> None:
    count = 148  # not a multiple of five: the slab that is thinner is always the one on top
    hu = np.random.default_rng(3).integers(-900, 900, (count, 6, 9)).astype(np.float32)
    positions = np.array([(0, 0, k) for k in range(count)], float)
    volume = Volume(hu, positions, np.array([1.0, 0, 0, 0, 1, 0]), SPACING, 1.0)
    straight = make_slabs(volume, 5.0)
    found = make_slabs(turned(volume, transpose, flip_y, flip_x), 5.0)
    assert np.bincount(straight.of_slice).tolist() == [5] * 29 + [3]
    np.testing.assert_array_equal(found.hu, straight.hu)
    np.testing.assert_array_equal(found.locations_mm, straight.locations_mm)
    marked = replace(volume, hu=straight.hu[straight.of_slice])
    np.testing.assert_array_equal(
        found.restore(found.hu[found.of_slice]), turned(marked, transpose, flip_y, flip_x).hu
    )


def test_thick_slices_among_thin_ones_stand_alone() -> None:
    volume = head(count=12)
    gaps = np.array([0, 1, 1, 1, 1, 1, 7, 7, 7, 1, 1, 1.0])
    positions = np.zeros((12, 3))
    positions[:, 2] = gaps.cumsum()
    found = make_slabs(replace(volume, positions_mm=positions), 5.0)
    assert np.all(np.diff(found.of_slice) >= 0)
    alone = np.bincount(found.of_slice)[found.of_slice] == 1
    assert alone[6:8].all()


def test_padding_of_either_sign_counts_as_air() -> None:
    volume = head()
    volume.hu[:, :3] = -3024
    volume.hu[:, -3:] = 30768
    found = make_slabs(volume, 5.0)
    assert (found.hu[:, :3] == AIR).all()
    assert (found.hu[:, -3:] == AIR).all()


@pytest.mark.parametrize("step", [0.3, 1.0, 4.0])
def test_resampling_keeps_a_constant_constant_inside_and_is_zero_outside(step: float) -> None:
    targets = np.arange(-30, 130, step)
    values = resampling(targets, 200, 0.5, step) @ np.full(200, 40.0)
    inside = (targets > step) & (targets < 99.5 - step)
    np.testing.assert_allclose(values[inside], 40, rtol=1e-5)
    assert (values[(targets < -step - 0.5) | (targets > 100 + step)] == 0).all()


def test_spreading_a_map_puts_each_place_back_where_it_was_sampled() -> None:
    source = make_slabs(head(), 5.0)
    frame = Frame((100.0, 90.0), 160, 128, 1.0)
    truth = source.hu == 70
    dense = replace(source, hu=np.where(truth, np.float32(1), AIR))
    spot = (frame.sample(dense) > AIR / 2).astype(np.float32)
    back = frame.spread(spot, source.hu.shape[1:], source.spacing_mm) > 0.5
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.93


def ellipsoid_brain(volume: Volume, grid: Grid) -> tuple[np.ndarray, ...]:
    source = make_slabs(volume, grid.slab_mm)
    found = coarse_head(source, grid)
    return source, found, ((found.hu > 0) & (found.hu < 300)).astype(np.float32)


@pytest.mark.parametrize("offset", [-20.0, 0.0, 15.0])
def test_the_canvas_is_centred_on_the_brain_wherever_the_head_lies(offset: float) -> None:
    grid = Grid()
    source, found, inside = ellipsoid_brain(head(offset=offset), grid)
    confirm_head(found, inside, least_ml=900, least_bone=0.9)
    canvas = make_canvas(source, found, inside, grid)
    brain = (canvas.hu > 0) & (canvas.hu < 300)
    middle = np.argwhere(brain.any(0)).mean(0)
    np.testing.assert_allclose(middle, [(grid.rows - 1) / 2, (grid.columns - 1) / 2], atol=4)
    agree = (canvas.brain > 0.5) & (canvas.hu < 300)
    assert 2 * (agree & brain).sum() / (agree.sum() + brain.sum()) > 0.95


def test_the_coarse_box_ends_at_the_vertex_although_air_follows() -> None:
    tall = head(count=44, gap=5.0)
    found = coarse_head(make_slabs(tall, 5.0), Grid())
    rows = np.flatnonzero((found.hu > 0).any((1, 2)))
    assert rows[-1] >= len(found.hu) - 2


def test_a_volume_without_a_head_is_unreadable_and_says_what_was_measured() -> None:
    empty = replace(head(), hu=np.full((30, 220, 260), -1000, np.float32))
    with pytest.raises(Unreadable, match="no tissue"):
        coarse_head(make_slabs(empty, 5.0), Grid())
    _, found, inside = ellipsoid_brain(head(), Grid())
    with pytest.raises(Unreadable, match="0 mL inside a skull, 200 mL needed"):
        confirm_head(found, np.zeros_like(inside), least_ml=200, least_bone=0.4)


def test_a_body_without_a_skull_around_it_is_unreadable() -> None:
    body = head()
    body.hu[body.hu > 900] = 40
    _, found, inside = ellipsoid_brain(body, Grid())
    with pytest.raises(Unreadable, match="no skull found: bone follows 0%"):
        confirm_head(found, inside, least_ml=200, least_bone=0.4)


def test_the_four_channels_are_kangs_windows() -> None:
    hu = np.array([[[-1000, 0, 20, 40, 60, 80, 2000]]], np.float32)
    brain = np.array([[[0, 1, 1, 1, 0, 1, 1]]], np.float32)
    stroke, soft, bone, stripped = channels(hu, brain)[0, :, 0]
    np.testing.assert_allclose(stroke, [0, 0, 0, 0.5, 1, 1, 1])
    np.testing.assert_allclose(soft, [0, 0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(bone, [0, 1 / 3, 0.34, 1040 / 3000, 1060 / 3000, 0.36, 1], rtol=1e-5)
    np.testing.assert_allclose(stripped, [0, 0, 0.25, 0.5, 0, 1, 1])


def test_a_lattice_is_symmetric_around_its_centre() -> None:
    assert lattice(10, 4, 2).tolist() == [7, 9, 11, 13]
