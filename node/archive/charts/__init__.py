"""CUSUM charts of a department's outcomes, by scanner, with the run lengths that they have."""

from node.archive.charts.cusum import Alarm, MeanChart, RateChart, Side, follow
from node.archive.charts.outcomes import (
    Plan,
    Raised,
    Standing,
    Study,
    read_outcomes,
    standings,
)
from node.archive.charts.run_length import normal_run_length, rate_run_length, together

__all__ = [
    "Alarm",
    "MeanChart",
    "Plan",
    "Raised",
    "RateChart",
    "Side",
    "Standing",
    "Study",
    "follow",
    "normal_run_length",
    "read_outcomes",
    "rate_run_length",
    "standings",
    "together",
]
