"""Every recipe of the project can be trained as it stands."""

from pathlib import Path

import pytest

from models.findings import SUBTYPES
from tests.support import ROOT
from training import recipe
from training.datasets.physionet import read_split
from training.recipe import BadRecipe, Base, Classifier, Recipe, Weights

RECIPES = sorted(
    path for path in (ROOT / "config" / "recipes").glob("*.toml") if "split" not in path.name
)


def read(name: str) -> Recipe:
    return recipe.read(ROOT / "config" / "recipes" / f"{name}.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_a_recipe_builds_on_exists(path: Path) -> None:
    found = recipe.read(path)
    beside = {
        stage.name
        for other in map(recipe.read, RECIPES)
        if other.runs == found.runs
        for stage in other.stage
    }
    assert (ROOT / found.split).is_file()
    for stage in found.stage:
        if isinstance(stage, Base):
            assert stage.start is None or stage.start in beside
            assert set(stage.only) <= set(SUBTYPES)
        if isinstance(stage, Weights):
            assert set(stage.bases) <= beside


def test_recipes_that_share_a_folder_prepare_the_same_data_and_never_the_same_stage() -> None:
    read_all = list(map(recipe.read, RECIPES))
    for runs in {each.runs for each in read_all}:
        sharing = [each for each in read_all if each.runs == runs]
        names = [stage.name for each in sharing for stage in each.stage]
        assert len(set(names)) == len(names)
        assert len({(each.grid, each.network, each.physionet, each.seed) for each in sharing}) == 1
        assert len({(each.phantoms.count, each.phantoms.first_seed) for each in sharing}) == 1


def test_the_folds_hold_each_patient_out_once_with_bleeding_ones_in_each() -> None:
    found = read("cross-validation")
    folds = [set(stage.hold_out) for stage in found.folds]
    split = read_split(ROOT / "config" / "recipes" / "physionet-split.toml")
    everyone = [number for part in split for number in part]
    assert sorted(number for fold in folds for number in fold) == sorted(everyone)
    assert [len(fold) for fold in folds] == [13, 13, 12, 12, 12]
    for stage in found.folds:
        assert found.named(stage.start).hold_out == stage.hold_out


def test_the_two_arms_of_a_network_differ_in_the_location_loss_alone() -> None:
    arms = {stage.name: stage for stage in read("weak-or-located").stage}
    assert len(arms) == 8
    for name in [each for each in arms if each.endswith("-weak")]:
        located = arms[name.replace("weak", "located")]
        assert isinstance(located, Classifier) and located.location == 1
        weak = located.model_copy(update={"name": name, "location": 0.0})
        assert arms[name] == weak


def test_every_backbone_is_one_of_timms() -> None:
    timm = pytest.importorskip("timm")
    backbones = {
        stage.backbone
        for found in map(recipe.read, RECIPES)
        for stage in found.stage
        if isinstance(stage, Classifier)
    }
    assert backbones <= set(timm.list_models())


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seed =", "sede = 1\nseed =", "sede"),
        ('reads = "all"', 'reads = "none"', "'none', which is not there"),
        ('name = "located"', 'name = "weak"', "twice"),
        ('names_subtypes = "subtypes"', 'names_subtypes = "weak"', "no base"),
        ("exclusive = true", "exclusive = true\nlocation = 1.0", "exclusive"),
        ("hidden = 4", "hidden = 4\nonly = []", "only"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    text = (ROOT / "config" / "recipes" / "small.toml").read_text()
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(BadRecipe, match=complaint):
        recipe.read(path)
