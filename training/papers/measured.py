"""What was measured on one data set, in the shapes that the papers' tables take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.rules import Settings
from training.metrics.measure import Result
from training.metrics.scores import Labelled, Scores
from training.metrics.statistics import Bools, Floats
from training.recipes.recipe import Recipe
from training.recipes.stages import Stage

NETWORKS = {
    "densenet121": "DenseNet121",
    "inception_resnet_v2": "InceptionResNetV2",
    "mobilenetv2_100": "MobileNetV2",
    "vgg19_bn": "VGG19",
    "resnet18": "ResNet-18",
}

S = TypeVar("S", bound=Stage)


def named(network: str) -> str:
    """Return the papers' name of one of timm's networks; any other name stands as it is."""
    return NETWORKS.get(network, network)


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of one data set, in the shapes that the tables take.

    Attributes
    ----------
    data
        Data set and split, for the tables' headers.
    rules
        The bundle's.
    trained
        Gives the network of a sequence or attention stage.
    arms
        Names of the ensemble's parts, as `Result.base_peaks` has them.
    """

    data: str
    recipe: Recipe
    rules: Settings
    trained: Callable[[Any], Any]
    results: list[Result]
    arms: tuple[str, ...]

    @property
    def of_phantoms(self) -> bool:
        """Whether no patient is among the cases."""
        return self.data.startswith("phantom")

    @property
    def number(self) -> NDArray[np.int_]:
        """(n,) number of each case."""
        return np.array([case.number for case in self.results])

    @property
    def case_subtypes(self) -> Bools:
        """(n, 5) bool, `SUBTYPES` of each case."""
        return np.array([case.slab_truth.any(0) for case in self.results])

    def of_slabs(self, take: Callable[[Result], NDArray[Any]]) -> NDArray[Any]:
        """(m, ...) what `take` gives of each case, slabs of all cases together."""
        return np.concatenate([take(case) for case in self.results])

    @property
    def slab_number(self) -> NDArray[np.int_]:
        """(m,) the patient of each slab."""
        return np.repeat(self.number, [len(case.peaks) for case in self.results])

    @property
    def labels(self) -> Bools:
        """(m, 6) bool, `LABELS` of each slab."""
        truth = self.of_slabs(lambda case: case.slab_truth)
        return np.column_stack((truth.any(1), truth))

    def cases(self, score: Callable[[Result], float], threshold: float = 0.5) -> Scores:
        """Return one score a case."""
        scores = np.array([score(case) for case in self.results])
        bleeds = np.array([case.bleeds for case in self.results])
        return Scores(bleeds, scores, self.number, threshold)

    def ensemble(self) -> Scores:
        """Return the bundle's triage score of each case, at its operating point."""
        return self.cases(lambda case: case.score(self.rules), self.rules.operating_point)

    def slabs(self, score: Callable[[Result], Floats]) -> Scores:
        """Return one score a slab, of whether it bleeds."""
        found = self.of_slabs(score).astype(float)
        return Scores(self.labels[:, 0], found, self.slab_number)

    def labelled(self, score: Callable[[Result], Floats]) -> Labelled:
        """Return six probabilities a slab."""
        found = self.of_slabs(score).astype(float)
        return Labelled(self.labels, found, self.slab_number)

    def stages(self, kind: type[S]) -> list[S]:
        """Return the recipe's stages of a kind."""
        return self.recipe.every(kind)
