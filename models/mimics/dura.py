"""What belongs to the dura and is dense in a healthy head: the falx, the tentorium, a sinus.

All numbers are estimates.
"""

import numpy as np

from models.mimics.head import ABOVE_BRAIN_HU, Head, Region, wider

FALX_HU, TENTORIUM_HU = 60.0, 52.0
"""They measure less on slabs of 5 mm; fresh blood beside them mostly more."""
DURA_MM = 3.5
"""The falx is no wider on a slab."""
SINUS_HU = (50.0, 85.0)
"""Blood in a venous sinus, from normal to thrombosed."""
SINUS_MM = 14.0
"""The superior sagittal sinus is no wider."""
ALIKE_HU = 8.0
"""Two places within this are equally dense."""


def falx(head: Head, region: Region) -> str | None:
    """Say that a region is a thin sheet in the middle, no denser than the falx."""
    bright = region.bright & (head.sharp > head.brain_hu + ABOVE_BRAIN_HU)
    if not bright.any() or np.mean(np.abs(head.x[bright]) < 4) < 0.9:
        return None
    _, y, z = head.middle(bright)
    widths = bright.sum(2)[bright.any(2)]
    long = np.ptp(head.y[bright]) > 15
    hu = float(np.percentile(head.sharp[bright], 75))
    if z < 0 or not long or np.percentile(widths, 90) > DURA_MM or hu > FALX_HU or y > 70:
        return None
    return (
        f"is a sheet in the middle, about {np.median(widths):.0f} mm wide and of {hu:.0f} HU: "
        "it may be the falx itself"
    )


def sinus(head: Head, region: Region) -> str | None:
    """Say that a region lies in the superior sagittal sinus, as dense as the rest of it."""
    bright = region.bright
    if np.mean((np.abs(head.x[bright]) < SINUS_MM / 2) & (head.y[bright] > 30)) < 0.9:
        return None
    mine = head.even[bright & ~wider(~bright, 1)]
    course = (np.abs(head.x) < 4) & (head.y > 40) & (head.z > -20) & ~head.rim
    course &= wider(head.skull, 8) & ~wider(region.marked, 4, slabs=1)
    rest = head.even[course & (head.even > head.brain_hu + ABOVE_BRAIN_HU)]
    if mine.size < 4 or rest.size < 40:
        return None
    hu, other = float(mine.mean()), float(np.percentile(rest, 75))
    at_bone = np.mean(wider(head.skull, 12)[bright])
    if not SINUS_HU[0] <= hu <= SINUS_HU[1] or abs(hu - other) > ALIKE_HU or at_bone < 0.9:
        return None
    return (
        f"lies in the course of the superior sagittal sinus and measures {hu:.0f} HU, the rest of "
        f"the sinus {other:.0f} HU: it may be dense blood in the sinus"
    )


def tentorium(head: Head, region: Region) -> str | None:
    """Say that a region lies on the tentorium, no denser than it and as dense on both sides."""
    bright = region.bright
    x, y = np.abs(head.x[bright]), head.y[bright]
    leaf = 3 - 0.42 * x - 0.36 * np.maximum(y - 32, 0) - 0.6 * np.maximum(32 - y, 0)
    if np.mean((np.abs(head.z[bright] - leaf) < 10) & (y > -5)) < 0.9:
        return None
    hu = float(head.even[bright].mean())
    other = head.even[head.mirrored(bright, 10) & (head.even > head.brain_hu + ABOVE_BRAIN_HU)]
    if hu > TENTORIUM_HU or other.size < 10 or abs(float(other.mean()) - hu) > ALIKE_HU:
        return None
    return (
        f"lies on the tentorium and measures {hu:.0f} HU, the other side {other.mean():.0f} HU: "
        "it may be the tentorium itself"
    )
