"""Tells the scans of a study apart: which series show one acquisition, and which another. Pure.

A scanner makes several series of one acquisition (thin and thick slices, other kernels). A study
can also hold several acquisitions: a repeat some hours later, the skull base and the cerebrum
apart, two bed positions. Each scan is read once, by its best series; none is cleared by another.
"""

from collections.abc import Sequence
from datetime import datetime

from node.cases.eligibility import Verdict
from node.records import Scan
from node.states import Priority
from node.worklist import ScanLine

SAME_SCAN_S = 120.0
"""Series whose acquisitions begin further apart show two scans. A helical head scan takes seconds
and a sequential one about a minute; a repeat comes after somebody has looked. An estimate."""

OVERLAP = 0.5
"""Series of one scan share at least this part of the shorter one's extent along the patient. An
estimate: reconstructions of one scan share nearly all of it, neighbouring blocks nearly none."""


def same_scan(one: Verdict, other: Verdict) -> bool:
    """Return whether two series show the same acquisition.

    Two series are held for one scan unless their times or their places say otherwise. What neither
    says is not guessed.
    """
    times = _begin(one), _begin(other)
    if times[0] and times[1] and abs((times[0] - times[1]).total_seconds()) > SAME_SCAN_S:
        return False
    mine, theirs = _extent_mm(one), _extent_mm(other)
    if mine is None or theirs is None:
        return True
    (low, high), (bottom, top) = mine, theirs
    shared = min(high, top) - max(low, bottom)
    return shared >= OVERLAP * min(high - low, top - bottom)


def scan_of(verdict: Verdict, study: Sequence[Verdict]) -> Scan:
    """Return the scan that a series shows, named by the lowest SeriesInstanceUID of its series."""
    found = {verdict.series.series_instance_uid: verdict}
    while True:
        more = {
            other.series.series_instance_uid: other
            for other in study
            if any(same_scan(other, known) for known in found.values())
        }
        if more.keys() <= found.keys():
            begin = _begin(verdict)
            return Scan(min(found), f"{begin:%Y-%m-%d %H:%M}" if begin else "")
        found |= more


SAID = {
    Priority.SUSPECTED: "hemorrhage SUSPECTED",
    Priority.NOT_SUSPECTED: "no hemorrhage suspected",
    Priority.NOT_ANALYSED: "NOT ANALYSED",
    Priority.PENDING: "not read yet",
}


def said_of(scans: Sequence[ScanLine]) -> tuple[str, ...]:
    """Return a sentence on each scan of a study, worst first; none if the study has one scan."""
    if len(scans) < 2:
        return ()
    return tuple(
        f"Scan {number} of {len(scans)}, {_when(line)}: {SAID[line.priority]}"
        for number, line in enumerate(scans, start=1)
    )


def _when(line: ScanLine) -> str:
    known = f"acquired {line.acquired}" if line.acquired else "acquired at an unknown time"
    return f"{known}, series {line.series_instance_uid}"


def _begin(verdict: Verdict) -> datetime | None:
    """Return the first moment of acquisition, None if no image has a date and a time."""
    stamps = (header.acquired for header in verdict.headers)
    moments = [moment for stamp in stamps if (moment := _moment(stamp))]
    return min(moments, default=None)


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%Y%m%d%H%M%S")  # noqa: DTZ007  scanners name no time zone
    except ValueError:
        return None


def _extent_mm(verdict: Verdict) -> tuple[float, float] | None:
    """Return the lowest and highest position along the patient, None if they are unknown."""
    if verdict.stack is None:
        return None
    along = verdict.stack.positions_mm[:, 2]
    return float(along.min()), float(along.max())
