"""Slabs: a volume in canonical orientation, with thin slices averaged, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.volume import Volume

Array = NDArray[np.float32]

AIR = np.float32(-1000)
"""HU of everything outside the image."""

DENSEST = np.float32(4000)
"""HU to which metal is clipped."""

PADDING = np.float32(20000)
"""HU above which a value is a scanner's padding and counts as air: no matter is so dense."""


@dataclass(frozen=True, slots=True)
class Slabs:
    """A volume in canonical orientation, with thin slices averaged.

    Attributes
    ----------
    hu
        (s, y, x) float32, HU; s grows towards the head, y towards posterior, x towards the
        patient's left.
    locations_mm
        (s,) float64, the place of each slab along the slice normal, increasing towards the head.
    spacing_mm
        Distance between rows and between columns of `hu`.
    of_slice
        (z,) int, the slab that each source slice belongs to.
    restore
        Turns an array (z, y, x), one plane in canonical in-plane orientation for each source slice
        in source order, to the orientation of the source.
    """

    hu: Array
    locations_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    of_slice: NDArray[np.intp]
    restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def make_slabs(volume: Volume, slab_mm: float) -> Slabs:
    """Return the volume in canonical orientation, its thin slices averaged into slabs.

    What counts is the length that a slice stands for. A slice of 0.7 `slab_mm` or more is a slab of
    its own. Thinner neighbours join until their slab is about `slab_mm` thick, from the feet
    upwards whichever way the normal points.
    """
    # How the source is turned: transposed where its rows run from front to back, then flipped.
    row, column = volume.orientation[:3], volume.orientation[3:]
    transposed = abs(row[0]) < abs(column[0])
    across, along = (column, row) if transposed else (row, column)
    flips = tuple(slice(None, None, -1 if cosine < 0 else 1) for cosine in (along[1], across[0]))
    upwards = slice(None, None, 1 if volume.normal[2] >= 0 else -1)

    def canonical(planes: Array) -> Array:
        return (planes.swapaxes(1, 2) if transposed else planes)[:, *flips]

    def restore(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        planes = planes[:, *flips]
        return planes.swapaxes(1, 2) if transposed else planes

    # From the feet to the head: (z, y, x) HU, (z,) locations, (z,) slab of each slice.
    hu, locations = _clipped(volume.hu)[upwards], upwards.step * volume.locations_mm[upwards]
    of_slice = _slab_of_slice(volume.slice_extent_mm[upwards], slab_mm)
    if of_slice[-1] + 1 < len(hu):
        hu, locations = _averaged(hu, locations, of_slice)
    spacing = volume.spacing_mm[::-1] if transposed else volume.spacing_mm
    return Slabs(canonical(hu), locations, spacing, of_slice[upwards], restore)


def _clipped(hu: Array) -> Array:
    """HU of any shape -> the same between `AIR` and `DENSEST`, padding of either sign as air."""
    clipped = np.clip(hu, AIR, DENSEST)
    clipped[hu > PADDING] = AIR
    return clipped


def _averaged(
    hu: Array, locations_mm: NDArray[np.float64], of_slice: NDArray[np.intp]
) -> tuple[Array, NDArray[np.float64]]:
    """(z, y, x) slices and (z,) locations -> their means in each slab, (s, y, x) and (s,)."""
    starts = np.flatnonzero(np.diff(of_slice, prepend=-1))  # (s,) first slice of each slab
    sizes = np.diff(np.r_[starts, len(of_slice)])  # (s,) its number of slices
    hu = np.add.reduceat(hu, starts, axis=0)
    hu /= sizes[:, None, None].astype(np.float32)
    return hu, np.add.reduceat(locations_mm, starts) / sizes


def _slab_of_slice(extent_mm: NDArray[np.float64], slab_mm: float) -> NDArray[np.intp]:
    """(z,) length that each slice stands for -> (z,) index of its slab, starting at 0."""
    index = np.zeros(len(extent_mm), np.intp)
    thickness = extent_mm[0]
    for z in range(1, len(extent_mm)):
        # A slice joins the slab below unless it is thick or takes the slab further from `slab_mm`.
        joined = thickness + extent_mm[z]
        apart = extent_mm[z] >= 0.7 * slab_mm or abs(joined - slab_mm) > abs(thickness - slab_mm)
        index[z] = index[z - 1] + apart
        thickness = extent_mm[z] if apart else joined
    return index
