"""The patients of a recipe: its data sets opened, checked, split and dealt into folds."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from training import imagenet
from training.datasets import KINDS, open_dataset
from training.datasets.case import DataSet
from training.datasets.splits import Split, folds, part_of, read_split
from training.recipes.data import Data
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import Classifier, Lite, Stage

log = logging.getLogger(__name__)

EXTRAS = {"nifti": "nibabel", "adapter": "nibabel"}
"""Libraries of `ichnode[train]` that the modules of `KINDS` import."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """One of a recipe's data sets.

    Attributes
    ----------
    told
        What the recipe says of it.
    data_set
        The data set.
    split
        Its patients, dealt.
    """

    told: Data
    data_set: DataSet
    split: Split

    @property
    def key(self) -> str:
        """Name of its prepared data."""
        return f"{self.told.kind}-{self.told.root.name}"

    def fold(self, index: int, count: int) -> tuple[str, ...]:
        """Return the patients of a fold, dealt with as many bleeding ones in each as can be."""
        bleeding = self.data_set.bleeding
        return folds(list(bleeding), list(bleeding.values()), count, seed=0)[index]

    def part(self, recipe: Recipe, stage: Stage, part: str) -> Collection[str]:
        """Return the patients of a part of a stage's split: "train", "tune" or "test".

        A stage that holds patients out has no part to tune on, and learns from all others.
        """
        if not stage.holds_out:
            chosen: Sequence[str] = getattr(self.split, part)
            return chosen
        held = set(stage.hold_out)
        if stage.fold is not None:
            held |= set(self.fold(stage.fold, recipe.folds))
        patients = set(self.data_set.patients())
        return {"train": patients - held, "tune": set(), "test": patients & held}[part]


def cohorts(recipe: Recipe, role: str | None = None) -> list[Cohort]:
    """Return the recipe's data sets of patients, those of this role alone if it is given.

    Raises
    ------
    BadRecipe
        If one is not where the recipe says, lacks a library, or may not be learnt from.
    """
    chosen = [told for told in recipe.patients if role in (None, told.role)]
    found = [_opened(told, recipe.runs / "data") for told in chosen]
    for cohort in found:
        if cohort.data_set.judge_only and cohort.told.role == "train" and recipe.shipped:
            raise BadRecipe(
                f'{cohort.data_set.name}: {cohort.data_set.licence}. Give it role = "judge", or '
                "say shipped = false at the top of the recipe: then its weights are not exported"
            )
    return found


@cache
def _opened(told: Data, indices: Path) -> Cohort:
    if not told.root.is_dir():
        raise BadRecipe(f"{told.kind}: no folder {told.root}")
    library = EXTRAS.get(KINDS[told.kind][0])
    if library and find_spec(library) is None:
        raise BadRecipe(f"{told.kind} needs {library}: pip install 'ichnode[train]'")
    options: dict[str, object] = {}
    if told.kind in ("rsna", "cq500"):
        options["cache"] = indices / f"{told.kind}-headers.jsonl"
    if told.kind == "cq500":
        options["series"] = told.series
    if told.mapping:
        options["mapping"] = told.mapping
    try:
        data_set = open_dataset(told.kind, told.root, **options)
        split = read_split(told.split) if told.split else _hashed(data_set)
    except (OSError, ValueError) as error:
        raise BadRecipe(f"{told.kind}: {error}") from error
    if not data_set.patients():
        raise BadRecipe(f"{told.kind}: no patient in {told.root}")
    return Cohort(told, data_set, split)


def _hashed(data_set: DataSet) -> Split:
    parts: dict[str, list[str]] = {"train": [], "tune": [], "test": []}
    for patient in data_set.patients():
        parts[part_of(f"{data_set.site}/{patient}")].append(patient)
    return Split(**{name: tuple(patients) for name, patients in parts.items()})


def check(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Check before the first step what these stages need, and say on what terms the data come.

    Raises
    ------
    BadRecipe
        If a path or a library is missing, or data may not be learnt from.
    """
    for cohort in cohorts(recipe):
        log.info(
            "%s: %d patients, role %s; %s",
            cohort.data_set.name,
            len(cohort.data_set.patients()),
            cohort.told.role,
            cohort.data_set.licence,
            extra={"action": "data_set_checked"},
        )
    for stage in stages:
        if isinstance(stage, Classifier) and stage.imagenet and not stage.imagenet.is_file():
            raise BadRecipe(f"stage {stage.name!r}: no file {stage.imagenet}")
        if isinstance(stage, Lite) and stage.imagenet:
            _require_published(stage)


def _require_published(stage: Lite) -> None:
    try:
        imagenet.published()
    except ModuleNotFoundError as error:
        raise BadRecipe(f"stage {stage.name!r}: {error}") from error
