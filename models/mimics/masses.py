"""A dense mass that is one body: its size, its density, its form and where it touches the dura."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.mimics.head import Head, Mask, Region, wider

MASS_ABOVE_BRAIN_HU = 8.0
"""What is so much denser than the brain's median belongs to a mass; less than may be blood."""
LEAST_CORE = 40
"""Voxels of its inside from which a density is told."""
SHEET_MM = 5
"""What is thinner than this on a slab, as dura and vessels are, is cut off a mass."""
EDGE_MM = 3
"""So far from its edge a mass mixes with what lies around it."""
AT_BONE_MM = 3
"""Beyond the bone's own edge of 2 mm: what comes so near touches the dura."""


@dataclass(frozen=True, slots=True)
class Mass:
    """One dense body.

    Attributes
    ----------
    where
        (s, y, x) bool, its voxels.
    ml
        Its volume.
    hu, spread_hu
        Median of its inside, and between which tenths that lies: the 10th and the 90th percentile.
    pales_hu
        By how much its inside is denser than its outer shell.
    fills
        Part of the ellipse of the same spread that its slices fill: 1 for an ellipse.
    round
        Short against long axis of its slices, 1 for a circle.
    long_mm, tall
        Its long axis on a slab, and its height against it.
    base_mm
        The longest part of a slice's outline that lies on the dura.
    """

    where: Mask
    ml: float
    hu: float
    spread_hu: float
    pales_hu: float
    fills: float
    round: float
    long_mm: float
    tall: float
    base_mm: float


def mass_of(head: Head, region: Region) -> Mass | None:
    """Return the largest body that is marked, None if there is none or it is too small to tell."""
    dense = (head.even > head.brain_hu + MASS_ABOVE_BRAIN_HU) & ~head.rim & wider(head.inside, 4)
    body = ndimage.binary_opening(dense, np.ones((1, SHEET_MM, SHEET_MM)))
    pieces, count = ndimage.label(body, ndimage.generate_binary_structure(3, 1))
    mine = np.bincount(pieces[region.marked], minlength=count + 1)[1:]
    if not mine.any():
        return None
    where = pieces == 1 + int(mine.argmax())
    core = ndimage.binary_erosion(where, np.ones((1, 2 * EDGE_MM + 1, 2 * EDGE_MM + 1)))
    if core.sum() < LEAST_CORE:
        return None
    low, hu, high = np.percentile(head.even[core], (10, 50, 90))
    shell = where & ~core & ~wider(~where, 1)
    fills, roundness, long_mm = _form(where)
    height_mm = float(head.extent_mm[where.any((1, 2))].sum())
    return Mass(
        where,
        ml=head.ml(where),
        hu=float(hu),
        spread_hu=float(high - low),
        pales_hu=float(hu - np.median(head.even[shell])) if shell.any() else 0.0,
        fills=fills,
        round=roundness,
        long_mm=long_mm,
        tall=height_mm / long_mm,
        base_mm=_base_mm(head, where),
    )


def _form(where: Mask) -> tuple[float, float, float]:
    """Return how its slices fill their ellipse, how round they are, and the longest axis, mm."""
    areas, fills, rounds, longest = [], [], [], 0.0
    for plane in where[where.any((1, 2))]:
        points: NDArray[np.float64] = np.argwhere(plane).astype(float)
        if len(points) < 20:
            continue
        short, long = np.sqrt(np.linalg.eigvalsh(np.cov(points.T)))
        areas.append(len(points))
        fills.append(len(points) / (4 * np.pi * short * long))
        rounds.append(short / long)
        longest = max(longest, 4 * float(long))
    if not areas:
        return 0.0, 0.0, 1.0
    return (
        float(np.average(fills, weights=areas)),
        float(np.average(rounds, weights=areas)),
        longest,
    )


def _base_mm(head: Head, where: Mask) -> float:
    """Return the longest part of a slice's outline that lies on the dura: at bone or the falx."""
    outline = where & ~ndimage.binary_erosion(where, np.ones((1, 3, 3)))
    falx = (np.abs(head.x) < 4) & (head.z > 15)
    return float((outline & (wider(head.rim, AT_BONE_MM) | falx)).sum((1, 2)).max())
