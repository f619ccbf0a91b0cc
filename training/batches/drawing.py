"""Batches drawn from the training table: site, subtype, patient, then slice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.preprocess import Array, neighbour_channels
from models.slabs import AIR
from models.windows import BRAIN
from training.batches import augment
from training.batches.augment import Random
from training.datasets.table import LABELS, Bools, Rows, Table

ALONE = 0.5
"""Share of the slices that stand for their own neighbours, at every site: single slices have none,
and no site may be told by its neighbours."""

EIGHT_BIT = 0.5
"""Share of the slices that go through 8 bits of the brain window, as some sites' pictures did."""


class SiteBatch(NamedTuple):
    """Slices with all that is known of them.

    Attributes
    ----------
    image
        (n, 4, y, x) float32, see `models.preprocess.neighbour_channels`.
    mask
        (n, 1, y, x) float32, 0 or 1.
    located
        (n,) uint8, what the mask says, see `training.datasets.table.Located`.
    labels
        (n, 6) float32 of `LABELS`, 0, 1 or NaN where unknown.
    """

    image: Tensor
    mask: Tensor
    located: Tensor
    labels: Tensor


@dataclass(slots=True)
class SiteBatches:
    """Draws slices of several sites, every second one bleeding.

    A site is drawn by its share, then one of its subtypes as often as the root of the number of
    patients who show it, then a patient, then a slice: a subtype of few patients is seen more often
    than it is met, and a patient of many slices no more often than another.

    Attributes
    ----------
    table
        All slices.
    rows
        (n,) bool, those that may be drawn.
    shares
        How much of a batch each site gives; sites that are not named give nothing.
    size
        (rows, columns) of the crop.
    hardness
        (n,) float32, 0..1, how bleeding another network finds each slice: among a patient's normal
        slices those that it takes for bleeding are drawn most. None draws all alike.
    """

    table: Table
    rows: Bools
    shares: Mapping[str, float]
    size: tuple[int, int]
    hardness: NDArray[np.float32] | None = None
    _choices: dict[str, dict[str, dict[str, Rows]]] = field(init=False)

    def __post_init__(self) -> None:
        found = self.table.choices(self.rows)
        if missing := sorted(self.shares.keys() - found.keys()):
            raise ValueError(f"the table has no slice of {', '.join(missing)} to learn from")
        self._choices = {site: found[site] for site in self.shares}

    def __call__(self, count: int, random: Random) -> SiteBatch:
        """Draw `count` slices."""
        rows = [self._row(random, bleeding=place % 2 == 0) for place in range(count)]
        drawn = [self._planes(row, random) for row in rows]
        # (n, 4, y, x): the slice below, the slice, the one above, all above air, and the mask.
        planes = augment.pose(torch.from_numpy(np.stack(drawn)), self.size, random)
        hu, mask = planes[:, :3] + float(AIR), (planes[:, 3:] > 0.5).float()
        return SiteBatch(
            torch.from_numpy(neighbour_channels(*_scanned(hu, random))),
            mask,
            torch.from_numpy(np.array(self.table.located[rows])),
            torch.from_numpy(np.array(self.table.labels[rows])),
        )

    def _row(self, random: Random, *, bleeding: bool) -> int:
        """Draw the row of a slice; a site without such slices gives one of the others."""
        sites = list(self.shares)
        weights = np.array([self.shares[site] for site in sites])
        classes = self._choices[sites[random.choice(len(sites), p=weights / weights.sum())]]
        wanted = [name for name in LABELS if name in classes] if bleeding else ["normal"]
        patients = _pick({name: classes[name] for name in wanted if name in classes}, random)
        if patients is None:
            return self._row(random, bleeding=not bleeding)
        rows = patients[list(patients)[random.integers(len(patients))]]
        if bleeding or self.hardness is None:
            return int(random.choice(rows))
        hard = self.hardness[rows].astype(np.float64) + 0.05
        return int(random.choice(rows, p=hard / hard.sum()))

    def _planes(self, row: int, random: Random) -> Array:
        """(4, y, x) float32: below, slice and above as HU above air, and the mask."""
        below, above = (row, row) if random.random() < ALONE else self.table.beside(row)
        if random.random() < 0.5:  # upside down
            below, above = above, below
        here = self.table.slice(row)
        planes = [self.table.slice(below).hu, here.hu, self.table.slice(above).hu]
        hu = np.stack(planes).astype(np.float32) - AIR
        return np.concatenate((hu, here.mask[None].astype(np.float32)))


def _pick(classes: Mapping[str, dict[str, Rows]], random: Random) -> dict[str, Rows] | None:
    """Draw a class, as often as the root of its number of patients; None if there is none."""
    if not classes:
        return None
    names = list(classes)
    weights = np.sqrt([len(classes[name]) for name in names])
    return classes[names[random.choice(len(names), p=weights / weights.sum())]]


def _scanned(hu: Tensor, random: Random) -> tuple[Array, Array, Array]:
    """(n, 3, y, x) HU -> below, slice and above, (n, y, x) each, of one other scanner a slice."""
    count, _, height, width = hu.shape
    tall = hu.reshape(count, 1, 3 * height, width)  # three slices as one image: one scanner
    seen = augment.scanner(tall, random).reshape(hu.shape).numpy()
    coarse = random.random(count) < EIGHT_BIT
    seen[coarse] = _eight_bit(seen[coarse])
    return seen[:, 0], seen[:, 1], seen[:, 2]


def _eight_bit(hu: Array) -> Array:
    """HU as a picture of 8 bits in the brain window keeps them, 0..80."""
    levels = np.float32(255)
    low = np.float32(BRAIN.level - BRAIN.width / 2)
    kept: Array = np.rint(BRAIN(hu) * levels) / levels * np.float32(BRAIN.width) + low
    return kept


def halved(mask: Tensor) -> Tensor:
    """(n, 1, y, x) mask -> (n, 1, y / 2, x / 2), 1 where one of the four pixels is."""
    return nn.functional.max_pool2d(mask, 2)


def fitted(planes: Array, size: tuple[int, int], outside: float = float(AIR)) -> Array:
    """(n, y, x) -> (n, *size), the middle, with `outside` beyond the planes."""
    for axis, wanted in zip((1, 2), size, strict=True):
        more = max(0, wanted - planes.shape[axis])
        width = [(0, 0)] * planes.ndim
        width[axis] = (more // 2, more - more // 2)
        planes = np.pad(planes, width, constant_values=outside)
        first = (planes.shape[axis] - wanted) // 2
        planes = planes.take(range(first, first + wanted), axis)
    return planes
