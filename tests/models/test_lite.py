"""The network of slices: its outputs, and that any canvas fits."""

import numpy as np
import pytest
import torch
from torch import nn

from models.lite import LiteUNet, LiteUNets, SlicesReader
from models.preprocess import neighbour_channels, neighbours
from models.runtime import Runtime, available_runtimes, batch_size, load
from training.batches.drawing import fitted

pytestmark = pytest.mark.networks


@pytest.mark.parametrize("size", [(208, 176), (192, 160), (190, 150)])
def test_slices_get_six_labels_and_a_map_of_half_their_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = LiteUNet().eval()
    with torch.inference_mode():
        labels, lesion = network(torch.rand(2, 4, *size))
    assert labels.shape == (2, 6)
    assert lesion.shape == (2, 1, size[0] // 2, size[1] // 2)


def test_each_slice_is_read_by_itself() -> None:
    torch.manual_seed(0)
    network = LiteUNet().eval()
    image = torch.rand(3, 4, 96, 96)
    with torch.inference_mode():
        together, alone = network(image)[0], network(image[1:2])[0]
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


def test_several_networks_say_the_means_of_their_logits() -> None:
    torch.manual_seed(0)
    several, image = LiteUNets(3).eval(), torch.rand(2, 4, 64, 64)
    with torch.inference_mode():
        labels, lesion = several(image)
        each = [network(image) for network in several.networks]
    torch.testing.assert_close(labels, sum(one[0] for one in each) / 3)
    torch.testing.assert_close(lesion, sum(one[1] for one in each) / 3)
    assert not torch.allclose(each[0][0], each[1][0]), "they are not one network thrice"


def test_a_slice_stands_between_its_neighbours_and_the_outer_ones_beside_themselves() -> None:
    hu = torch.arange(3.0)[:, None, None].expand(3, 2, 2).numpy() * 20
    seen = neighbour_channels(*neighbours(hu))
    assert seen.shape == (3, 4, 2, 2)
    assert (seen[:, :3, 0, 0] * 80).tolist() == [[0, 0, 20], [0, 20, 40], [20, 40, 40]]
    assert seen[:, 3, 0, 0].tolist() == [0, 0, 0.5]  # the stroke window shows 20 to 60 HU


@pytest.mark.parametrize("canvas", [(96, 96), (105, 90), (48, 70)])
def test_the_reader_sees_the_middle_of_the_canvas_and_marks_nothing_beyond(
    canvas: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    reader = SlicesReader(64, 64).eval()
    image = torch.rand(2, 4, *canvas)
    middle = np.stack([fitted(each, (64, 64), 0) for each in image.numpy()])
    with torch.inference_mode():
        labels, lesion = reader(image)
        logits, half = reader.network(torch.from_numpy(middle))
    torch.testing.assert_close(labels, torch.sigmoid(logits))
    assert lesion.shape == (2, *canvas)
    whole = nn.functional.interpolate(torch.sigmoid(half), scale_factor=2, mode="bilinear")[:, 0]
    torch.testing.assert_close(lesion, torch.from_numpy(fitted(whole.numpy(), canvas, 0)))


@pytest.mark.parametrize("runtime", [each for each in available_runtimes() if each != "torch"])
@pytest.mark.parametrize(("canvas", "networks"), [((80, 80), 1), ((58, 72), 2)])
def test_every_runtime_reads_what_torch_reads(
    runtime: Runtime, canvas: tuple[int, int], networks: int
) -> None:
    torch.manual_seed(0)
    reader = SlicesReader(64, 64, networks)
    image = np.random.default_rng(0).random((3, 4, *canvas), np.float32)
    expected, found = (
        load(lambda: reader, (batch_size(each), 4, *canvas), each)(image)
        for each in ("torch", runtime)
    )
    for wanted, given in zip(expected, found, strict=True):
        assert np.abs(wanted - given).max() < (0.02 if runtime == "cuda" else 1e-4)
