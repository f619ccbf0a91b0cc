"""The detector: the paper's post-processing and the way back to the source slices."""

from dataclasses import replace

import numpy as np
import pytest

from models.detector import Detector, Settings, triage_score
from models.findings import SUBTYPES, Unreadable
from models.preprocess import Grid
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


def test_calibration_keeps_the_order_and_is_the_papers_f_by_default() -> None:
    peaks = np.array([0.1, 0.5, 0.98], np.float32)
    np.testing.assert_allclose(Settings(operating_point=0.5).calibrate(peaks), peaks, rtol=1e-5)
    moved = Settings(operating_point=0.5, slope=0.7, intercept=-2.0).calibrate(peaks)
    assert (np.diff(moved) > 0).all()
    assert moved[1] == pytest.approx(1 / (1 + np.exp(2)))


@pytest.mark.parametrize(
    ("score", "expected"), [("max", 0.8), ("top-k mean", 0.6), ("paper", 0.45)]
)
def test_the_triage_score_follows_its_formula(score: str, expected: float) -> None:
    slices = np.array([0.05, 0.8, 0.2, 0.6, 0.09, 0.4, 0.25], np.float32)
    assert triage_score(slices, score, 0.1, 3) == pytest.approx(expected)


def test_the_papers_score_of_a_study_without_a_bleeding_slice_is_its_largest() -> None:
    assert triage_score(np.array([0.02, 0.07], np.float32), "paper", 0.1, 3) == pytest.approx(0.07)
