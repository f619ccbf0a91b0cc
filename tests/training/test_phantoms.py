"""Phantoms are heads whose truth is known, hard enough that a threshold does not read them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, uniform_filter
from scipy.spatial.transform import Rotation

from models.findings import SUBTYPES
from models.volume import Volume
from training.phantoms import Phantom, Scanner, lesions, phantom, random_phantom
from training.phantoms.brain import draw_brain
from training.phantoms.confounders import CONFOUNDERS
from training.phantoms.head import Head, random_traits
from training.phantoms.lesions import Lesion
from training.phantoms.scanner import scan
from training.phantoms.shapes import ORIGIN_MM, SHAPE, space
from training.phantoms.skull import coronal, draw_skull

pytestmark = pytest.mark.slow

SMALL = Scanner(rows=176, columns=160, spacing_mm=(1.35, 1.3), tilt_deg=12.0)


@pytest.fixture(scope="module")
def head() -> Head:
    """One head's brain and skull on the 1 mm grid; draw into copies of it."""
    rng = np.random.default_rng(8)
    traits = random_traits(rng)
    pose = {"size": traits.size, "pose_deg": traits.pose_deg, "warp_mm": traits.warp_mm}
    whole = draw_skull(rng, space(rng, **pose), traits)
    inside = whole.crop(whole.skull_box)
    draw_brain(rng, inside)
    return inside


@pytest.fixture(scope="module")
def bleeding() -> Phantom:
    volumes = (14.0, 12.0, 4.0, 2.0, 16.0)
    return phantom(
        3, subtypes=SUBTYPES, volume_ml=dict(zip(SUBTYPES, volumes, strict=True)), scanner=SMALL
    )


@pytest.fixture(scope="module")
def normal() -> Phantom:
    return phantom(4, confounders=("pineal",), scanner=SMALL)


@pytest.fixture(scope="module")
def cohort() -> list[Phantom]:
    return [random_phantom(seed, matrix=96) for seed in range(6)]


def bled(head: Head, lesion: Lesion, seed: int = 0) -> tuple[Head, np.ndarray]:
    """Return a copy of the head that bleeds, and where, (z, y, x) bool."""
    copy = replace(head, hu=head.hu.copy())
    labels = lesions.draw(np.random.default_rng(seed), copy, [lesion])
    assert set(np.unique(labels)) == {0, SUBTYPES.index(lesion.subtype) + 1}
    return copy, labels > 0


def test_the_same_seed_draws_the_same_phantom(cohort: list[Phantom]) -> None:
    again = random_phantom(0, matrix=96)
    np.testing.assert_array_equal(again.volume.hu, cohort[0].volume.hu)
    np.testing.assert_array_equal(again.volume.positions_mm, cohort[0].volume.positions_mm)
    np.testing.assert_array_equal(again.lesions, cohort[0].lesions)


def test_train_and_test_splits_of_a_seed_are_unrelated(cohort: list[Phantom]) -> None:
    other = random_phantom(0, split="test", matrix=96).volume
    mine = cohort[0].volume
    assert other.hu.shape != mine.hu.shape or not np.array_equal(other.hu, mine.hu)
    assert other.spacing_mm != mine.spacing_mm


def test_a_cohort_holds_bleeding_and_normal_heads_with_confounders(cohort: list[Phantom]) -> None:
    normals = [p for p in cohort if not p.volumes_ml]
    assert 0 < len(normals) < len(cohort)
    assert all(not p.lesions.any() for p in normals)
    assert any(p.confounders for p in normals)


def test_each_requested_hemorrhage_is_labelled_with_its_volume(bleeding: Phantom) -> None:
    wanted = {"epidural": 14, "intraparenchymal": 12, "intraventricular": 4, "subarachnoid": 2}
    for code, subtype in enumerate(SUBTYPES, 1):
        ml = bleeding.volume.voxel_ml @ (bleeding.lesions == code).sum(axis=(1, 2))
        assert ml == pytest.approx(bleeding.volumes_ml[subtype])
        assert ml == pytest.approx(wanted.get(subtype, 16), rel=0.1)


def test_blood_lies_inside_the_skull(bleeding: Phantom) -> None:
    blood = bleeding.lesions > 0
    assert (blood & bleeding.brain).sum() > 0.95 * blood.sum()


def test_extra_axial_blood_lies_at_the_table_and_other_blood_deeper(bleeding: Phantom) -> None:
    v = bleeding.volume
    spacing = (float(v.slice_extent_mm.mean()), *v.spacing_mm)
    depth = distance_transform_edt(bleeding.brain, sampling=spacing)
    median = [np.median(depth[bleeding.lesions == code]) for code in range(1, 6)]
    by = dict(zip(SUBTYPES, median, strict=True))
    assert by["epidural"] < 12
    assert by["intraventricular"] > 20
    assert by["intraparenchymal"] > by["epidural"]


def test_a_normal_brain_has_the_attenuation_of_real_ones(normal: Phantom) -> None:
    hu = normal.volume.hu
    smooth = uniform_filter(hu, (1, 5, 5))
    ml = float(normal.volume.voxel_ml @ normal.brain.sum(axis=(1, 2)))
    assert 27 <= np.median(smooth[normal.brain]) <= 31
    assert 660 <= np.median(hu[hu > 300]) <= 940
    assert 1000 < ml < 1900
    assert (hu[:, 0] < -900).all()  # air, or the cradle, above the forehead


def test_an_epidural_stops_at_the_sutures(head: Head) -> None:
    lesion = Lesion("epidural", 35.0, (55, 28, 42), "parietal", 65)
    _, blood = bled(head, lesion)
    assert (coronal(head.space)[blood] > 0).all()
    assert (head.space.x[blood] > 0).all()
    assert blood.sum() == pytest.approx(35_000, rel=0.01)


def test_a_subdural_crosses_the_sutures_but_not_the_falx(head: Head) -> None:
    lesion = Lesion("subdural", 60.0, (-60, -15, 25), "convexity", 60)
    _, blood = bled(head, lesion)
    behind = coronal(head.space)[blood] > 0
    assert 0.1 < behind.mean() < 0.9
    assert (head.space.x[blood] < 0).all()
    assert np.median(head.cavity[blood]) > -8


@pytest.mark.parametrize("place", ["falx", "tentorium"])
def test_a_subdural_lies_along_the_dural_folds_too(head: Head, place: str) -> None:
    focus = {"falx": (1.0, 10.0, 40.0), "tentorium": (28.0, 50.0, -12.0)}[place]
    _, blood = bled(head, Lesion("subdural", 5.0, focus, place, 60))
    assert np.median(np.abs(getattr(head, place)[blood])) < 5


def test_intraventricular_blood_settles_into_the_occipital_horns(head: Head) -> None:
    _, blood = bled(head, Lesion("intraventricular", 2.0, (21, 58, 3), "horns", 60))
    assert (head.ventricles[blood] < 0).all()
    assert np.median(head.space.y[blood]) > np.percentile(head.space.y[head.ventricles < 0], 80)


def test_subarachnoid_blood_stays_between_pia_and_dura(head: Head) -> None:
    _, blood = bled(head, Lesion("subarachnoid", 3.0, (2, -8, -23), "suprasellar", 60))
    assert (head.pia[blood] > -1).all()
    assert (head.cavity[blood] < 0).all()
    assert np.median(head.space.z[blood]) < 0


@pytest.mark.parametrize(
    ("place", "focus"),
    [
        ("basal ganglia", (27.0, -1.0, 3.0)),
        ("pons", (2.0, 8.0, -35.0)),
        ("cerebellum", (-22.0, 50.0, -42.0)),
    ],
)
def test_a_parenchymal_bleed_fills_its_part_of_the_brain_and_darkens_its_rim(
    head: Head, place: str, focus: tuple[float, float, float]
) -> None:
    after, blood = bled(head, Lesion("intraparenchymal", 6.0, focus, place, 65, oedema_mm=5))
    assert np.median(after.hu[blood]) == pytest.approx(65, abs=6)
    assert ((head.tentorium[blood] > 0) == (place == "basal ganglia")).mean() > 0.8
    rim = ~blood & (distance_transform_edt(~blood) < 3) & (head.pia < 0) & (head.cavity < -2)
    assert np.median(after.hu[rim]) < np.median(head.hu[rim]) - 5


def test_a_large_bleed_pushes_the_midline_away_and_a_small_one_does_not() -> None:
    large = Lesion("intraparenchymal", 60.0, (30, 0, 20), "lobar", 65)
    push, effaced = lesions.mass_effect(np.random.default_rng(0), [large])
    assert push is not None
    assert push[0] < -3
    assert effaced > 0.5
    small = replace(large, volume_ml=3.0)
    assert lesions.mass_effect(np.random.default_rng(0), [small])[0] is None
    pose = {"size": (1, 1, 1), "pose_deg": (0, 0, 0), "warp_mm": 0.0}
    moved = space(np.random.default_rng(0), **pose, push=push)
    z, y, x = np.unravel_index(np.argmin(np.hypot(moved.x, np.hypot(moved.y, moved.z - 12))), SHAPE)
    assert x + ORIGIN_MM[2] < -3
    assert (y + ORIGIN_MM[1], z + ORIGIN_MM[0]) == pytest.approx((0, 12), abs=1)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_drawn_volumes_have_the_percentiles_asked_for(subtype: str) -> None:
    rng = np.random.default_rng(1)
    drawn = [lesions.random_volume_ml(rng, lesions.VOLUMES_ML[subtype]) for _ in range(4000)]
    np.testing.assert_allclose(
        np.percentile(drawn, (5, 50, 95)), lesions.VOLUMES_ML[subtype], rtol=0.15
    )


@pytest.mark.parametrize("name", CONFOUNDERS)
def test_every_confounder_changes_the_head(head: Head, name: str) -> None:
    copy = replace(head, hu=head.hu.copy())
    CONFOUNDERS[name][1](np.random.default_rng(2), copy)
    changed = np.abs(copy.hu - head.hu) > 3
    assert np.isfinite(copy.hu).all()
    assert 10 < changed.sum() < 0.9 * changed.size


def marked(at_mm: tuple[float, float, float]) -> np.ndarray:
    """Return a grid of air with a ball of 6 mm at these coordinates (x, y, z)."""
    z, y, x = (
        (o + np.arange(n)).reshape(s)
        for o, n, s in zip(ORIGIN_MM, SHAPE, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    )
    d = np.sqrt((x - at_mm[0]) ** 2 + (y - at_mm[1]) ** 2 + (z - at_mm[2]) ** 2)
    return np.where(d < 6, 1000, -1000).astype(np.float32)


def centroid_mm(volume: Volume) -> np.ndarray:
    """Return the patient coordinates of the bright ball's middle."""
    weight = np.where(volume.hu > 300, volume.hu + 1000, 0)  # brighter than the cradle
    k, i, j = (
        float((np.arange(n) * weight.sum(axis=axes)).sum() / weight.sum())
        for n, axes in zip(weight.shape, ((1, 2), (0, 2), (0, 1)), strict=True)
    )
    first = [np.interp(k, np.arange(len(weight)), p) for p in volume.positions_mm.T]
    across, down = volume.orientation[:3], volume.orientation[3:]
    return np.array(first) + j * volume.spacing_mm[1] * across + i * volume.spacing_mm[0] * down


@pytest.mark.parametrize("tilt", [0.0, 20.0, -9.0])
@pytest.mark.parametrize("oblique", [(0.0, 0.0, 0.0), (3.0, -4.0, 5.0)])
def test_what_is_drawn_lands_where_the_slices_say_it_lies(
    tilt: float, oblique: tuple[float, float, float]
) -> None:
    scanner = replace(
        SMALL, tilt_deg=tilt, oblique_deg=oblique, centre_mm=(12.0, -31.0, 50.0),
        slice_spacing_mm=3.0, thickness_mm=3.0, slices=52, noise_hu=0.0,
    )  # fmt: skip
    at = (31.0, -22.0, 14.0)
    volume = scan(np.random.default_rng(0), scanner, marked(at))
    expected = Rotation.from_euler("xyz", oblique, degrees=True).apply(at) + scanner.centre_mm
    np.testing.assert_allclose(centroid_mm(volume), expected, atol=0.7)


def test_the_table_moves_along_the_body_while_the_gantry_tilts() -> None:
    volume = scan(np.random.default_rng(0), SMALL, marked((0, 0, 0)))
    np.testing.assert_allclose(np.diff(volume.positions_mm, axis=0)[:, :2], 0, atol=1e-9)
    np.testing.assert_allclose(np.diff(volume.positions_mm[:, 2]), 5.0)
    assert volume.orientation[5] == pytest.approx(-np.sin(np.radians(12.0)))


def test_thick_slices_dilute_what_is_thinner() -> None:
    plate = np.zeros(SHAPE, np.float32)
    plate[100] = 100
    thick = scan(np.random.default_rng(0), replace(SMALL, tilt_deg=0, noise_hu=0), plate)
    assert thick.hu[:, 60:110, 50:110].max() == pytest.approx(20, abs=2)  # 1 mm in 5


@pytest.mark.parametrize("psf_mm", [0.5, 0.7, 1.05])
def test_an_even_head_comes_out_even_whatever_the_kernel(psf_mm: float) -> None:
    even = np.full(SHAPE, 30, np.float32)
    hu = scan(np.random.default_rng(0), replace(SMALL, psf_mm=psf_mm, noise_hu=0), even).hu
    assert (hu[:, 60:120, 50:110] == 30).all()


def test_noise_has_the_strength_of_the_scanner_and_values_are_whole() -> None:
    water = np.zeros(SHAPE, np.float32)
    hu = scan(np.random.default_rng(0), replace(SMALL, noise_hu=3.0), water).hu[
        4:-4, 60:120, 50:110
    ]
    assert hu.std() == pytest.approx(3.0, abs=0.2)
    assert (hu == np.rint(hu)).all()


def test_padding_fills_what_lies_outside_the_reconstructed_circle() -> None:
    volume = scan(np.random.default_rng(0), replace(SMALL, padding_hu=-2000), marked((0, 0, 0)))
    assert (volume.hu[:, 0, 0] == -2000).all()
    assert (volume.hu[:, 88, 80] != -2000).all()


def test_a_jerk_shows_some_slices_twice_and_leaves_the_others() -> None:
    water = np.where(np.indices(SHAPE).sum(axis=0) % 40 < 20, 0, 100).astype(np.float32)
    still = scan(np.random.default_rng(0), replace(SMALL, noise_hu=0), water).hu
    moved = scan(np.random.default_rng(0), replace(SMALL, noise_hu=0, motion_mm=6), water).hu
    differs = (still != moved).any(axis=(1, 2))
    assert differs.sum() == SMALL.slices // 4


def test_no_threshold_on_attenuation_reads_the_phantoms(cohort: list[Phantom]) -> None:
    truth = np.array([bool(p.volumes_ml) for p in cohort])
    for threshold in (45, 50, 55, 60):
        bright = np.array(
            [
                p.volume.voxel_ml @ ((p.volume.hu > threshold) & p.brain).sum(axis=(1, 2))
                for p in cohort
            ]
        )
        wins = bright[truth][:, None] > bright[~truth]
        assert wins.mean() < 0.9
