"""The sequence model: padding, selection, direction, and its conversion to OpenVINO."""

import importlib
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.selection import Selection, fit
from models.sequence import SequenceModel

pytestmark = pytest.mark.networks

LENGTHS = (7, 3, 5)


def tiny_model() -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(10, selected=4, cells=6, layers=2).eval()


def padded() -> tuple[Tensor, Tensor, Tensor]:
    """Three scans of unequal lengths; their padding is not a number."""
    torch.manual_seed(1)
    features, probabilities = torch.randn(3, 7, 10), torch.rand(3, 7, 6)
    present = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    features[~present] = torch.nan
    probabilities[~present] = torch.nan
    return features, probabilities, present


def test_padding_never_changes_a_scans_logits() -> None:
    network = tiny_model()
    features, probabilities, present = padded()
    with torch.no_grad():
        together = network(features, probabilities, present)
        for scan, length in enumerate(LENGTHS):
            alone = network(features[scan, None, :length], probabilities[scan, None, :length])
            torch.testing.assert_close(together[scan, None, :length], alone)


def test_padding_never_changes_what_is_learnt() -> None:
    features, probabilities, present = padded()
    gradients = []
    for padding in (0.0, 9.0):
        network = tiny_model()
        logits = network(features.nan_to_num(padding), probabilities.nan_to_num(padding), present)
        logits[present].square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_every_slice_hears_of_the_first_and_of_the_last() -> None:
    network = tiny_model()
    features, probabilities = torch.randn(1, 7, 10), torch.rand(1, 7, 6)
    for end in (0, 6):
        changed = features.clone()
        changed[:, end] += 3
        with torch.no_grad():
            moved = network(changed, probabilities) - network(features, probabilities)
        assert (moved.abs().amax(2) > 0).all()


def test_a_slices_probabilities_reach_its_own_logits_only() -> None:
    network = tiny_model()
    features, probabilities = torch.randn(1, 7, 10), torch.rand(1, 7, 6)
    changed = probabilities.clone()
    changed[:, 2] = 1 - changed[:, 2]
    with torch.no_grad():
        moved = (network(features, changed) - network(features, probabilities)).abs().amax((0, 2))
    assert moved[2] > 0
    assert (moved[[0, 1, 3, 4, 5, 6]] == 0).all()


def test_the_selection_becomes_part_of_the_weights() -> None:
    network = tiny_model()
    vectors = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    chosen = fit(vectors, "pca", 4)
    network.select(chosen)
    restored = tiny_model()
    restored.load_state_dict(network.state_dict())
    plain = SequenceModel(4, selected=4, cells=6, layers=2).eval()
    plain.load_state_dict(
        {**network.state_dict(), "mean": torch.zeros(4), "components": torch.eye(4)}
    )
    probabilities = torch.rand(1, 50, 6)
    with torch.no_grad():
        torch.testing.assert_close(
            restored(torch.from_numpy(vectors)[None], probabilities),
            plain(torch.from_numpy(chosen(vectors))[None], probabilities),
            atol=1e-5,
            rtol=1e-4,
        )


def test_a_selection_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 10\), the sequence model's \(4, 10\)"):
        tiny_model().select(Selection(np.zeros(10, np.float32), np.zeros((3, 10), np.float32)))


@pytest.mark.parametrize("present", [[True, False, True], [False, True, True], [False] * 3])
def test_padding_before_a_slice_is_refused(present: list[bool]) -> None:
    with pytest.raises(ValueError, match="padding after its slices only"):
        tiny_model()(torch.rand(1, 3, 10), torch.rand(1, 3, 6), torch.tensor([present]))


def test_the_papers_size_is_the_default() -> None:
    with torch.device("meta"):
        network = SequenceModel(2048)
    assert (network.lstm.input_size, network.lstm.hidden_size) == (120, 256)
    assert (network.lstm.num_layers, network.lstm.dropout) == (3, 0.3)
    assert network.classify.in_features == 518


def test_openvino_reads_scans_of_any_length_as_torch_does() -> None:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    openvino = importlib.import_module("openvino")
    network = tiny_model()
    nn.init.normal_(network.components)

    def scan(length: int) -> tuple[Tensor, Tensor]:
        return torch.randn(1, length, 10), torch.rand(1, length, 6)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit warns that its time is over
        traced = torch.jit.trace(network, scan(4), check_trace=False)
        model = openvino.convert_model(traced, input=[(1, -1, 10), (1, -1, 6)])
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for length in (3, 41):
        features, probabilities = scan(length)
        with torch.no_grad():
            expected = network(features, probabilities)
        read = compiled((features.numpy(), probabilities.numpy()))[0]
        np.testing.assert_allclose(read, expected.numpy(), atol=1e-3)
