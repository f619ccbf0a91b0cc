"""The acceptance report as one HTML file: it loads nothing, so that it works wherever it is opened.

Whatever comes from outside is text to the template, and shows every character. The file's own
content policy lets nothing run and nothing load.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from node.archive.acceptance import charts
from node.visible import visible

_HERE = "node.archive.acceptance"

MOST_SHOWN = 24
"""Missed bleeds, and others of a list, that are shown with pictures; all are named. Chosen."""

DIMENSIONS = {
    "scanner": "Scanner",
    "kernel": "Kernel",
    "thickness": "Slice thickness",
    "age": "Age",
    "place": "Place of order",
    "sex": "Sex",
    "volume": "Volume that the node outlined",
}


def report_page(told: Mapping[str, Any], pictures: Mapping[str, Sequence[str]]) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    told
        As `acceptance_report` returns it.
    pictures
        Data URLs of the key slices, by study.
    """
    templates = page_templates()
    templates.globals |= {"at": charts.at, "DIMENSIONS": DIMENSIONS, "MOST_SHOWN": MOST_SHOWN}
    by_name = {row["study"]: row for row in told["studies"]}
    return templates.get_template("report.html").render(
        told=told,
        pictures=pictures,
        rows=by_name,
        roc_line=charts.roc_line(told["roc"].get("points", ())),
        calibration_line=charts.calibration_line(told["calibration"].get("bins", ())),
    )


def page_templates(*packages: str) -> Environment:
    """Return the templates of pages that load nothing: those of packages, and the report's parts.

    Whatever is put into them is text. `style` is the report's style sheet.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, _HERE)]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "interval": _interval,
        "count": _count,
        "moment": _moment,
    }
    style = files(_HERE).joinpath("templates", "report.css").read_text("utf-8")
    environment.globals["style"] = Markup(style)  # noqa: S704
    return environment


def shown(told: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the studies that are shown with pictures, and the key slice of each."""
    by_name = {row["study"]: row for row in told["studies"]}
    lists = told["beyond_reports"], *told["mistakes"].values()
    return {name: by_name[name]["key_slice"] for names in lists for name in names[:MOST_SHOWN]}


def _percent(share: float | None) -> str:
    """Return a share in percent; "too few" where it is not told."""
    return "too few" if share is None else f"{100 * share:.1f} %"


def _interval(found: Mapping[str, Any]) -> str:
    if found["low"] is None or found["high"] is None:
        return ""
    return f"{100 * found['low']:.1f} to {100 * found['high']:.1f} %"


def _count(number: float) -> str:
    """Return a number of studies: whole if it is, else with a decimal, for it is an estimate."""
    return f"{number:,.0f}" if abs(number - round(number)) < 1e-6 else f"about {number:,.1f}"


def _moment(at: str) -> str:
    """Return a time, ISO 8601 in UTC, as people read it."""
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"
