"""Brain that is darker than it should be, around a place and around its mirror: oedema, infarcts.

Ventricles, sulci and the dark white matter of age lie on both sides, and cancel.
"""

from dataclasses import dataclass

from scipy import ndimage

from models.mimics.head import Head, Mask

LEAST_HU, BELOW_BRAIN_HU = 10.0, 6.0
"""Denser than fluid, and so much less dense than the brain's median; an estimate."""
REACH_MM = 35.0
"""Around the middle of the place, in the standard head."""


@dataclass(frozen=True, slots=True)
class Dark:
    """Dark brain around a place.

    Attributes
    ----------
    where
        (s, y, x) bool.
    here_ml, there_ml
        Its volume, and the volume of what is as dark around the mirror of the place.
    """

    where: Mask
    here_ml: float
    there_ml: float

    @property
    def more_ml(self) -> float:
        """By how much there is more of it than on the other side."""
        return self.here_ml - self.there_ml


def dark_around(head: Head, where: Mask) -> Dark:
    """Return what is dark around the middle of what is True, as the mean of 5 x 5 mm."""
    mean = ndimage.uniform_filter(head.even, (0, 3, 3))
    dark = (mean > LEAST_HU) & (mean < head.brain_hu - BELOW_BRAIN_HU) & head.inside
    here = dark & head.around(where, REACH_MM)
    there = dark & head.mirrored(where, REACH_MM)
    return Dark(here, head.ml(here), head.ml(there))
