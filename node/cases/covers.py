"""What is read of a series with damaged images, or with different images at one position.

A damaged image is set aside; the same image under another UID takes its place if there is one.
Different images at one position are read in covers, each with one image at every position. The
first cover holds the images with the lowest InstanceNumbers, the second one the next, and so on.
Everything is pure but the decoder, which comes in from outside.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.volume import Volume
from node.cases.choice import READING_THICKNESS_MM
from node.cases.crashes import crashing
from node.dicom.read.damage import Crashed, Damaged, Doubled, Fault
from node.dicom.read.geometry import SAME_POSITION_MM
from node.records import SeriesPlan, SliceRef, Unseen
from node.states import Reason
from node.wording import counted

LEAST_SHARE = 0.5
"""A series is read while more than this part of its positions is left. Chosen as the share of
images that must belong together (`node.cases.odd_ones`)."""

MAX_COVERS = 3
"""How many different images at one position are read. Each costs a reading; chosen."""

Decode = Callable[[SeriesPlan], Volume]


@dataclass(frozen=True, slots=True)
class Covers:
    """What is read of a planned series.

    Attributes
    ----------
    plan
        The plan without its damaged images.
    covers
        The plans to read, one by one. They have no copies.
    unseen
        What forbids to clear the series, since nobody sees it.
    doubled
        What is said of different images at one position, "" if there are none.
    volume
        The volume of the only cover; None if there are several.
    """

    plan: SeriesPlan
    covers: tuple[SeriesPlan, ...]
    unseen: tuple[Unseen, ...] = ()
    doubled: str = ""
    volume: Volume | None = None

    def limitations(self, unread: Sequence[Unseen]) -> tuple[str, ...]:
        """Return the sentences on all of it, where these covers could not be read."""
        speaks = "both were read, the more suspicious speaks"
        if len(self.covers) > 2:
            speaks = f"{len(self.covers)} covers were read, the most suspicious speaks"
        doubled = self.doubled if unread else f"{self.doubled}; {speaks}"
        messages = (one.message for one in (*self.unseen, *unread))
        return (*messages, *((doubled,) if self.doubled else ()))

    def speaking(self, cover: SeriesPlan) -> SeriesPlan:
        """Return the plan whose slices are those of the cover; the other images are copies."""
        spoken = set(cover.slices)
        rest = (ref for ref in (*self.plan.slices, *self.plan.copies) if ref not in spoken)
        return replace(cover, copies=tuple(rest))


def covers(plan: SeriesPlan, decode: Decode) -> Covers:
    """Decode the planned series and return what is read of it.

    Raises
    ------
    Damaged, Crashed
        If so many images are damaged that no more than `LEAST_SHARE` of the positions is left, or
        if nobody can say which image ends the decoder.
    Refused
        Whatever else `decode` raises.
    """
    sound = plan
    unseen: tuple[Unseen, ...] = ()
    while True:
        try:
            volume = decode(sound)
        except (Damaged, Crashed) as reason:
            faults = reason.faults if isinstance(reason, Damaged) else crashing(sound, decode)
            left = without(sound, faults)
            if not faults or len(left.slices) <= LEAST_SHARE * len(plan.slices):
                raise
            unseen = (*unseen, *set_aside(sound, faults))
            sound = left
        except Doubled as doubled:
            found = tuple(_covers(sound, doubled.images))
            unread = _unread(doubled.images)
            return Covers(sound, found, (*unseen, *unread), _said(doubled.images))
        else:
            return Covers(sound, (replace(sound, copies=()),), unseen, volume=volume)


# --- damaged images ------------------------------------------------------------------------------


def without(plan: SeriesPlan, faults: Sequence[Fault]) -> SeriesPlan:
    """Return the plan without the damaged images, copies in their places where there are any."""
    damaged = {fault.ref for fault in faults}
    copies = [ref for ref in plan.copies if ref not in damaged]
    slices: list[SliceRef] = []
    kept: list[int] = []
    for index, ref in enumerate(plan.slices):
        chosen = ref if ref not in damaged else _copy_of(ref, copies)
        if chosen is None:
            continue
        if chosen is not ref:
            copies.remove(chosen)
        slices.append(chosen)
        kept.append(index)
    unseen = tuple(_moved(one, kept) for one in plan.unseen)
    return replace(plan, slices=tuple(slices), copies=tuple(copies), unseen=unseen)


def _copy_of(ref: SliceRef, copies: Sequence[SliceRef]) -> SliceRef | None:
    """Return the first copy at the position of an image, None if there is none."""
    return next((copy for copy in copies if _same_position(copy, ref)), None)


def _same_position(one: SliceRef, other: SliceRef) -> bool:
    if one.location_mm is None or other.location_mm is None:
        return False
    return abs(one.location_mm - other.location_mm) < SAME_POSITION_MM


def _moved(one: Unseen, kept: Sequence[int]) -> Unseen:
    """Return what was not seen with its index among the slices that are left."""
    if one.after is None:
        return one
    below = sum(index <= one.after for index in kept) - 1
    return replace(one, after=below if 0 <= below < len(kept) - 1 else None)


def set_aside(plan: SeriesPlan, faults: Sequence[Fault]) -> tuple[Unseen, ...]:
    """Return what is not seen of the plan because of the damage, one for each kind of it."""
    lost_mm = _lost_mm(plan, faults)
    kinds: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.code].append(fault)
    placed = all(ref.location_mm is not None for ref in plan.slices)
    forbids = not placed or sum(lost_mm.values()) > READING_THICKNESS_MM - 0.1
    return tuple(_not_seen(found, lost_mm, forbids) for found in kinds.values())


def _lost_mm(plan: SeriesPlan, faults: Sequence[Fault]) -> Mapping[SliceRef, float]:
    """Return the length along the normal that each damaged slice without a copy stands for."""
    locations = [ref.location_mm for ref in plan.slices]
    if None in locations or len(locations) < 2:
        return {}
    gaps = np.abs(np.diff(np.array(locations, np.float64)))  # (z - 1,)
    # A slice stands for half of the gap to either neighbour, an end for its whole gap: (z,).
    extents = (np.r_[gaps[0], gaps] + np.r_[gaps, gaps[-1]]) / 2
    left = without(plan, faults).slices
    return {
        ref: float(extent)
        for ref, extent in zip(plan.slices, extents, strict=True)
        if not any(_same_position(ref, other) for other in left)
    }


def _not_seen(faults: Sequence[Fault], lost_mm: Mapping[SliceRef, float], forbids: bool) -> Unseen:
    """Return the sentence on damaged images of one kind, with the reason of the first."""
    one = len(faults) == 1
    images = counted(
        len(faults), "image could not be decoded and was", "images could not be decoded and were"
    )
    lost = sum(lost_mm.get(fault.ref, 0.0) for fault in faults)
    where = f" ({lost:.1f} mm of the scan)" if lost else ""
    reason = faults[0].message.partition("; ")[0]  # what to do is said for all of them
    message = f"{images} not seen{where}: {reason}; send {'it' if one else 'them'} again"
    return Unseen(Reason.UNDECODABLE, message, forbids)


# --- different images at one position ------------------------------------------------------------


def _covers(plan: SeriesPlan, images: Mapping[int, tuple[SliceRef, ...]]) -> Iterator[SeriesPlan]:
    """Yield the covers; where a position has fewer images, a cover holds its last one."""
    depth = max(len(found) for found in images.values())
    for number in range(min(depth, MAX_COVERS)):
        slices = list(plan.slices)
        for index, found in images.items():
            slices[index] = found[min(number, len(found) - 1)]
        yield replace(plan, slices=tuple(slices), copies=())


def _unread(images: Mapping[int, tuple[SliceRef, ...]]) -> tuple[Unseen, ...]:
    """Return the images that no cover holds."""
    count = sum(max(len(found) - MAX_COVERS, 0) for found in images.values())
    if count == 0:
        return ()
    further = counted(
        count,
        "further image at the same positions was",
        "further images at the same positions were",
    )
    message = (
        f"{further} not read: {MAX_COVERS} different ones are; "
        "send each scan as a series of its own"
    )
    return (Unseen(Reason.DUPLICATE_POSITION, message, forbids=True),)


def _said(images: Mapping[int, tuple[SliceRef, ...]]) -> str:
    """Return what is said of positions with several images, as the beginning of a sentence."""
    positions = counted(len(images), "position holds", "positions hold")
    depth = max(len(found) for found in images.values())
    return f"{positions} {'two' if depth == 2 else f'up to {depth}'} different images"
