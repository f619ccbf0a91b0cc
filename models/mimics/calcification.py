"""Calcium: denser than any clot, at a place that is known to calcify.

Clotted blood measures 60 to 80 HU, at most about 90 (New and Aronow 1976, Radiology 121:635-640, by
haematocrit). Where no source stands, a number is an estimate.
"""

import numpy as np

from models.mimics.head import ABOVE_BRAIN_HU, Head, Mask, Region, wider

CALCIUM_HU = 95.0
"""Denser than any clot, as the mean of 3 x 3 mm on a slab."""
BLOOD_LEFT, BLOOD_LEFT_ML = 0.15, 0.05
"""With more of a region as dense as blood and away from calcium, the region may be blood."""
LEAST_CALCIUM = 0.1
"""So much of a region at least is calcium; the rest mixes with brain at its edge."""
FRINGE_MM = 3
"""Around calcium voxels are mixtures of it and of brain, and as dense as blood."""


def calcium(head: Head, region: Region) -> str | None:
    """Say where a region lies that is denser than blood, if blood is no part of it."""
    dense = region.bright & head.inside & (head.even >= CALCIUM_HU)
    bright_ml = head.ml(region.bright)
    fringe = wider(dense, FRINGE_MM, slabs=1)
    blood_ml = head.ml(region.bright & ~fringe)
    if not dense.any() or blood_ml > max(BLOOD_LEFT_ML, BLOOD_LEFT * bright_ml):
        return None
    if head.ml(dense) < LEAST_CALCIUM * bright_ml:
        return None
    place = _calcified(head, dense)
    if place is None:
        return None
    peak = np.percentile(head.even[dense], 95)
    return f"lies {place} and measures up to {peak:.0f} HU, denser than blood: it may be calcium"


def _calcified(head: Head, dense: Mask) -> str | None:
    """Return the place that is known to calcify and holds what is dense; None if none does.

    The places are those of the standard head, with about 8 mm on each side (an estimate).
    """
    x, y, z = head.middle(dense)
    side = "left" if x > 0 else "right"
    if abs(x) < 7 and 16 < y < 44 and -14 < z < 16:
        return "where the pineal gland is"
    if 8 < abs(x) < 38 and 18 < y < 56 and -12 < z < 30:
        return f"in the choroid plexus of the {side} lateral ventricle"
    if 9 < abs(x) < 36 and -28 < y <= 18 and -14 < z < 22:
        other = head.mirrored(dense, 9) & (head.even > head.brain_hu + 2 * ABOVE_BRAIN_HU)
        return f"in the {side} basal ganglia, as on the other side," if other.any() else None
    if abs(x) < 6 and z > 14:
        return "on the falx"
    return None
