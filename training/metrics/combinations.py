"""What the ensemble would say with fewer base networks, and each network alone (Kang 2023, T3)."""

import torch
from torch import Tensor, nn

from models.ensemble import Ensemble, peak
from models.weighting import fuse

TOGETHER = {"1+2": (0, 1), "1+2+3": (0, 1, 2), "1+2+4": (0, 1, 3), "1+2+5": (0, 1, 4)}
"""The paper's smaller ensembles, by the places of their base networks."""

MEAN = "mean of the five"


def names(bases: tuple[str, ...]) -> tuple[str, ...]:
    """Name what `Combinations` reports, in its order."""
    return (*(f"{i + 1} ({name})" for i, name in enumerate(bases)), *TOGETHER, MEAN)


class Combinations(nn.Module):
    """An ensemble that also reports the peaks of its parts; it takes the ensemble's place.

    A smaller ensemble of N networks has the weight model's scores of these N alone, their softmax
    taken anew and the sum divided by N (ours; the paper seems to train a weight model for each).
    """

    def __init__(self, whole: Ensemble) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(n, 4, h, w) -> as `Ensemble`, with peaks (n, 1 + K) of the K `names`."""
        whole = self.whole
        maps, features = whole.maps(image)
        scores = whole.weights.layers(maps)
        fused = fuse(maps, whole.weights(maps))
        parts = [
            fuse(maps[:, chosen], len(chosen) * scores[:, chosen].softmax(1))
            for chosen in map(list, TOGETHER.values())
        ]
        subtypes, seen = whole.subtypes_and_study_input(maps, features)
        peaks = peak(torch.cat((fused, maps, *parts, maps.mean(1, keepdim=True)), 1))
        return fused[:, 0], subtypes, peaks, seen
