"""The published weights, under timm's names, know what a known picture shows."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo, create_transform, resolve_data_config

from models.lite import LiteUNet
from training import imagenet

pytestmark = pytest.mark.networks


@pytest.mark.parametrize(("picture", "shows"), [("china.jpg", "palace"), ("flower.jpg", "daisy")])
def test_the_mapped_network_names_what_a_picture_shows(picture: str, shows: str) -> None:
    network = imagenet.lite0(imagenet.published())
    prepare = create_transform(**resolve_data_config({}, model=network))
    image = prepare(Image.fromarray(load_sample_image(picture)))
    with torch.inference_mode():
        likeliest = int(network(image[None])[0].argmax())
    assert ImageNetInfo().index_to_description(likeliest) == shows


def test_a_slice_among_slices_like_it_is_seen_as_a_grey_picture_is() -> None:
    encoder = LiteUNet().eval().encoder
    imagenet.start(encoder, imagenet.published())
    grey = torch.rand(1, 1, 64, 64)
    whole = imagenet.lite0(imagenet.published()).conv_stem(grey.expand(1, 3, 64, 64))
    torch.testing.assert_close(encoder.conv_stem(grey.expand(1, 4, 64, 64)), whole)


def test_weights_of_another_network_are_refused_by_the_name_of_what_does_not_fit(
    tmp_path: Path,
) -> None:
    tensors = torch.load(imagenet.published(), weights_only=True)
    tensors["_fc.bias"] = torch.zeros(3)
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not fit .*_fc\.bias"):
        imagenet.lite0(tmp_path / "other.pth")
