"""The heads that a recipe's stages learn from, prepared: patients, implants and phantoms."""

import numpy as np
import torch
from numpy.typing import NDArray

from models.preprocess import skull_channels
from models.skullstrip import skull_stripper
from training import prepared
from training.datasets import physionet
from training.phantoms.cases import implanted_cases
from training.prepared import Heads, Slices, Strip
from training.recipe import Recipe
from training.stages.task import weights_of


def boxes(recipe: Recipe) -> Heads:
    """Return the prepared coarse boxes of the split's training patients."""
    numbers = physionet.read_split(recipe.split).train
    cache = recipe.runs / "data" / "heads"
    return prepared.heads(recipe.physionet, numbers, recipe.grid.lattice, cache)


def patients(recipe: Recipe) -> Slices:
    """Return the prepared slices of all patients."""
    numbers = physionet.patients(recipe.physionet)
    cache = recipe.runs / "data" / "real"
    return prepared.slices(recipe.physionet, numbers, recipe.grid.lattice, stripper(recipe), cache)


def implants(recipe: Recipe) -> Slices:
    """Return the prepared slices of all normal patients with hemorrhages put in, several times."""
    numbers = physionet.patients(recipe.physionet)
    cases = (
        case
        for seed in range(recipe.implants)
        for case in implanted_cases((physionet.load(recipe.physionet, n) for n in numbers), seed)
    )
    cache = recipe.runs / "data" / "implants"
    return prepared.slices_of(cases, recipe.grid.lattice, stripper(recipe), cache)


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
    """Return the trained skull stripper as a function."""
    network = skull_stripper()
    network.load_state_dict(weights_of(recipe, "skullstrip"))
    network.eval()

    def strip(hu: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            inside = torch.sigmoid(network(torch.from_numpy(skull_channels(hu))))[0, 0]
        return np.asarray(inside.numpy(), np.float32)

    return strip
