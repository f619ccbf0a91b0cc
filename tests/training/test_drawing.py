"""What is drawn from the training table: sites by their shares, every second slice bleeding."""

from collections import Counter

import numpy as np
import pytest
import torch

from tests.support.slices import EPIDURAL, NORMAL, SUBDURAL, table
from training import losses
from training.batches.augment import Random
from training.batches.drawing import SiteBatches
from training.datasets.table import Located, Table

NAN = float("nan")
SIZE = (32, 32)


def drawn(batches: SiteBatches, count: int, seed: int = 0) -> list[int]:
    """Rows that are drawn, without their pixels."""
    random = np.random.default_rng(seed)
    return [batches._row(random, bleeding=place % 2 == 0) for place in range(count)]


def everywhere(whole: Table, **shares: float) -> SiteBatches:
    return SiteBatches(whole, np.ones(len(whole), bool), shares, SIZE)


def test_a_batch_has_the_image_and_all_that_is_known_of_each_slice() -> None:
    whole = table(("a", [NORMAL, SUBDURAL]), located=Located.DRAWN)
    batch = everywhere(whole, a=1.0)(6, np.random.default_rng(1))
    assert batch.image.shape == (6, 4, *SIZE) and batch.image.dtype == torch.float32
    assert batch.mask.shape == (6, 1, *SIZE) and set(batch.mask.unique().tolist()) <= {0.0, 1.0}
    assert batch.labels.tolist() == [SUBDURAL, NORMAL] * 3
    assert batch.located.tolist() == [Located.DRAWN] * 6
    assert batch.image.min() >= 0 and batch.image.max() <= 1


def test_sites_give_their_shares_and_every_second_slice_bleeds() -> None:
    whole = table(("a", [NORMAL, SUBDURAL]), ("b", [NORMAL, EPIDURAL]), ("c", [NORMAL, SUBDURAL]))
    rows = drawn(everywhere(whole, a=0.25, b=0.75), 4000)
    sites = Counter(str(whole.site[row]) for row in rows)
    assert sites.keys() == {"a", "b"}
    assert 0.22 < sites["a"] / 4000 < 0.28
    assert sum(whole.labels[row, 0] for row in rows) == 2000


def test_a_subtype_of_few_patients_and_a_patient_of_few_slices_are_seen() -> None:
    many = [("a", [NORMAL, *[SUBDURAL] * 9])] * 16
    whole = table(("a", [NORMAL, EPIDURAL]), *many)
    rows = [row for row in drawn(everywhere(whole, a=1.0), 4000) if whole.labels[row, 0]]
    share = sum(whole.labels[row, 1] == 1 for row in rows) / len(rows)
    # Classes: any (17 patients), epidural (1) and subdural (16), by the root of their patients.
    expected = (1 + np.sqrt(17) / 17) / (np.sqrt(17) + 1 + 4)
    assert abs(share - expected) < 0.03


def test_a_site_of_bleeders_alone_gives_bleeding_slices() -> None:
    whole = table(("a", [SUBDURAL]))
    assert drawn(everywhere(whole, a=1.0), 10) == [0] * 10


def test_hard_normal_slices_are_drawn_most_and_bleeding_ones_as_before() -> None:
    whole = table(("a", [NORMAL, NORMAL, SUBDURAL]))
    hardness = np.array([0.95, 0.0, 0.0], np.float32)
    rows = np.ones(3, bool)
    found = Counter(drawn(SiteBatches(whole, rows, {"a": 1.0}, SIZE, hardness), 2000))
    assert found[2] == 1000
    assert found[0] > 10 * found[1] > 0


def test_a_site_that_may_not_be_drawn_is_named() -> None:
    whole = table(("a", [NORMAL]), ("b", [NORMAL]))
    with pytest.raises(ValueError, match="no slice of b"):
        SiteBatches(whole, whole.site == "a", {"a": 0.5, "b": 0.5}, SIZE)


def test_the_same_seed_draws_the_same_batch() -> None:
    batches = everywhere(table(("a", [NORMAL, SUBDURAL])), a=1.0)

    def draw(random: Random) -> torch.Tensor:
        return batches(4, random).image

    torch.testing.assert_close(draw(np.random.default_rng(3)), draw(np.random.default_rng(3)))


def test_a_bleeding_slice_without_a_mask_teaches_no_place() -> None:
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    nothing = torch.zeros(2, dtype=torch.bool)
    loss = losses.located(logits, torch.zeros(2, 1, 8, 8), nothing, nothing)
    assert loss == 0


def test_a_box_wants_blood_inside_and_none_outside() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    boxed, drawn_ = torch.tensor([True]), torch.tensor([False])

    def loss(inside: float, outside: float) -> float:
        logits = torch.where(mask == 1, inside, outside)
        return float(losses.located(logits, mask, drawn_, boxed))

    assert loss(8, -8) < 0.01 < loss(-8, -8)
    assert loss(8, -8) < 0.01 < loss(8, 8)
    part = torch.full_like(mask, -8.0)
    part[..., 5:12, 5:12] = 8  # not all of a box bleeds
    assert losses.located(part, mask, drawn_, boxed) < 0.01


def test_a_slice_that_is_not_labelled_costs_the_map_nothing() -> None:
    logits = torch.full((2, 1, 8, 8), 9.0)
    unknown = torch.tensor([[NAN] * 6, [1.0, *[NAN] * 5]])
    assert losses.shown(logits, unknown) < 0.001
    assert losses.shown(logits, torch.zeros(2, 6)) > 8
