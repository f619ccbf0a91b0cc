"""The weight model: how much each base network counts, pixel by pixel (Kang 2023)."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.classifiers import LABELS
from models.ensemble import Ensemble
from models.weighting import WeightModel, fuse
from training import losses
from training.batches.prepared import Slices
from training.batches.slices import Batch, SliceBatches, Source
from training.ranks import joined
from training.recipes.stages import Weights as WeightsStage
from training.stages import heads
from training.stages.base import base_network
from training.stages.slices import SliceTask
from training.stages.task import Weights, weights_of, weights_path


class WeightsTask(SliceTask[WeightsStage]):
    """Learns to fuse the maps of its base networks, which stay as they are."""

    def ensemble(self) -> Ensemble:
        """Return the frozen base networks, with the weight model if it is trained."""
        bases = []
        for name in self.stage.bases:
            base = base_network(self.recipe)
            base.load_state_dict(weights_of(self.recipe, name))
            bases.append(base.eval().to(memory_format=torch.channels_last))
        model = self.fitting({})
        if weights_path(self.recipe, self.stage.name).exists():
            model.load_state_dict(weights_of(self.recipe, self.stage.name))
        return Ensemble(bases, model, self.stage.bases.index(self.stage.names_subtypes))

    @cached_property
    def _whole(self) -> Ensemble:
        """The ensemble whose weight model is trained."""
        return self.ensemble()

    def network(self) -> WeightModel:
        """Return the ensemble's weight model."""
        return self._whole.weights

    def drawing(self, sources: list[Source]) -> SliceBatches:
        """Return what draws slices; phantoms are others than the base networks learnt from."""
        return SliceBatches(sources, self.recipe.grid.size)

    def phantoms(self) -> Slices:
        """Return slices of phantoms that the base networks did not see."""
        return heads.further_phantoms(self.recipe, self.stage.unseen, self.stage.name)

    def loss(self, network: WeightModel, batch: Batch, _step: int) -> Tensor:
        """Return the Dice loss of the fused map, and its presence loss."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            maps, _ = self._whole.to(image.device).maps(image)
        maps = maps.float()
        fused, mask = joined(fuse(maps, network(maps).float())), joined(batch.mask)
        return losses.fused_dice(fused, mask) + self.stage.presence_loss * losses.presence(
            torch.logit(fused, 1e-4), mask
        )

    def fitting(self, _weights: Weights) -> WeightModel:
        """Return a weight model for the stage's base networks."""
        return WeightModel(len(self.stage.bases))

    def trained(self) -> Ensemble:
        """Return the whole ensemble."""
        return self.ensemble().eval()

    def extract(self, network: Ensemble, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the ensemble hands to models of whole scans."""
        found = network(image)[3]
        return found[:, : -len(LABELS)], found[:, -len(LABELS) :]

    def naming_weights(self) -> NDArray[np.float32]:
        """(labels, F) weights of the layer of the base network that names subtypes."""
        network = self.trained()
        named: Any = network.bases[network.names_subtypes].classify.weight
        return np.asarray(named.detach().numpy(), np.float32)
