"""The skull stripper: a small 3D U-Net on a coarse box that marks the inside of the skull."""

from monai.networks.nets import UNet
from torch import nn


def skull_stripper(width: int = 8) -> nn.Module:
    """(n, 2, z, y, x) windows -> (n, 1, z, y, x) logits; sides are multiples of 8.

    Kang 2023 strips the skull with a 3D U-Net and gives no sizes. These sizes are ours.
    """
    network: nn.Module = UNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=1,
        channels=(width, 2 * width, 4 * width, 8 * width),
        strides=(2, 2, 2),
        norm="batch",
    )
    return network
