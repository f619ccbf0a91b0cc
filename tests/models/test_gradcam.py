"""Grad-CAM: the theorem that ties it to class activation maps, its range and its purity."""

import pytest
import torch
from torch import Tensor, nn

from models.classifiers import SliceClassifier
from models.gradcam import grad_cam, grad_cams

pytestmark = pytest.mark.networks


@pytest.fixture(scope="module")
def network() -> SliceClassifier:
    torch.manual_seed(0)
    return SliceClassifier("resnet18").eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 4, 96, 64)


def test_after_pooling_and_one_linear_layer_it_is_the_class_activation_map(
    network: SliceClassifier, image: Tensor
) -> None:
    with torch.no_grad():
        maps = network.logits_and_maps(image)[1] - network.classify.bias[:, None, None]
    expected = nn.functional.interpolate(maps.relu(), size=(96, 64), mode="bilinear")
    heat = grad_cams(network, image)
    assert heat.any()
    scaled = heat * expected.amax((2, 3), keepdim=True)
    torch.testing.assert_close(scaled, expected, atol=1e-5, rtol=1e-3)


def test_it_shows_all_labels_at_the_images_size_from_nought_to_one(
    network: SliceClassifier, image: Tensor
) -> None:
    heat = grad_cams(network, image)
    assert heat.shape == (2, 6, 96, 64)
    assert heat.min() >= 0
    warm = heat.amax((2, 3)) > 0
    assert warm.any()
    torch.testing.assert_close(heat.amax((2, 3))[warm], torch.ones(int(warm.sum())))


def test_one_label_alone_is_as_among_all(network: SliceClassifier, image: Tensor) -> None:
    with torch.no_grad():
        alone = grad_cam(network, image, 4)
    torch.testing.assert_close(alone, grad_cams(network, image)[:, 4])


def test_a_label_without_evidence_stays_cold(image: Tensor) -> None:
    torch.manual_seed(2)
    network = SliceClassifier("resnet18", classes=2).eval()
    nn.init.constant_(network.classify.weight[0], -1.0)
    heat = grad_cams(network, image)
    assert (heat[:, 0] == 0).all()
    assert heat[:, 1].max() == 1


def test_the_network_keeps_its_gradients_and_gets_no_hooks(
    network: SliceClassifier, image: Tensor
) -> None:
    network.classify.weight.grad = torch.full_like(network.classify.weight, 7.0)
    grad_cams(network, image)
    assert (network.classify.weight.grad == 7).all()
    assert not any(each._forward_hooks or each._backward_hooks for each in network.modules())
    network.classify.weight.grad = None
