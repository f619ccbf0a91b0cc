"""The networks of a bundle, built from its tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.ensemble import Ensemble
from models.skullstrip import skull_stripper
from models.study import study_model
from models.unet import InceptionUNet
from models.weighting import WeightModel


class Sigmoid(nn.Module):
    """A network whose logits are turned into probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> probabilities 0..1 of the network's output shape."""
        return torch.sigmoid(self.network(x))


def _builders(sizes: Mapping[str, Any]) -> dict[str, Callable[[], nn.Module]]:
    """Return what builds each of the bundle's networks with random weights, by its part."""
    width, depth = sizes["width"], sizes["depth"]

    def ensemble() -> nn.Module:
        bases = [InceptionUNet(width, depth) for _ in sizes["bases"]]
        weights = WeightModel(len(bases), literal=sizes["literal_weights"])
        return Ensemble(bases, weights, sizes["bases"].index(sizes["names_subtypes"]))

    def study() -> nn.Module:
        return study_model(InceptionUNet(width, depth).classify.in_features, sizes["study"])

    def slices() -> nn.Module:
        from models.lite import SlicesReader  # timm is imported here and not before

        return SlicesReader(**sizes["slices"])

    optional: dict[str, Callable[[], nn.Module]] = {"study": study, "slices": slices}
    return {
        "skullstrip": lambda: Sigmoid(skull_stripper()),
        "ensemble": ensemble,
        **{part: build for part, build in optional.items() if sizes.get(part)},
    }


def empty_networks(sizes: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Return the bundle's networks with random weights.

    Parameters
    ----------
    sizes
        metadata.json's "networks": width, depth, bases, names_subtypes, literal_weights; "study"
        with the sizes of the sequence and the attention model, and "slices" with the rows and
        columns that the network of slices sees and how many networks it is, if the bundle has
        these.
    """
    return {part: build() for part, build in _builders(sizes).items()}


def build_network(
    part: str, sizes: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> nn.Module:
    """Return "skullstrip", "ensemble", "study" or "slices" with its weights, for evaluation.

    Parameters
    ----------
    tensors
        The bundle's weights, named "part.parameter"; float16 becomes float32.
    """
    network = _builders(sizes)[part]()
    network.load_state_dict(
        {
            name.removeprefix(f"{part}."): torch.from_numpy(
                np.array(tensor, np.float32 if tensor.dtype == np.float16 else tensor.dtype)
            )
            for name, tensor in tensors.items()
            if name.startswith(f"{part}.")
        }
    )
    return network.eval()
