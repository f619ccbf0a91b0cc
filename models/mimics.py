"""What a marked region may be instead of blood: calcium, the falx, the tentorium, a sinus, streaks.

A sentence names what a region looks like, by its density, its shape and its place. It clears
nothing: no sentence changes a score, a priority or a mask. Where a region may as well be blood,
nothing is said. All is measured on the slabs that the networks read, about 5 mm thick.

Sources: clotted blood measures 60 to 80 HU, at most about 90 (New and Aronow 1976, Radiology
121:635-640, by haematocrit); where no source stands, a number is an estimate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.preprocess import Array, Canvas, Grid
from models.slabs import Slabs, make_slabs
from models.standard_head import VAULT_MM, patient_mm, standard
from models.volume import Volume

Mask = NDArray[np.bool_]

MOST_REGIONS = 3
"""Of so many regions, the largest, something is said."""
LEAST_ML = 0.05
"""Smaller regions are passed over."""
CALCIUM_HU = 95.0
"""Denser than any clot, as the mean of 3 x 3 mm on a slab."""
ABOVE_BRAIN_HU = 12.0
"""What is so much denser than the brain's median may be blood."""
BONE_HU = 250.0
"""The skull is the largest piece so dense."""
BLOOD_LEFT, BLOOD_LEFT_ML = 0.15, 0.05
"""With more of a region as dense as blood and away from calcium, the region may be blood."""
LEAST_CALCIUM = 0.1
"""So much of a region at least is calcium; the rest mixes with brain at its edge."""
FRINGE_MM = 3
"""Around calcium voxels are mixtures of it and of brain, and as dense as blood."""
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
STREAK_HU = 50.0
"""Streaks between the petrous bones stay below; fresh blood mostly does not."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What the rules know of a head; arrays are (s, y, x) on the canvas.

    `x`, `y`, `z` are mm of the standard head; `even` is the mean HU of 3 x 3 mm, `sharp` that of
    5 mm from front to back; `rim` is the skull and 2 mm around it on each slab.
    """

    x: Array
    y: Array
    z: Array
    even: Array
    sharp: Array
    inside: Mask
    skull: Mask
    rim: Mask
    brain_hu: float
    voxel_ml: NDArray[np.float64]

    def ml(self, where: Mask) -> float:
        """Return the volume of what is True."""
        return float(where.sum((1, 2)) @ self.voxel_ml)

    def middle(self, where: Mask) -> tuple[float, float, float]:
        """Return the median place of what is True, in the standard head."""
        x, y, z = (float(np.median(axis[where])) for axis in (self.x, self.y, self.z))
        return x, y, z

    def mirrored(self, where: Mask, reach_mm: float) -> Mask:
        """Return what lies around the place opposite the middle of what is True."""
        x, y, z = self.middle(where)
        away = (self.x + x) ** 2 + (self.y - y) ** 2 + (self.z - z) ** 2
        return np.asarray((away < reach_mm**2) & ~self.rim)


@dataclass(frozen=True, slots=True)
class _Region:
    """One connected region that is marked, and what of its surroundings is denser than brain."""

    marked: Mask
    bright: Mask


def sentences(
    volume: Volume, slabs: Slabs, canvas: Canvas, mask: NDArray[np.bool_], grid: Grid
) -> tuple[str, ...]:
    """Return a sentence for each of the larger regions that looks like a known mimic.

    Parameters
    ----------
    volume, slabs, canvas
        The head, as `models.detector.Detector.preprocess` returns it.
    mask
        (z, y, x) bool, what is marked, in the geometry of the volume.
    grid
        The lattices that slabs and canvas were made with.
    """
    shares = make_slabs(replace(volume, hu=mask.astype(np.float32)), grid.slab_mm)
    marked = canvas.frame.sample(shares) > 0.5
    head = _head_of(volume, slabs, canvas) if marked.any() else None
    if head is None:
        return ()
    found, pieces = [], _largest(marked, head)
    for place, piece in enumerate(pieces):
        if looks := _looks_like(head, piece):
            which = "A marked region" if place else "The largest marked region"
            found.append(f"{which} ({head.ml(piece):.1f} mL) {looks}")
    return tuple(found)


def _head_of(volume: Volume, slabs: Slabs, canvas: Canvas) -> _Head | None:
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
    return _Head(
        *(x, y, z),
        even=ndimage.uniform_filter(canvas.hu, (0, 3, 3)),
        sharp=ndimage.uniform_filter(canvas.hu, (0, 5, 0)),
        inside=inside,
        skull=skull,
        rim=_wider(skull, 2),
        brain_hu=float(np.median(deep)) if deep.size else 30.0,
        voxel_ml=extent * canvas.frame.step_mm**2 / 1000,
    )


def _wider(where: Mask, steps: int, slabs: int = 0) -> Mask:
    """Return what lies within so many steps on a slab, and on so many slabs above and below."""
    wide = ndimage.maximum_filter(where, (2 * slabs + 1, 2 * steps + 1, 2 * steps + 1))
    return np.asarray(wide, bool)


def _largest(marked: Mask, head: _Head) -> list[Mask]:
    """Return the largest connected regions, the largest first."""
    pieces, count = ndimage.label(marked, np.ones((3, 3, 3)))
    each = [pieces == number for number in range(1, count + 1)] if count <= 50 else []
    if not each:
        sizes = np.bincount(pieces.ravel())[1:]
        each = [pieces == 1 + number for number in np.argsort(-sizes)[:MOST_REGIONS]]
    each = [piece for piece in each if head.ml(piece) >= LEAST_ML]
    return sorted(each, key=head.ml, reverse=True)[:MOST_REGIONS]


def _looks_like(head: _Head, marked: Mask) -> str | None:
    """Return what a region looks like; None where nothing speaks for a mimic."""
    near = _wider(marked, 4) & ~head.rim
    region = _Region(marked, near & (head.even > head.brain_hu + ABOVE_BRAIN_HU))
    if not region.bright.any():
        return None
    return next((said for rule in RULES if (said := rule(head, region))), None)


def _calcium(head: _Head, region: _Region) -> str | None:
    """Say where a region lies that is denser than blood, if blood is no part of it."""
    dense = region.bright & head.inside & (head.even >= CALCIUM_HU)
    bright_ml = head.ml(region.bright)
    fringe = _wider(dense, FRINGE_MM, slabs=1)
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


def _calcified(head: _Head, dense: Mask) -> str | None:
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


def _falx(head: _Head, region: _Region) -> str | None:
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


def _sinus(head: _Head, region: _Region) -> str | None:
    """Say that a region lies in the superior sagittal sinus, as dense as the rest of it."""
    bright = region.bright
    if np.mean((np.abs(head.x[bright]) < SINUS_MM / 2) & (head.y[bright] > 30)) < 0.9:
        return None
    mine = head.even[bright & ~_wider(~bright, 1)]
    course = (np.abs(head.x) < 4) & (head.y > 40) & (head.z > -20) & ~head.rim
    course &= _wider(head.skull, 8) & ~_wider(region.marked, 4, slabs=1)
    rest = head.even[course & (head.even > head.brain_hu + ABOVE_BRAIN_HU)]
    if mine.size < 4 or rest.size < 40:
        return None
    hu, other = float(mine.mean()), float(np.percentile(rest, 75))
    at_bone = np.mean(_wider(head.skull, 12)[bright])
    if not SINUS_HU[0] <= hu <= SINUS_HU[1] or abs(hu - other) > ALIKE_HU or at_bone < 0.9:
        return None
    return (
        f"lies in the course of the superior sagittal sinus and measures {hu:.0f} HU, the rest of "
        f"the sinus {other:.0f} HU: it may be dense blood in the sinus"
    )


def _tentorium(head: _Head, region: _Region) -> str | None:
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


def _beam_hardening(head: _Head, region: _Region) -> str | None:
    """Say that a region lies between the petrous bones and is hardly denser than brain."""
    x, y, z = head.middle(region.bright)
    if abs(x) > 25 or not -15 < y < 40 or not -65 < z < -18:
        return None
    at = np.unique(np.nonzero(region.marked)[0])
    petrous = head.skull[at] & (np.abs(head.y[at] - y) < 20) & (np.abs(head.x[at]) < 50)
    both = all((petrous & (side * head.x[at] > 15)).sum() > 100 for side in (-1, 1))
    hu = float(np.percentile(head.even[region.bright], 90))
    if not both or hu > STREAK_HU:
        return None
    return (
        f"lies between the petrous bones and measures at most {hu:.0f} HU, less than fresh blood: "
        "it may be beam hardening"
    )


RULES: tuple[Callable[[_Head, _Region], str | None], ...] = (
    _calcium,
    _falx,
    _sinus,
    _tentorium,
    _beam_hardening,
)
"""The first rule that says something speaks."""
