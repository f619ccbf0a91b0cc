"""The vault of the skull, unrolled around the brain: has the head moved, is bone missing? Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.preprocess import Array, Canvas

BONE_HU = 200.0
THIN_BONE_HU = 120.0  # growing bone reaches it, a clot stays below
ALIKE = 0.85  # real jumps leave 0.4 or less, what only looks like one leaves 0.9 and more

SOFT_HU = (-200.0, 300.0)  # from fat to bone
SMOOTH = 5  # points a side: noise hides no jump

_ANGLES = np.radians(np.arange(0.0, 360.0, 3.0))  # (angle,), 0 towards the front
_RADII_MM = np.arange(0.0, 125.0)  # (radius,)

# (angle, 5): how the distance to a ring changes with its size, its shift in y and x, and its shape.
_WAVES = np.column_stack(
    [
        np.cos(0 * _ANGLES),
        np.cos(_ANGLES),
        np.sin(_ANGLES),
        np.cos(2 * _ANGLES),
        np.sin(2 * _ANGLES),
    ]
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vault:
    """The vault of the skull, unrolled: one row a slab, one column each three degrees.

    It begins above the base, with the first slab that holds three quarters of the largest slab's
    brain. It ends below the vertex, where the skull lies flat in the slab.

    Attributes
    ----------
    locations_mm, extent_mm
        (s,) float64, where each slab lies and the length that it stands for.
    brain_mm
        (s, angle) float64, how far the brain reaches from the middle of the head.
    bone_mm
        (s, angle) float64, distance of the middle of the bone from there; nan without bone.
    densest_hu
        (s, angle) float64, the densest value around the edge of the brain.
    soft_hu
        (s, y, x) float32, the slabs between fat and bone, smoothed over `SMOOTH` points.
    step_mm
        Distance of the points of `soft_hu`.
    """

    locations_mm: Floats
    extent_mm: Floats
    brain_mm: Floats
    bone_mm: Floats
    densest_hu: Floats
    soft_hu: Array
    step_mm: float


def unroll(canvas: Canvas, locations_mm: Floats, extent_mm: Floats) -> Vault:
    """Return the vault around the brain.

    Parameters
    ----------
    locations_mm, extent_mm
        (s,) float64, where each slab lies and the length that it stands for.
    """
    # The slabs of the vault, by the share of the largest slab's brain that each holds: (s,).
    inside = canvas.brain > 0.5
    share = inside.sum((1, 2)) / inside.sum((1, 2)).max()
    slabs = np.arange(np.flatnonzero(share > 0.75)[0], np.flatnonzero(share > 0.35)[-1] + 1)
    # One middle (y, x) for all slabs, and rays from there: (2, radius, angle), in pixels.
    middle = np.array(ndimage.center_of_mass(inside[slabs]))[1:]
    radii = _RADII_MM[:, None] / canvas.frame.step_mm
    rays = middle[:, None, None] + radii * np.array([-np.cos(_ANGLES), np.sin(_ANGLES)])[:, None]
    # (angle,) three times a slab, stacked to (s, angle).
    rows = [_along(rays, canvas.hu[slab], canvas.brain[slab]) for slab in slabs]
    brain_mm, bone_mm, densest_hu = (np.array(each) for each in zip(*rows, strict=True))
    soft = ndimage.uniform_filter(np.clip(canvas.hu[slabs], *SOFT_HU), (0, SMOOTH, SMOOTH))
    return Vault(
        locations_mm=locations_mm[slabs],
        extent_mm=extent_mm[slabs],
        brain_mm=brain_mm,
        bone_mm=bone_mm,
        densest_hu=densest_hu,
        soft_hu=soft,
        step_mm=canvas.frame.step_mm,
    )


def _along(rays: Floats, hu: Array, brain: Array) -> tuple[Floats, Floats, Floats]:
    """(angle,) each: edge of the brain, middle of the bone, densest value, see `Vault`.

    Parameters
    ----------
    rays
        (2, radius, angle) float64, pixel coordinates (y, x).
    hu, brain
        (y, x) float32, one slab of the canvas.
    """
    # Values along the rays, (radius, angle), and the last radius inside the brain, (angle,).
    values = ndimage.map_coordinates(hu, rays, order=1, mode="nearest")
    inside = ndimage.map_coordinates(brain, rays, order=1) > 0.5
    edge = np.where(inside, _RADII_MM[:, None], 0).max(0)
    # Bone from 15 mm within to 25 mm beyond that edge; each value weighs what it exceeds bone by.
    beyond = _RADII_MM[:, None] - edge
    weight = np.where((beyond > -15) & (beyond < 25), np.clip(values - BONE_HU, 0, 800), 0)
    bone = (weight * _RADII_MM[:, None]).sum(0) / np.maximum(weight.sum(0), 1)
    # The densest value from 7 mm within to 15 mm beyond the edge.
    near = np.where((beyond > -7) & (beyond < 15), values, -np.inf)
    return edge, np.where(weight.sum(0) > 400, bone, np.nan), near.max(0)


def moved_mm(vault: Vault) -> float:
    """Return the largest jump of the skull between neighbouring slabs, within their plane.

    From slab to slab the bone's distance changes with the size, the shape and the place of the
    skull. The shift of its place is a jump only as far as it differs from what is usual nearby for
    such a gap: that is the slope of the head, or the tilt of the gantry. And it is one only if the
    slabs become alike when it is undone: in the skull base the bone changes its place from slab to
    slab, but the head does not. The result is 0 if the bone cannot be traced.
    """
    # (s - 1, 2) shift in y and x from each slab to the next.
    shifts = np.array([_shift(change) for change in np.diff(vault.bone_mm, axis=0)])
    if not np.isfinite(shifts).any():
        return 0.0
    # What is usual for the gap, (s - 1, 2), leaves the jump.
    gaps = np.diff(vault.locations_mm)[:, None]
    usual = _usual(shifts / gaps)
    jumps = np.nan_to_num(np.linalg.norm(shifts - usual * gaps, axis=1))
    for gap in np.argsort(jumps)[::-1]:
        lower, upper = vault.soft_hu[gap : gap + 2]
        if _left_over(lower, upper, shifts[gap] / vault.step_mm) < ALIKE:
            return float(jumps[gap])
    return 0.0


def _left_over(lower: Array, upper: Array, shift: Floats) -> float:
    """Return the share of the difference of two slabs that is left if a shift is undone.

    Parameters
    ----------
    lower, upper
        (y, x) float32.
    shift
        (2,) float64, how far the upper slab lies further to the front (upwards in the image) and
        to the right of the image, in points; nan if it is unknown.
    """
    if not np.isfinite(shift).all():
        return 1.0
    forwards, rightwards = shift
    back = ndimage.shift(upper, (forwards, -rightwards), order=1, mode="nearest")
    before = float(np.abs(upper - lower).mean())
    return float(np.abs(back - lower).mean()) / max(before, 1e-6)


def _usual(slopes: Floats) -> Floats:
    """(g, 2) shifts per mm -> (g, 2), the median of the five around each; 0 if all are nan."""
    around = (slopes[max(row - 2, 0) : row + 3] for row in range(len(slopes)))
    finite = (rows[np.isfinite(rows).all(1)] for rows in around)
    return np.array([np.median(rows, axis=0) if len(rows) else np.zeros(2) for rows in finite])


def _shift(change_mm: Floats) -> Floats:
    """(angle,) change of a ring's distance -> (2,) its shift; nan if half of the ring is unknown.

    Least squares over `_WAVES`, repeated without the outliers of the fit before.
    """
    traced = np.isfinite(change_mm)
    kept = traced
    for _ in range(4):
        if kept.sum() < len(_ANGLES) / 2:
            return np.full(2, np.nan)
        fit = np.linalg.lstsq(_WAVES[kept], change_mm[kept], rcond=None)[0]  # (5,)
        # Kept are those within 2.5 robust standard deviations, which are 0.3 mm or more.
        off = np.abs(change_mm - _WAVES @ fit)
        kept = traced & (off < 2.5 * max(1.4826 * float(np.median(off[kept])), 0.3))
    return np.asarray(fit[1:3], np.float64)


def defect_cm2(vault: Vault) -> float:
    """Return the area of the largest connected part of the vault that has no bone."""
    # (s, angle) area of each cell: arc along the brain's edge, times the slab's length.
    cell = vault.brain_mm * _ANGLES[1] * vault.extent_mm[:, None] / 100
    # The vault is a ring. In two turns, (s, 2 angle), each hole lies whole at least once.
    holes, count = ndimage.label(np.tile(vault.densest_hu < THIN_BONE_HU, 2))
    areas = ndimage.sum_labels(np.tile(cell, 2), holes, range(1, count + 1))
    # A hole all around lies there twice, so the whole vault is the limit.
    return float(min(np.max(areas, initial=0.0), cell.sum()))
