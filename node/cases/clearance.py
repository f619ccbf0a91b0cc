"""The rule of ichnode: what was not seen is not cleared; what was seen may be flagged. Pure.

A limit bounds what may be cleared, and never what may be flagged. A series with parts that nobody
saw is read all the same. A suspicious reading makes it SUSPECTED, with its limitations. Any other
reading makes it NOT_ANALYSED, as "read in part", with the reason: it is not cleared.
`FORBIDS_CLEARING` lists the conditions.
"""

from collections.abc import Callable, Mapping, Sequence

from node.cases.choice import READING_THICKNESS_MM
from node.cases.completeness import announced
from node.cases.eligibility import Verdict
from node.cases.quality import Limitation
from node.dicom.read.geometry import Stack
from node.records import Unseen
from node.settings import Assemble
from node.states import Reason

FORBIDS_CLEARING: Mapping[Reason, str] = {
    Reason.MISSING_SLICE: "a gap between slices leaves as much as the reading thickness unseen, "
    "and lies in the head",
    Reason.COVERAGE: "less than assemble.min_coverage_mm was scanned",
    Reason.NOT_AXIAL: "the pixels are not axial, whatever the header says",
    Reason.NOISE: "the brain is lost in noise",
    Reason.ARTEFACT: "metal on most slices of the brain, or the head moved far between slices",
    Reason.UNDECODABLE: "images cannot be decoded and were set aside",
    Reason.DUPLICATE_POSITION: "different images lie at one position, and some were not read",
    Reason.INCOMPLETE: "fewer images came than the scanner announced, or some came cut short",
}
"""Each condition that forbids to clear a series, by the reason it is reported with."""

IN_PART = "read in part: nothing suspicious in what was seen"


def unseen(verdict: Verdict, settings: Assemble) -> tuple[Unseen, ...]:
    """Return what nobody saw of a series that can be read; none where it may be cleared."""
    assert verdict.stack is not None
    return (
        *_gaps(verdict, verdict.stack),
        *_coverage(verdict.stack, settings),
        *_announced(verdict),
        *_cut_short(verdict),
    )


def limitations(found: Sequence[Unseen]) -> tuple[str, ...]:
    """Return the sentences on what was not seen."""
    return tuple(one.message for one in found)


def of_pixels(found: Sequence[Limitation]) -> tuple[Unseen, ...]:
    """Return the defects of the pixels (`node.cases.quality`) that forbid to clear a series."""
    return tuple(
        Unseen(one.forbids_clearing, one.sentence, forbids=True)
        for one in found
        if one.forbids_clearing
    )


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
    return tuple(found)


def _coverage(stack: Stack, settings: Assemble) -> tuple[Unseen, ...]:
    if stack.coverage_mm >= settings.min_coverage_mm:
        return ()
    message = (
        f"too little of the head: {stack.coverage_mm:.1f} mm scanned, "
        f"{settings.min_coverage_mm:.1f} mm needed to clear it"
    )
    return (Unseen(Reason.COVERAGE, message, forbids=True),)


def _announced(verdict: Verdict) -> tuple[Unseen, ...]:
    wanted = announced(verdict.series)
    came = len(verdict.series.instances)
    if came >= wanted:
        return ()
    message = f"{came} of {wanted} announced images came; send the series again, complete"
    return (Unseen(Reason.INCOMPLETE, message, forbids=True),)


def _cut_short(verdict: Verdict) -> tuple[Unseen, ...]:
    count = verdict.series.cut_short
    if count == 0:
        return ()
    came = "1 image came" if count == 1 else f"{count} images came"
    message = f"{came} cut short and waits in quarantine for a whole one; send the series again"
    return (Unseen(Reason.INCOMPLETE, message, forbids=True),)
