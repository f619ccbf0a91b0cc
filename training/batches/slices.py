"""Batches: which slices, in which proportion, and how they are varied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.findings import SUBTYPES
from models.preprocess import Array, channels, skull_channels
from models.slabs import AIR
from models.windows import BRAIN, Window
from training.batches import augment
from training.batches.augment import Random
from training.batches.prepared import Heads, Slices

# Burduja 2020, the authors' code.
SUBDURAL = Window(level=80, width=200)
SOFT = Window(level=40, width=380)

Windows = Callable[[Array, Array], Array]
"""HU and inside of the skull 0..1, (n, y, x) float32 each -> channels (n, c, y, x), 0..1."""


def three_windows(hu: Array, _brain: Array) -> Array:
    """(n, y, x) HU -> (n, 3, y, x): brain, subdural and soft tissue window (Burduja 2020)."""
    return np.stack((BRAIN(hu), SUBDURAL(hu), SOFT(hu)), axis=1)


WINDOWS: Mapping[str, Windows] = {"kang": channels, "burduja": three_windows}


class Batch(NamedTuple):
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


class Source(NamedTuple):
    """Slices to draw from.

    Attributes
    ----------
    slices
        Prepared slices.
    share
        Share of the slices drawn, 0..1.
    rows
        (n,) bool, the slices that may be drawn.
    painted
        Whether lesions are painted into every second normal slice.
    """

    slices: Slices
    share: float
    rows: NDArray[np.bool_]
    painted: bool = True


@dataclass(slots=True)
class SliceBatches:
    """Draws slices: half of them normal, half with lesions, of which half may be painted.

    Kang 2023 trains each model on as many normal as positive slices. Painted lesions, or implants
    as a source, stand in for the thousands of positive slices that the paper has and this data set
    lacks (ours).

    Attributes
    ----------
    sources
        The slices to draw from.
    size
        (rows, columns) of the crop.
    only
        Subtypes that positive slices show.
    small_ml
        Only patients with at most this much hemorrhage are positive; painted lesions are small.
    windows
        Input channels.
    located
        Only slices of patients with a drawn mask are positive.
    exclusive
        No slice shows several subtypes.
    choices
        For each source the indices of the positive and of the normal slices that may be drawn.
    """

    sources: Sequence[Source]
    size: tuple[int, int]
    only: tuple[str, ...] = SUBTYPES
    small_ml: float | None = None
    windows: Windows = channels
    located: bool = True
    exclusive: bool = False
    choices: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = field(init=False)

    def __post_init__(self) -> None:
        self.choices = [self._positive_and_normal(source) for source in self.sources]

    def __call__(self, count: int, random: Random) -> Batch:
        """Draw `count` slices."""
        shares = np.array([source.share for source in self.sources])
        drawn = [
            self._draw(int(random.choice(len(shares), p=shares)), kind, random)
            for kind in (("lesion", "normal", "painted", "normal")[i % 4] for i in range(count))
        ]
        hu, brain, mask, labels = (np.stack(part) for part in zip(*drawn, strict=True))
        planes = torch.from_numpy(np.stack((hu - AIR, brain, mask), axis=1).astype(np.float32))
        planes = augment.pose(planes, self.size, random)
        scanned = augment.scanner(planes[:, :1] + float(AIR), random)
        image = self.windows(scanned[:, 0].numpy(), planes[:, 1].numpy())
        return Batch(
            torch.from_numpy(image), (planes[:, 2:] > 0.5).float(), torch.from_numpy(labels)
        )

    def _draw(
        self, which: int, kind: str, random: Random
    ) -> tuple[Array, Array, Array, NDArray[np.float32]]:
        source, (lesion, normal) = self.sources[which].slices, self.choices[which]
        if kind == "painted" and not self.sources[which].painted:
            kind = "lesion"
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

    def _positive_and_normal(self, source: Source) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of the positive and of the normal slices that may be drawn."""
        labels, ml = source.slices.labels, source.slices.patient_ml
        wanted = [SUBTYPES.index(name) for name in self.only]
        positive = (labels[:, wanted] == 1).any(1)
        if self.located:
            positive &= ml > 0
        if self.small_ml is not None:
            positive &= ml <= self.small_ml
        if self.exclusive:
            positive &= labels.sum(1) == 1
        normal = (labels == 0).all(1)
        return np.flatnonzero(positive & source.rows), np.flatnonzero(normal & source.rows)


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
