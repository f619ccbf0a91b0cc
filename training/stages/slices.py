"""What the stages share that learn from slices: their sources, and what they say of a slice."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import ranks
from training.batches.prepared import Slices
from training.batches.sequences import Extractor
from training.batches.slices import WINDOWS, SliceBatches, Source, Windows
from training.recipes.stages import Stage
from training.stages import heads
from training.stages.task import Task, alike

S = TypeVar("S", bound=Stage)


class SliceTask(Task[S]):
    """A task whose network sees slices, and whose features a model of whole scans may read."""

    @property
    def windows(self) -> Windows:
        """What makes the network's input channels."""
        return WINDOWS["kang"]

    @abstractmethod
    def extract(self, network: Any, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the trained network gives for slices.

        Parameters
        ----------
        network
            What `trained` returns.
        image
            (n, c, y, x) float32, the windows of slices.

        Returns
        -------
        features
            (n, F).
        probabilities
            (n, 6) of `models.classifiers.LABELS`, 0..1.
        """

    @abstractmethod
    def drawing(self, sources: list[Source]) -> SliceBatches:
        """Return what draws batches from these sources."""

    @cached_property
    def batches(self) -> SliceBatches:
        """What draws the batches."""
        return self.drawing(self.sources())

    @cached_property
    def held_out(self) -> SliceBatches | None:
        """What draws slices of the tuning patients, if they show both kinds."""
        if self.phantom_share == 1:
            return None
        patients = heads.patients(self.recipe)
        found = [Source(each.slices, 1.0, self.rows(each, "tune")) for each in patients]
        several = [each for each in found if all(map(len, self.drawing([each]).choices[0]))]
        shared = [each._replace(share=1 / len(several), painted=False) for each in several]
        return self.drawing(shared) if shared else None

    def phantoms(self) -> Slices:
        """Return the slices of phantoms that the stage learns from."""
        return heads.phantoms(self.recipe)[1]

    def sources(self) -> list[Source]:
        """Return slices of patients and implants by data set, and phantoms, each with its share."""
        share, painted = self.phantom_share, self.stage.implants == 0
        parts = []
        if share < 1:
            real = alike(heads.patients(self.recipe), (1 - share) * (1 - self.stage.implants))
            if self.stage.implants > 0:
                real += alike(heads.implants(self.recipe), (1 - share) * self.stage.implants)
            parts += [Source(each.slices, part, self.rows(each), painted) for each, part in real]
        if share > 0:
            drawn = self.phantoms()
            parts.append(Source(drawn, share, np.ones(len(drawn.hu), bool), painted))
        return parts

    def extractor(self) -> Extractor:
        """Return `extract` of the trained network, on this process's device."""
        network = self.trained().to(ranks.device())

        def run(image: Tensor) -> tuple[Tensor, Tensor]:
            image = image.to(ranks.device()).contiguous(memory_format=torch.channels_last)
            with torch.autocast(image.device.type, torch.bfloat16, enabled=self.recipe.bf16):
                return self.extract(network, image)

        return run

    def naming_weights(self) -> NDArray[np.float32]:
        """(labels, F) weights of the trained layer that names subtypes from features."""
        network: Any = self.trained()
        return np.asarray(network.classify.weight.detach().numpy(), np.float32)
