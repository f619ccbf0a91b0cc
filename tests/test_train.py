"""Training: the loop resumes exactly, batches are what they say, figures are right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.findings import SUBTYPES
from models.preprocess import Grid
from models.reader import Settings
from training import augment, losses, recipe, train
from training.batches import SliceBatches
from training.datasets.prepared import MARGIN, Slices
from training.evaluate import Result, figures, lock, operating_point
from training.statistics import auc, bootstrap, wilson

SHIPPED = Path(__file__).resolve().parents[1] / "config" / "recipes" / "ich-ensemble.toml"


def slices(count: int = 6) -> Slices:
    """Round brains in round skulls; every other one bleeds, of the third subtype."""
    y, x = np.mgrid[: MARGIN[0], : MARGIN[1]]
    radius = np.hypot(y - 128, x - 112)
    hu = np.where(radius < 75, 30, np.where(radius < 82, 900, -1000))
    mask = np.zeros((count, *MARGIN), bool)
    mask[::2, 100:120, 100:130] = True
    labels = np.zeros((count, len(SUBTYPES)), np.float32)
    labels[::2, 2] = 1
    return Slices(
        np.where(mask, 60, hu).astype(np.int16),
        np.broadcast_to((radius < 75) * 255, mask.shape).astype(np.uint8),
        mask,
        labels,
        np.arange(count, dtype=np.int32),
        mask.sum((1, 2)).astype(np.float32) / 1000,
    )


@pytest.fixture
def tiny(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> recipe.Recipe:
    """The shipped recipe on two patients, one phantom and networks of a few channels."""
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(train, "RECALIBRATION_BATCHES", 1)
    split = tmp_path / "split.toml"
    split.write_text("train = [58, 85]\ntune = []\ntest = []\n")
    shipped = recipe.read(SHIPPED)
    return shipped.model_copy(
        update={
            "runs": tmp_path / "runs",
            "physionet": data / "physionet_ct_ich",
            "split": split,
            "network": recipe.NetworkSize(width=4, depth=1),
            "phantoms": shipped.phantoms.model_copy(update={"count": 1}),
            "stage": tuple(
                each.model_copy(update={"steps": 4, "batch": 4, "encoder_steps": 1})
                for each in shipped.stage
            ),
        }
    )


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_weights(
    tiny: recipe.Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("skullstrip", "all"):
        train.fit(tiny, tiny.named(name))
    path = train.weights_path(tiny, "all")
    straight = torch.load(path, weights_only=True)
    for file in path.parent.iterdir():
        file.unlink()
    taken = 0
    draw = SliceBatches.__call__

    def killed(self: SliceBatches, count: int, random: np.random.Generator) -> object:
        nonlocal taken
        taken += 1
        if taken == 4:
            raise KeyboardInterrupt
        return draw(self, count, random)

    monkeypatch.setattr(SliceBatches, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        train.fit(tiny, tiny.named("all"))
    assert not path.exists()
    monkeypatch.setattr(SliceBatches, "__call__", draw)
    train.fit(tiny, tiny.named("all"))
    resumed = torch.load(path, weights_only=True)
    for name, tensor in straight.items():
        torch.testing.assert_close(resumed[name], tensor, msg=name)
    train.fit(tiny, tiny.named("subdural"))
    assert train.weights_path(tiny, "subdural").exists()


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(SHIPPED.read_text().replace("seed =", "sede = 1\nseed ="))
    with pytest.raises(ValueError, match="sede"):
        recipe.read(path)


def test_half_of_a_batch_is_normal_and_a_painted_lesion_has_its_mask_and_label() -> None:
    batches = SliceBatches([(slices(), 1.0)], (208, 176), only=("intraparenchymal",))
    batch = batches(8, np.random.default_rng(0))
    bleeding = batch.mask.amax((1, 2, 3)) > 0
    assert batch.image.shape == (8, 4, 208, 176)
    assert bleeding.tolist() == [True, False, True, False] * 2
    assert (batch.labels[bleeding].sum(1) == 1).all()
    assert (batch.labels[~bleeding] == 0).all()


def test_a_model_for_one_subtype_sees_no_other_lesion() -> None:
    batches = SliceBatches([(slices(), 1.0)], (208, 176), only=("subdural",))
    labels = batches(16, np.random.default_rng(1)).labels
    assert labels[:, SUBTYPES.index("subdural")].sum() > 0
    assert labels.sum() == labels[:, SUBTYPES.index("subdural")].sum()


@pytest.mark.parametrize("subtype", ["intraparenchymal", "subdural", "epidural"])
def test_painted_lesions_are_bright_and_inside_the_skull(subtype: str) -> None:
    source = slices()
    brain = source.brain[1].astype(np.float32) / 255
    painted, mask = augment.paint(
        source.hu[1].astype(np.float32), brain, subtype, np.random.default_rng(3), small=False
    )
    assert mask.any()
    assert painted[mask > 0].mean() > 42
    assert (mask[brain < 0.5]).mean() < 0.01


def test_the_presence_loss_punishes_a_few_bright_pixels_on_a_normal_slice() -> None:
    quiet = torch.full((1, 1, 64, 64), -6.0)
    speck = quiet.clone()
    speck[..., 5:8, 5:8] = 6
    empty = torch.zeros_like(quiet)
    rise = losses.presence(speck, empty) - losses.presence(quiet, empty)
    assert rise > 5
    assert losses.segmentation(speck, empty) - losses.segmentation(quiet, empty) < 1


def test_unknown_subtype_labels_cost_nothing() -> None:
    logits = torch.tensor([[3.0, -2, 0, 1, 5]])
    labels = torch.tensor([[1.0, 0, float("nan"), float("nan"), float("nan")]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, :2], labels[:, :2])
    torch.testing.assert_close(losses.subtypes(logits, labels), expected)


def result(number: int, score: float, bleeds: bool) -> Result:
    truth = np.zeros((4, 5), bool)
    truth[1, 0] = bleeds
    scores = np.array([0.01, score, 0.02, 0.01])
    return Result(
        number=number,
        truth_ml=2.0 * bleeds,
        found_ml=1.0,
        dice=0.5 if bleeds else float("nan"),
        peaks=scores.astype(np.float32),
        base_peaks=np.stack((scores, scores), 1).astype(np.float32),
        slice_peaks=scores.astype(np.float32),
        slice_truth=truth,
        subtypes=np.tile(scores[:, None], (1, 5)),
    )


def test_figures_count_what_was_missed_and_what_was_alarmed() -> None:
    results = [result(1, 0.9, True), result(2, 0.2, True), result(3, 0.7, False)]
    results += [result(4, 0.1, False), result(5, 0.3, False)]
    found = figures(results, Settings(operating_point=0.5, score="max", grid=Grid()))
    assert found["missed"] == [2]
    assert found["false_alarms"] == [3]
    assert found["sensitivity"]["count"] == "1/2"
    assert found["specificity"]["count"] == "2/3"
    assert found["case_auc"]["value"] == pytest.approx(4 / 6, abs=1e-4)


def test_the_operating_point_lies_in_the_middle_of_the_widest_best_gap() -> None:
    scores = np.array([0.1, 0.2, 0.6, 0.9])
    truth = np.array([False, False, True, True])
    assert operating_point(scores, truth) == pytest.approx(0.4)


def test_locking_calibrates_and_separates_the_tuning_cases() -> None:
    results = [result(k, 0.9 + 0.01 * k, k > 4) for k in range(9)]
    locked = lock(Settings(operating_point=0.5, grid=Grid()), results)
    assert all((case.score(locked) >= locked.operating_point) == case.bleeds for case in results)
    assert 0 < locked.calibrate(np.array([0.9], np.float32))[0] < 0.4, "0.9 is a normal here"


def test_auc_counts_ties_half() -> None:
    assert auc([0.1, 0.5, 0.5, 0.9], [False, False, True, True]) == pytest.approx(0.875)
    assert np.isnan(auc([0.1, 0.2], [True, True]))


def test_intervals_hold_their_figure() -> None:
    low, high = wilson(9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-3)
    values = np.array([1.0, 2, 3, 4, 10])
    low, high = bootstrap(
        lambda picks: float(values[picks].mean()), [True, False, True, False, True]
    )
    assert low < values.mean() < high
