"""The detector: the paper's post-processing and the way back to the source slices."""

from dataclasses import replace

import numpy as np
import pytest

from models.detector import Detector
from models.findings import SUBTYPES, Unreadable
from models.preprocess import Canvas, Frame, Grid
from models.rules import Opinion, Settings
from models.runtime import batch_size
from models.volume import Volume
from tests.support.builder import HEAD, Scan

GRID = Grid(rows=160, columns=144)


def head(gap: float = 5.0, count: int = 26) -> Volume:
    """Skull around brain, and 20 mm of blood left of the middle on slices of 40 to 65 mm."""
    z, y, x = np.mgrid[:count, :200, :190].astype(np.float32)
    height, back, left = (z - count / 2) * gap, y - 104, x - 90
    radius = np.sqrt((height / 70) ** 2 + (back / 75) ** 2 + (left / 65) ** 2)
    hu = np.where(radius < 0.9, 30, np.where(radius < 1, 900, -1000)).astype(np.float32)
    hu[(np.hypot(back + 10, left - 20) < 10) & (np.abs(height + 12) < 13)] = 65
    positions = np.array([(0, 0, k * gap) for k in range(count)], float)
    return Volume(hu, positions, np.array([1.0, 0, 0, 0, 1, 0]), (1.0, 1.0), gap)


def outputs(fused: np.ndarray) -> tuple[np.ndarray, ...]:
    """The output of an ensemble with this fused map."""
    peak = np.sort(fused.reshape(len(fused), -1))[:, -8:].mean(1)
    named = np.zeros((len(fused), len(SUBTYPES)), np.float32)
    named[:, 1] = fused.max((1, 2))
    return fused, named, np.stack((peak, peak, 0 * peak), 1), named[:, :3]


def dense(batch: np.ndarray) -> tuple[np.ndarray, ...]:
    """A predictor that calls 48 to 80 HU hemorrhage, of the second subtype.

    Of its two base networks the first says what the fused map says and the second sees nothing.
    """
    assert len(batch) <= batch_size("torch")
    soft, bone = batch[:, 1], batch[:, 2]
    return outputs(((soft > 0.6) & (bone < 0.36)).astype(np.float32) * 0.9)


def inside(box: np.ndarray) -> tuple[np.ndarray]:
    """A skull stripper that takes soft tissue."""
    return (((box[:, :1] > 0.2) & (box[:, 1:] < 0.45)).astype(np.float32),)


def detector(**settings: object) -> Detector:
    rules = replace(Settings(operating_point=0.6, grid=GRID), **settings)
    return Detector("test@1", "ab" * 32, "torch", rules, inside, dense)


def test_the_mask_lies_on_the_blood_in_the_source_geometry() -> None:
    volume = head()
    found = detector().detect(volume)
    truth = volume.hu == 65
    both = (found.mask & truth).sum()
    assert 2 * both / (found.mask.sum() + truth.sum()) > 0.9
    assert found.suspected
    assert found.volume_ml == pytest.approx(truth.sum() * 0.005, rel=0.1)


@pytest.mark.parametrize("gap", [1.25, 2.5, 5.0])
def test_every_source_slice_has_a_finding_and_blood_is_where_it_is(gap: float) -> None:
    volume = head(gap, round(130 / gap))
    found = detector().detect(volume)
    assert len(found.slices) == len(volume.hu)
    bleeding = (volume.hu == 65).any((1, 2))
    scores = np.array([each.probability for each in found.slices])
    assert (scores[bleeding] > 0.5).mean() > 0.7
    marked = found.mask[:, 80:108, 96:124].any((1, 2))
    near = np.convolve(bleeding, np.ones(2 * int(5 / gap) - 1), "same") > 0
    assert marked[bleeding].mean() > 0.7
    assert not marked[~near].any()
    assert found.key_slice is not None
    assert bleeding[found.key_slice]


def clot(batch: np.ndarray) -> tuple[np.ndarray, ...]:
    """A predictor that calls 69 to 75 HU inside the skull hemorrhage: the builder's clot."""
    stripped = batch[:, 3]
    return outputs(((stripped > 0.865) & (stripped < 0.935)).astype(np.float32) * 0.9)


MILLIMETRES = HEAD(gaps_mm=(1.0,) * 147, thickness_mm=1.0)
OBLIQUE = (0.97, 0.24310492, 0.0, -0.23337942, 0.93119551, -0.28)


@pytest.mark.parametrize(
    "scan",
    [
        MILLIMETRES,
        MILLIMETRES(orientation=(-1, 0, 0, 0, 1, 0)),
        MILLIMETRES(orientation=OBLIQUE),
        MILLIMETRES(orientation=(*(-c for c in OBLIQUE[:3]), *OBLIQUE[3:])),
        MILLIMETRES(tilt_deg=18.5),
    ],
    ids=["axial", "to the feet", "oblique", "oblique, to the feet", "tilted"],
)
def test_the_mask_lies_on_the_clot_in_every_slice_of_one_millimetre(scan: Scan) -> None:
    hu = np.stack([scan.hu(p) for p in scan.positions_mm]).astype(np.float32)
    volume = Volume(hu, scan.positions_mm, scan.cosines, scan.spacing_mm, 1.0)
    found = replace(detector(), predict=clot).detect(volume)
    truth = volume.hu == 72
    assert len(found.slices) == len(volume.hu)
    bleeding, marked = np.flatnonzero(truth.any((1, 2))), np.flatnonzero(found.mask.any((1, 2)))
    assert np.abs(marked[[0, -1]] - bleeding[[0, -1]]).max() <= 4  # a slab is five slices
    assert set(range(bleeding[0] + 4, bleeding[-1] - 3)) <= set(marked)
    middle = [np.argwhere(lesion).mean(0) for lesion in (truth, found.mask)]
    assert np.abs(middle[0] - middle[1]).max() < 1.5


def test_base_networks_that_disagree_make_the_study_uncertain() -> None:
    split, agreed = detector(uncertain_from=0.2).detect(head()), head()
    assert split.uncertainty == pytest.approx(0.45, abs=0.01)
    assert split.uncertain
    agreed.hu[agreed.hu == 65] = 30
    assert detector(uncertain_from=0.2).detect(agreed).uncertainty == 0.0
    assert not detector(uncertain_from=0.2).detect(agreed).uncertain


def predict_study(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A study model that calls every slice subdural and attends to the first slice alone."""
    assert batch.shape[::2] == (1, 3)
    named = np.zeros((1, batch.shape[1], len(SUBTYPES)), np.float32)
    named[..., SUBTYPES.index("subdural")] = 0.8
    return named, np.eye(batch.shape[1], dtype=np.float32)[:1]


def test_the_study_model_names_subtypes_and_the_key_slice_where_it_is_asked_to() -> None:
    asked = replace(
        detector(subtypes="sequence", key_slice="attention"), predict_study=predict_study
    ).detect(head())
    assert asked.subtypes["subdural"] == pytest.approx(0.8)
    assert asked.key_slice == 0
    alone = replace(detector(), predict_study=predict_study).detect(head())
    assert alone.subtypes["subdural"] == 0
    assert alone.key_slice != 0


def test_the_subtypes_of_the_study_are_the_largest_of_its_slices() -> None:
    found = detector().detect(head())
    assert found.subtypes["intraparenchymal"] == pytest.approx(0.9)
    assert found.subtypes["subdural"] == 0
    assert set(found.slices[0].subtypes or {}) == set(SUBTYPES)


def test_an_unsuspected_study_still_carries_its_findings() -> None:
    found = detector(operating_point=0.95).detect(head())
    assert not found.suspected
    assert found.mask.any()
    assert found.probability == pytest.approx(0.9, abs=0.02)


def test_a_head_without_blood_has_an_empty_mask_and_no_key_slice() -> None:
    volume = head()
    volume.hu[volume.hu == 65] = 30
    found = detector().detect(volume)
    assert not found.suspected
    assert not found.mask.any()
    assert found.key_slice is None
    assert found.probability < 1e-4


def test_whatever_is_suspected_marks_a_place() -> None:
    peak = np.zeros((8, GRID.rows, GRID.columns), np.float32)
    peak[:, 80:82, 70:74] = 0.61  # eight pixels, flattened by interpolation to coarser ones
    coarse = replace(head(), spacing_mm=(1.4, 1.4))
    lone = replace(detector(mask_threshold=0.6), predict=lambda batch: outputs(peak[: len(batch)]))
    found = lone.detect(coarse)
    assert found.suspected
    assert found.heat.max() < 0.6 * 255
    assert found.mask.any()


def bright(batch: np.ndarray) -> tuple[np.ndarray, ...]:
    """A predictor that calls 48 to 260 HU hemorrhage."""
    return outputs(((batch[:, 1] > 0.6) & (batch[:, 2] < 0.42)).astype(np.float32) * 0.9)


def test_what_a_marked_region_looks_like_is_said_and_changes_nothing_else() -> None:
    volume, blood = head(), head()
    there = volume.hu == 65
    volume.hu[there | np.roll(there, -40, axis=2)] = 170  # the other side's basal ganglia, too
    reading = replace(detector(), predict=bright)
    found = reading.detect(volume)
    assert any("basal ganglia" in said and "may be calcium" in said for said in found.mimics)
    assert found.suspected and found.mask[there].mean() > 0.7
    assert found.probability == reading.detect(blood).probability
    assert reading.detect(blood).mimics == ()
    cautious = replace(reading.settings, operating_point=0.99)
    assert replace(reading, settings=cautious).detect(volume).mimics == ()


def test_progress_ends_at_the_number_of_slabs() -> None:
    told: list[tuple[int, int]] = []
    detector().detect(head(), lambda done, total: told.append((done, total)))
    assert told == [(8, 26), (16, 26), (24, 26), (26, 26)]


def test_a_volume_without_a_brain_is_unreadable_rather_than_negative() -> None:
    volume = head()
    volume.hu[volume.hu == 30] = 900
    volume.hu[volume.hu == 65] = 900
    with pytest.raises(Unreadable, match=r"no brain found: \d+ mL inside a skull, 200 mL needed"):
        detector().detect(volume)


def both(detector: Detector, labels: list[float], lesion: float = 0.0) -> Detector:
    """The detector with a network of slices that says the same of every slice, blood or none."""

    def predict(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert len(batch) <= batch_size("torch")
        named = np.tile(np.array(labels, np.float32), (len(batch), 1))
        return named, np.full((len(batch), *batch.shape[2:]), lesion, np.float32)

    return replace(detector, predict_slices=predict)


UNSURE = [0.5, 0.1, 0.2, 0.3, 0.4, 0.6]


def test_a_network_of_slices_that_does_not_count_changes_no_score_and_no_map() -> None:
    alone, beside = detector().detect(head()), both(detector(), UNSURE, 0.9).detect(head())
    assert beside.probability == alone.probability
    assert beside.slices == alone.slices
    np.testing.assert_array_equal(beside.heat, alone.heat)


def test_two_kinds_of_networks_add_their_logits() -> None:
    rules = {"slope": 0.5, "slices_slope": 2.0, "intercept": -1.0, "score": "max"}
    found = both(detector(**rules), [0.7, *UNSURE[1:]]).detect(head())
    logit = 0.5 * np.log(0.9 / 0.1) + 2 * np.log(0.7 / 0.3) - 1
    assert found.probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-3)


def test_two_kinds_of_networks_that_disagree_make_the_study_uncertain() -> None:
    rules = {"ensemble_alone": Opinion(1.0, 0.0), "slices_alone": Opinion(2.0, -0.5)}
    found = both(detector(score="max", uncertain_from=0.3, **rules), UNSURE).detect(head())
    slices_alone = 1 / (1 + np.exp(0.5))
    assert found.uncertainty == pytest.approx(0.9 - slices_alone, abs=1e-3)
    assert found.uncertain
    agreeing = both(detector(score="max", uncertain_from=0.3), [0.85, *UNSURE[1:]]).detect(head())
    assert not agreeing.uncertain


def test_the_map_is_the_weighted_mean_of_both_kinds() -> None:
    found = both(detector(map_weight=0.25), UNSURE, 0.4).detect(head())
    alone = detector().detect(head())
    expected = 0.75 * alone.heat.astype(float) + 0.25 * 0.4 * 255
    inside = alone.heat.astype(float) > 200
    np.testing.assert_allclose(found.heat[inside], expected[inside], atol=1.5)


def test_the_network_of_slices_names_subtypes_where_it_is_asked_to() -> None:
    found = both(detector(subtypes="slices"), UNSURE).detect(head())
    assert list(found.subtypes.values()) == pytest.approx(UNSURE[1:])
    assert found.slices[0].subtypes == found.subtypes


@pytest.mark.parametrize("count", [1, 7, 8, 9, 26])
def test_every_slice_is_read_between_its_neighbours_across_batches(count: int) -> None:
    """The slab's number stands in its Hounsfield values, and the network gives it back."""
    hu = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None] + 1, (count, 16, 16))
    canvas = Canvas(hu.copy(), np.ones_like(hu), Frame((0.0, 0.0), 16, 16, 1.0))

    def predict(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = batch[:, :3].mean((2, 3)) * 80
        return np.concatenate((seen, seen), 1), batch[:, 0]

    output = replace(detector(), predict_slices=predict).infer(canvas)
    assert output.labels is not None
    here = np.arange(count) + 1.0
    wanted = [np.r_[here[:1], here[:-1]], here, np.r_[here[1:], here[-1:]]]
    np.testing.assert_allclose(output.labels[:, :3].T, wanted, rtol=1e-5)


def test_the_findings_name_the_operating_point_where_there_are_several() -> None:
    points = {"sensitive": 0.3, "balanced": 0.6, "quiet": 0.95}
    rules = detector(operating_points=points).settings
    quiet = replace(detector(), settings=rules.at("quiet")).detect(head())
    assert not quiet.suspected
    assert (quiet.operating_point, quiet.operating_point_name) == (0.95, "quiet")
    assert detector().detect(head()).operating_point_name is None
