"""The rule of ichnode: what was not seen is not cleared; what was seen may be flagged. Pure.

A limit bounds what may be cleared, and never what may be flagged. A series with parts that nobody
saw is read all the same. A suspicious reading makes it SUSPECTED, with its limitations. Any other
reading makes it NOT_ANALYSED, as "read in part", with the reason: it is not cleared.
`FORBIDS_CLEARING` lists the conditions.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from node.cases.choice import READING_THICKNESS_MM
from node.cases.completeness import announced
from node.cases.eligibility import Verdict
from node.cases.quality import Limitation
from node.dicom.read.geometry import Stack
from node.records import Unseen
from node.settings import Assemble
from node.states import Reason
from node.wording import counted

FORBIDS_CLEARING: Mapping[Reason, str] = {
    Reason.MISSING_SLICE: "a gap between slices leaves as much as the reading thickness unseen, "
    "and lies in the head",
    Reason.COVERAGE: "less than assemble.min_coverage_mm was scanned, or the head is cut off at "
    "its top or bottom, together with the study's other series that touch it",
    Reason.NOT_AXIAL: "the pixels are not axial, whatever the header says",
    Reason.NOISE: "the brain is lost in noise",
    Reason.ARTEFACT: "metal on most slices of the brain, or the head moved far between slices",
    Reason.INCOMPLETE: "fewer images came than the scanner announced, some came cut short, or "
    "more than the reading thickness of them could not be used",
    Reason.DUPLICATE_POSITION: "more scans of one place, or different images at one position, "
    "than are read",
    Reason.NOT_A_HEAD: "the header names another part of the body, and the study holds no other "
    "series to read",
    Reason.UNDECODABLE: "images of as much as the reading thickness cannot be decoded",
}
"""Each condition that forbids to clear a series, by the reason it is reported with."""

SAME_DIRECTION = float(np.cos(np.radians(5)))
"""Normals that differ by less are one direction. An estimate."""

IN_PART = "read in part: nothing suspicious in what was seen"


def unseen(
    verdict: Verdict, settings: Assemble, beside: Sequence[Verdict] = ()
) -> tuple[Unseen, ...]:
    """Return what nobody saw of a series that can be read; none where it may be cleared.

    Parameters
    ----------
    beside
        The study's other series that are read. Where they show what lies next to this one, a short
        scan is not the end of what was seen.
    """
    assert verdict.stack is not None
    return (
        *_gaps(verdict, verdict.stack),
        *_coverage(verdict, beside, settings),
        *_announced(verdict),
        *_cut_short(verdict),
        *_unusable(verdict, verdict.stack),
        *_unread(verdict),
        *_elsewhere(verdict),
    )


def lost(files: int) -> Unseen:
    """Return what nobody saw where files that came with a study could not be used."""
    message = (
        f"{counted(files, 'file')} of the folder could not be used: this study may be incomplete"
    )
    return Unseen(Reason.INCOMPLETE, message, forbids=True)


def limitations(found: Sequence[Unseen]) -> tuple[str, ...]:
    """Return the sentences on what was not seen."""
    return tuple(one.message for one in found)


def of_pixels(found: Sequence[Limitation], continued: Sequence[str]) -> tuple[Unseen, ...]:
    """Return the defects of the pixels (`node.cases.quality`) that forbid to clear a series.

    Parameters
    ----------
    continued
        The ends beyond which another series of the study goes on, as `continued` gives them.
    """
    return tuple(
        Unseen(one.forbids_clearing, one.sentence, forbids=True)
        for one in found
        if one.forbids_clearing and one.end not in continued
    )


def continued(verdict: Verdict, beside: Sequence[Verdict]) -> tuple[str, ...]:
    """Return the ends, "top" and "bottom", at which another series of the study goes on."""
    assert verdict.stack is not None
    normal = verdict.stack.plane.normal
    up = normal * np.sign(normal[2] or 1.0)
    low, high = _ends_mm(verdict.stack, up)
    ends = [_ends_mm(stack, up) for stack in _in_line(verdict, beside)]
    touch = READING_THICKNESS_MM
    above = any(bottom <= high + touch < top for bottom, top in ends)
    below = any(bottom < low - touch <= top for bottom, top in ends)
    return tuple(end for end, holds in (("top", above), ("bottom", below)) if holds)


def forbidding(found: Sequence[Unseen], in_head: Callable[[int], bool]) -> tuple[Unseen, ...]:
    """Return what forbids to clear the series.

    Parameters
    ----------
    in_head
        Whether a slice, by its index, shows brain: a gap forbids only between such slices.
    """
    return tuple(
        one
        for one in found
        if one.forbids and (one.after is None or in_head(one.after) or in_head(one.after + 1))
    )


def _gaps(verdict: Verdict, stack: Stack) -> tuple[Unseen, ...]:
    """Return the gaps wider than the reading thickness, with the millimetres that they hide."""
    found = []
    for hole in stack.holes:
        if hole.gap_mm <= READING_THICKNESS_MM:
            continue
        pair = stack.slices[hole.after : hole.after + 2]
        numbers = (verdict.headers[ref.header].instance_number for ref in pair)
        between = " and ".join(str(number or "?") for number in numbers)
        message = (
            f"a slice is missing: images {between} lie {hole.gap_mm:.1f} mm apart; "
            f"{hole.unseen_mm:.1f} mm between them were not seen"
        )
        # Positions are rounded to a tenth of a millimetre in many archives.
        forbids = hole.unseen_mm > READING_THICKNESS_MM - 0.1
        found.append(Unseen(Reason.MISSING_SLICE, message, forbids, hole.after))
    return (*found, *_sparse(verdict, stack))


def _sparse(verdict: Verdict, stack: Stack) -> tuple[Unseen, ...]:
    """Return the gaps that are as wide as those around them and hide the reading thickness too.

    Slices that all lie the reading thickness apart are a protocol, and a limitation.
    """
    thick = [verdict.headers[ref.header].slice_thickness_mm or 0.0 for ref in stack.slices]
    if not all(thick):
        return ()
    # (z - 1,) what the thickness of two neighbours leaves open between them.
    open_mm = stack.gaps_mm - (np.array(thick[:-1]) + np.array(thick[1:])) / 2
    open_mm[[hole.after for hole in stack.holes]] = 0
    unusual = stack.gaps_mm > 1.2 * np.median(stack.gaps_mm)
    limit_mm = READING_THICKNESS_MM + np.where(unusual, -0.1, 0.1)
    wide = np.flatnonzero(open_mm > limit_mm)
    if not len(wide):
        return ()
    message = (
        f"{len(wide)} gaps between slices hide up to {open_mm.max():.1f} mm each, which were not "
        "imaged"
    )
    middle = int(wide[len(wide) // 2])
    return (Unseen(Reason.MISSING_SLICE, message, forbids=True, after=middle),)


def _coverage(
    verdict: Verdict, beside: Sequence[Verdict], settings: Assemble
) -> tuple[Unseen, ...]:
    """Return the end of a scan that is too short to hold a head, alone and with its neighbours."""
    stack, wanted_mm = verdict.stack, settings.min_coverage_mm
    assert stack is not None
    if stack.coverage_mm >= wanted_mm:
        return ()
    together_mm = _joined_mm(verdict, beside)
    message = f"too little of the head: {stack.coverage_mm:.1f} mm scanned"
    if together_mm >= wanted_mm:
        said = f"{message}; with the study's other series {together_mm:.1f} mm"
        return (Unseen(Reason.COVERAGE, said, forbids=False),)
    said = f"{message}, {wanted_mm:.1f} mm needed to clear it"
    return (Unseen(Reason.COVERAGE, said, forbids=True),)


def _joined_mm(verdict: Verdict, beside: Sequence[Verdict]) -> float:
    """Return the length that a series and those that touch it show together, mm."""
    assert verdict.stack is not None
    normal = verdict.stack.plane.normal
    ends = [_ends_mm(stack, normal) for stack in _in_line(verdict, beside)]
    low, high = _ends_mm(verdict.stack, normal)
    # Each series that touches what is joined so far widens it, until none does.
    for _ in ends:
        for bottom, top in ends:
            if bottom - high <= READING_THICKNESS_MM and low - top <= READING_THICKNESS_MM:
                low, high = min(low, bottom), max(high, top)
    return high - low


def _in_line(verdict: Verdict, beside: Sequence[Verdict]) -> list[Stack]:
    """Return the stacks that lie in the same space and direction.

    Series of another frame of reference say nothing of where they lie (PS3.3 C.7.4.1).
    """
    assert verdict.stack is not None
    normal = verdict.stack.plane.normal
    frame = verdict.headers[0].frame_of_reference_uid
    return [
        other.stack
        for other in beside
        if other.stack and frame and other.headers[0].frame_of_reference_uid == frame
        if abs(other.stack.plane.normal @ normal) > SAME_DIRECTION
    ]


def _ends_mm(stack: Stack, normal: NDArray[np.float64]) -> tuple[float, float]:
    """Return where the outer slices end along a normal, half a gap beyond their places, mm."""
    places, gaps = np.sort(stack.positions_mm @ normal), np.abs(stack.gaps_mm)
    return float(places[0] - gaps[0] / 2), float(places[-1] + gaps[-1] / 2)


def _announced(verdict: Verdict) -> tuple[Unseen, ...]:
    wanted = announced(verdict.series)
    came = len(verdict.series.received)
    if came >= wanted.images:
        return ()
    message = (
        f"{came} of {wanted.images} announced images came ({wanted.told_by}); "
        "send the series again, complete"
    )
    return (Unseen(Reason.INCOMPLETE, message, forbids=True),)


def _cut_short(verdict: Verdict) -> tuple[Unseen, ...]:
    count = verdict.series.cut_short
    if count == 0:
        return ()
    came = counted(
        count,
        "image came cut short and waits in quarantine for a whole one",
        "images came cut short and wait in quarantine for whole ones",
    )
    message = f"{came}; send the series again"
    return (Unseen(Reason.INCOMPLETE, message, forbids=True),)


def _unusable(verdict: Verdict, stack: Stack) -> tuple[Unseen, ...]:
    """Return the images that were set aside, if more than the reading thickness stands in them."""
    lost_mm = verdict.lost * float(np.median(stack.gaps_mm))
    if lost_mm <= READING_THICKNESS_MM + 0.1:
        return ()
    images = counted(verdict.lost, "image")
    message = f"{images} of the series could not be used; send it again, complete"
    return (Unseen(Reason.INCOMPLETE, message, forbids=True),)


def _unread(verdict: Verdict) -> tuple[Unseen, ...]:
    count = verdict.series.part.unread
    if count == 0:
        return ()
    images = counted(count, "image was", "images were")
    message = f"a dynamic series: {images} of further scans of the same place, and not read"
    return (Unseen(Reason.DUPLICATE_POSITION, message, forbids=True),)


def _elsewhere(verdict: Verdict) -> tuple[Unseen, ...]:
    if not verdict.doubted:
        return ()
    return (
        Unseen(Reason.NOT_A_HEAD, f"{verdict.doubted}; it was read all the same", forbids=True),
    )
