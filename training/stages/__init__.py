"""What each kind of stage trains: a module for each kind.

    Stage -> Task: network, batches, loss -> training.train -> weights.pt -> Task.trained

A `Task` says how the network of one stage is built, how its batches are drawn and what its loss
is. Tasks of slices and tasks of whole scans have one class above them each.
"""

from collections.abc import Mapping
from typing import Any

from training.recipes.recipe import Recipe
from training.recipes.stages import AnyStage
from training.stages.attention import AttentionTask
from training.stages.base import BaseTask
from training.stages.classifier import ClassifierTask
from training.stages.lite import LiteTask
from training.stages.sequence import SequenceTask
from training.stages.skullstrip import SkullStripTask
from training.stages.task import Task
from training.stages.weights import WeightsTask

TASKS: Mapping[str, type[Task[Any]]] = {
    "skullstrip": SkullStripTask,
    "base": BaseTask,
    "weights": WeightsTask,
    "classifier": ClassifierTask,
    "sequence": SequenceTask,
    "attention": AttentionTask,
    "lite": LiteTask,
}
"""The task of each kind of stage, as a recipe names the kinds."""


def task(recipe: Recipe, stage: AnyStage) -> Task[Any]:
    """Return the task of one stage of the recipe; nothing is read or built yet."""
    return TASKS[stage.kind](recipe, stage)
