"""How many minutes sooner bleeds are read with the node, and how many later the rest."""

from node.archive.minutes.department import Department, Group, Law, ReadingTime
from node.archive.minutes.formulas import Expected, expected
from node.archive.minutes.simulated import Interval, Outcome, Run, simulate
from node.archive.minutes.stated import read_stated

__all__ = [
    "Department",
    "Expected",
    "Group",
    "Interval",
    "Law",
    "Outcome",
    "ReadingTime",
    "Run",
    "expected",
    "simulate",
    "read_stated",
]
