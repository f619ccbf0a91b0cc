"""The ensemble's base network: a 2D U-Net of Inception blocks (Kang 2023, Szegedy 2016)."""

import torch
from torch import Tensor, nn

from models.findings import SUBTYPES


def _bn_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Four branches of `width` / 4 channels each: 1x1, 1x1-3x3, 1x1-3x3-3x3 and avgpool-1x1.

    The paper names Inception modules and gives no sizes; these are ours. The four 1x1 convolutions
    are computed as one. The pool may follow it, since a 1x1 convolution and an average pool are
    linear and commute.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.quarter = quarter
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.norm = _bn_relu(width)
        self.one = nn.Sequential(
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False), _bn_relu(quarter)
        )
        self.two = nn.Sequential(
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False),
            _bn_relu(quarter),
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False),
            _bn_relu(quarter),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, width, h, w)."""
        x = self.reduce(x)  # (n, width, h, w), a quarter of it for each branch
        x = self.norm(torch.cat((x[:, : -self.quarter], self.pool(x[:, -self.quarter :])), 1))
        a, b, c, d = x.chunk(4, 1)
        return torch.cat((a, self.one(b), self.two(c), d), 1)


def _level(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(Inception(channels, width), Inception(width, width))


class InceptionUNet(nn.Module):
    """Segments hemorrhage on one slice and names its subtypes.

    The paper states neither size nor depth. Ours halves the image four times. The first halving is
    a pixel unshuffle: a level at full resolution costs as much as all others together and gains
    nothing on 5 mm slices. Image sides must be multiples of 16.

    Parameters
    ----------
    width
        Channels of the first level, a multiple of 4; each of the `depth` levels below doubles them.
    depth
        Number of halvings after the pixel unshuffle.
    channels
        Input channels (the windows of `models.preprocess`).
    """

    def __init__(self, width: int = 32, depth: int = 3, channels: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * channels, width, 3, padding=1, bias=False),
            _bn_relu(width),
        )
        self.down = nn.ModuleList(
            _level(before, after)
            for before, after in zip([width, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, 2, stride=2)
            for shallow, deep in zip(widths[:-1], widths[1:], strict=True)
        )
        self.merge = nn.ModuleList(_level(2 * shallow, shallow) for shallow in widths[:-1])
        self.segment = nn.Sequential(nn.Conv2d(width, 4, 1), nn.PixelShuffle(2))
        self.classify: nn.Linear = nn.Linear(2 * widths[-1], len(SUBTYPES))

    def encode(self, x: Tensor) -> list[Tensor]:
        """(n, c, h, w) -> the feature maps of each level, finest first."""
        x = self.stem(x)
        features = []
        for index, level in enumerate(self.down):
            x = level(nn.functional.max_pool2d(x, 2) if index else x)
            features.append(x)
        return features

    @staticmethod
    def pool(deepest: Tensor) -> Tensor:
        """(n, d, h, w), the encoder's last map -> (n, 2 d) features, its means and its maxima."""
        return torch.cat((deepest.mean((2, 3)), deepest.amax((2, 3))), 1)

    def subtype_logits(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> subtype logits (n, 5); the decoder does not run."""
        logits: Tensor = self.classify(self.pool(self.encode(x)[-1]))
        return logits

    def lesion_logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) -> lesion logits (n, 1, h, w) and features (n, 2 d), see `pool`."""
        features = self.encode(x)
        x = deepest = features.pop()
        for up, merge, skip in zip(
            reversed(self.up), reversed(self.merge), reversed(features), strict=True
        ):
            x = merge(torch.cat((up(x), skip), 1))
        return self.segment(x), self.pool(deepest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) -> lesion logits (n, 1, h, w) and subtype logits (n, 5)."""
        lesion, features = self.lesion_logits_and_features(x)
        return lesion, self.classify(features)
