"""The heads that a recipe's stages learn from, prepared: patients, implants and phantoms."""

import json
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from models.bundle import METADATA, WEIGHTS
from models.networks import build_network
from models.preprocess import skull_channels
from models.skullstrip import skull_stripper
from training.batches import prepared
from training.batches.prepared import Heads, Slices, Strip
from training.phantoms.cases import implanted_cases
from training.recipes.cohorts import Cohort, cohorts
from training.recipes.recipe import BUNDLE, Recipe
from training.recipes.stages import SkullStrip
from training.stages.task import Prepared, weights_of


def boxes(recipe: Recipe) -> list[Heads]:
    """Return the prepared coarse boxes of the splits' training patients, by data set."""
    grid, found = recipe.grid.lattice, []
    for cohort in _series(recipe):
        cases = cohort.data_set.cases(cohort.split.train)
        found.append(prepared.heads_of(cases, grid, recipe.runs / "data" / f"{cohort.key}-heads"))
    return found


def patients(recipe: Recipe) -> list[Prepared]:
    """Return the prepared slices of all patients that may be learnt from, by data set."""
    grid, found = recipe.grid.lattice, []
    for cohort in cohorts(recipe, "train"):
        folder = recipe.runs / "data" / cohort.key
        cases = cohort.data_set.cases(cohort.data_set.patients())
        slices = prepared.slices_of(cases, grid, stripper(recipe), folder)
        found.append(Prepared(cohort, slices, prepared.numbers(folder)))
    return found


def implants(recipe: Recipe) -> list[Prepared]:
    """Return slices of all normal patients with hemorrhages put in, several times, by data set."""
    grid, found = recipe.grid.lattice, []
    for cohort in _series(recipe):
        if cohort.data_set.bleeders_only:
            continue
        folder = recipe.runs / "data" / f"{cohort.key}-implants"
        everyone = cohort.data_set.patients()
        cases = (
            case
            for seed in range(recipe.implants)
            for case in implanted_cases(cohort.data_set.cases(everyone), seed)
        )
        slices = prepared.slices_of(cases, grid, stripper(recipe), folder)
        found.append(Prepared(cohort, slices, prepared.numbers(folder)))
    return found


def _series(recipe: Recipe) -> Sequence[Cohort]:
    """Return the data sets to learn from whose cases are series."""
    return [each for each in cohorts(recipe, "train") if each.data_set.neighbours]


def phantoms(recipe: Recipe) -> tuple[Heads, Slices]:
    """Return the recipe's phantoms, prepared as coarse boxes and as slices."""
    first = recipe.phantoms.first_seed
    seeds = range(first, first + recipe.phantoms.count)
    cache = recipe.runs / "data" / "phantoms"
    return prepared.phantoms(seeds, "train", recipe.grid.lattice, cache)


def further_phantoms(recipe: Recipe, count: int, stage: str) -> Slices:
    """Return slices of the `count` phantoms that follow the recipe's own, drawn for one stage."""
    first = recipe.phantoms.first_seed + recipe.phantoms.count
    cache = recipe.runs / "data" / f"{stage}-phantoms"
    seeds = range(first, first + count)
    return prepared.phantoms(seeds, "train", recipe.grid.lattice, cache)[1]


def stripper(recipe: Recipe) -> Strip:
    """Return the skull stripper as a function."""
    network = skull_network(recipe)

    def strip(hu: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            inside = torch.sigmoid(network(torch.from_numpy(skull_channels(hu))))[0, 0]
        return np.asarray(inside.numpy(), np.float32)

    return strip


def skull_network(recipe: Recipe) -> nn.Module:
    """Return the recipe's own skull stripper, or the shipped one: as it says, or without a stage.

    Raises
    ------
    BadRecipe
        If its stage is not finished.
    """
    if recipe.strip == "shipped" or not recipe.every(SkullStrip):
        return _shipped()
    network = skull_stripper()
    network.load_state_dict(weights_of(recipe, recipe.every(SkullStrip)[0].name))
    return network.eval()


@cache
def _shipped() -> nn.Module:
    sizes = json.loads((BUNDLE / METADATA).read_text())["networks"]
    whole = build_network("skullstrip", sizes, load_file(BUNDLE / WEIGHTS))
    network: nn.Module = whole.get_submodule("network")
    return network.eval()
