"""A classifier of slices: Kang 2023's comparison, Burduja 2020's CNN, Zhou 2022."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.classifiers import LABELS, SliceClassifier
from training import losses
from training.batches.slices import WINDOWS, Batch, SliceBatches, Source, Windows
from training.ranks import joined
from training.recipes.stages import Classifier
from training.stages.slices import SliceTask
from training.stages.task import Prepared, Weights

FITTED_SLICES = 64
"""Slices over which a classifier's channels are standardised."""


class ClassifierTask(SliceTask[Classifier]):
    """Learns six labels or six exclusive classes of a slice, with or without the lesion's place."""

    decay = 0.0

    def network(self) -> SliceClassifier:
        """Return a new network, its input standardised over `FITTED_SLICES` slices."""
        network = _classifier(self.stage)
        image = self.batches(FITTED_SLICES, np.random.default_rng(self.recipe.seed)).image
        network.standardise(image.mean((0, 2, 3)), image.std((0, 2, 3)))
        return network

    @property
    def windows(self) -> Windows:
        """The windows that the stage names."""
        return WINDOWS[self.stage.windows]

    def drawing(self, sources: list[Source]) -> SliceBatches:
        """Return what draws slices by their labels; a mask is not needed."""
        return SliceBatches(
            sources,
            self.recipe.grid.size,
            windows=self.windows,
            located=False,
            exclusive=self.stage.exclusive,
        )

    def loss(self, network: SliceClassifier, batch: Batch, _step: int) -> Tensor:
        """Return the cross-entropy of the labels, and the weighted location loss beside it."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        labels = joined(batch.labels)
        if self.stage.exclusive:
            return losses.exclusive(joined(network(image)), labels)
        logits, activation = network.logits_and_maps(image)
        located = losses.location(joined(activation[:, :1]), joined(batch.mask), labels)
        return losses.named(joined(logits), losses.with_any(labels)) + self.stage.location * located

    def fitting(self, _weights: Weights) -> SliceClassifier:
        """Return the stage's network, without published weights."""
        return _classifier(self.stage.model_copy(update={"imagenet": None}))

    def extract(self, network: SliceClassifier, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features and the labels' probabilities."""
        features = network.features(image)
        return features, probabilities(network.classify(features), self.stage)

    def rows(self, prepared: Prepared, part: str = "train") -> NDArray[np.bool_]:
        """Which of the slices belong to a part of the split, which may deal images out."""
        if self.stage.split_by == "patient":
            return super().rows(prepared, part)
        random, patient = np.random.default_rng(self.recipe.seed), prepared.slices.patient
        dealt = random.permutation(len(patient)) / len(patient)
        low, high = {"train": (0.0, 0.8), "tune": (0.8, 0.9), "test": (0.9, 1.0)}[part]
        chosen: NDArray[np.bool_] = (low <= dealt) & (dealt < high)
        return chosen


def probabilities(logits: Tensor, stage: Classifier) -> Tensor:
    """(n, 6) logits of a classifier -> (n, 6) probabilities of `LABELS`.

    Of exclusive classes "any" is all but normal.
    """
    if not stage.exclusive:
        return torch.sigmoid(logits)
    classes = logits.softmax(1)
    return torch.cat((1 - classes[:, :1], classes[:, 1:]), 1)


def _classifier(stage: Classifier) -> SliceClassifier:
    nothing = np.zeros((1, 1, 1), np.float32)
    return SliceClassifier(
        stage.backbone,
        len(losses.CLASSES if stage.exclusive else LABELS),
        WINDOWS[stage.windows](nothing, nothing).shape[1],
        stage.imagenet,
    )
