"""A bundle of the shipped ensemble with a network of slices beside it, and their calibration."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.bundle import CARD, METADATA, WEIGHTS, load_detector, read_settings
from models.lite import LiteUNet
from models.networks import build_network, empty_networks
from models.preprocess import Grid
from models.rules import Opinion, Settings
from tests.support import BUNDLE
from training.bundles.export import export
from training.bundles.parts import parts
from training.phantoms import demo_pair
from training.phantoms.cases import phantom_case
from training.recipes import recipe
from training.recipes.recipe import BadRecipe
from training.unseen.settled import read_settled

RECIPE = """
name = "beside"
seed = 7
runs = "runs"
ensemble = "shipped"
slices = ["first"]
test_phantoms = 2

[[data]]
kind = "phantoms"
count = 1
share = 1.0

[[stage]]
name = "first"
kind = "lite"
shares = { phantoms = 1.0 }
steps = 1
batch = 1
rate = 1e-3
"""
BOTH = RECIPE.replace('slices = ["first"]', 'slices = ["first", "second"]') + RECIPE[
    RECIPE.index("[[stage]]") :
].replace('"first"', '"second"')

STACK: dict[str, Any] = {
    "slope": 0.25,
    "slices_slope": 0.5,
    "intercept": -1.0,
    "score": "best pair",
    "operating_points": {"sensitive": 0.2, "balanced": 0.4, "quiet": 0.7},
    "slices_alone": {"slope": 0.5, "intercept": -2.0},
    "subtypes": "slices",
    "map_weight": 0.25,
    "locked_on": "the patients of three hospitals",
    "figures": {
        "quiet": {
            "point": 0.7,
            "sensitivity": {"value": 0.9, "interval": [0.8, 0.95], "count": 9, "of": 10},
            "predictive": {"0.1": {"PPV": {"value": 0.5, "interval": [0.4, 0.6]}}},
        }
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A recipe whose network of slices has random weights."""
    (tmp_path / "recipe.toml").write_text(RECIPE)
    torch.manual_seed(0)
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    torch.save(LiteUNet().state_dict(), folder / "weights.pt")
    return tmp_path / "recipe.toml"


@pytest.mark.networks
def test_the_shipped_networks_stay_as_they_are_beside_a_network_of_slices(path: Path) -> None:
    held = parts(recipe.read(path))
    shipped, told = load_file(BUNDLE / WEIGHTS), json.loads((BUNDLE / METADATA).read_text())
    others = {name for name in held.tensors if name.startswith("slices.")}
    own = {name for name in shipped if not name.startswith("slices.")}
    assert held.tensors.keys() - others == own
    assert all(np.array_equal(held.tensors[name], shipped[name]) for name in own)
    assert {name.split(".")[1] for name in others} == {"network"}
    assert held.sizes["slices"] == {"rows": 192, "columns": 160, "networks": 1}
    assert held.rules.grid == read_settings(told["reader"]).grid
    assert not held.rules.hears_slices


@pytest.mark.networks
def test_the_sources_are_those_of_all_networks_with_their_licences(path: Path) -> None:
    plan = recipe.read(path)
    held = parts(plan)
    assert held.name(plan) == "ich-ensemble", "whose next version it is"
    assert "PhysioNet CT-ICH 1.0.0" in held.data_source and "CC BY 4.0" in held.data_source
    first, *_, last = held.sources["slices"]
    assert first == "phantoms" and "ImageNet" in last and "licence" in last
    assert held.origin["name"].startswith("ich-ensemble@")


@pytest.mark.networks
def test_what_an_evaluation_fitted_of_both_goes_into_the_bundle(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_ensemble(tmp_path / "shipped")
    path.write_text(f'bundle = "shipped"\n{RECIPE}rows = 64\ncolumns = 64\n')
    pair = demo_pair()
    cases = [phantom_case(seed, drawn) for seed, drawn in enumerate(pair)]
    monkeypatch.setattr("training.bundles.export.demo_pair", lambda: pair)
    monkeypatch.setattr("training.bundles.export.phantom_cases", lambda *_: iter(cases))
    monkeypatch.setattr("training.bundles.card.SHOWN", 0)
    (tmp_path / "runs" / "stack.json").write_text(json.dumps(STACK))
    export(path, tmp_path / "bundle", "0.0.1")
    detector = load_detector(tmp_path / "bundle", operating_point="quiet")
    assert detector.name == "ich-ensemble@0.0.1+quiet" and detector.operating_point == 0.7
    rules = detector.settings
    assert (rules.slope, rules.slices_slope, rules.intercept) == (0.25, 0.5, -1.0)
    assert (rules.score, rules.subtypes, rules.map_weight) == ("best pair", "slices", 0.25)
    assert rules.slices_alone == Opinion(0.5, -2.0) and rules.ensemble_alone != Opinion()
    assert 0 < rules.uncertain_from <= 1
    card = (tmp_path / "bundle" / CARD).read_text()
    assert "the patients of three hospitals" in " ".join(card.split())
    assert "|  | point | sensitivity | predictive 0.1 PPV |" in card
    assert "| quiet | 0.700 | 0.900 (9/10), 0.800 to 0.950 | 0.500, 0.400 to 0.600 |" in card
    assert "| quiet | 0.700 |\n" in card and "ImageNet" in card
    size = sum(each.stat().st_size for each in (tmp_path / "bundle").rglob("*") if each.is_file())
    assert size < 40e6


def small_ensemble(folder: Path) -> None:
    """Write what an export takes of a bundle: the shipped skull stripper, and one small network."""
    told = json.loads((BUNDLE / METADATA).read_text())
    told["networks"] = {
        "width": 4,
        "depth": 1,
        "bases": ["only"],
        "names_subtypes": "only",
        "literal_weights": False,
    }
    told["reader"] |= {"subtypes": "ensemble", "key_slice": "lesion"}
    tensors = load_file(BUNDLE / WEIGHTS)
    tensors = {name: each for name, each in tensors.items() if name.startswith("skullstrip.")}
    torch.manual_seed(1)
    for name, tensor in empty_networks(told["networks"])["ensemble"].state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensors[f"ensemble.{name}"] = tensor.numpy()
    for place in (METADATA, WEIGHTS):
        (folder / place).parent.mkdir(parents=True)
    (folder / METADATA).write_text(json.dumps(told))
    save_file(tensors, folder / WEIGHTS)


WRONG = {
    "slice_slope": ({"slice_slope": 1.0}, "unknown: slice_slope"),
    "negative": ({"slices_slope": -0.1}, "a slope is negative"),
    "score": ({"score": "mean"}, "score 'mean' is none of paper, max"),
    "subtypes": ({"subtypes": "lite"}, "subtypes 'lite' is none of ensemble"),
    "map": ({"map_weight": 1.5}, "map_weight is not within"),
    "no balanced": ({"operating_points": {"quiet": 0.5}}, 'needs "balanced"'),
    "another": ({"operating_points": {"balanced": 0.5, "loud": 0.5}}, "knows sensitive, balanced"),
    "order": ({"operating_points": {"balanced": 0.5, "quiet": 0.4}}, "rise from 0 to 1"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_a_stack_that_makes_no_sense_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "stack.json"
    file.write_text(json.dumps(STACK | change))
    with pytest.raises(BadRecipe, match=said):
        read_settled(file)


def test_a_stack_says_what_it_must_and_the_rest_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    assert read_settled(file) is None
    least = {key: STACK[key] for key in ("slope", "slices_slope", "intercept", "score")}
    file.write_text(json.dumps(least))
    with pytest.raises(BadRecipe, match="does not say operating_points"):
        read_settled(file)
    file.write_text(json.dumps(least | {"operating_points": {"balanced": 0.4}}))
    settled = read_settled(file)
    assert settled is not None
    before = Settings(operating_point=0.9, slope=3.0, slices_alone=Opinion(2.0, 1.0), tau=0.3)
    found = settled.settle(before)
    assert (found.operating_point, found.slope, found.score) == (0.4, 0.25, "best pair")
    assert (found.slices_alone, found.tau) == (before.slices_alone, 0.3)


def test_whatever_the_rules_say_may_stand_there_and_the_grid_stays_the_ensembles(
    tmp_path: Path,
) -> None:
    file = tmp_path / "stack.json"
    rules = Settings(0.4, score="best pair", operating_points={"balanced": 0.4}, top_k=5)
    file.write_text(json.dumps(asdict(rules)))
    settled = read_settled(file)
    assert settled is not None
    before = Settings(0.5, grid=Grid(rows=64), least_bone=0.3)
    assert settled.settle(before) == replace(rules, grid=before.grid, least_bone=0.3)


@pytest.mark.networks
def test_the_networks_of_several_stages_read_as_one(path: Path, tmp_path: Path) -> None:
    path.write_text(BOTH)
    (tmp_path / "runs" / "second").mkdir()
    learnt = LiteUNet()
    torch.save(learnt.state_dict(), tmp_path / "runs" / "second" / "weights.pt")
    held = parts(recipe.read(path))
    assert held.sizes["slices"]["networks"] == 2
    assert held.sources["slices"].count("phantoms") == 1
    read = build_network("slices", held.sizes, held.tensors)
    second = read.network.networks[1].state_dict()
    for name, tensor in learnt.state_dict().items():
        torch.testing.assert_close(second[name], tensor, atol=1e-3, rtol=1e-3)


def test_networks_that_see_crops_of_other_sizes_are_refused(path: Path) -> None:
    path.write_text(f"{BOTH}rows = 64\n")
    with pytest.raises(BadRecipe, match="their stages differ in rows or columns"):
        recipe.read(path)


def test_a_recipe_that_names_no_stage_of_the_kind_is_refused(path: Path) -> None:
    path.write_text(RECIPE.replace('slices = ["first"]', 'slices = ["second"]'))
    with pytest.raises(BadRecipe, match="there is no stage 'second' of kind 'lite'"):
        recipe.read(path)


def test_a_recipe_without_an_ensemble_says_what_to_do(path: Path) -> None:
    path.write_text(RECIPE.replace('ensemble = "shipped"', ""))
    with pytest.raises(BadRecipe, match='say ensemble = "shipped"'):
        parts(recipe.read(path))
