"""The five base networks and the weight model as one network (Kang 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.unet import InceptionUNet
from models.weighting import WeightModel, fuse


class Ensemble(nn.Module):
    """Fuses the maps of its base networks; the subtypes come from one of them.

    Parameters
    ----------
    bases
        The base networks, in the order in which the weight model sees their maps.
    weights
        The weight model.
    names_subtypes
        Index of the base network whose subtype head is read.
    """

    def __init__(
        self, bases: Sequence[InceptionUNet], weights: WeightModel, names_subtypes: int = 1
    ) -> None:
        super().__init__()
        self.bases = nn.ModuleList(bases)
        self.weights = weights
        self.names_subtypes = names_subtypes

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 4, h, w) -> (n, N, h, w) probabilities of each network and (n, 5) of the subtypes."""
        read = [base(image) for base in self.bases]
        maps = torch.sigmoid(torch.cat([segmented for segmented, _ in read], 1))
        return maps, torch.sigmoid(read[self.names_subtypes][1])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 4, h, w) -> fused probability (n, h, w) and subtype probabilities (n, 5)."""
        maps, subtypes = self.maps(image)
        return fuse(maps, self.weights(maps))[:, 0], subtypes
