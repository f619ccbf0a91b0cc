"""What the rules of mimics know of a head and of what is marked in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.preprocess import Array, Canvas
from models.slabs import Slabs
from models.standard_head import VAULT_MM, patient_mm, standard
from models.volume import Volume

Mask = NDArray[np.bool_]

MOST_REGIONS = 3
"""Of so many regions, the largest, something is said."""
LEAST_ML = 0.05
"""Smaller regions are passed over."""
ABOVE_BRAIN_HU = 12.0
"""What is so much denser than the brain's median may be blood."""
BONE_HU = 250.0
"""The skull is the largest piece so dense."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the rules know of a head; arrays are (s, y, x) on the canvas.

    `x`, `y`, `z` are mm of the standard head; `hu` is the canvas, `even` the mean of 3 x 3 mm of
    it, `sharp` that of 5 mm from front to back; `rim` is the skull and 2 mm around it on each slab.
    `extent_mm` and `voxel_ml`, (s,), are the height and the volume that each slab's points have.
    """

    x: Array
    y: Array
    z: Array
    hu: Array
    even: Array
    sharp: Array
    inside: Mask
    skull: Mask
    rim: Mask
    brain_hu: float
    voxel_ml: NDArray[np.float64]
    extent_mm: NDArray[np.float64]

    def ml(self, where: Mask) -> float:
        """Return the volume of what is True."""
        return float(where.sum((1, 2)) @ self.voxel_ml)

    def middle(self, where: Mask) -> tuple[float, float, float]:
        """Return the median place of what is True, in the standard head."""
        x, y, z = (float(np.median(axis[where])) for axis in (self.x, self.y, self.z))
        return x, y, z

    def around(self, where: Mask, reach_mm: float) -> Mask:
        """Return what lies around the middle of what is True."""
        return self._near(self.middle(where), reach_mm)

    def mirrored(self, where: Mask, reach_mm: float) -> Mask:
        """Return what lies around the place opposite the middle of what is True."""
        x, y, z = self.middle(where)
        return self._near((-x, y, z), reach_mm)

    def _near(self, place: tuple[float, float, float], reach_mm: float) -> Mask:
        x, y, z = place
        away = (self.x - x) ** 2 + (self.y - y) ** 2 + (self.z - z) ** 2
        return np.asarray((away < reach_mm**2) & ~self.rim)


@dataclass(frozen=True, slots=True)
class Region:
    """One connected region that is marked, and what of its surroundings is denser than brain."""

    marked: Mask
    bright: Mask


def head_of(volume: Volume, slabs: Slabs, canvas: Canvas) -> Head | None:
    """Return what the rules need; None where too little of the vault was scanned."""
    inside = canvas.brain > 0.5
    patient = patient_mm(volume, slabs, canvas)
    if not inside.any() or np.ptp(patient[2][inside]) < VAULT_MM:
        return None
    x, y, z = standard(patient, inside)
    pieces, count = ndimage.label(canvas.hu > BONE_HU, np.ones((3, 3, 3)))
    skull = pieces == (1 + np.bincount(pieces.ravel())[1:].argmax() if count else -1)
    deep = canvas.hu[inside & (np.abs(canvas.hu - 30) < 20)]
    extent = np.abs(np.gradient(slabs.locations_mm))
    return Head(
        *(x, y, z),
        hu=canvas.hu,
        even=ndimage.uniform_filter(canvas.hu, (0, 3, 3)),
        sharp=ndimage.uniform_filter(canvas.hu, (0, 5, 0)),
        inside=inside,
        skull=skull,
        rim=wider(skull, 2),
        brain_hu=float(np.median(deep)) if deep.size else 30.0,
        voxel_ml=extent * canvas.frame.step_mm**2 / 1000,
        extent_mm=extent,
    )


def wider(where: Mask, steps: int, slabs: int = 0) -> Mask:
    """Return what lies within so many steps on a slab, and on so many slabs above and below."""
    wide = ndimage.maximum_filter(where, (2 * slabs + 1, 2 * steps + 1, 2 * steps + 1))
    return np.asarray(wide, bool)


def largest(marked: Mask, head: Head) -> list[Mask]:
    """Return the largest connected regions, the largest first."""
    pieces, count = ndimage.label(marked, np.ones((3, 3, 3)))
    each = [pieces == number for number in range(1, count + 1)] if count <= 50 else []
    if not each:
        sizes = np.bincount(pieces.ravel())[1:]
        each = [pieces == 1 + number for number in np.argsort(-sizes)[:MOST_REGIONS]]
    each = [piece for piece in each if head.ml(piece) >= LEAST_ML]
    return sorted(each, key=head.ml, reverse=True)[:MOST_REGIONS]


def region_of(head: Head, marked: Mask) -> Region:
    """Return a marked region with what is dense in it and within 4 mm of it."""
    near = wider(marked, 4) & ~head.rim
    return Region(marked, near & (head.even > head.brain_hu + ABOVE_BRAIN_HU))
