"""What the training loop asks of a stage, whatever its kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.augment import Random
from training.datasets import physionet
from training.recipe import BadRecipe, Recipe, Stage

S = TypeVar("S", bound=Stage)

Draw = Callable[[int, Random], Any]
"""(count, random) -> a NamedTuple of tensors, all of length `count`."""

Weights = dict[str, Tensor]
"""A network's state."""


class Task(ABC, Generic[S]):
    """One stage of a recipe: its network, its batches and its loss.

    The stages that it builds on must be finished before a network or a batch is asked for.

    Attributes
    ----------
    recipe, stage
        The recipe, and its part that describes this stage.
    decay
        Weight decay; 0 makes AdamW the papers' Adam.
    bf16
        Whether it may be computed in bfloat16.
    channels_last
        Whether the network's convolutions are of two dimensions, and faster with channels last.
    unused
        Whether a step may leave parameters without gradient.
    """

    decay: ClassVar[float] = 1e-4
    bf16: ClassVar[bool] = True
    channels_last: ClassVar[bool] = True
    unused: ClassVar[bool] = False

    def __init__(self, recipe: Recipe, stage: S) -> None:
        self.recipe = recipe
        self.stage = stage

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the network to be trained; its random weights come from torch's own generator.

        Raises
        ------
        BadRecipe
            If a stage that it builds on is not finished.
        """

    @property
    @abstractmethod
    def batches(self) -> Draw:
        """What draws the batches."""

    @abstractmethod
    def loss(self, network: Any, batch: Any, step: int) -> Tensor:
        """Return the loss of a batch, over all processes (`training.ranks.joined`)."""

    @abstractmethod
    def fitting(self, weights: Weights) -> nn.Module:
        """Return a network that these weights of a finished stage fit into."""

    def trained(self) -> nn.Module:
        """Return the network of the finished stage, ready to read.

        Raises
        ------
        BadRecipe
            If the stage is not finished.
        """
        weights = weights_of(self.recipe, self.stage.name)
        network = self.fitting(weights)
        network.load_state_dict(weights)
        return network.eval()

    @property
    def phantom_share(self) -> float:
        """The share of phantoms that the stage learns from, 0..1."""
        own = self.stage.phantoms
        return self.recipe.phantoms.share if own is None else own

    def rows(self, patient: NDArray[np.int32], part: str = "train") -> NDArray[np.bool_]:
        """Which of the slices belong to a part of the stage's split.

        Parameters
        ----------
        patient
            (n,) the patient of each slice.
        part
            "train", "tune" or "test". A fold has no part to tune on.

        Returns
        -------
        NDArray
            (n,) bool.
        """
        if self.stage.hold_out:
            held = np.isin(patient, self.stage.hold_out)
            return {"train": ~held, "tune": np.zeros_like(held), "test": held}[part]
        return np.isin(patient, getattr(physionet.read_split(self.recipe.split), part))


def weights_path(recipe: Recipe, stage: str) -> Path:
    """Return where a finished stage's weights lie."""
    return recipe.runs / stage / "weights.pt"


def weights_of(recipe: Recipe, stage: str) -> Weights:
    """Return a finished stage's weights.

    Raises
    ------
    BadRecipe
        If it is not finished.
    """
    path = weights_path(recipe, stage)
    if not path.exists():
        raise BadRecipe(f"no {path}: train the stage {stage!r} first")
    weights: Weights = torch.load(path, map_location="cpu", weights_only=True)
    return weights
