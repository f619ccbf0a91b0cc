"""Batches are what they say; losses punish what they are for."""

import numpy as np
import pytest
import torch

from models.findings import SUBTYPES
from training import losses
from training.batches import augment
from training.batches.prepared import MARGIN, Slices
from training.batches.slices import SliceBatches, Source, three_windows


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


def source(found: Slices) -> Source:
    return Source(found, 1.0, np.ones(len(found.hu), bool))


def test_half_of_a_batch_is_normal_and_a_painted_lesion_has_its_mask_and_label() -> None:
    batches = SliceBatches([source(slices())], (208, 176), only=("intraparenchymal",))
    batch = batches(8, np.random.default_rng(0))
    bleeding = batch.mask.amax((1, 2, 3)) > 0
    assert batch.image.shape == (8, 4, 208, 176)
    assert bleeding.tolist() == [True, False, True, False] * 2
    assert (batch.labels[bleeding].sum(1) == 1).all()
    assert (batch.labels[~bleeding] == 0).all()


def test_nothing_is_painted_where_a_source_forbids_it() -> None:
    for painted in (False, True):
        draw = SliceBatches([source(slices())._replace(painted=painted)], (208, 176))
        labels = draw(16, np.random.default_rng(0)).labels
        others = [each for each in range(len(SUBTYPES)) if each != 2]
        assert bool(labels[:, others].any()) == painted, "the slices show the third subtype alone"


def test_a_model_for_one_subtype_sees_no_other_lesion() -> None:
    batches = SliceBatches([source(slices())], (208, 176), only=("subdural",))
    labels = batches(16, np.random.default_rng(1)).labels
    assert labels[:, SUBTYPES.index("subdural")].sum() > 0
    assert labels.sum() == labels[:, SUBTYPES.index("subdural")].sum()


def test_only_the_rows_of_a_source_are_drawn() -> None:
    found = slices()
    found.hu[:3] = 3000  # whoever draws one of these sees metal
    rows = np.arange(6) >= 3
    draw = SliceBatches([Source(found, 1.0, rows)], (208, 176), windows=three_windows)
    image = draw(16, np.random.default_rng(2)).image
    assert image.shape == (16, 3, 208, 176)
    assert (image[:, 0].flatten(1).mean(1) < 0.9).all()


def test_a_positive_slice_needs_a_mask_unless_labels_are_enough() -> None:
    unlocated = slices()._replace(patient_ml=np.full(6, np.nan, np.float32))
    shown = SliceBatches([source(unlocated)], (208, 176), only=("intraventricular",))
    assert len(shown.choices[0][0]) == 0
    shown = SliceBatches([source(unlocated)], (208, 176), located=False)
    assert shown.choices[0][0].tolist() == [0, 2, 4]


def test_exclusive_classes_leave_out_slices_with_two_subtypes() -> None:
    found = slices()
    found.labels[2, 0] = 1
    draw = SliceBatches([source(found)], (208, 176), exclusive=True)
    assert draw.choices[0][0].tolist() == [0, 4]
    assert draw.choices[0][1].tolist() == [1, 3, 5]


@pytest.mark.parametrize("subtype", ["intraparenchymal", "subdural", "epidural"])
def test_painted_lesions_are_bright_and_inside_the_skull(subtype: str) -> None:
    normal = slices()
    brain = normal.brain[1].astype(np.float32) / 255
    painted, mask = augment.paint(
        normal.hu[1].astype(np.float32), brain, subtype, np.random.default_rng(3), small=False
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


def test_unknown_labels_cost_nothing() -> None:
    logits = torch.tensor([[3.0, -2, 0, 1, 5]])
    labels = torch.tensor([[1.0, 0, float("nan"), float("nan"), float("nan")]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, :2], labels[:, :2])
    torch.testing.assert_close(losses.named(logits, labels), expected)


def test_any_is_known_once_one_subtype_is_seen_or_all_are_ruled_out() -> None:
    unknown = float("nan")
    labels = torch.tensor([[1, unknown, 0, 0, 0], [0, 0, 0, 0, 0], [0, unknown, 0, 0, 0]])
    assert losses.known_any(labels).nan_to_num(-1).tolist() == [1, 0, -1]
    assert losses.with_any(labels).shape == (3, 6)


def test_exclusive_classes_count_from_normal() -> None:
    logits = torch.full((2, 6), -9.0)
    logits[0, 0] = logits[1, 1 + SUBTYPES.index("subdural")] = 9
    labels = torch.stack((torch.zeros(5), torch.from_numpy(augment.one_hot("subdural"))))
    assert losses.exclusive(logits, labels) < 1e-3
    assert losses.exclusive(logits.flip(0), labels) > 5


def test_the_location_loss_pulls_the_saliency_map_into_the_lesion() -> None:
    activation = torch.zeros(2, 1, 7, 6, requires_grad=True)
    mask = torch.zeros(2, 1, 208, 176)
    mask[0, :, 60:120, 60:120] = 1
    labels = torch.zeros(2, 5)
    labels[0, 2] = 1
    descent = torch.optim.Adam([activation], lr=0.3)
    for _ in range(40):
        descent.zero_grad()
        losses.location(activation, mask, labels).backward()
        descent.step()
    seen = torch.nn.functional.interpolate(activation.detach(), (208, 176), mode="bilinear") > 0
    overlap = (seen[0] & (mask[0] > 0)).sum() / (seen[0] | (mask[0] > 0)).sum()
    assert overlap > 0.6
    assert not seen[1].any()


def test_a_hemorrhage_that_nobody_drew_has_no_location() -> None:
    labels = torch.tensor([[0.0, 0, 1, 0, 0]])
    for activation in (torch.full((1, 1, 4, 4), -5.0), torch.full((1, 1, 4, 4), 5.0)):
        assert losses.location(activation, torch.zeros(1, 1, 32, 32), labels) == 0
