"""The training table of a recipe: its patients' slices, phantoms and implants, site by site."""

from collections.abc import Collection

import numpy as np

from training.batches.canvases import make_table
from training.datasets.case import DataSet
from training.datasets.table import IMPLANTED, Bools, Table
from training.phantoms.cases import PHANTOMS, implanted_set, phantom_set
from training.recipes.cohorts import cohorts
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import Stage
from training.stages.heads import stripper


def table(recipe: Recipe, sites: Collection[str]) -> Table:
    """Return the table of these sites, made where the recipe's runs lack it.

    A site is a data set's, "phantoms", or "SITE implanted" for the normal patients of a data set
    with hemorrhages put in.

    Raises
    ------
    BadRecipe
        If the recipe learns from no such site.
    """
    known = {each.site: each for each in _sets(recipe)}
    if unknown := sorted(set(sites) - known.keys()):
        raise BadRecipe(
            f"{recipe.name} learns from no site {', '.join(unknown)}; it has {', '.join(known)}"
        )
    chosen = [known[site] for site in known if site in sites]
    return make_table(chosen, recipe.runs / "data" / "table", stripper(recipe))


def judges(recipe: Recipe) -> Table | None:
    """Return the table of the data sets that judge alone; None without any."""
    found = [cohort.data_set for cohort in cohorts(recipe, "judge")]
    if not found:
        return None
    return make_table(found, recipe.runs / "data" / "table", stripper(recipe))


def _sets(recipe: Recipe) -> list[DataSet]:
    """Return what may be learnt from: patients, the same with implants, and phantoms."""
    found = [cohort.data_set for cohort in cohorts(recipe, "train")]
    found += [
        implanted_set(each, recipe.implants)
        for each in found
        if each.neighbours and not each.bleeders_only
    ]
    if recipe.phantoms.count:
        first = recipe.phantoms.first_seed
        found.append(phantom_set(range(first, first + recipe.phantoms.count)))
    return found


def rows(recipe: Recipe, stage: Stage, whole: Table, part: str) -> Bools:
    """Return which slices belong to a part of a stage's split, (n,) bool.

    Implants are where the patients are whose heads bear them. All phantoms are learnt from.
    """
    chosen = np.zeros(len(whole), bool)
    for cohort in cohorts(recipe, "train"):
        site, patients = cohort.data_set.site, cohort.part(recipe, stage, part)
        names = [f"{each}/{name}" for each in (site, site + IMPLANTED) for name in patients]
        chosen |= np.isin(whole.patient, names)
    if part == "train":
        chosen |= whole.site == PHANTOMS
    return chosen
