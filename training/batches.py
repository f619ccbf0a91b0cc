"""Batches: which slices, in which proportion, and how they are varied."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.findings import SUBTYPES
from models.preprocess import AIR, Array, channels, skull_channels
from training import augment
from training.augment import Random
from training.datasets.prepared import Heads, Slices


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs, lesion (or brain) mask and subtype labels.

    Attributes
    ----------
    image
        (n, c, [z,] y, x) float32.
    mask
        (n, 1, [z,] y, x) float32, 0 or 1.
    labels
        (n, 5) float32, 0, 1 or NaN where unknown; empty for the skull stripper.
    """

    image: Tensor
    mask: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class SliceBatches:
    """Draws slices: a quarter with lesions, a quarter with painted lesions, half of them normal.

    Kang 2023 trains each model on as many normal as positive slices. The painted lesions stand in
    for the thousands of positive slices that the paper has and this data set has not (ours).

    Attributes
    ----------
    sources
        Prepared sets with their share of the slices.
    size
        (rows, columns) of the crop.
    only
        Subtypes that positive slices show.
    small_ml
        Only patients with at most this much hemorrhage are positive; painted lesions are small.
    """

    sources: Sequence[tuple[Slices, float]]
    size: tuple[int, int]
    only: tuple[str, ...] = SUBTYPES
    small_ml: float | None = None

    def __call__(self, count: int, random: Random) -> Batch:
        """Draw `count` slices."""
        shares = np.array([share for _, share in self.sources])
        drawn = [
            self._draw(self.sources[random.choice(len(shares), p=shares)][0], kind, random)
            for kind in (("lesion", "normal", "painted", "normal")[i % 4] for i in range(count))
        ]
        hu, brain, mask, labels = (np.stack(part) for part in zip(*drawn, strict=True))
        planes = torch.from_numpy(np.stack((hu - AIR, brain, mask), axis=1).astype(np.float32))
        planes = augment.pose(planes, self.size, random)
        hu = augment.scanner(planes[:, :1] + float(AIR), random)
        image = channels(hu[:, 0].numpy(), planes[:, 1].numpy())
        return Batch(
            torch.from_numpy(image), (planes[:, 2:] > 0.5).float(), torch.from_numpy(labels)
        )

    def _draw(
        self, source: Slices, kind: str, random: Random
    ) -> tuple[Array, Array, Array, NDArray[np.float32]]:
        lesion, normal = self._choices(source)
        if kind == "lesion" and len(lesion) == 0:
            kind = "painted"
        index = int(random.choice(lesion if kind == "lesion" else normal))
        hu, mask = source.hu[index].astype(np.float32), source.mask[index].astype(np.float32)
        brain = source.brain[index].astype(np.float32) / 255
        labels = np.array(source.labels[index])
        if random.random() < 0.4:
            hu, mask = _thicker(source, index, hu, mask, random)
        if kind == "painted":
            subtype = str(random.choice(self.only))
            hu, mask = augment.paint(hu, brain, subtype, random, self.small_ml is not None)
            labels = augment.one_hot(subtype) if mask.any() else labels
        return hu, brain, mask, labels

    def _choices(self, source: Slices) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of the positive and of the normal slices that may be drawn."""
        wanted = [SUBTYPES.index(name) for name in self.only]
        some = np.nan_to_num(source.labels).any(1)
        positive = np.nan_to_num(source.labels[:, wanted]).any(1) & (source.patient_ml > 0)
        if self.small_ml is not None:
            positive &= source.patient_ml <= self.small_ml
        return np.flatnonzero(positive), np.flatnonzero(~some)


def _thicker(
    source: Slices, index: int, hu: Array, mask: Array, random: Random
) -> tuple[Array, Array]:
    """Average with a neighbour of the same patient, as a thicker slice would.

    Slanting bone becomes as dense as blood then. A normal slice is left alone beside a lesion.
    """
    other = index + int(random.choice((-1, 1)))
    if not 0 <= other < len(source.hu) or source.patient[other] != source.patient[index]:
        return hu, mask
    if source.mask[other].any() and not mask.any():
        return hu, mask
    part = random.uniform(0.1, 0.5)
    return (1 - part) * hu + part * source.hu[other], (1 - part) * mask + part * source.mask[other]


@dataclass(frozen=True, slots=True)
class HeadBatches:
    """Draws coarse boxes for the skull stripper."""

    heads: Heads

    def __call__(self, count: int, random: Random) -> Batch:
        """Draw `count` boxes, sometimes with the lower or upper part of the head cut off."""
        picks = random.integers(len(self.heads.hu), size=count)
        planes = np.stack(
            (self.heads.hu[picks] - AIR, self.heads.inside[picks].astype(np.float32)), axis=1
        ).astype(np.float32)
        for box in planes:
            if random.random() < 0.2:  # a scan that starts too high or ends too low
                cut = int(random.integers(1, 15))
                box[:, -cut:] = 0 if random.random() < 0.3 else box[:, -cut:]
                box[:, : cut + 10] = 0
        varied = augment.pose(torch.from_numpy(planes), planes.shape[2:], random, turn_deg=25)
        noise = random.normal(0, 6, size=varied[:, 0].shape) + random.normal(0, 5)
        hu = (varied[:, 0].numpy() + AIR + noise).astype(np.float32)
        image = np.concatenate([skull_channels(box) for box in hu])
        return Batch(torch.from_numpy(image), (varied[:, 1:] > 0.5).float(), torch.empty(count, 0))
