"""The small recipe, whose every stage trains in seconds."""

from pathlib import Path

from tests.support import ROOT

SMALL = ROOT / "config" / "recipes" / "small.toml"


def small_recipe(folder: Path) -> Path:
    """Write the small recipe into a folder, where its runs go as well."""
    path = folder / "recipe.toml"
    path.write_text(SMALL.read_text().replace('"../../runs/small"', f'"{folder / "runs"}"'))
    return path
