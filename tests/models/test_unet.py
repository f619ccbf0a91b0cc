"""The base network, the weight model and the ensemble: shapes and the paper's formulas."""

import pytest
import torch
from torch import nn

from models.ensemble import Ensemble
from models.skullstrip import skull_stripper
from models.unet import Inception, InceptionUNet
from models.weighting import WeightModel, fuse

pytestmark = pytest.mark.networks


def test_the_network_segments_at_the_size_of_its_input_and_names_five_subtypes() -> None:
    segmented, named = InceptionUNet(8, 2)(torch.rand(3, 4, 48, 32))
    assert segmented.shape == (3, 1, 48, 32)
    assert named.shape == (3, 5)


def test_the_four_fused_1x1_convolutions_are_szegedys_branches() -> None:
    torch.manual_seed(0)
    block = Inception(6, 8).eval()
    x = torch.rand(1, 6, 9, 7)
    pooled_first = nn.functional.conv2d(
        nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False), block.reduce.weight[-2:]
    )
    norm = block.norm[0]
    expected = nn.functional.relu(
        (pooled_first - norm.running_mean[-2:].view(1, -1, 1, 1))
        / (norm.running_var[-2:].view(1, -1, 1, 1) + norm.eps).sqrt()
    )
    torch.testing.assert_close(block(x)[:, -2:], expected)


def test_a_bright_pixel_far_away_does_not_reach_a_shallow_networks_corner() -> None:
    network = InceptionUNet(8, 1).eval()
    image = torch.rand(1, 4, 64, 64)
    changed = image.clone()
    changed[..., 63, 63] += 5
    moved = (network(image)[0] - network(changed)[0]).abs()[0, 0]
    assert moved[60:, 60:].max() > 0
    assert moved[0, 0] == 0


@pytest.mark.parametrize("models", [1, 2, 5])
def test_softmax_weights_mix_convexly_so_the_fused_map_stays_between_the_maps(models: int) -> None:
    torch.manual_seed(1)
    weigher = WeightModel(models)
    nn.init.normal_(weigher.layers[-1].weight)
    maps = torch.rand(2, models, 16, 16)
    weights = weigher(maps)
    torch.testing.assert_close(weights.sum(1), torch.full((2, 16, 16), float(models)))
    fused = fuse(maps, weights)[:, 0]
    assert (fused <= maps.amax(1) + 1e-6).all()
    assert (fused >= maps.amin(1) - 1e-6).all()


def test_an_untrained_weight_model_is_the_plain_mean() -> None:
    maps = torch.rand(1, 5, 8, 8)
    torch.testing.assert_close(fuse(maps, WeightModel()(maps)), maps.mean(1, keepdim=True))


def test_literal_weights_are_each_between_zero_and_one() -> None:
    weights = WeightModel(5, literal=True)(torch.rand(1, 5, 8, 8))
    torch.testing.assert_close(weights, torch.full_like(weights, 0.5))


def test_the_ensemble_reads_the_subtypes_from_the_network_it_is_told() -> None:
    torch.manual_seed(2)
    bases = [InceptionUNet(8, 2).eval() for _ in range(3)]
    image = torch.rand(2, 4, 32, 32)
    whole = Ensemble(bases, WeightModel(3), names_subtypes=2).eval()
    fused, named, peaks, study_input = whole(image)
    torch.testing.assert_close(named, torch.sigmoid(bases[2](image)[1]))
    each = torch.cat([torch.sigmoid(base(image)[0]) for base in bases], 1)
    torch.testing.assert_close(fused, each.mean(1))
    brightest = torch.cat((fused[:, None], each), 1).flatten(2).sort(2).values[..., -8:]
    torch.testing.assert_close(peaks, brightest.mean(2))
    torch.testing.assert_close(bases[2].classify(study_input[:, :-6]).sigmoid(), named)
    torch.testing.assert_close(study_input[:, -6:], torch.cat((peaks[:, 3:4], named), 1))


def test_the_skull_stripper_keeps_the_shape_of_its_box() -> None:
    assert skull_stripper(4)(torch.rand(1, 2, 16, 24, 16)).shape == (1, 1, 16, 24, 16)
