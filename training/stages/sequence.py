"""The sequence model: subtypes of each slice, with its neighbours in view (Burduja 2020)."""

import numpy as np
from torch import Tensor

from models.selection import fit
from models.sequence import SequenceModel
from training import losses
from training.batches.sequences import ScanBatch
from training.ranks import joined
from training.recipes.stages import Sequence
from training.stages.scans import ScanTask, slice_task
from training.stages.task import Weights


class SequenceTask(ScanTask[Sequence]):
    """Learns six labels of each slice from features and probabilities of the whole scan."""

    def network(self) -> SequenceModel:
        """Return a new model, with its features selected over all scans that it learns from."""
        features = np.concatenate([found.features for found, _ in self.batches.sources])
        network = self._sized(features.shape[1])
        weight = None
        if self.stage.selection in ("largest", "smallest"):
            weight = slice_task(self.recipe, self.stage.reads).naming_weights()
        network.select(fit(features, self.stage.selection, self.stage.selected, weight))
        return network

    def loss(self, network: SequenceModel, batch: ScanBatch, _step: int) -> Tensor:
        """Return the cross-entropy of the six labels of all slices."""
        logits = network(batch.features, batch.probabilities, batch.present)
        return losses.named(joined(logits), joined(batch.labels))

    def fitting(self, weights: Weights) -> SequenceModel:
        """Return a model with as many features as the weights have means."""
        return self._sized(len(weights["mean"]))

    def _sized(self, features: int) -> SequenceModel:
        return SequenceModel(features, **self.stage.sizes(features))
