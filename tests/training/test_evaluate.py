"""One command makes every table of the four papers, from the shipped weights and phantoms."""

import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from shutil import copytree

import pytest

from models.bundle import load_detector
from models.findings import SUBTYPES
from tests.support.recipes import small_recipe
from tests.support.sharing import shared
from training import evaluate as module
from training.datasets.case import Case
from training.evaluate import evaluate
from training.metrics.measure import CROSS_VALIDATION, FEW, phantom_cases
from training.metrics.tables import NOTICE, Table
from training.phantoms import subtypes_of
from training.train import train

RECIPES = Path("config/recipes")


pytestmark = pytest.mark.networks


@cache
def drawn(seeds: Sequence[int], split: str) -> list[Case]:
    """Phantoms, drawn once for all tests here."""
    return list(phantom_cases(seeds, split))


@pytest.fixture(autouse=True)
def quick(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as many phantoms as show a case of either kind; find the networks converted."""
    monkeypatch.setattr(module, "FEW", FEW[:3])
    monkeypatch.setattr(module, "phantom_cases", lambda *asked: iter(drawn(*asked)))
    monkeypatch.setattr(module, "load_detector", partial(load_detector, cache_dir=networks))
    monkeypatch.setattr("training.train.RECALIBRATION_BATCHES", 1)


def tables(folder: Path) -> dict[str, Table]:
    """The tables written below `folder`, by name; each stands there as Markdown too."""
    found = {path.stem: Table.from_json(path.read_text()) for path in folder.rglob("*.json")}
    for path in folder.rglob("*.md"):
        assert NOTICE in path.read_text()
        assert path.stem in found
    return found


def test_the_shipped_bundle_is_measured_without_training(tmp_path: Path) -> None:
    evaluate(RECIPES / "ich-ensemble.toml", tmp_path, small=True)
    found = tables(tmp_path)
    assert set(found) == {
        "kang-t3", "kang-t3-slices", "phantom", "burduja-t2", "burduja-t3", "wu",
    }  # fmt: skip
    assert all(table.data.startswith("phantom") for table in found.values())
    assert list(found["kang-t3"].rows)[0] == "1+2+3+4+5"
    assert len(found["kang-t3"].rows) == 11, "five, four smaller ensembles, the mean, the whole"
    assert {path.name for path in tmp_path.rglob("*.png")} == {
        "roc.png",
        "precision-recall.png",
        "reliability.png",
    }


def test_every_table_is_made_for_a_recipe_with_every_kind_of_network(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = small_recipe(tmp_path)
    with shared(tmp_path_factory, "small-recipe") as folder:
        train(small_recipe(folder))
        copytree(folder / "runs", tmp_path / "runs")
    evaluate(recipe, tmp_path / "tables", small=True)
    found = tables(tmp_path / "tables")
    assert {"kang-t2", "kang-t3", "kang-t4", "wu", "zhou"} <= set(found)
    assert {name for name in found if name.startswith("burduja")} == {
        f"burduja-{table}-{reads}" for table in ("t2", "t3") for reads in ("weights", "weak")
    }, "a network's tables do not overwrite another's"
    assert {row.split(", ")[1] for row in found["kang-t2"].rows} == {"weak", "located"}
    assert list(found["kang-t4"].rows)[0] == "ensemble"


def test_a_few_phantoms_show_every_subtype_and_normal_heads() -> None:
    shown = [subtypes_of(seed, "test") for seed in FEW]
    assert {name for each in shown for name in each} == set(SUBTYPES)
    assert sum(not each for each in shown) >= 2


FOLD = """
[[stage]]
name = "fold-{held}"
kind = "base"
hold_out = {hold_out}
steps = 2
batch = 2
rate = 1e-3
"""


@pytest.mark.data
def test_a_cross_validation_locks_the_operating_point_on_who_is_not_held_out(
    data: Path, tmp_path: Path
) -> None:
    held_out, bleeds, normal = 49, 51, (55, 61)
    text = (RECIPES / "small.toml").read_text()
    text = text.replace('"../../runs/small"', json.dumps(str(tmp_path)))
    text = text.replace('slices = ["lite"]\n', "")  # its stage is left out here
    root, split = data / "physionet_ct_ich", RECIPES.absolute() / "physionet-split.toml"
    patients = f'[[data]]\nkind = "physionet"\nroot = "{root}"\nsplit = "{split}"\n'
    begin = text[: text.index("[[stage]]", text.index("skullstrip"))] + patients
    folds = [[held_out, normal[0]], [bleeds, normal[1]]]
    recipe = tmp_path / "folds.toml"
    recipe.write_text(begin + "".join(FOLD.format(held=fold[0], hold_out=fold) for fold in folds))
    evaluate(recipe, tmp_path / "tables")
    (table,) = tables(tmp_path / "tables").values()
    assert "4 patients (2 bleed)" in table.data
    crossed = json.loads((tmp_path / CROSS_VALIDATION).read_text())
    assert crossed["locked"]["patients"] == 3 and 0 < crossed["locked"]["operating_point"] < 1
    assert crossed["figures"]["case_auc"]["value"] == table.rows["case auc"][0].value
