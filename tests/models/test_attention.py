"""The attention model: where its weight may lie, and that it learns to find the slice."""

import pytest
import torch
from torch import Tensor, nn

from models.attention import AttentionModel, slice_scores

pytestmark = pytest.mark.networks

LENGTHS = (6, 2, 4)


def tiny_model() -> AttentionModel:
    torch.manual_seed(0)
    return AttentionModel(5, cells=6, hidden=4).eval()


def padded() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    features = torch.randn(3, 6, 5)
    present = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    features[~present] = torch.nan
    return features, present


def test_attention_sums_to_one_over_the_slices_and_padding_gets_none() -> None:
    features, present = padded()
    attention = tiny_model()(features, present)[1]
    torch.testing.assert_close(attention.sum(1), torch.ones(3))
    assert (attention[~present] == 0).all()
    assert (attention[present] > 0).all()


def test_a_study_reads_the_same_alone_and_among_longer_ones() -> None:
    network = tiny_model()
    features, present = padded()
    with torch.no_grad():
        together, attention = network(features, present)
        for study, length in enumerate(LENGTHS):
            alone, own = network(features[study, None, :length])
            torch.testing.assert_close(together[study, None], alone)
            torch.testing.assert_close(attention[study, None, :length], own)


def test_the_order_of_the_studies_does_not_matter() -> None:
    network = tiny_model()
    features, present = padded()
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        straight, shuffled = network(features, present), network(features[order], present[order])
    for a, b in zip(straight, shuffled, strict=True):
        torch.testing.assert_close(a[order], b)


def test_the_slice_most_attended_to_scores_as_the_study() -> None:
    attention = torch.tensor([[0.1, 0.6, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]])
    scores = slice_scores(attention, torch.tensor([0.9, 0.4]))
    torch.testing.assert_close(scores, torch.tensor([[0.15, 0.9, 0.45, 0.0], [0.4] * 4]))


def bags(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(count, 8, 5) slices of noise; in every other study one slice, named, stands out."""
    features = torch.randn(count, 8, 5)
    positive = torch.arange(count) % 2 == 0
    where = torch.randint(8, (count,))
    features[torch.arange(count), where, 0] += 5.0 * positive
    return features, positive.float(), where


def test_from_study_labels_alone_it_learns_which_slice_decides() -> None:
    torch.manual_seed(2)
    network = AttentionModel(5, cells=8, hidden=8)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        features, positive, _ = bags(64)
        loss = nn.functional.binary_cross_entropy_with_logits(network(features)[0], positive)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    features, positive, where = bags(400)
    with torch.no_grad():
        logits, attention = network.eval()(features)
    assert ((logits > 0) == (positive > 0)).float().mean() > 0.9
    found = (attention.argmax(1) == where)[positive > 0].float().mean()
    assert found > 0.8  # by chance 1 in 8
