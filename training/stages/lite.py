"""The network of slices that starts from ImageNet and learns from every label of every site."""

import logging
from functools import cached_property
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from models.ensemble import peak
from models.lite import LiteUNet
from models.preprocess import Array, neighbour_channels
from training import imagenet, losses, ranks
from training.batches.drawing import SiteBatch, SiteBatches, fitted, halved
from training.datasets.table import Bools, Located, Rows, Table
from training.ranks import joined
from training.recipes.stages import Lite
from training.stages import sites
from training.stages.task import Task, Weights, weights_path

log = logging.getLogger(__name__)

SLICES_AT_ONCE = 32


class LiteTask(Task[Lite]):
    """Learns six labels of a slice, and where it bleeds as far as that is known."""

    decay: ClassVar[float] = 0.02

    def network(self) -> LiteUNet:
        """Return a new network, its encoder as ImageNet left it if the stage says so."""
        network = LiteUNet()
        if self.stage.imagenet:
            imagenet.start(network.encoder, imagenet.published())
        return network

    @cached_property
    def table(self) -> Table:
        """The slices of the sites that the stage learns from."""
        return sites.table(self.recipe, self.stage.shares)

    @property
    def batches(self) -> SiteBatches:
        """Slices of the sites by their shares."""
        rows = sites.rows(self.recipe, self.stage, self.table, "train")
        hardness = self._hardness(rows) if self.stage.mines else None
        return SiteBatches(self.table, rows, self.stage.shares, self.stage.size, hardness)

    @cached_property
    def held_out(self) -> SiteBatches | None:
        """What draws slices of the tuning patients of the sites."""
        rows = sites.rows(self.recipe, self.stage, self.table, "tune")
        shown = self.table.choices(rows)
        shares = {site: share for site, share in self.stage.shares.items() if site in shown}
        return SiteBatches(self.table, rows, shares, self.stage.size) if shares else None

    def loss(self, network: LiteUNet, batch: SiteBatch, _step: int) -> Tensor:
        """Return the loss of the labels, and the weighted losses of the map."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        labels, lesion = map(joined, network(image))
        known, mask, where = map(joined, (batch.labels, halved(batch.mask), batch.located))
        return (
            losses.named(labels, known)
            + self.stage.lesion_loss
            * losses.located(lesion, mask, where == Located.DRAWN, where == Located.BOXED)
            + self.stage.presence_loss * losses.shown(lesion, known)
        )

    def fitting(self, _weights: Weights) -> LiteUNet:
        """Return a network; all have the same size."""
        return LiteUNet()

    def read(self, table: Table, rows: Rows) -> "Reading":
        """Read these slices of a table with the trained network."""
        return read(cast(LiteUNet, self.trained()), table, rows, self.stage.size)

    def _hardness(self, rows: Bools) -> NDArray[np.float32]:
        """(n,) how bleeding the network of the stage `mines` finds each normal slice, kept."""
        assert self.stage.mines is not None
        kept = weights_path(self.recipe, self.stage.name).with_name("hardness.npy")
        if not kept.exists():
            normal = np.flatnonzero(rows & (self.table.labels[:, 0] == 0))
            stage = self.recipe.named(self.stage.mines)
            assert isinstance(stage, Lite)
            found = np.zeros(len(self.table), np.float32)
            found[normal] = LiteTask(self.recipe, stage).read(self.table, normal).labels[:, 0]
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, found)
        hardness: NDArray[np.float32] = np.load(kept)
        return hardness


class Reading(NamedTuple):
    """What a network says of slices: `labels` (n, 6) and the map's `peaks` (n,), 0..1."""

    labels: Array
    peaks: Array


def read(network: LiteUNet, table: Table, rows: Rows, size: tuple[int, int]) -> Reading:
    """Read slices of the table with a trained network, on this process's device.

    Parameters
    ----------
    rows
        (n,) int.
    size
        (rows, columns) of the crop.
    """
    device = ranks.device()
    network = network.to(device).eval()
    labels, peaks = [], []
    starts = range(0, len(rows), SLICES_AT_ONCE)
    for start in track(starts, "reading slices", transient=True):
        image = _images(table, rows[start : start + SLICES_AT_ONCE], size)
        with torch.inference_mode():
            logits, lesion = network(image.to(device, memory_format=torch.channels_last))
        labels.append(torch.sigmoid(logits.float()).cpu().numpy())
        peaks.append(peak(torch.sigmoid(lesion.float()))[:, 0].cpu().numpy())
    return Reading(np.concatenate(labels), np.concatenate(peaks))


def _images(table: Table, rows: Rows, size: tuple[int, int]) -> Tensor:
    """Return the channels of these slices, (n, 4, *size)."""
    beside = np.array([table.beside(int(row)) for row in rows])
    planes = (
        np.stack([table.slice(int(row)).hu for row in each]).astype(np.float32)
        for each in (beside[:, 0], rows, beside[:, 1])
    )
    return torch.from_numpy(neighbour_channels(*(fitted(hu, size) for hu in planes)))
