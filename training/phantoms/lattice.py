"""A cubic lattice over a real scan: where blood grows, with every distance true."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.preprocess import Array, resampling
from models.volume import Volume
from training.phantoms.shapes import Field

STEP_MM = 2.0
"""Step of the lattice on which blood grows."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lattice:
    """A cubic lattice along a scan's own axes: slice normal (w), columns (v) and rows (u).

    Attributes
    ----------
    volume
        The scan.
    start_mm
        Where the first point lies on w, v, u.
    shape
        Points along w, v, u, `STEP_MM` apart.
    """

    volume: Volume
    start_mm: NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Return the lattice that holds all of a scan."""
        # From the first to the last voxel of a slice, (2,) mm along v and u.
        extent = (np.array(volume.hu.shape[1:]) - 1) * volume.spacing_mm
        # The first voxel of each slice, (z, 3); half a slice lies beyond its middle on either end.
        first = cls._corners(volume)
        half = volume.slice_extent_mm[[0, -1]] / 2
        # The box around all slices, (3,) each, with one step of margin in the plane.
        low = first.min(axis=0) - (half[0], STEP_MM, STEP_MM)
        high = first.max(axis=0) + (half[1], *(extent + STEP_MM))
        w, v, u = (np.ceil((high - low) / STEP_MM).astype(int) + 1).tolist()
        return cls(volume, low, (w, v, u))

    @staticmethod
    def _corners(volume: Volume) -> NDArray[np.float64]:
        """Return where the first voxel of each slice lies, (z, 3) float64, mm on w, v, u."""
        axes = (volume.normal, volume.orientation[3:], volume.orientation[:3])
        return volume.positions_mm @ np.array(axes).T

    @property
    def patient_mm(self) -> NDArray[np.float32]:
        """(3, w, v, u) float32, patient coordinates x, y, z."""
        # The lattice's lines, one vector for each axis.
        w, v, u = (
            start + STEP_MM * np.arange(n)
            for start, n in zip(self.start_mm, self.shape, strict=True)
        )
        axes = (self.volume.normal, self.volume.orientation[3:], self.volume.orientation[:3])
        # Broadcast to (w, v, u), each patient coordinate is the sum over the three axes.
        parts = (w[:, None, None], v[:, None], u)
        return np.stack(
            [sum(p * a[i] for p, a in zip(parts, axes, strict=True)) for i in range(3)]
        ).astype(np.float32)

    def planes(self, values: Array | Mask) -> Array:
        """(z, v, u) float32, means of (z, y, x) values around the lattice's lines."""
        sampled = []
        for plane, corner in zip(values, self._corners(self.volume), strict=True):
            # Weights (v, y) and (u, x) that average the pixels around each line of the lattice.
            down, across = (
                resampling(
                    self.start_mm[1 + i] + STEP_MM * np.arange(self.shape[1 + i]) - corner[1 + i],
                    plane.shape[i],
                    self.volume.spacing_mm[i],
                    STEP_MM,
                )
                for i in (0, 1)
            )
            sampled.append(down @ plane.astype(np.float32) @ across.T)
        return np.stack(sampled)

    def between(self, planes: Array) -> Array:
        """(w, v, u) values interpolated between (z, v, u) planes; end planes go on outside."""
        # Where each step along w falls between the slices: a fractional index, (w,).
        at = self.volume.locations_mm
        w = self.start_mm[0] + STEP_MM * np.arange(self.shape[0])
        index = np.interp(w, at, np.arange(len(at)))
        # The planes below and above it, and the share of the upper one.
        lower = np.minimum(index.astype(int), max(len(at) - 2, 0))
        part = (index - lower).astype(np.float32)[:, None, None]
        upper = np.minimum(lower + 1, len(at) - 1)
        blended: Array = planes[lower] * (1 - part) + planes[upper] * part
        return blended

    def on_slice(self, field: Field, z: int, offset_mm: float = 0.0) -> Array:
        """(y, x) values of a (w, v, u) field on slice z, or a little above it."""
        # The slice's plane of the field, (v, u), between two steps along w.
        w, v, u = self._corners(self.volume)[z] - self.start_mm
        index = np.clip((w + offset_mm) / STEP_MM, 0, self.shape[0] - 1.001)
        part = np.float32(index - int(index))
        plane = field[int(index)] * (1 - part) + field[int(index) + 1] * part
        # Weights (y, v) and (x, u) that bring it to the slice's pixels.
        rows, columns = self.volume.hu.shape[1:]
        dy, dx = self.volume.spacing_mm
        down = resampling(v + dy * np.arange(rows), self.shape[1], STEP_MM, dy)
        across = resampling(u + dx * np.arange(columns), self.shape[2], STEP_MM, dx)
        sampled: Array = down @ plane @ across.T
        return sampled

    def thirds(self, field: Field, z: int) -> list[Array]:
        """Return the field, (y, x), on three planes of slice z: a voxel averages over them."""
        reach = self.volume.slice_extent_mm[z] / 3
        return [self.on_slice(field, z, offset) for offset in (-reach, 0, reach)]
