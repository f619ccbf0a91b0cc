"""Tells the scans of a study apart: which series show one acquisition, and which another. Pure.

A scanner makes several series of one acquisition (thin and thick slices, other kernels). A study
can also hold several acquisitions: a repeat some hours later, the skull base and the cerebrum
apart, two bed positions. Each scan is read once, by its best series; none is cleared by another.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from node.cases.eligibility import Verdict
from node.cases.parts import OVERLAP, SAME_SCAN_S, moment, overlap
from node.records import Header, Scan
from node.states import Priority
from node.worklist import ScanLine


def same_scan(one: Verdict, other: Verdict) -> bool:
    """Return whether two series, or two parts of one, show the same acquisition.

    Two series are held for one scan unless their times or their places say otherwise. What neither
    says is not guessed; but a series that holds several scans is no rival without times.
    """
    times = _begin(one), _begin(other)
    if times[0] and times[1]:
        if abs((times[0] - times[1]).total_seconds()) > SAME_SCAN_S:
            return False
    elif one.series.part.count > 1 or other.series.part.count > 1:
        return _same_series(one, other) and _other_reconstruction(one, other)
    if _same_series(one, other) and not _other_reconstruction(one, other):
        return False
    mine, theirs = _places(one), _places(other)
    return mine is None or theirs is None or overlap(mine, theirs) >= OVERLAP


def _same_series(one: Verdict, other: Verdict) -> bool:
    return one.series.series_instance_uid == other.series.series_instance_uid


def _other_reconstruction(one: Verdict, other: Verdict) -> bool:
    """Return whether two parts of one series show one acquisition by other kernels or types."""
    mine, theirs = _own(one), _own(other)
    acquired = {h.acquisition_number for h in mine} & {h.acquisition_number for h in theirs}
    kinds = [{(h.convolution_kernel, h.image_type) for h in own} for own in (mine, theirs)]
    return bool(acquired) and not kinds[0] & kinds[1]


def scan_of(verdict: Verdict, study: Sequence[Verdict]) -> Scan:
    """Return the scan that a series shows, named by the lowest SeriesInstanceUID of its series."""
    found = {_key(verdict): verdict}
    while True:
        more = {
            _key(other): other
            for other in study
            if any(same_scan(other, known) for known in found.values())
        }
        if more.keys() <= found.keys():
            begin = _begin(verdict)
            return Scan(min(found), f"{begin:%Y-%m-%d %H:%M}" if begin else "")
        found |= more


def _key(verdict: Verdict) -> str:
    series = verdict.series
    number = f" {series.part.number}" if series.part.number else ""
    return f"{series.series_instance_uid}{number}"


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


def _own(verdict: Verdict) -> list[Header]:
    """Return the headers of the images, without those that another part lends."""
    borrowed = verdict.series.part.borrowed
    return [h for h in verdict.headers if h.sop_instance_uid not in borrowed]


def _begin(verdict: Verdict) -> datetime | None:
    """Return the first moment of acquisition, None if no image has a date and a time."""
    moments = [at for header in _own(verdict) if (at := moment(header.acquired))]
    return min(moments, default=None)


def _places(verdict: Verdict) -> NDArray[np.float64] | None:
    """Return the (z,) positions along the patient, mm; None if they are unknown."""
    return None if verdict.stack is None else verdict.stack.positions_mm[:, 2]
