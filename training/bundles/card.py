"""The model card: a template filled with what was measured, and pictures of failures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from models.detector import Detector
from models.ensemble import PEAK_PIXELS
from models.findings import SUBTYPES
from models.rules import Settings
from training.metrics.figures import png
from training.metrics.measure import VOLUMES_ML, Result, phantom_cases
from training.metrics.tables import Table, grid

TEMPLATE = Path(__file__).with_name("model_card.md")

HEADLINE = {
    "case_auc": "case AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "slice_auc": "slice AUC",
    "dice": "Dice",
}
"""Figures of `training.metrics.measure.figures` in the first table, and their headers."""

SLICES = TEMPLATE.with_name("model_card_slices.md")

NAMERS = {
    "sequence": (
        "sequence reader (Burduja et al., Sensors 2020, 20:5611: a bidirectional LSTM over the "
        "slices' features)"
    ),
    "ensemble": "second base network's own head",
    "slices": "network of slices",
}

DOUBTS = {
    False: "the standard deviation of the triage scores that the five base networks give alone",
    True: "the difference of the scores that the ensemble and the network of slices give alone",
}
"""What makes a study uncertain: without a network of slices, and with one."""

SEVERAL = " It is {} networks that learnt from other seeds; the means of their logits count."

PICTURE = "![Phantoms that were missed or falsely flagged](failures.png)\n"

SHOWN = 4
"""Failures of each kind in the picture."""


def model_card(metadata: Mapping[str, Any]) -> str:
    """Fill the template with the metadata's settings and figures; none is written by hand."""
    measured, rules, recipe = metadata["measured"], metadata["reader"], metadata["recipe"]
    held_out = measured["held-out"]
    began = metadata["ensemble"].get("recipe", recipe)
    return Template(TEMPLATE.read_text()).substitute(
        {key: _number(value) for key, value in rules.items()},
        name=metadata["name"],
        version=metadata["version"],
        peak_pixels=PEAK_PIXELS,
        subtypes_reader=NAMERS[rules["subtypes"]],
        pictures=PICTURE if measured["held-out phantoms"]["missed"] else "",
        data_sha256=metadata["data_sha256"],
        seed=began["seed"],
        history=began["history"].strip(),
        slices=_slices(metadata),
        slices_sources=_slices_sources(metadata),
        doubt=DOUBTS["slices" in metadata["networks"]],
        points=_points(rules),
        settled=_settled(metadata["settled_figures"]),
        tables="".join(_table_of(each) for each in metadata["settled_tables"]),
        caveat=recipe["caveat"].strip(),
        locked_on=metadata["operating_point_locked_on"],
        missed=_cases(held_out["missed"]),
        false_alarms=_cases(held_out["false_alarms"]),
        figures=_table(
            ("cases", "n (bleeding)", *HEADLINE.values()),
            {
                name: [
                    f"{found['cases']} ({found['bleeding']})",
                    *(_cell(found.get(each)) for each in HEADLINE),
                ]
                for name, found in measured.items()
            },
        ),
        subtypes=_table(
            ("cases", *SUBTYPES),
            {
                name: [_cell(found["subtype_slice_auc"][each]) for each in SUBTYPES]
                for name, found in measured.items()
            },
        ),
        volumes=_table(
            (
                "cases",
                *VOLUMES_ML,
                *(f"Dice, {each}" for each in VOLUMES_ML),
                "absolute volume error, mL",
            ),
            {
                name: [
                    *(_cell(found["sensitivity_by_ml"][each]) for each in VOLUMES_ML),
                    *(_cell(found["dice_by_ml"][each]) for each in VOLUMES_ML),
                    _cell(found["absolute_volume_error_ml"]),
                ]
                for name, found in measured.items()
                if "sensitivity_by_ml" in found
            },
        ),
    )


def _slices(metadata: Mapping[str, Any]) -> str:
    """Say how a network of slices counts, if there is one."""
    if "slices" not in metadata["networks"]:
        return ""
    rules = metadata["reader"]
    numbers = {key: f"{rules[key]:.3f}" for key in ("slope", "slices_slope", "map_weight")}
    size = metadata["networks"]["slices"]
    count = size.get("networks", 1)
    return Template(SLICES.read_text()).substitute(
        numbers,
        **size,
        several=SEVERAL.format(count) if count > 1 else "",
        intercept_signed=f"{rules['intercept']:+.3f}",
    )


def _slices_sources(metadata: Mapping[str, Any]) -> str:
    """List what a network of slices learnt from, if there is one."""
    sources = metadata["sources"].get("slices")
    if not sources:
        return ""
    recipe = f"recipe `config/recipes/{metadata['recipe']['name']}.toml`, seed "
    head = f"\nThe network of slices ({recipe}{metadata['recipe']['seed']}) learnt from:\n"
    return head + "".join(f"- {source}\n" for source in sources)


def _points(rules: Mapping[str, Any]) -> str:
    """List the operating points to choose from, if there are several."""
    if not rules["operating_points"]:
        return ""
    rows = {name: [f"{point:.3f}"] for name, point in rules["operating_points"].items()}
    return f"\n{_table(('operating point', 'suspected from'), rows)}\n"


def _settled(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of the figures that an evaluation gave, if there was one."""
    if not figures:
        return ""
    flat = {name: _flat(row) for name, row in figures.items()}
    columns = list(dict.fromkeys(column for row in flat.values() for column in row))
    rows = {name: [row.get(column, "") for column in columns] for name, row in flat.items()}
    return f"\nAs the evaluation found both kinds together:\n\n{_table(('', *columns), rows)}\n"


def _table_of(told: Mapping[str, Any]) -> str:
    """Return a table of an evaluation under a heading of the card's third level."""
    return f"#{Table.from_dict(told).markdown()}\n"


def _flat(row: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return the cells of a row of an evaluation's figures, those of its parts beside it."""
    cells = {}
    for name, figure in row.items():
        column = f"{above} {name}".strip()
        if not isinstance(figure, Mapping):
            cells[column] = str(_number(figure))
        elif "value" not in figure:
            cells |= _flat(figure, column)
        else:
            count = f"{figure['count']}/{figure['of']}" if "of" in figure else None
            cells[column] = _cell({**figure, **({"count": count} if count else {})})
    return cells


def _number(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else value


def _cases(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "no operating point"
    if figure["value"] is None:
        return "no case"
    low, high = figure["interval"]
    count = f" ({figure['count']})" if "count" in figure else ""
    interval = "no interval" if low is None else f"{low:.3f} to {high:.3f}"
    return f"{figure['value']:.3f}{count}, {interval}"


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    return grid(columns, ([name, *cells] for name, cells in rows.items()))


def failures_picture(detector: Detector, results: Sequence[Result]) -> bytes:
    """PNG of the phantoms that `failures` names, one slice each; no patient is shown."""
    scores = {case.number: case.score(detector.settings) for case in results}
    numbers = failures(results, detector.settings)
    figure = Figure(figsize=(3 * max(len(numbers), 1), 3.6), dpi=80, layout="constrained")
    figure.suptitle("Phantom failures: true blood red, what was marked yellow. Research use only.")
    for place, case in enumerate(phantom_cases(numbers, "test"), start=1):
        found = detector.detect(case.volume)
        truth = np.zeros_like(found.mask) if case.mask is None else case.mask
        area = truth.sum((1, 2)) if truth.any() else found.heat.max((1, 2))
        z = int(np.argmax(area))
        axes = figure.add_subplot(1, len(numbers), place)
        axes.imshow(case.volume.hu[z], cmap="gray", vmin=0, vmax=80)
        for mask, colour in ((truth[z], "red"), (found.mask[z], "yellow")):
            if mask.any():
                axes.contour(mask, [0.5], colors=colour, linewidths=0.7)
        kind = "missed" if truth.any() else "false alarm"
        axes.set_title(f"{kind}, score {scores[case.number]:.2f}", fontsize="small")
        axes.axis("off")
    return png(figure)


def failures(results: Sequence[Result], rules: Settings) -> list[int]:
    """Numbers of the cases that were missed with most blood, and flagged with the highest score."""
    flagged = {case.number: case.score(rules) >= rules.operating_point for case in results}
    missed = [case for case in results if case.bleeds and not flagged[case.number]]
    alarmed = [case for case in results if not case.bleeds and flagged[case.number]]
    missed.sort(key=lambda case: -case.truth_ml)
    alarmed.sort(key=lambda case: -case.score(rules))
    return [case.number for case in (*missed[:SHOWN], *alarmed[:SHOWN])]
