"""What a reader of the comparison must know beside its figures, in sentences."""

from collections import Counter

from node.archive.acceptance import PEOPLE
from node.archive.comparison.pairs import Pairs
from node.archive.comparison.sides import Point, Side, Sides
from node.wording import Flip, counted


def remarks(sides: Sides, pairs: Pairs) -> list[str]:
    """Return what is left out, open, or not due to the new network alone."""
    return [
        *(*_points(sides), *_bundles(sides), *_unread(sides)),
        *(*_unknown(pairs, sides.settled_by), *_patients(pairs)),
    ]


def _points(sides: Sides) -> list[str]:
    old, new = (", ".join(map(_point, side.points())) for side in (sides.old, sides.new))
    if set(sides.old.points()) == set(sides.new.points()):
        return []
    return [
        f"the operating points differ (OLD: {old or 'none'}; NEW: {new or 'none'}): a study may "
        "flip by the threshold, and not by what the network saw"
    ]


def _point(point: Point) -> str:
    name, threshold = point
    flags = f"flags from {threshold:.3f}" if threshold is not None else "threshold not told"
    return f"{name or 'no name'}, {flags}"


def _bundles(sides: Sides) -> list[str]:
    mixed = [
        f"{name} was read by several bundles: {', '.join(side.bundles())}"
        for name, side in (("OLD", sides.old), ("NEW", sides.new))
        if len(side.bundles()) > 1
    ]
    shared = sorted(set(sides.old.bundles()) & set(sides.new.bundles()))
    if shared:
        mixed.append(f"{', '.join(shared)} read studies of both")
    return mixed


def _unread(sides: Sides) -> list[str]:
    told = []
    flagged = _flagged(sides.old, sides.only_old)
    if sides.only_old:
        told.append(
            f"not compared: {counted(len(sides.only_old), 'study')} of OLD without an outcome in "
            f"NEW ({flagged} flagged); `ichnode archive read NEW` goes on there"
        )
    if sides.only_new:
        studies = counted(len(sides.only_new), "study")
        told.append(f"not compared: {studies} of NEW without an outcome in OLD")
    return told


def _flagged(side: Side, names: tuple[str, ...]) -> int:
    return sum(side.outcomes[name].flagged for name in names)


def _unknown(pairs: Pairs, settled_by: str) -> list[str]:
    told = []
    left_out = sum(each.analysed and not each.counts for each in pairs.all)
    if left_out:
        studies = counted(left_out, "study is", "studies are")
        told.append(f"{studies} in no figure: nobody knows the truth")
    flips = [each for each in pairs.all if each.flip in (Flip.FLAGGED, Flip.UNFLAGGED)]
    unseen = sum(each.member.by != PEOPLE for each in flips)
    if unseen:
        told.append(
            f"one bundle flags {counted(len(flips), 'study')} and the other does not; "
            f"people have not settled {unseen}: {settled_by}"
        )
    return told


def _patients(pairs: Pairs) -> list[str]:
    owners = Counter(each.old.patient for each in pairs.all if each.counts and each.old.patient)
    several = sum(number > 1 for number in owners.values())
    if not several:
        return []
    return [
        f"{counted(several, 'patient has', 'patients have')} several studies: the intervals count "
        "these together, McNemar's test takes each for itself"
    ]
