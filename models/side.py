"""On which side of the head a lesion lies, as far as the skull shows it.

The midline of a slice is the long axis of the space within the skull, through its middle. It is
measured on slices whose skull is closed, so that neither the way the head lies nor a headrest
moves it. The axis is taken over all these slices together, the middle from each.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.volume import Volume

BONE_HU = 200.0
COARSE_MM = 1.0
"""Pixels up to this far apart are enough."""
GAP_MM = 4.0
"""Sutures and thin bone open the skull on a slice by less than this."""
LEAST_CM2 = 45.0
"""The space within the skull is larger than this between skull base and vertex."""
LEAST_ELONGATION = 1.05
"""Length over width, in standard deviations; below it the long axis is not certain."""
MOST_TURN_DEG = 40.0
"""A head is turned by less than this from the patient's own front to back."""
LEAST_MEASURED = 0.5
"""Part of the lesion that must lie on slices with a midline."""
ONE_SIDE = 0.85
"""Part of the lesion from which it lies on one side."""
MIDDLE_MM, MIDDLE = 8.0, 0.8
"""It lies in the middle if this part of it is this near to the midline.

All these numbers are estimates. Of the radiologists' outlines in 27 heads of PhysioNet CT-ICH, 17
get a side, each the one that the middle of the skull in the picture gives; the others lie at the
skull base or in heads that are too round. None of this is exact enough for a midline shift.
"""


class Side(StrEnum):
    """The patient's side on which a lesion lies."""

    LEFT = "left"
    RIGHT = "right"
    MIDDLE = "midline"
    BOTH = "both sides"


@dataclass(frozen=True, slots=True)
class _Inside:
    """The space within the skull on one slice: middle and spread, in the plane and in mm."""

    area: float
    middle: NDArray[np.float64]
    """(2,) along rows and columns."""
    spread: NDArray[np.float64]
    """(2, 2) covariance."""


def side_of(volume: Volume, mask: NDArray[np.bool_], whole: int | None = None) -> Side | None:
    """Return the side of a lesion; None if the slices do not show it.

    Parameters
    ----------
    volume
        Slices of the head, all of those or some that show the lesion.
    mask
        (z, y, x) bool, the lesion on these slices.
    whole
        Number of the lesion's voxels on all slices, if these are not all.
    """
    lateral = _lateral(volume)
    if lateral is None or not mask.any():
        return None
    found = {
        z: inside
        for z in np.flatnonzero(mask.any(axis=(1, 2)))
        if (inside := _inside(volume.hu[z], volume.spacing_mm)) is not None
    }
    measured = sum(int(mask[z].sum()) for z in found)
    if measured < LEAST_MEASURED * (whole or int(mask.sum())):
        return None
    across = _across(list(found.values()), lateral)
    if across is None:
        return None
    # (n,) mm to the patient's left of the midline, of each voxel of the lesion.
    left = np.concatenate(
        [
            (_in_plane(mask[z], volume.spacing_mm) - inside.middle) @ across
            for z, inside in found.items()
        ]
    )
    return _judged(left)


def _judged(left: NDArray[np.float64]) -> Side:
    if (abs(left) <= MIDDLE_MM).mean() >= MIDDLE:
        return Side.MIDDLE
    share = (left > 0).mean()
    if share >= ONE_SIDE:
        return Side.LEFT
    return Side.RIGHT if share <= 1 - ONE_SIDE else Side.BOTH


def _lateral(volume: Volume) -> NDArray[np.float64] | None:
    """(2,) the patient's left in the plane of the slices; None if they are far from axial."""
    left = np.array([volume.orientation[0], volume.orientation[3]])
    length = np.linalg.norm(left)
    return None if length < np.cos(np.radians(MOST_TURN_DEG)) else left / length


def _inside(hu: NDArray[np.float32], spacing_mm: tuple[float, float]) -> _Inside | None:
    """Return the space within the skull on a slice, None if the skull is not closed around it."""
    every = max(1, int(COARSE_MM / min(spacing_mm)))
    spacing_mm = (spacing_mm[0] * every, spacing_mm[1] * every)
    bone = hu[::every, ::every] > BONE_HU
    steps = max(1, round(GAP_MM / 2 / min(spacing_mm)))
    ring = ndimage.binary_closing(np.pad(bone, steps), iterations=steps)
    ring = ring[steps:-steps, steps:-steps]
    pieces, count = ndimage.label(ndimage.binary_fill_holes(ring) & ~ring)
    if not count:
        return None
    largest = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    area = float(largest.sum()) * spacing_mm[0] * spacing_mm[1]
    if area < LEAST_CM2 * 100:
        return None
    points = _in_plane(ndimage.binary_fill_holes(largest), spacing_mm)
    return _Inside(area, points.mean(axis=0), np.cov(points.T))


def _across(insides: list[_Inside], lateral: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(2,) unit vector to the patient's left, perpendicular to the long axis; None if uncertain."""
    spread = np.average([i.spread for i in insides], axis=0, weights=[i.area for i in insides])
    widths, axes = np.linalg.eigh(spread)  # ascending
    if np.sqrt(widths[1] / widths[0]) < LEAST_ELONGATION:
        return None
    short = axes[:, 0] * np.sign(axes[:, 0] @ lateral)
    return None if short @ lateral < np.cos(np.radians(MOST_TURN_DEG)) else short


def _in_plane(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """(n, 2) along rows and columns, the middle of each True pixel in mm."""
    y, x = np.nonzero(mask)
    return np.stack([x * spacing_mm[1], y * spacing_mm[0]], axis=1)
