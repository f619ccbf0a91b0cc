"""Implicit shapes and smooth noise on a 1 mm grid: what a head is drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Field = NDArray[np.floating[Any]]
Box = tuple[slice, slice, slice]
Point = Sequence[float] | NDArray[np.float64]

WHOLE: Box = (slice(None), slice(None), slice(None))
FAR = np.float32(99)
"""A distance, in mm, larger than any in a head: "not near"."""

SHAPE = (190, 232, 182)
"""Voxels of the grid, (z, y, x), 1 mm each."""

ORIGIN_MM = (-98.0, -122.0, -90.5)
"""Patient coordinates (z, y, x) of the grid's first voxel; 0 is the middle of the head."""


def smooth_noise(rng: np.random.Generator, knot_mm: float, shape: tuple[int, ...] = SHAPE) -> Field:
    """Return a random field of mean 0 and standard deviation 1: a cubic B-spline on random knots.

    Parameters
    ----------
    rng
        Where the knots come from.
    knot_mm
        Distance between knots: the field varies over about twice that.
    shape
        Voxels of the field.
    """
    along_z, along_y, along_x = (_spline_basis(n, knot_mm) for n in shape)
    knots = (along_z.shape[1], along_y.shape[1], along_x.shape[1])
    lines = rng.standard_normal(knots, dtype=np.float32) @ along_x.T
    planes = along_y @ lines
    field: Field = (along_z @ planes.reshape(knots[0], -1)).reshape(shape)
    return field


def _spline_basis(n: int, knot_mm: float) -> Field:
    """Return (n, knots) float32: cubic B-splines that turn white noise into unit variance."""
    knots = max(4, int(np.ceil(n / knot_mm)) + 3)
    at = np.linspace(1, knots - 2, n)[:, None]
    d = np.abs(at - np.arange(knots))
    near = 2 / 3 - d**2 + d**3 / 2
    far = np.clip(2 - d, 0, None) ** 3 / 6
    basis = np.where(d < 1, near, far)
    scaled: Field = (basis / np.sqrt((basis**2).sum(axis=1).mean())).astype(np.float32)
    return scaled


def smooth_min(a: Field, b: Field, width: float) -> Field:
    """Return the union of two signed distances, rounded over `width` mm where they meet."""
    rounded = np.maximum(np.float32(width) - np.abs(a - b), 0)
    rounded *= rounded
    rounded *= np.float32(0.25 / width)
    least: Field = np.minimum(a, b)
    least -= rounded
    return least


def smooth_max(a: Field, b: Field, width: float) -> Field:
    """Return the intersection of two signed distances, rounded over `width` mm."""
    return -smooth_min(-a, -b, width)


def coverage(distance: Field, edge_mm: float = 1.0) -> Field:
    """Return how much of a voxel lies inside a surface, 0..1, from its signed distance in mm."""
    share: Field = distance * np.float32(-1 / edge_mm)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


@dataclass(frozen=True, slots=True)
class Space:
    """The anatomical coordinates of each voxel of the grid.

    A head's pose, size, asymmetry and the push of a lesion all live here: every structure is drawn
    where the standard head has it, in these coordinates.

    Attributes
    ----------
    x, y, z
        (z, y, x) float32, mm to the left, to the back and to the top of the standard head.
    affine
        (3, 3) float64, from patient to anatomical coordinates (x, y, z), before the smooth warp.
    origin_mm
        Patient coordinates (z, y, x) of the first voxel.
    """

    x: Field
    y: Field
    z: Field
    affine: NDArray[np.float64]
    origin_mm: tuple[float, float, float] = ORIGIN_MM

    def crop(self, box: Box) -> Self:
        """Return the coordinates of a part of the grid."""
        corner = tuple(o + part.start for o, part in zip(self.origin_mm, box, strict=True))
        return replace(self, x=self.x[box], y=self.y[box], z=self.z[box], origin_mm=corner)

    def box(self, points: Point | Sequence[Point], reach_mm: float) -> Box:
        """Return the part of the grid within `reach_mm` of these anatomical points, and warp."""
        patient = np.atleast_2d(np.asarray(points, float)) @ np.linalg.inv(self.affine).T
        index = patient[:, ::-1] - self.origin_mm
        low = np.floor(index.min(axis=0) - 1.15 * reach_mm - 9).astype(int)
        high = np.ceil(index.max(axis=0) + 1.15 * reach_mm + 9).astype(int)
        spans = (slice(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))
        return tuple(spans)  # type: ignore[return-value]

    def everywhere(self, *shapes: tuple[Box, Field]) -> Field:
        """Return the signed distance to the union of shapes, over the whole space."""
        nearest = np.full(self.x.shape, FAR, np.float32)
        for box, distance in shapes:
            nearest[box] = np.minimum(nearest[box], distance)
        return nearest

    def ellipsoid(self, centre: Point, radii: Point) -> tuple[Box, Field]:
        """Return the box around an ellipsoid, and the signed distance to it there, in mm."""
        box = self.box(centre, max(radii))
        axes = (self.x[box], self.y[box], self.z[box])
        unit = [
            (a - np.float32(c)) / np.float32(r) for a, c, r in zip(axes, centre, radii, strict=True)
        ]
        return box, ellipsoid_distance(unit, radii)

    def capsule(
        self,
        a: Point,
        b: Point,
        radius: float,
        end_radius: float | None = None,
        tall: float = 1.0,
    ) -> tuple[Box, Field]:
        """Return the box around a rod from a to b, and the signed distance to it there, in mm.

        The rod may taper, and its section may be `tall` times as high (along z) as wide.
        """
        end_radius = radius if end_radius is None else end_radius
        box = self.box([a, b], tall * max(radius, end_radius))
        axis = np.subtract(b, a).astype(np.float32)
        rel = [v[box] - np.float32(s) for v, s in zip((self.x, self.y, self.z), a, strict=True)]
        along = np.clip(sum(r * n for r, n in zip(rel, axis, strict=True)) / (axis @ axis), 0, 1)
        across = [r - along * n for r, n in zip(rel, axis, strict=True)]
        across[2] /= np.float32(tall)
        square = sum(a * a for a in across)
        return box, np.sqrt(square) - (radius + (end_radius - radius) * along).astype(np.float32)


def ellipsoid_distance(unit: Sequence[Field], radii: Point) -> Field:
    """Return the signed distance to an ellipsoid, in mm, exact near its surface.

    `unit` are coordinates in units of the radii.
    """
    norm, slope = np.zeros_like(unit[0]), np.zeros_like(unit[0])
    for u, r in zip(unit, radii, strict=True):
        square = u * u
        norm += square
        slope += np.multiply(square, np.float32(1 / r**2), out=square)
    norm = np.sqrt(norm, out=norm)
    slope = np.maximum(np.sqrt(slope, out=slope), np.float32(1e-4), out=slope)
    slope = np.divide(norm, slope, out=slope)
    norm -= 1
    slope *= norm
    return slope


def space(
    rng: np.random.Generator,
    *,
    size: Sequence[float],
    pose_deg: Sequence[float],
    warp_mm: float,
    push: tuple[float, Sequence[float]] | None = None,
) -> Space:
    """Return the anatomical coordinates of one head.

    Parameters
    ----------
    rng
        Where the smooth warp comes from.
    size
        Scale along x, y, z against the standard head.
    pose_deg
        Rotation about x (nod), y (lean) and z (turn).
    warp_mm
        Standard deviation of the smooth warp that makes each head its own.
    push
        Midline shift in mm (positive to the left) and its centre (x, y, z): what a large lesion
        does to the middle of the brain.
    """
    affine = np.diag(1 / np.asarray(size)) @ Rotation.from_euler("xyz", pose_deg, True).as_matrix()
    z, y, x = (
        (o + np.arange(n)).astype(np.float32).reshape(s)
        for o, n, s in zip(ORIGIN_MM, SHAPE, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    )
    axes = []
    for row in affine.astype(np.float32):
        axis = smooth_noise(rng, 40)
        axis *= np.float32(warp_mm)
        axis += row[0] * x + row[1] * y
        axis += row[2] * z
        axes.append(axis)
    ax, ay, az = axes
    if push is not None:
        shift, centre = push
        spread = (
            ((ax - centre[0]) / 32) ** 2
            + ((ay - centre[1]) / 45) ** 2
            + ((az - centre[2]) / 38) ** 2
        )
        ax -= np.float32(shift) * np.exp(-spread)
    return Space(ax, ay, az, affine)
