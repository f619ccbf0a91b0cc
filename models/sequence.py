"""The sequence model: a slice's labels, with its neighbours taken into account (Burduja 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.classifiers import LABELS
from models.selection import Selection


def over_slices(lstm: nn.LSTM, slices: Tensor, present: Tensor | None) -> Tensor:
    """Return the output of a bidirectional LSTM over the slices of each scan, padding left out.

    Parameters
    ----------
    slices
        (n, s, f), in order of position.
    present
        (n, s) bool, False at padding, which follows a scan's slices. None if there is no padding;
        then no packed sequences are used, so that other runtimes can convert the network.

    Returns
    -------
    Tensor
        (n, s, 2 cells), 0 at padding.

    Raises
    ------
    ValueError
        If a scan has no slice, or has padding before a slice.
    """
    if present is None:
        output: Tensor = lstm(slices)[0]
        return output
    if not present[:, 0].all() or (present[:, 1:] & ~present[:, :-1]).any():
        raise ValueError("each scan needs a slice, and padding after its slices only")
    packed = pack_padded_sequence(
        slices, present.sum(1).cpu(), batch_first=True, enforce_sorted=False
    )
    return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=slices.shape[1])[0]


class SequenceModel(nn.Module):
    """Labels the slices of a scan together: selected features -> BiLSTM -> six logits a slice.

    The sizes are the paper's. The classifier's own probabilities join the LSTM's output before the
    last layer. A scan's probability is the largest of its slices.

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
        """Use `selection` on the features from now on; it becomes part of the weights.

        Raises
        ------
        ValueError
            If the selection does not map F features to k.
        """
        components = torch.as_tensor(selection.components)
        if components.shape != self.components.shape:
            raise ValueError(
                f"the selection is {tuple(components.shape)}, "
                f"the sequence model's {tuple(self.components.shape)}"
            )
        self.mean.copy_(torch.as_tensor(selection.mean))
        self.components.copy_(components)

    def forward(
        self, features: Tensor, probabilities: Tensor, present: Tensor | None = None
    ) -> Tensor:
        """Return the logits of each slice of each scan.

        Parameters
        ----------
        features
            (n, s, F) features of each slice, in order of position.
        probabilities
            (n, s, 6) probabilities of `LABELS`, 0..1, that the classifier gives each slice alone.
        present
            (n, s) bool, False at padding, see `over_slices`.

        Returns
        -------
        Tensor
            (n, s, 6) logits of `LABELS`; meaningless at padding.
        """
        selected = (features - self.mean) @ self.components.T  # (n, s, k)
        context = over_slices(self.lstm, selected, present)  # (n, s, 2 cells)
        logits: Tensor = self.classify(torch.cat((context, probabilities), 2))
        return logits
