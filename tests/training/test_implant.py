"""Hemorrhages put into a head lie where their subtype bleeds, and the label map says only that."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets.case import Case
from training.phantoms import Phantom, Scanner, lesions, phantom
from training.phantoms.cases import implanted_cases, skull_inside
from training.phantoms.implant import Implanted, implant
from training.phantoms.lattice import Lattice
from training.phantoms.scene import scene_of

pytestmark = pytest.mark.slow

SMALL = Scanner(rows=176, columns=160, spacing_mm=(1.35, 1.3), tilt_deg=12.0)
WISHED_ML = {
    "epidural": 18.0,
    "intraparenchymal": 15.0,
    "intraventricular": 3.0,
    "subarachnoid": 2.0,
    "subdural": 18.0,
}
DENSE = dict.fromkeys(SUBTYPES, 60.0)


@pytest.fixture(scope="module")
def head() -> Phantom:
    """A normal head, gantry tilted: where everything is known but nothing is told to `implant`."""
    return phantom(4, confounders=(), scanner=SMALL)


@pytest.fixture(scope="module")
def bled(head: Phantom) -> Mapping[str, Implanted]:
    return {
        subtype: implant(head.volume, head.brain, 5, (subtype,), WISHED_ML, DENSE)
        for subtype in SUBTYPES
    }


def depth_mm(head: Phantom) -> np.ndarray:
    """Return the distance to the skull within each slice, (z, y, x) mm."""
    spacing = head.volume.spacing_mm
    return np.stack([ndimage.distance_transform_edt(p, sampling=spacing) for p in head.brain])


def places_mm(volume: Volume, where: np.ndarray) -> np.ndarray:
    """Return the patient coordinates (n, 3) of the voxels that are true."""
    z, y, x = np.nonzero(where)
    right, down = volume.orientation[:3], volume.orientation[3:]
    dy, dx = volume.spacing_mm
    return volume.positions_mm[z] + np.outer(x * dx, right) + np.outer(y * dy, down)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_blood_is_bright_inside_the_skull_and_as_much_as_asked_for(
    head: Phantom, bled: Mapping[str, Implanted], subtype: str
) -> None:
    out = bled[subtype]
    blood = out.lesions == SUBTYPES.index(subtype) + 1
    assert set(out.volumes_ml) == {subtype}
    assert out.volumes_ml[subtype] == pytest.approx(WISHED_ML[subtype], rel=0.3)
    assert out.volumes_ml[subtype] == pytest.approx(
        float(head.volume.voxel_ml @ blood.sum(axis=(1, 2)))
    )
    assert not (blood & ~head.brain).any()
    rise = (out.volume.hu - head.volume.hu)[blood]
    assert np.median(rise) > 10
    assert (rise > 3).mean() > 0.9  # clots have a texture, thin ones share their voxels


@pytest.mark.parametrize("wanted_hu", [30.0, 45.0, 60.0])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_blood_is_as_dense_under_its_label_as_asked_for_and_may_be_no_brighter_than_brain(
    head: Phantom, subtype: str, wanted_hu: float
) -> None:
    out = implant(head.volume, head.brain, 5, (subtype,), WISHED_ML, {subtype: wanted_hu})
    assert out.volume.hu[out.lesions > 0].mean() == pytest.approx(wanted_hu, abs=3)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_number_volume_and_density_are_drawn_as_they_were_measured(subtype: str) -> None:
    rng = np.random.default_rng(1)
    drawn = [lesions.as_measured(rng, subtype) for _ in range(3000)]
    totals = [sum(each.volume_ml for each in patient) for patient in drawn]
    densities = [each.hu for patient in drawn for each in patient]
    share = np.mean([len(patient) == 1 for patient in drawn])
    np.testing.assert_allclose(
        np.percentile(totals, (5, 50, 95)), lesions.MEASURED_ML[subtype], rtol=0.25, atol=0.1
    )
    np.testing.assert_allclose(
        np.percentile(densities, (5, 50, 95)), lesions.MEASURED_HU[subtype], atol=1.5
    )
    assert share == pytest.approx(lesions.MEASURED_PIECES[subtype][0], abs=0.12)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_what_is_far_from_the_blood_is_left_as_it_was(
    head: Phantom, bled: Mapping[str, Implanted], subtype: str
) -> None:
    out = bled[subtype]
    changed = out.volume.hu != head.volume.hu
    spacing = (5.0, *head.volume.spacing_mm)
    away = ndimage.distance_transform_edt(out.lesions == 0, sampling=spacing)
    assert not (changed & ~head.brain).any()
    assert not changed[away > 30].any()
    np.testing.assert_array_equal(out.volume.positions_mm, head.volume.positions_mm)


@pytest.mark.parametrize("subtype", ["epidural", "subdural"])
def test_blood_outside_the_brain_lies_on_the_inner_table_of_neighbouring_slices(
    head: Phantom, bled: Mapping[str, Implanted], subtype: str
) -> None:
    blood = bled[subtype].lesions > 0
    depth = depth_mm(head)
    shown = np.flatnonzero(blood.sum(axis=(1, 2)) > 40)
    assert len(shown) >= 6
    assert (np.diff(shown) == 1).all()
    closest = [depth[z][blood[z]].min() for z in shown]
    assert np.median(closest) < 3  # the voxels next to the table are partly bone
    assert max(closest) < 6
    assert np.percentile(depth[blood], 75) < 14
    sides = places_mm(head.volume, blood)[:, 0] - places_mm(head.volume, head.brain)[:, 0].mean()
    assert (np.sign(sides) == np.sign(np.median(sides))).mean() > 0.99


def test_an_epidural_is_a_thicker_and_narrower_lens_than_a_subdural(
    head: Phantom, bled: Mapping[str, Implanted]
) -> None:
    places = {s: places_mm(head.volume, bled[s].lesions > 0) for s in ("epidural", "subdural")}
    spread = {s: np.linalg.norm(p - p.mean(axis=0), axis=1).mean() for s, p in places.items()}
    assert spread["epidural"] < 0.8 * spread["subdural"]
    depth = depth_mm(head)
    thick = {s: depth[bled[s].lesions > 0].max() for s in places}
    assert thick["epidural"] > thick["subdural"]


@pytest.mark.parametrize("turned", [False, True])
def test_intraventricular_blood_sinks_to_the_patients_back_however_the_image_is_turned(
    head: Phantom, bled: Mapping[str, Implanted], turned: bool
) -> None:
    volume, brain, out = head.volume, head.brain, bled["intraventricular"]
    if turned:  # the same head, rows and columns counted from the other corner
        _, rows, columns = volume.hu.shape
        dy, dx = volume.spacing_mm
        corner = (rows - 1) * dy * volume.orientation[3:]
        corner = corner + (columns - 1) * dx * volume.orientation[:3]
        volume = replace(
            volume,
            hu=volume.hu[:, ::-1, ::-1],
            positions_mm=volume.positions_mm + corner,
            orientation=-volume.orientation,
        )
        brain = brain[:, ::-1, ::-1]
        out = implant(volume, brain, 5, ("intraventricular",), WISHED_ML, DENSE)
    scene = scene_of(volume, brain)
    nearby = np.stack([scene.lattice.on_slice(scene.ventricles, z) for z in range(len(brain))])
    pool = (nearby < 2) & (scene.fluid > 0.5)
    blood = out.lesions > 0
    assert blood.sum() > 100
    assert np.median(volume.hu[blood]) < 22
    back = places_mm(volume, blood)[:, 1]
    assert np.median(back) > np.percentile(places_mm(volume, pool)[:, 1], 70)


def test_subarachnoid_blood_takes_the_place_of_fluid_and_spares_the_ventricles(
    head: Phantom, bled: Mapping[str, Implanted]
) -> None:
    blood = bled["subarachnoid"].lesions > 0
    smooth = ndimage.uniform_filter(head.volume.hu, (1, 3, 3))
    assert np.median(smooth[blood]) < 24
    assert np.median(smooth[head.brain]) > 26
    scene = scene_of(head.volume, head.brain)
    ventricles = np.stack([scene.lattice.on_slice(scene.ventricles, z) for z in range(len(blood))])
    assert ventricles[blood].min() > 1


def test_a_parenchymal_bleed_is_one_piece_within_the_brain(
    head: Phantom, bled: Mapping[str, Implanted]
) -> None:
    blood = bled["intraparenchymal"].lesions > 0
    pieces, _ = ndimage.label(blood, np.ones((3, 3, 3)))
    assert np.bincount(pieces.ravel())[1:].max() > 0.95 * blood.sum()
    assert depth_mm(head)[blood].min() > 1


def test_subtypes_drawn_together_all_show(head: Phantom) -> None:
    out = implant(head.volume, head.brain, 3, ("subdural", "intraventricular"), WISHED_ML)
    assert set(out.volumes_ml) == {"subdural", "intraventricular"}
    assert set(np.unique(out.lesions)) == {0, 3, 5}


def test_the_same_seed_bleeds_alike_and_another_does_not(
    head: Phantom, bled: Mapping[str, Implanted]
) -> None:
    again = implant(head.volume, head.brain, 5, ("epidural",), WISHED_ML, DENSE)
    np.testing.assert_array_equal(again.volume.hu, bled["epidural"].volume.hu)
    np.testing.assert_array_equal(again.lesions, bled["epidural"].lesions)
    other = implant(head.volume, head.brain, 6, ("epidural",), WISHED_ML)
    assert (other.lesions != again.lesions).any()


def test_without_ventricles_intraventricular_blood_is_absent_and_nothing_changes(
    head: Phantom,
) -> None:
    solid = replace(head.volume, hu=np.where(head.brain, np.float32(33), head.volume.hu))
    out = implant(solid, head.brain, 5, ("intraventricular",), WISHED_ML)
    assert out.volumes_ml == {}
    assert not out.lesions.any()
    np.testing.assert_array_equal(out.volume.hu, solid.hu)


def test_the_lattice_knows_where_a_tilted_slice_lies(head: Phantom) -> None:
    volume = head.volume
    lattice = Lattice.of(volume)
    z, y, x = 11, 60, 31
    right, down = volume.orientation[:3], volume.orientation[3:]
    at = volume.positions_mm[z] + x * volume.spacing_mm[1] * right + y * volume.spacing_mm[0] * down
    for axis in range(3):
        field = lattice.patient_mm[axis]
        assert lattice.on_slice(field, z)[y, x] == pytest.approx(at[axis], abs=0.02)
    ball = np.zeros(volume.hu.shape, np.float32)
    ball[z, y - 3 : y + 4, x - 3 : x + 4] = 1
    seen = lattice.between(lattice.planes(ball))
    centre = [(p * seen).sum() / seen.sum() for p in lattice.patient_mm]
    np.testing.assert_allclose(centre, at, atol=0.4)


def test_the_inside_of_the_skull_is_found_without_a_network(head: Phantom) -> None:
    found = skull_inside(head.volume)
    assert found.shape == head.brain.shape
    assert 2 * (found & head.brain).sum() / (found.sum() + head.brain.sum()) > 0.9


def test_only_heads_known_to_be_normal_are_bled_into_and_labels_follow_the_mask(
    head: Phantom,
) -> None:
    slices = len(head.brain)
    nothing = np.zeros((slices, 5), np.float32)
    normal = Case("scan 7", "7", head.volume, nothing, nothing[:, 0], np.zeros(6, np.float32), None)
    unknown = replace(normal, name="scan 8", study=np.full(6, np.nan, np.float32))
    bleeding = replace(normal, name="scan 9", study=np.ones(6, np.float32))
    cases = list(implanted_cases([unknown, normal, bleeding], 1, lambda _: head.brain))
    assert [case.patient for case in cases] == ["7"]
    (case,) = cases
    assert case.mask is not None
    assert case.study[0] == 1
    np.testing.assert_array_equal(case.bleeds, case.labels.max(axis=1))
    assert not case.mask[case.bleeds == 0].any() or case.mask[case.bleeds == 0].sum() < 20
    assert not normal.labels.any()
