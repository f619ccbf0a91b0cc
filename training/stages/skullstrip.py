"""The skull stripper: a 3D U-Net over coarse boxes of whole heads."""

from functools import cached_property

import numpy as np
from torch import Tensor, nn

from models.skullstrip import skull_stripper
from training import losses
from training.batches.prepared import Heads
from training.batches.slices import Batch, HeadBatches
from training.ranks import joined
from training.recipes.stages import SkullStrip
from training.stages import heads
from training.stages.task import Task, Weights


class SkullStripTask(Task[SkullStrip]):
    """Learns the inside of the skull from patients, labelled by a rule, and from phantoms."""

    channels_last = False

    def network(self) -> nn.Module:
        """Return an untrained skull stripper."""
        return skull_stripper()

    @cached_property
    def batches(self) -> HeadBatches:
        """Boxes of phantoms, and of the training patients unless the stage has no share of them."""
        parts = heads.boxes(self.recipe) if self.phantom_share < 1 else []
        if self.recipe.phantoms.count:
            parts.append(heads.phantoms(self.recipe)[0])
        return HeadBatches(Heads(*(np.concatenate(each) for each in zip(*parts, strict=True))))

    def loss(self, network: nn.Module, batch: Batch, _step: int) -> Tensor:
        """Return the segmentation loss."""
        return losses.segmentation(joined(network(batch.image)), joined(batch.mask))

    def fitting(self, _weights: Weights) -> nn.Module:
        """Return a skull stripper; all have the same size."""
        return skull_stripper()
