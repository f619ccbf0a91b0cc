"""The slice classifiers: their widths, their activation maps, and how published weights load."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.classifiers import BURDUJA, KANG, LABELS, ZHOU, SliceClassifier

pytestmark = pytest.mark.networks


@pytest.fixture(scope="module")
def network() -> SliceClassifier:
    torch.manual_seed(0)
    return SliceClassifier("resnet18").eval()


def published() -> dict[str, Tensor]:
    """Weights of resnet18 as they are published: three colours and a head of 1000 classes."""
    torch.manual_seed(1)
    tensors = dict(SliceClassifier("resnet18", channels=3).backbone.state_dict())
    return {**tensors, "fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}


@pytest.mark.parametrize(
    ("backbone", "width"),
    [*zip(KANG, (1024, 1536, 1280, 512), strict=True), (ZHOU[0], 512), (BURDUJA, 2048)],
)
def test_every_papers_network_reads_four_windows_into_features_and_six_labels(
    backbone: str, width: int
) -> None:
    with torch.device("meta"):
        network = SliceClassifier(backbone)
        image = torch.zeros(2, 4, 128, 128)
        assert network.features(image).shape == (2, width)
        assert network(image).shape == (2, 6)
        last = network.last_map(image)
        assert last.shape[:2] == (2, width)
        logits, maps = network.logits_and_maps(image)
        assert maps.shape == (2, 6, *last.shape[2:])
        assert logits.shape == (2, 6)


def test_vgg_keeps_no_dense_layers() -> None:
    with torch.device("meta"):
        network = SliceClassifier("vgg19_bn")
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert weights < 21_000_000


def test_the_labels_are_any_and_the_five_subtypes() -> None:
    assert LABELS == (
        "any",
        "epidural",
        "intraparenchymal",
        "intraventricular",
        "subarachnoid",
        "subdural",
    )


def test_the_mean_of_a_labels_activation_map_is_its_logit(network: SliceClassifier) -> None:
    image = torch.rand(2, 4, 96, 64)
    with torch.no_grad():
        logits, maps = network.logits_and_maps(image)
        torch.testing.assert_close(logits, network(image), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(maps.mean((2, 3)), logits)
        label = 3
        expected = (network.last_map(image) * network.classify.weight[label, :, None, None]).sum(1)
    torch.testing.assert_close(
        maps[:, label], expected + network.classify.bias[label], atol=1e-5, rtol=1e-4
    )


def test_standardised_windows_are_read_as_their_raw_ones_were() -> None:
    torch.manual_seed(2)
    network = SliceClassifier("resnet18", channels=3).eval()
    image = torch.rand(1, 3, 64, 64)
    mean, deviation = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 1.0, 2.0])
    with torch.no_grad():
        expected = network(image)
        network.standardise(mean, deviation)
        read = network(image * deviation[:, None, None] + mean[:, None, None])
    torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)
    assert "mean" in network.state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_published_weights_load_without_their_head_for_four_channels(
    tmp_path: Path, suffix: str
) -> None:
    tensors = published()
    path = tmp_path / f"resnet18{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    loaded = SliceClassifier("resnet18", weights=path).backbone.state_dict()
    assert all(
        torch.equal(loaded[name], tensor)
        for name, tensor in tensors.items()
        if not name.startswith(("fc.", "conv1."))
    )
    colours = tensors["conv1.weight"]
    expected = torch.cat((colours, colours[:, :1]), 1) * 3 / 4
    torch.testing.assert_close(loaded["conv1.weight"], expected)


def test_a_grey_image_excites_the_adapted_first_convolution_as_it_did_in_colour(
    tmp_path: Path,
) -> None:
    tensors = published()
    torch.save(tensors, tmp_path / "weights.pth")
    one = SliceClassifier("resnet18", channels=1, weights=tmp_path / "weights.pth").backbone
    grey = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(
        nn.functional.conv2d(grey, one.conv1.weight),
        nn.functional.conv2d(grey.expand(-1, 3, -1, -1), tensors["conv1.weight"]),
        atol=1e-5,
        rtol=1e-4,
    )


def test_weights_from_before_the_batch_count_load(tmp_path: Path) -> None:
    tensors = {k: v for k, v in published().items() if not k.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "old.pth")
    loaded = SliceClassifier("resnet18", weights=tmp_path / "old.pth").backbone
    assert torch.equal(loaded.layer4[1].conv2.weight, tensors["layer4.1.conv2.weight"])


def test_weights_that_do_not_fit_are_refused_and_named(tmp_path: Path) -> None:
    tensors = published()
    del tensors["layer1.0.conv1.weight"]
    tensors["layer2.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    tensors["layer9.weight"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match="wrong.pth does not fit") as refused:
        SliceClassifier("resnet18", weights=tmp_path / "wrong.pth")
    assert "layer1.0.conv1.weight is missing" in str(refused.value)
    assert "layer9.weight is unknown" in str(refused.value)
    assert "layer2.0.conv1.weight is (1, 2, 3, 3), not (128, 64, 3, 3)" in str(refused.value)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        SliceClassifier("resnet18", weights=tmp_path / "absent.pth")
