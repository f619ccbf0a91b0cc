"""The attention model: one probability a study, and the slices that decide it (Wu 2024)."""

import torch
from torch import Tensor, nn

from models.sequence import over_slices


def slice_scores(attention: Tensor, probability: Tensor) -> Tensor:
    """Attention (n, s) and study probability (n,) -> slice scores (n, s), 0..1 (ours).

    The slice with most attention gets the study's probability. Any other slice gets the part of it
    that its attention is of the largest.
    """
    return attention / attention.amax(1, keepdim=True) * probability[:, None]


class AttentionModel(nn.Module):
    """Learns from study labels alone which slices decide.

    The paper describes a bidirectional LSTM with attention over the slices, without a formula and
    without sizes. The gated attention is Ilse 2018's (arXiv:1802.04712); the sizes are ours. With h
    the LSTM's output of a slice, its attention is a = softmax(w^T (tanh(V h) * sigmoid(U h))); the
    sum of a h over the slices is classified.

    Parameters
    ----------
    features
        Features of a slice, F.
    cells
        Cells of the LSTM in each direction.
    hidden
        Rows of V and U.
    """

    def __init__(self, features: int, cells: int = 128, hidden: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, cells, batch_first=True, bidirectional=True)
        self.content = nn.Linear(2 * cells, hidden)
        self.gate = nn.Linear(2 * cells, hidden)
        self.attend = nn.Linear(hidden, 1, bias=False)
        self.classify = nn.Linear(2 * cells, 1)

    def forward(self, features: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logit and the attention of each study.

        Parameters
        ----------
        features
            (n, s, F) features of each slice, in order of position.
        present
            (n, s) bool, False at padding, see `models.sequence.over_slices`.

        Returns
        -------
        logit
            (n,) of the study.
        attention
            (n, s), 0..1; sums to 1 over a study's slices, 0 at padding.
        """
        context = over_slices(self.lstm, features, present)  # (n, s, 2 cells)
        gated = torch.tanh(self.content(context)) * torch.sigmoid(self.gate(context))
        scores = self.attend(gated)[..., 0]  # (n, s, hidden) -> (n, s)
        if present is not None:
            scores = scores.masked_fill(~present, -torch.inf)
        attention = scores.softmax(1)
        study = (attention[..., None] * context).sum(1)  # (n, 2 cells)
        return self.classify(study)[:, 0], attention
