"""docs/training.md names every kind of data and every recipe, and its recipes can be read."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT
from training.datasets import KINDS
from training.recipes import recipe
from training.recipes.data import Data

GUIDE = (ROOT / "docs" / "training.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
STAGE = (
    '[[stage]]\nname = "all"\nkind = "base"\nphantoms = 1.0\nsteps = 1\nbatch = 1\nrate = 1e-3\n'
)


def test_every_kind_of_data_has_its_lines() -> None:
    shown = {told["kind"] for block in BLOCKS for told in tomllib.loads(block)["data"]}
    assert shown == {*KINDS, "phantoms"}
    assert set(Data.model_json_schema()["properties"]["kind"]["enum"]) == set(KINDS)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_it_shows_is_a_recipe(block: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    head = "" if "seed" in block else 'name = "a"\nseed = 1\nruns = "runs"\n'
    phantoms = "" if "phantoms" in block else '[[data]]\nkind = "phantoms"\ncount = 1\n'
    path.write_text(head + block + ("" if "[[stage]]" in block else phantoms + STAGE))
    assert recipe.read(path).data


def test_every_recipe_has_its_paper_and_its_command() -> None:
    recipes = {path.name for path in (ROOT / "config" / "recipes").glob("*.toml")}
    named = set(re.findall(r"^\| `([\w-]+\.toml)`", GUIDE, re.MULTILINE))
    assert named == recipes - {"physionet-split.toml"}
    for name in named:
        assert re.search(rf"^ichnode \w+ config/recipes/{name}", GUIDE, re.MULTILINE)
