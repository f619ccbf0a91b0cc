"""What an evaluation settled of both kinds of networks, as it stands in a recipe's runs.

`training.unseen.stacking.STACK` holds fields of `models.rules.Settings`, `NEEDED` at least, and

    figures      {row: {column: figure}} for the model card, where a figure is a text, a number,
                 {"value", "interval", "count", "of"}, or more columns
    locked_on    for the model card: whose scores all this follows from
    tables       [training.metrics.tables.Table, ...] for the model card, the first of it

An export takes it as it stands, and fits itself what it does not say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from models.rules import Opinion, PointName, Score, Settings, Subtypes
from training.metrics.tables import Table
from training.recipes.recipe import BadRecipe

NEEDED = ("slope", "slices_slope", "intercept", "score", "operating_points")
ALONE = ("ensemble_alone", "slices_alone")
SAID = ("figures", "locked_on", "tables")
OTHERS = ("grid", "least_brain_ml", "least_bone", "operating_point", "point")
"""Fields that may stand there and are not taken: the ensemble's own, and what follows."""

LOCKED_ON = "slices and series of sites that the networks never saw"


@dataclass(frozen=True, slots=True)
class Settled:
    """What the file says.

    Attributes
    ----------
    values
        Fields of `models.rules.Settings`.
    locked_on
        For the model card: whose scores the values follow from.
    figures
        For the model card: by row, by column.
    tables
        For the model card.
    """

    values: Mapping[str, Any]
    locked_on: str
    figures: Mapping[str, Mapping[str, Any]]
    tables: tuple[Table, ...]

    def settle(self, settings: Settings) -> Settings:
        """Return the settings with what the file says in the place of what was fitted."""
        return replace(settings, **self.values)


def read_settled(path: Path) -> Settled | None:
    """Return what the file says; None if there is none.

    Raises
    ------
    BadRecipe
        If a key is unknown or missing, or a value makes no sense.
    """
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    taken = [each.name for each in fields(Settings) if each.name not in OTHERS]
    known = {*taken, *OTHERS, *SAID}
    if unknown := sorted(told.keys() - known):
        raise BadRecipe(f"{path}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if missing := sorted(set(NEEDED) - told.keys()):
        raise BadRecipe(f"{path}: it does not say {', '.join(missing)}")
    if fault := _fault(told):
        raise BadRecipe(f"{path}: {fault}")
    values = {key: told[key] for key in taken if key in told}
    values |= {key: Opinion(**told[key]) for key in ALONE if key in told}
    values["operating_point"] = told["operating_points"]["balanced"]
    tables = tuple(Table.from_dict(each) for each in told.get("tables", ()))
    return Settled(values, told.get("locked_on", LOCKED_ON), told.get("figures", {}), tables)


def _fault(told: Mapping[str, Any]) -> str | None:
    """Return what makes no sense."""
    names, points = get_args(PointName), told["operating_points"]
    given = [points[name] for name in names if name in points]
    if told["slope"] < 0 or told["slices_slope"] < 0:
        return "a slope is negative: a network that says more would lower the score"
    if told["score"] not in get_args(Score):
        return f"score {told['score']!r} is none of {', '.join(get_args(Score))}"
    if told.get("subtypes", "slices") not in get_args(Subtypes):
        return f"subtypes {told['subtypes']!r} is none of {', '.join(get_args(Subtypes))}"
    if not 0 <= told.get("map_weight", 0) <= 1:
        return "map_weight is not within 0..1"
    if "balanced" not in points or points.keys() - set(names):
        return f'operating_points needs "balanced", and knows {", ".join(names)}'
    if given != sorted(given) or not 0 <= given[0] <= given[-1] <= 1:
        return f"operating_points rise from 0 to 1 in this order: {', '.join(names)}"
    return None
