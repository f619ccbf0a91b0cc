"""Where the lines and marks of the report's charts lie; the template draws them as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

SIZE = 100.0
"""Width and height of a chart of rates, 0..1 on both axes; up is up."""


def at(x: float, y: float) -> str:
    """Return a place in a chart as SVG writes it."""
    return f"{x * SIZE:.2f},{(1 - y) * SIZE:.2f}"


def roc_line(points: Sequence[Sequence[float]]) -> str:
    """Return the ROC curve's line: from (0, 0), a point at each threshold."""
    return " ".join([at(0, 0), *(at(false, true) for _, false, true in points)])


def calibration_line(bins: Sequence[Mapping[str, Any]]) -> str:
    """Return the line through the bins of a calibration."""
    return " ".join(at(each["predicted"], each["observed"]) for each in bins)
