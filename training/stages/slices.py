"""What the stages share that learn from slices: their sources, and what they say of a slice."""

from abc import abstractmethod
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import ranks
from training.batches import WINDOWS, Source, Windows
from training.prepared import Slices
from training.recipe import Stage
from training.sequences import Extractor
from training.stages import heads
from training.stages.task import Task

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

    def phantoms(self) -> Slices:
        """Return the slices of phantoms that the stage learns from."""
        return heads.phantoms(self.recipe)[1]

    def sources(self) -> list[Source]:
        """Return prepared slices of patients, implants and phantoms, each with its share."""
        share, painted = self.phantom_share, self.stage.implants == 0
        parts = []
        if share < 1:
            real = [(heads.patients(self.recipe), (1 - share) * (1 - self.stage.implants))]
            if self.stage.implants > 0:
                real.append((heads.implants(self.recipe), (1 - share) * self.stage.implants))
            parts += [Source(each, part, self.rows(each.patient), painted) for each, part in real]
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
