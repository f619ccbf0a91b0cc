"""The attention model: whether a study bleeds, and which slices say so (Wu 2024)."""

import torch
from torch import Tensor

from models.attention import AttentionModel
from training import losses
from training.batches.sequences import ScanBatch
from training.ranks import joined
from training.recipes.stages import Attention
from training.stages.scans import ScanTask
from training.stages.task import Weights


class AttentionTask(ScanTask[Attention]):
    """Learns from the label of the whole study alone."""

    def network(self) -> AttentionModel:
        """Return a new model for the features of its scans."""
        return self._sized(self.batches.sources[0][0].features.shape[1])

    def loss(self, network: AttentionModel, batch: ScanBatch, _step: int) -> Tensor:
        """Return the cross-entropy of each study's "any"; a study bleeds if one slice does."""
        logits, _ = network(batch.features, batch.present)
        some = torch.where(batch.present, batch.labels[..., 0], 0.0)
        return losses.named(joined(logits), joined(losses.known_any(some)))

    def fitting(self, weights: Weights) -> AttentionModel:
        """Return a model with as many features as the weights' LSTM takes."""
        return self._sized(weights["lstm.weight_ih_l0"].shape[1])

    def _sized(self, features: int) -> AttentionModel:
        return AttentionModel(features, **self.stage.sizes(features))
