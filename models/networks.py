"""The networks of a bundle, built from its tensors."""

from collections.abc import Mapping
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


def empty_networks(sizes: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Return the bundle's networks with random weights.

    Parameters
    ----------
    sizes
        metadata.json's "networks": width, depth, bases, names_subtypes, literal_weights, and
        "study" with the sizes of the sequence and the attention model, if the bundle has these.
    """
    bases = [InceptionUNet(sizes["width"], sizes["depth"]) for _ in sizes["bases"]]
    weights = WeightModel(len(bases), literal=sizes["literal_weights"])
    networks = {
        "skullstrip": Sigmoid(skull_stripper()),
        "ensemble": Ensemble(bases, weights, sizes["bases"].index(sizes["names_subtypes"])),
    }
    if study := sizes.get("study"):
        networks["study"] = study_model(bases[0].classify.in_features, study)
    return networks


def build_network(
    part: str, sizes: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> nn.Module:
    """Return "skullstrip", "ensemble" or "study" with its weights, in evaluation mode.

    Parameters
    ----------
    tensors
        The bundle's weights, named "part.parameter"; float16 becomes float32.
    """
    network = empty_networks(sizes)[part]
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
