"""The five base networks and the weight model as one network (Kang 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.unet import InceptionUNet
from models.weighting import WeightModel, fuse

PEAK_PIXELS = 8
"""A slice's peak is the mean of this many of its largest probabilities: 8 square mm (ours).

The paper takes the largest one, which a single speck of calcification can raise.
"""


def peak(maps: Tensor) -> Tensor:
    """(n, N, h, w) -> (n, N), the mean of the `PEAK_PIXELS` largest values of each map."""
    peaks: Tensor = maps.flatten(2).topk(PEAK_PIXELS).values.mean(2)
    return peaks


class Ensemble(nn.Module):
    """Fuses the maps of its base networks; one of them gives the subtypes and the features.

    Parameters
    ----------
    bases
        The base networks, in the order of their maps in the weight model's input.
    weights
        The weight model.
    names_subtypes
        Index of the base network whose subtype head and encoder features are used.
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
        outputs = [base.lesion_logits_and_features(image) for base in self.bases]
        maps = torch.sigmoid(torch.cat([logits for logits, _ in outputs], 1))
        return maps, outputs[self.names_subtypes][1]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what the networks give for a batch of slices.

        Parameters
        ----------
        image
            (n, 4, h, w) windows.

        Returns
        -------
        fused
            (n, h, w) fused probability, 0..1.
        subtypes
            (n, 5) probabilities of `models.findings.SUBTYPES`, 0..1.
        peaks
            (n, 1 + N) `peak` of the fused map, then of each base network's own map.
        study_input
            (n, F + 6), the study model's input: features, peak and subtypes of the network that
            names subtypes.
        """
        maps, features = self.maps(image)
        fused = fuse(maps, self.weights(maps))
        subtypes, study_input = self.subtypes_and_study_input(maps, features)
        return fused[:, 0], subtypes, peak(torch.cat((fused, maps), 1)), study_input

    def subtypes_and_study_input(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(n, N, h, w) and (n, F), as `maps` gives them -> subtypes (n, 5), input (n, F + 6)."""
        own = self.names_subtypes
        subtypes = torch.sigmoid(self.bases[own].classify(features))
        return subtypes, torch.cat((features, peak(maps[:, own : own + 1]), subtypes), 1)
