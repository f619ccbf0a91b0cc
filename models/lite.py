"""A network of slices that starts from ImageNet: EfficientNet-Lite0 encoder, U-Net decoder.

Tan M, Le QV, EfficientNet, ICML 2019, arXiv:1905.11946; Lite0 is its smallest network without
squeeze-and-excitation, made for processors without an accelerator. The decoder, the pooling and the
sizes that are not EfficientNet's are ours.
"""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.classifiers import LABELS

CHANNELS = 4
"""Input channels, see `models.preprocess.neighbour_channels`."""

_DECODER = (96, 48, 32, 16)
"""Channels of the decoder's levels, coarsest first."""

_CENTRE, _SPREAD = 0.45, 0.25
"""What a windowed head is centred and scaled by; an estimate, nothing was measured."""


class _Up(nn.Module):
    """Enlarges a map to the next finer one's size, joins the two and mixes them."""

    def __init__(self, coarse: int, fine: int, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(coarse + fine, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(n, c, h, w) and (n, d, 2 h, 2 w), or one row or column less -> (n, channels, ...)."""
        coarse = nn.functional.interpolate(
            coarse, size=fine.shape[2:], mode="bilinear", align_corners=False
        )
        mixed: Tensor = self.mix(torch.cat((coarse, fine), 1))
        return mixed


class LiteUNet(nn.Module):
    """Labels a slice and marks hemorrhage on it, with its neighbours in view.

    A slice is labelled from the means and the maxima of the encoder's last map, and from the maxima
    of a decoder's map of one eighth of the image's size: a bleed of a few pixels does not drown in
    a mean.

    Parameters
    ----------
    dropout
        Share of the pooled features that a training step leaves out.
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        encoder: Any = timm.create_model(
            "tf_efficientnet_lite0", pretrained=False, in_chans=CHANNELS, features_only=True
        )
        self.encoder = encoder
        widths = encoder.feature_info.channels()  # 16, 24, 40, 112, 320: finest first
        coarse = (widths[-1], *_DECODER[:-1])
        self.up = nn.ModuleList(
            _Up(*sizes) for sizes in zip(coarse, widths[-2::-1], _DECODER, strict=True)
        )
        self.segment = nn.Conv2d(_DECODER[-1], 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * widths[-1] + _DECODER[1], len(LABELS))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of a batch of slices.

        Parameters
        ----------
        image
            (n, 4, h, w) windows, 0..1.

        Returns
        -------
        labels
            (n, 6) logits of `models.classifiers.LABELS`.
        lesion
            (n, 1, h / 2, w / 2) logits of hemorrhage.
        """
        *finer, deepest = self.encoder((image - _CENTRE) / _SPREAD)
        maps = [deepest]
        for up, fine in zip(self.up, reversed(finer), strict=True):
            maps.append(up(maps[-1], fine))
        pooled = (deepest.mean((2, 3)), deepest.amax((2, 3)), maps[2].amax((2, 3)))
        return self.classify(self.dropout(torch.cat(pooled, 1))), self.segment(maps[-1])


class LiteUNets(nn.Module):
    """Networks that learnt the same from other seeds, and say together what they say in the mean.

    Parameters
    ----------
    count
        How many.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(LiteUNet() for _ in range(count))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of their logits, see `LiteUNet.forward`."""
        labels, lesions = zip(*(network(image) for network in self.networks), strict=True)
        return torch.stack(labels).mean(0), torch.stack(lesions).mean(0)


class SlicesReader(nn.Module):
    """The network of slices as a bundle holds it: a canvas in, probabilities out.

    Parameters
    ----------
    rows, columns
        The middle of the canvas that the network sees, even; a smaller canvas is padded with what
        every window shows of air, 0.
    networks
        How many networks it is, see `LiteUNets`.
    """

    def __init__(self, rows: int, columns: int, networks: int = 1) -> None:
        super().__init__()
        self.network = LiteUNet() if networks == 1 else LiteUNets(networks)
        self.size = rows, columns

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities of a batch of slices.

        Parameters
        ----------
        image
            (n, 4, h, w) windows of the canvas, 0..1.

        Returns
        -------
        labels
            (n, 6) of `models.classifiers.LABELS`, 0..1.
        lesion
            (n, h, w) of hemorrhage, 0..1; 0 where the network does not see.
        """
        beyond = _beyond(image, self.size)
        # (n, 4, rows, columns): a negative number of points to add takes points away.
        seen = nn.functional.pad(image, [-points for points in beyond])
        labels, half = self.network(seen)
        lesion = nn.functional.interpolate(
            torch.sigmoid(half), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        return torch.sigmoid(labels), nn.functional.pad(lesion, beyond)[:, 0]


def _beyond(image: Tensor, size: tuple[int, int]) -> list[int]:
    """Return how far an image goes beyond its middle: left, right, above and below.

    The middle is that of `training.batches.drawing.fitted`.
    """
    across, down = int(image.shape[3]) - size[1], int(image.shape[2]) - size[0]
    left, above = _half(across), _half(down)
    return [left, across - left, above, down - above]


def _half(points: int) -> int:
    """Return the half, rounded towards 0."""
    return points // 2 if points >= 0 else -(-points // 2)
