"""Runtimes: the same network on each of them, chosen by what the machine has."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import runtime
from models.ensemble import Ensemble
from models.runtime import available_runtimes, batch_size, choose, device, load
from models.skullstrip import skull_stripper
from models.unet import InceptionUNet
from models.weighting import WeightModel
from tests.support import ROOT

pytestmark = pytest.mark.networks

SHAPE = (4, 4, 48, 32)


def ensemble() -> nn.Module:
    torch.manual_seed(5)
    return Ensemble([InceptionUNet(8, 2) for _ in range(2)], WeightModel(2)).eval()


@pytest.fixture
def slices() -> np.ndarray:
    return np.random.default_rng(0).random((3, *SHAPE[1:]), np.float32)


@pytest.fixture
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine: the CUDA runtime is not exercised")


def test_plain_torch_computes_what_the_network_does(slices: np.ndarray) -> None:
    with torch.inference_mode():
        expected = ensemble()(torch.from_numpy(slices))
    for found, wanted in zip(load(ensemble, SHAPE, "torch")(slices), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", available_runtimes())
def test_a_slice_reads_the_same_alone_as_among_others(name: str, slices: np.ndarray) -> None:
    predict = load(ensemble, SHAPE, name)
    for together, alone in zip(predict(slices), predict(slices[1:2]), strict=True):
        np.testing.assert_allclose(together[1:2], alone, atol=2e-2)


def test_a_network_that_is_found_stored_reads_as_when_it_was_converted(
    slices: np.ndarray, tmp_path: Path
) -> None:
    first, again = (load(ensemble, SHAPE, "openvino", tmp_path / "network") for _ in range(2))
    plain = load(ensemble, SHAPE, "torch")(slices)
    for converted, stored, wanted in zip(first(slices), again(slices), plain, strict=True):
        np.testing.assert_array_equal(converted, stored)
        np.testing.assert_allclose(converted, wanted, atol=1e-4)


def test_a_batch_that_is_no_slice_is_read_too(slices: np.ndarray) -> None:
    predict = load(ensemble, SHAPE, "torch")
    backwards = predict(slices[::-1])[0]
    np.testing.assert_allclose(backwards[::-1], predict(slices)[0], atol=1e-5)


def test_a_side_that_varies_may_vary_from_call_to_call() -> None:
    predict = load(lambda: nn.Linear(3, 2), (1, -1, 3), "openvino")
    for count in (2, 5):
        (found,) = predict(np.ones((1, count, 3), np.float32))
        assert found.shape == (1, count, 2)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("network", "shape"), [(ensemble, SHAPE), (skull_stripper, (1, 2, 16, 32, 32))]
)
def test_cuda_agrees_with_float32(network: object, shape: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    built = network().eval()
    batch = np.random.default_rng(0).random((max(shape[0] - 1, 1), *shape[1:]), np.float32)
    expected = load(lambda: built, shape, "torch")(batch)
    for found, wanted in zip(load(lambda: built, shape, "cuda")(batch), expected, strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 0.05 * max(1.0, np.abs(wanted).max())


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_cuda_is_preferred_where_there_is_a_device() -> None:
    assert choose("auto") == "cuda"
    assert torch.cuda.get_device_name() in device("cuda")


def test_cuda_comes_first_where_there_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_cuda", lambda: True)
    assert choose("auto") == "cuda"
    assert available_runtimes()[-1] == "torch"


def test_what_cannot_be_had_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_cuda", lambda: False)
    with pytest.raises(ValueError, match=r"no runtime 'cuda' on this machine; it has .*torch"):
        choose("cuda")


def test_a_study_is_one_batch_on_cuda_and_several_on_a_cpu() -> None:
    assert batch_size("cuda") >= 32 > batch_size("openvino")


def test_the_processor_is_named_with_its_precision() -> None:
    assert device("torch").endswith(" cores, f32")
    assert device("openvino") == device("torch")


def test_a_node_needs_none_of_the_packages_that_training_needs() -> None:
    code = (
        "import sys;"
        "sys.modules |= dict.fromkeys(['matplotlib', 'nibabel']);"
        "import node.cli.app, node.serve, node.cases.worker, node.cli.demo, node.cli.bench;"
        "import models.networks, models.study"
    )
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
