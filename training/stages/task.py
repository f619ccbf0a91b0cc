"""What the training loop asks of a stage, whatever its kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batches.augment import Random
from training.recipes.cohorts import Cohort
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import Stage

S = TypeVar("S", bound=Stage)

Draw = Callable[[int, Random], Any]
"""(count, random) -> a NamedTuple of tensors, all of length `count`."""

Weights = dict[str, Tensor]
"""A network's state."""


class Prepared(NamedTuple):
    """Slices of a data set's patients, or of these with hemorrhages put in.

    Attributes
    ----------
    cohort
        The data set.
    slices
        Its prepared slices, or the scans that a network read from them.
    numbers
        The number in `slices.patient` that stands for each patient.
    """

    cohort: Cohort
    slices: Any
    numbers: Mapping[str, int]


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

    @property
    def held_out(self) -> Draw | None:
        """What draws batches of the tuning patients, to watch the training; None without any."""
        return None

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

    def rows(self, prepared: Prepared, part: str = "train") -> NDArray[np.bool_]:
        """(n,) bool, which of the slices belong to "train", "tune" or "test" for this stage."""
        patients = prepared.cohort.part(self.recipe, self.stage, part)
        chosen = [prepared.numbers[each] for each in patients if each in prepared.numbers]
        return np.isin(prepared.slices.patient, chosen)


def alike(found: Sequence[Prepared], share: float) -> list[tuple[Prepared, float]]:
    """Return data sets with equal parts of a share."""
    return [(each, share / len(found)) for each in found]


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
