"""The weight model: it mixes the base networks' maps pixel by pixel (Kang 2023)."""

import torch
from torch import Tensor, nn


class WeightModel(nn.Module):
    """Weights W of N probability maps P, for the fused map sum(P_i * W_i) / N.

    The paper describes the architecture in a supplement that we have not seen. Ours has three 3x3
    convolutions of `width` channels, and W = N * softmax: a convex mix that keeps the fused map in
    0..1. With a plain softmax the division by N would limit it to 1 / N.

    Parameters
    ----------
    models
        Number of base networks, N.
    width
        Channels of the first two convolutions.
    literal
        Use sigmoid weights, each in 0..1: the literal meaning of the paper's formula.
    """

    def __init__(self, models: int = 5, width: int = 16, literal: bool = False) -> None:
        super().__init__()
        self.literal = literal
        last = nn.Conv2d(width, models, 3, padding=1)
        nn.init.zeros_(last.weight)  # starts as the plain mean of the maps
        nn.init.zeros_(last.bias if last.bias is not None else last.weight)
        self.layers = nn.Sequential(
            nn.Conv2d(models, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            last,
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(n, N, h, w) probabilities 0..1 -> (n, N, h, w) weights, 0 or more."""
        scores: Tensor = self.layers(maps)
        return torch.sigmoid(scores) if self.literal else scores.softmax(1) * maps.shape[1]


def fuse(maps: Tensor, weights: Tensor) -> Tensor:
    """(n, N, h, w) probabilities and weights -> (n, 1, h, w) fused probability, 0..1."""
    return (maps * weights).mean(1, keepdim=True)
