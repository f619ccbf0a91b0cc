"""A base network of the ensemble: it marks hemorrhage and names subtypes (Kang 2023)."""

import torch
from torch import Tensor

from models.ensemble import peak
from models.unet import InceptionUNet
from training import losses
from training.batches.slices import Batch, SliceBatches, Source
from training.ranks import joined
from training.recipes.recipe import Recipe
from training.recipes.stages import Base
from training.stages.slices import SliceTask
from training.stages.task import Weights, weights_of


class BaseTask(SliceTask[Base]):
    """Learns the lesion's mask, its presence and its subtypes, the encoder alone at first."""

    unused = True

    def network(self) -> InceptionUNet:
        """Return a new network, or one with the weights of the stage that this one starts from."""
        network = base_network(self.recipe)
        if self.stage.start:
            network.load_state_dict(weights_of(self.recipe, self.stage.start))
        return network

    def drawing(self, sources: list[Source]) -> SliceBatches:
        """Return what draws slices, of which the positive ones show the stage's subtypes."""
        size, stage = self.recipe.grid.size, self.stage
        return SliceBatches(sources, size, stage.only, stage.small_ml)

    def loss(self, network: InceptionUNet, batch: Batch, step: int) -> Tensor:
        """Return the weighted sum of segmentation, presence and subtype loss."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        mask, labels = joined(batch.mask), joined(batch.labels)
        if step < self.stage.encoder_steps:
            return losses.named(joined(network.subtype_logits(image)), labels)
        segmented, named = map(joined, network(image))
        return (
            losses.segmentation(segmented, mask)
            + self.stage.presence_loss * losses.presence(segmented, mask)
            + self.stage.subtype_loss * losses.named(named, labels)
        )

    def fitting(self, _weights: Weights) -> InceptionUNet:
        """Return a network of the recipe's size."""
        return base_network(self.recipe)

    def extract(self, network: InceptionUNet, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return encoder features; "any" is the map's peak."""
        segmented, features = network.lesion_logits_and_features(image)
        subtypes = torch.sigmoid(network.classify(features))
        return features, torch.cat((peak(torch.sigmoid(segmented)), subtypes), 1)


def base_network(recipe: Recipe) -> InceptionUNet:
    """Return an untrained base network of the recipe's size."""
    return InceptionUNet(recipe.network.width, recipe.network.depth)
