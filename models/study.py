"""The study model: the sequence and the attention model, side by side over a study's slices."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.attention import AttentionModel
from models.classifiers import LABELS
from models.sequence import SequenceModel


class StudyModel(nn.Module):
    """Names each slice's subtypes (Burduja 2020) and how much attention it deserves (Wu 2024)."""

    def __init__(self, sequence: SequenceModel, attention: AttentionModel) -> None:
        super().__init__()
        self.sequence = sequence
        self.attention = attention

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, s, F + 6) features and six probabilities -> subtypes (1, s, 5), attention (1, s)."""
        features, probabilities = x[..., : -len(LABELS)], x[..., -len(LABELS) :]
        labels = torch.sigmoid(self.sequence(features, probabilities))  # (1, s, 6): "any" first
        _, attention = self.attention(features)
        return labels[..., 1:], attention


def study_model(features: int, sizes: Mapping[str, Any]) -> StudyModel:
    """Return a study model with random weights.

    Parameters
    ----------
    features
        Features of a slice, F.
    sizes
        "sequence" and "attention": the arguments of the two models.
    """
    return StudyModel(
        SequenceModel(features, **sizes["sequence"]),
        AttentionModel(features, **sizes["attention"]),
    )
