"""By hand: every recipe of the project from an empty folder, a few steps of each stage."""

import re
import shutil
from pathlib import Path

import pytest

from models.bundle import load_detector
from tests.support import ROOT
from training.bundles.export import export
from training.evaluate import evaluate
from training.recipes import recipe as recipes
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import Weights as WeightsStage
from training.train import train
from training.unseen.crossing import cross_sites

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

NAMES = sorted(path.name for path in (ROOT / "config" / "recipes").glob("*.toml"))
SHORT = {
    r"^steps = \d+": "steps = 2",
    r"^encoder_steps = \d+": "encoder_steps = 1",
    r"^batch = \d+": "batch = 2",
    r"^count = \d+": "count = 3",
    r"^unseen = \d+": "unseen = 3",
    r"^implants = \d+$": "implants = 1",
    r"^test_phantoms = \d+": "test_phantoms = 2",
    r"^checkpoint_every = \d+": "checkpoint_every = 2",
}
"""What makes a recipe short: it still has each of its stages, and all of its patients."""


def short(name: str, folder: Path, data: Path) -> Path:
    """Write the recipes, shortened, as deep in a folder as they lie in the project."""
    into = folder / "project" / "config" / "recipes"
    shutil.copytree(ROOT / "config" / "recipes", into)
    (folder / "shared").symlink_to(data.parent)
    text = (into / name).read_text()
    for pattern, instead in SHORT.items():
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    if 'kind = "skullstrip"' in text and "strip =" not in text:  # after two steps it finds no head
        text = text.replace("\nseed = ", '\nstrip = "shipped"\nseed = ', 1)
    if "test_phantoms" not in text:
        text = text.replace("\nseed = ", "\ntest_phantoms = 2\nseed = ", 1)
    (into / name).write_text(text)
    return into / name


def has_networks(recipe: Recipe) -> bool:
    """Whether the recipe has what a bundle needs."""
    return bool(recipe.every(WeightsStage)) or recipe.ensemble == "shipped"


@pytest.mark.parametrize("name", [each for each in NAMES if "split" not in each])
def test_a_recipe_trains_evaluates_and_exports(name: str, tmp_path: Path, data: Path) -> None:
    path = short(name, tmp_path, data)
    recipe = recipes.read(path)
    train(path)
    assert all((recipe.runs / each.name / "weights.pt").exists() for each in recipe.stage)
    tables = tmp_path / "tables"
    if recipe.leave_site_out:
        cross_sites(path, tables)
    evaluate(path, tables, small=True)
    assert list(tables.rglob("*.json"))
    bundle = tmp_path / "bundle"
    if has_networks(recipe):
        export(path, bundle, "0.0.1")
        assert load_detector(bundle).name.endswith("@0.0.1")
    else:
        with pytest.raises(BadRecipe):
            export(path, bundle, "0.0.1")
