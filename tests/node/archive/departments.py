"""A reading room that tests change in one respect."""

from dataclasses import replace
from typing import Any

from node.archive.minutes import Department, ReadingTime

ROOM = Department(
    studies_per_hour=(4.8,) * 24,
    radiologists=(1,) * 24,
    prevalence=0.1,
    sensitivity=0.9,
    specificity=0.8,
    flag_interrupts=False,
    bleeding=ReadingTime.exponential(10),
    other=ReadingTime.exponential(10),
)
"""One radiologist, busy 80 % of the time, exponential readings of 10 minutes."""


def department(**changed: Any) -> Department:
    """The room, changed."""
    return replace(ROOM, **changed)
