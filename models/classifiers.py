"""The classifiers of single slices: a published backbone, global average pool, one linear layer.

Kang 2023 compares the four of `KANG`, Zhou 2022 those of `ZHOU`; `BURDUJA` gives the features of
Burduja 2020's sequence model.
"""

import importlib
import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from models.findings import SUBTYPES

LABELS: tuple[str, ...] = ("any", *SUBTYPES)
"""The six labels of a slice, in the order of the classifiers' outputs."""

KANG = ("densenet121", "inception_resnet_v2", "mobilenetv2_100", "vgg19_bn")
"""timm's names of DenseNet121, InceptionResNetV2, MobileNetV2 and VGG19 (with batch norm: ours)."""

ZHOU = ("resnet18", "densenet121")
BURDUJA = "resnext101_32x8d"

_HEADS = ("fc.", "classifier.", "classif.", "head.", "pre_logits.")
"""Beginnings of names in published weights: of tensors that follow the last convolution map."""


def _timm() -> ModuleType:
    """Return timm, which is imported here because who takes `LABELS` does not need it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # timm still decorates for torch.jit
        return importlib.import_module("timm")


class SliceClassifier(nn.Module):
    """Labels one slice, and shows where each label's evidence lies.

    Every backbone ends in one linear layer over the pooled last map (ours); VGG19's three dense
    layers are left out. The location loss needs a class activation map from all four networks, and
    only such an end gives one (Zhou B 2016, doi:10.1109/CVPR.2016.319).

    Parameters
    ----------
    backbone
        timm's name of the network.
    classes
        Number of outputs: for `LABELS` by default, or for Zhou 2022's six exclusive classes.
    channels
        Number of input channels, the windows.
    weights
        Local file of published weights in timm's names, .safetensors or .pth. A first convolution
        of three colours is adapted to `channels` as timm does it; the published head is dropped.
        With None the weights are random.

    Raises
    ------
    FileNotFoundError
        If there is no file `weights`.
    ValueError
        If the weights are not the backbone's; the message names what does not fit.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        backbone: str,
        classes: int = len(LABELS),
        channels: int = 4,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.backbone = _timm().create_model(
            backbone, pretrained=False, in_chans=channels, num_classes=0, global_pool=""
        )
        if hasattr(self.backbone, "pre_logits"):
            self.backbone.pre_logits = nn.Identity()  # VGG's dense layers, 120 million weights
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(self.backbone.num_features, classes)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        if weights is not None:
            _load(self.backbone, weights, channels)

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Expect windows of this mean and standard deviation, each (channels,), from now on.

        Burduja 2020 standardises each channel; both become part of the weights. Without this call
        the windows are used unchanged.
        """
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def last_map(self, x: Tensor) -> Tensor:
        """(n, c, h, w) windows -> (n, d, h', w'), the last convolution map."""
        x = (x - self.mean[:, None, None]) / self.deviation[:, None, None]
        last: Tensor = self.backbone.forward_features(x)
        return last

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) windows -> (n, d), the means of the last map."""
        pooled: Tensor = self.pool(self.last_map(x))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) windows -> (n, classes) logits."""
        logits: Tensor = self.classify(self.features(x))
        return logits

    def logits_and_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) windows -> logits (n, classes), class activation maps (n, classes, h', w').

        A map is the last map weighted by the label's classifier, with its bias, in logits. Its mean
        is the label's logit; the location loss compares its sigmoid with the lesion.
        """
        weight = self.classify.weight[:, :, None, None]  # (classes, d) -> (classes, d, 1, 1)
        maps = nn.functional.conv2d(self.last_map(x), weight, self.classify.bias)
        return maps.mean((2, 3)), maps


def _load(backbone: nn.Module, path: Path, channels: int) -> None:
    """Fill the backbone from a file of published weights, see `SliceClassifier`."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    timm = _timm()
    tensors = {
        name: tensor
        for name, tensor in timm.models.load_state_dict(str(path), weights_only=True).items()
        if not name.startswith(_HEADS)
    }
    first = f"{backbone.pretrained_cfg['first_conv']}.weight"  # type: ignore[index]
    if first in tensors and tensors[first].shape[1] == 3:
        tensors[first] = timm.models.adapt_input_conv(channels, tensors[first])
    own = backbone.state_dict()
    wrong = [
        f"{name} is missing"
        for name in own
        if name not in tensors and not name.endswith("num_batches_tracked")  # absent in old files
    ]
    wrong += [f"{name} is unknown" for name in tensors if name not in own]
    wrong += [
        f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{path} does not fit the backbone: {'; '.join(wrong[:5])}{more}")
    backbone.load_state_dict(tensors)
