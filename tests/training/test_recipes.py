"""Every recipe of the project can be trained as it stands."""

from pathlib import Path

import pytest

from models.findings import SUBTYPES
from tests.support import ROOT
from training.recipes import recipe
from training.recipes.cohorts import cohorts
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import Base, Classifier, Weights

RECIPES = sorted(
    path for path in (ROOT / "config" / "recipes").glob("*.toml") if "split" not in path.name
)


def read(name: str) -> Recipe:
    return recipe.read(ROOT / "config" / "recipes" / f"{name}.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_stands_alone(path: Path) -> None:
    found = recipe.read(path)
    names = {stage.name for stage in found.stage}
    assert found.name == path.stem and found.runs == ROOT / "runs" / path.stem
    assert all(told.split.is_file() for told in found.patients if told.split)
    assert all(told.split for told in found.patients if told.kind == "physionet")
    for stage in found.stage:
        if isinstance(stage, Base):
            assert stage.start is None or stage.start in names
            assert set(stage.only) <= set(SUBTYPES)
        if isinstance(stage, Weights):
            assert set(stage.bases) <= names


def test_the_folds_of_a_recipe_are_stages_that_stay_within_their_fold() -> None:
    found = read("cross-validation")
    assert [stage.name for stage in found.crossed] == [f"fold-{fold}" for fold in range(5)]
    assert [stage.fold for stage in found.crossed] == [0, 1, 2, 3, 4]
    assert len(found.stage) == 1 + 3 * 5, "what sees no patient is trained once"
    for stage in found.crossed:
        begun = found.named(stage.start)
        assert begun.fold == stage.fold and found.named(begun.start).start == "phantoms"
        assert stage.batch == begun.batch == 12, "as is said once of each base network"


def test_the_folds_hold_each_patient_out_once_with_bleeding_ones_in_each(data: Path) -> None:
    found = read("cross-validation")
    folder = data / "physionet_ct_ich"
    found = found.model_copy(
        update={"data": (found.patients[0].model_copy(update={"root": folder}),)}
    )
    (cohort,) = cohorts(found)
    folds = [cohort.part(found, stage, "test") for stage in found.crossed]
    assert sorted(number for fold in folds for number in fold) == sorted(cohort.data_set.patients())
    assert [len(fold) for fold in folds] == [13, 13, 12, 12, 12]
    bleeding = cohort.data_set.bleeding
    assert [sum(bleeding[each] for each in fold) for fold in folds] == [6, 6, 5, 5, 5]
    assert {"50", "117"} <= set(folds[0]) and "125" in folds[4], "as they were dealt before"
    learnt = cohort.part(found, found.crossed[0], "train")
    assert not set(learnt) & set(folds[0]) and len(learnt) == 49


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
        ("share = 1.0", "share = 0.5", r"\[\[data\]\] has none"),
        ('kind = "phantoms"', 'kind = "phantom"', "phantom"),
        ("count = 3", "count = 0", "share of phantoms"),
        ("[each.base]", "[each.base]\nbatches = 3", "batches"),
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
