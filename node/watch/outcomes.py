"""What of each study is charted: five outcomes, each a value and when it was known. Pure."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from node.archive.charts import Study
from node.states import Priority
from node.watch.agreement import COMPARED, Agreement, Watched


class Charted(StrEnum):
    """An outcome that is charted for each scanner."""

    POSITIVE = "positive rate"
    AGREEMENT = "agreement"
    REFUSED = "refusals"
    PROBABILITY = "probability"
    DOOR_TO_FLAG = "door to flag"


RATES = frozenset({Charted.POSITIVE, Charted.AGREEMENT, Charted.REFUSED})
"""The others are charted by their rank among the baseline, since they are far from normal."""
_READ = (Priority.SUSPECTED, Priority.NOT_SUSPECTED)
Value = tuple[datetime, float] | None


def _positive(one: Watched) -> Value:
    """Return whether it was suspected, of those that were read."""
    if one.study.priority not in _READ:
        return None
    return one.study.received_at, float(one.study.priority is Priority.SUSPECTED)


def _agreement(one: Watched) -> Value:
    """Return whether result and report agree, as soon as the report is there."""
    if one.report is None or one.agreement not in COMPARED:
        return None
    return one.report.received_at, float(one.agreement is Agreement.AGREE)


def _refused(one: Watched) -> Value:
    """Return whether it was not analysed, of those that have a result which stands."""
    if one.study.priority is Priority.PENDING or one.study.withdrawn:
        return None
    return one.study.received_at, float(one.study.priority is Priority.NOT_ANALYSED)


def _probability(one: Watched) -> Value:
    if one.study.priority not in _READ or one.study.probability is None:
        return None
    return one.study.received_at, one.study.probability


def _door_to_flag(one: Watched) -> Value:
    """Return the seconds from the last slice to the priority."""
    if one.study.door_to_flag_s is None:
        return None
    return one.study.received_at, one.study.door_to_flag_s


_VALUE: Mapping[Charted, Callable[[Watched], Value]] = {
    Charted.POSITIVE: _positive,
    Charted.AGREEMENT: _agreement,
    Charted.REFUSED: _refused,
    Charted.PROBABILITY: _probability,
    Charted.DOOR_TO_FLAG: _door_to_flag,
}


def values(studies: Iterable[Watched], outcome: Charted) -> list[Study]:
    """Return an outcome of the studies that have it, in the order in which it was known."""
    found = [(one, _VALUE[outcome](one)) for one in studies]
    charted = [Study(said[0], one.scanner, said[1]) for one, said in found if said is not None]
    return sorted(charted, key=lambda one: one.time)
