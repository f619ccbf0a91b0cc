"""Grad-CAM of a slice classifier: the heat maps of Burduja 2020 (Selvaraju 2017)."""

import copy

import torch
from monai.visualize import GradCAM
from monai.visualize.visualizer import default_upsampler
from torch import Tensor, nn

from models.classifiers import SliceClassifier


def grad_cam(network: SliceClassifier, image: Tensor, label: int) -> Tensor:
    """(n, c, h, w) windows -> (n, h, w) heat of one label, see `grad_cams`."""
    return _heat(network, image, (label,))[:, 0]


def grad_cams(network: SliceClassifier, image: Tensor) -> Tensor:
    """Return where each label's evidence lies.

    Parameters
    ----------
    network
        In evaluation mode.
    image
        (n, c, h, w) windows.

    Returns
    -------
    Tensor
        (n, classes, h, w), 0..1. Each map is divided by its own maximum, so the strengths of two
        maps cannot be compared. The map of a label without evidence is 0.
    """
    return _heat(network, image, range(network.classify.out_features))


def _heat(network: SliceClassifier, image: Tensor, labels: range | tuple[int, ...]) -> Tensor:
    """(n, c, h, w) -> (n, len(labels), h, w).

    The gradient is needed only from the last map on, so the backbone runs once for all labels. The
    copy of the classifier keeps MONAI's hooks and gradients out of the network.
    """
    with torch.no_grad():
        last = network.last_map(image)  # (n, d, h', w')
    head = nn.Sequential(nn.Identity(), network.pool, copy.deepcopy(network.classify))
    cam = GradCAM(
        head,
        target_layers="0",
        upsampler=lambda _: default_upsampler(image.shape[2:]),
        postprocessing=_share_of_maximum,
    )
    with torch.enable_grad():
        maps = [cam(last.detach().requires_grad_(), class_idx=label) for label in labels]
    return torch.cat(maps, 1).detach()


def _share_of_maximum(maps: Tensor) -> Tensor:
    """(n, 1, h, w), 0 or more -> each map divided by its maximum, 0..1."""
    highest = maps.amax((2, 3), keepdim=True)
    return maps / highest.clamp_min(torch.finfo(maps.dtype).tiny)
