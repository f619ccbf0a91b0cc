"""What the stages share that learn from whole scans: sequences of a trained network's features."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

from training.batches.prepared import Slices
from training.batches.sequences import ScanBatches, Scans, scans
from training.recipes.recipe import Recipe
from training.recipes.stages import Study
from training.stages import heads
from training.stages.base import BaseTask
from training.stages.classifier import ClassifierTask
from training.stages.slices import SliceTask
from training.stages.task import Prepared, Task, alike
from training.stages.weights import WeightsTask

S = TypeVar("S", bound=Study)

SLICE_TASKS: Mapping[str, type[SliceTask[Any]]] = {
    "base": BaseTask,
    "weights": WeightsTask,
    "classifier": ClassifierTask,
}
"""The kinds of stages that give features of slices."""


def slice_task(recipe: Recipe, name: str) -> SliceTask[Any]:
    """Return the task of the stage of this name, which gives features of slices."""
    stage = recipe.named(name)
    return SLICE_TASKS[stage.kind](recipe, stage)


class ScanTask(Task[S]):
    """A task whose network reads whole scans, over features that another stage gives."""

    decay = 0.0
    bf16 = False

    @cached_property
    def batches(self) -> ScanBatches:
        """Whole scans, each as likely as the others of its source."""
        return ScanBatches(self.sources())

    def sources(self) -> list[tuple[Scans, float]]:
        """Return scans of patients, implants and phantoms as the other stage gives them."""
        recipe, stage, share = self.recipe, self.stage, self.phantom_share
        parts = []
        if share < 1:
            real = alike(heads.patients(recipe), (1 - share) * (1 - stage.implants))
            parts += [(self._chosen(each, stage.copies, ""), part) for each, part in real]
            if stage.implants > 0:
                bled = alike(heads.implants(recipe), (1 - share) * stage.implants)
                parts += [(self._chosen(each, 1, "-implants"), part) for each, part in bled]
        if share > 0:
            parts.append((self._scans(heads.phantoms(recipe)[1], 1, "phantoms"), share))
        return parts

    def _chosen(self, found: Prepared, copies: int, name: str) -> Scans:
        """Return the scans of the training patients of a data set."""
        read = self._scans(found.slices, copies, f"{found.cohort.key}{name}-{copies}")
        return read.chosen(self.rows(found._replace(slices=read)))

    def _scans(self, slices: Slices, copies: int, name: str) -> Scans:
        giving = slice_task(self.recipe, self.stage.reads)
        cache = self.recipe.runs / "data" / self.stage.reads / name
        size = self.recipe.grid.size
        return scans(slices, giving.extractor(), giving.windows, size, copies, cache)
