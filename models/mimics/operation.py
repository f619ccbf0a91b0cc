"""What an operation leaves: a gap in the vault, metal, air inside the skull. Blood may be expected.

After a craniotomy small bleeds and air in its bed are usual, and the air goes within weeks
(Sinclair and Scoffings 2010, Radiographics 30:461-482; Rangankar et al. 2023, doi
10.4102/sajr.v27i1.2684). A burr hole is wider than a fracture or a suture. A saw's cut round a bone
flap is not: on slabs of 5 mm sutures of children look alike, and it is not looked for. The limits
are estimates.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from models.mimics.head import Head, Mask, Region, wider

NEAR_MM = 25.0
"""So near to a region a trace explains it, in the standard head."""
VAULT_MM = 8.0
"""From so high on the vault has no natural gaps and holds no air, in the standard head."""
GAP_MM = (8.0, 60.0)
"""Length of a gap along the vault; where it is longer, the head is cut off."""
GAP_SLABS = 2
"""A gap is seen on so many neighbouring slabs."""
BONE_HU = 150.0
"""Thin bone has as much."""
SHAVING_MM = 1
"""The vault is thicker; a cut that does not run along the ray leaves as much."""
BEHIND_MM = 14.0
"""The vault lies no further behind the brain's edge."""
BEFORE = 0.6
"""From this part of the way to the edge on: the edge is rough, most where bone is missing."""
METAL_HU, INSIDE_HU = 2400.0, 1100.0
"""No bone is so dense on slabs, nor is calcium inside the skull and away from it."""
METAL_ML, METAL_FROM_MM = 0.02, -25.0
"""Less is a speck; teeth and the petrous bones lie lower."""
APART_MM = 3
"""Away from the skull."""
AIR_HU, AIR_ML, AIR_DEEP_MM = -400.0, 0.1, 5
"""Air so deep inside the skull."""

_STEP = np.radians(2.0)
_ANGLES = np.arange(0.0, 2 * np.pi, _STEP)


def after_operation(head: Head, region: Region) -> str | None:
    """Say that a region lies beside a trace of an operation: new blood looks the same there."""
    for words, trace in _traces(head):
        away_mm = _away_mm(head, region.marked, trace)
        if away_mm <= NEAR_MM:
            return (
                f"lies {away_mm:.0f} mm from {words}, as after an operation: blood may be expected "
                "there, and new blood looks the same"
            )
    return None


def _traces(head: Head) -> Iterator[tuple[str, Mask]]:
    """Yield what an operation leaves, in words, and where it is."""
    gap = _gap(head)
    yield "a gap in the skull vault", gap
    metal = _metal(head)
    yield "metal", metal
    if gap.any() or metal.any():  # a broken base of the skull lets air in as well
        yield "air inside the skull", _air(head)


def _away_mm(head: Head, marked: Mask, trace: Mask) -> float:
    """Return the shortest way from what is marked to a trace, in the standard head."""
    if not trace.any():
        return np.inf
    points = (
        np.stack([axis[where] for axis in (head.x, head.y, head.z)], 1) for where in (trace, marked)
    )
    tree, here = KDTree(next(points)), next(points)
    return float(tree.query(here)[0].min())


def _gap(head: Head) -> Mask:
    """Return the middle of each hole of the vault, on each slab that shows it."""
    found = np.zeros(head.hu.shape, bool)
    open_, edges, middles = _opened(head)
    lasting = open_ & ndimage.binary_opening(open_, np.ones((GAP_SLABS, 1)))
    for s in np.flatnonzero(lasting.any(1)):
        for turns in _runs(lasting[s]):
            radius, angle = edges[s, turns].mean(), _ANGLES[turns[len(turns) // 2]]
            if GAP_MM[0] <= len(turns) * radius * _STEP <= GAP_MM[1]:
                y, x = np.rint(middles[s] + radius * np.array((np.cos(angle), np.sin(angle))))
                found[s, int(y), int(x)] = True
    return found


def _opened(head: Head) -> tuple[Mask, NDArray[np.float64], NDArray[np.float64]]:
    """Look along rays from the middle of the brain for bone.

    Returns
    -------
    tuple
        (s, angle) bool, where the vault has none; (s, angle) float64, how far the brain reaches, in
        points of the canvas; (s, 2) float64, the middle (y, x) of the brain on each slab.
    """
    count, (rows, columns) = len(head.hu), head.hu.shape[1:]
    open_ = np.zeros((count, len(_ANGLES)), bool)
    edges, middles = np.zeros(open_.shape), np.zeros((count, 2))
    steps = np.arange(0.0, np.hypot(rows, columns) / 2)
    area = head.inside.sum((1, 2))
    for s in np.flatnonzero(area > 0.35 * area.max()):
        middles[s] = ndimage.center_of_mass(head.inside[s])
        rays = (
            middles[s][:, None, None]
            + steps[:, None] * np.stack((np.cos(_ANGLES), np.sin(_ANGLES)))[:, None]
        )
        y, x = np.rint(rays).astype(int)
        there = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        y, x = np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)
        brain = head.inside[s, y, x] & there
        edges[s] = len(steps) - 1 - brain[::-1].argmax(0)
        vault = (steps[:, None] >= BEFORE * edges[s]) & (steps[:, None] <= edges[s] + BEHIND_MM)
        bone_mm = ((head.hu[s, y, x] > BONE_HU) & there & vault).sum(0)
        seen = (there | ~vault).all(0)
        high = head.z[s, y, x][edges[s].astype(int), np.arange(len(_ANGLES))] > VAULT_MM
        open_[s] = (bone_mm <= SHAVING_MM) & seen & high
    return open_, edges, middles


def _runs(open_: Mask) -> Iterator[NDArray[np.intp]]:
    """Yield the angles of each run that is open; the circle closes."""
    if open_.all():
        return
    start = int(np.flatnonzero(~open_)[0])
    pieces, count = ndimage.label(np.roll(open_, -start))
    for number in range(1, count + 1):
        yield (np.flatnonzero(pieces == number) + start) % len(open_)


def _metal(head: Head) -> Mask:
    """Return what is denser than any bone, or than calcium can be, if it is no speck."""
    apart = head.inside & ~wider(head.skull, APART_MM)
    metal = ((head.hu > METAL_HU) | (apart & (head.hu > INSIDE_HU))) & (head.z > METAL_FROM_MM)
    return metal if head.ml(metal) >= METAL_ML else np.zeros_like(metal)


def _air(head: Head) -> Mask:
    """Return air inside the skull, if it is no speck."""
    deep = head.inside & ~wider(head.rim | ~head.inside, AIR_DEEP_MM) & (head.z > VAULT_MM)
    air = deep & (head.hu < AIR_HU)
    return air if head.ml(air) >= AIR_ML else np.zeros_like(air)
