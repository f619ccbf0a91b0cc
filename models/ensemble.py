"""The five base networks and the weight model as one network (Kang 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.unet import InceptionUNet
from models.weighting import WeightModel, fuse

PEAK_PIXELS = 8
"""A slice's peak is the mean of this many of its largest probabilities, 8 square mm (ours).

The paper takes the one largest, which one speck of calcification can raise.
"""


def peak(maps: Tensor) -> Tensor:
    """(n, N, h, w) -> (n, N), the mean of the `PEAK_PIXELS` largest values of each map."""
    found: Tensor = maps.flatten(2).topk(PEAK_PIXELS).values.mean(2)
    return found


class Ensemble(nn.Module):
    """Fuses the maps of its base networks; subtypes and features come from one of them.

    Parameters
    ----------
    bases
        The base networks, in the order in which the weight model sees their maps.
    weights
        The weight model.
    names_subtypes
        Index of the base network whose subtype head and encoder features are read.
    """

    def __init__(
        self, bases: Sequence[InceptionUNet], weights: WeightModel, names_subtypes: int = 1
    ) -> None:
        super().__init__()
        self.bases: Sequence[InceptionUNet] = nn.ModuleList(bases)  # type: ignore[assignment]
        self.weights = weights
        self.names_subtypes = names_subtypes

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 4, h, w) -> (n, N, h, w) probabilities of each network and (n, F) features."""
        read = [base.read(image) for base in self.bases]
        maps = torch.sigmoid(torch.cat([segmented for segmented, _ in read], 1))
        return maps, read[self.names_subtypes][1]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read slices.

        Parameters
        ----------
        image
            (n, 4, h, w) windows.

        Returns
        -------
        fused
            (n, h, w) fused probability.
        subtypes
            (n, 5) probabilities of `models.findings.SUBTYPES`.
        peaks
            (n, 1 + N) `peak` of the fused map, then of each base network's own map.
        seen
            (n, F + 6), what the study reader reads: features, peak and subtypes of the network
            that names subtypes.
        """
        maps, features = self.maps(image)
        fused = fuse(maps, self.weights(maps))
        subtypes, seen = self.names(maps, features)
        return fused[:, 0], subtypes, peak(torch.cat((fused, maps), 1)), seen

    def names(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the subtypes (n, 5), and what the study reader reads, of what `maps` gives."""
        own = self.names_subtypes
        subtypes = torch.sigmoid(self.bases[own].classify(features))
        return subtypes, torch.cat((features, peak(maps[:, own : own + 1]), subtypes), 1)
