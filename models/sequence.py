"""The sequence reader: a slice's labels in the light of its neighbours (Burduja 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.classifiers import LABELS
from models.selection import Selection


def over_slices(lstm: nn.LSTM, slices: Tensor, present: Tensor | None) -> Tensor:
    """Run a bidirectional LSTM over the slices of each scan, never over its padding.

    Parameters
    ----------
    slices
        (n, s, f), in order of position.
    present
        (n, s) bool, False for padding, which follows a scan's slices. None where there is none: a
        path without packed sequences, which other runtimes can convert.

    Returns
    -------
    Tensor
        (n, s, 2 cells), 0 at padding.

    Raises
    ------
    ValueError
        If a scan has no slice, or padding before one.
    """
    if present is None:
        read: Tensor = lstm(slices)[0]
        return read
    if not present[:, 0].all() or (present[:, 1:] & ~present[:, :-1]).any():
        raise ValueError("each scan needs a slice, and padding after its slices only")
    packed = pack_padded_sequence(
        slices, present.sum(1).cpu(), batch_first=True, enforce_sorted=False
    )
    return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=slices.shape[1])[0]


class SequenceModel(nn.Module):
    """Reads the slices of a scan together: selected features -> BiLSTM -> six logits a slice.

    The sizes are the paper's; the classifier's own probabilities join the LSTM's output before the
    last layer. A scan's probability is the largest over its slices.

    Parameters
    ----------
    features
        Features of a slice, F.
    selected
        Features that the selection keeps, k.
    cells
        Cells of the LSTM in each direction.
    """

    mean: Tensor
    components: Tensor

    def __init__(
        self,
        features: int,
        selected: int = 120,
        cells: int = 256,
        layers: int = 3,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("components", torch.eye(selected, features))
        self.lstm = nn.LSTM(
            selected,
            cells,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,  # torch drops between layers only
            bidirectional=True,
        )
        self.classify = nn.Linear(2 * cells + len(LABELS), len(LABELS))

    def select(self, selection: Selection) -> None:
        """See the features through `selection`, which becomes part of the weights.

        Raises
        ------
        ValueError
            If it maps other than F features to k.
        """
        components = torch.as_tensor(selection.components)
        if components.shape != self.components.shape:
            raise ValueError(
                f"the selection is {tuple(components.shape)}, "
                f"the sequence reader's {tuple(self.components.shape)}"
            )
        self.mean.copy_(torch.as_tensor(selection.mean))
        self.components.copy_(components)

    def forward(
        self, features: Tensor, probabilities: Tensor, present: Tensor | None = None
    ) -> Tensor:
        """Read scans.

        Parameters
        ----------
        features
            (n, s, F) features of each slice, in order of position.
        probabilities
            (n, s, 6) probabilities of `LABELS`, 0..1, as the classifier reads it alone.
        present
            (n, s) bool, see `over_slices`.

        Returns
        -------
        Tensor
            (n, s, 6) logits; without meaning at padding.
        """
        selected = (features - self.mean) @ self.components.T
        read = over_slices(self.lstm, selected, present)
        logits: Tensor = self.classify(torch.cat((read, probabilities), 2))
        return logits
