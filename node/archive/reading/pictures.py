"""What people look at of a study: its slices as slabs, small enough to keep for a whole archive."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Findings
from models.volume import Volume

MOST_SLABS = 64
MOST_POINTS = 512
"""Rows and columns."""


def picture(volume: Volume, found: Findings) -> tuple[bytes, int | None]:
    """Return an NPZ of a study, and the index of the slab that has its key slice.

    It has `hu` int16 (z, y, x), HU, from the feet to the head; `mask` bool of that shape;
    `spacing_mm` (3,) float64; `orientation` (6,) float64, the volume's, which tells left from
    right; `probability` (z,) float32, the greatest of the slab's slices.
    Neighbouring slices are averaged where there are more than `MOST_SLABS`, and points where there
    are more than `MOST_POINTS`.
    """
    slices = len(volume.hu)
    thick = -(-slices // MOST_SLABS)
    wide = -(-max(volume.hu.shape[1:]) // MOST_POINTS)
    begins = np.arange(0, slices, thick)
    hu = _pooled(volume.hu, begins, wide)
    mask = np.logical_or.reduceat(found.mask, begins)
    scores = np.array([one.probability for one in found.slices], np.float32)
    probability = np.maximum.reduceat(scores, begins)
    key = None if found.key_slice is None else found.key_slice // thick
    up = slice(None) if volume.normal[2] >= 0 else slice(None, None, -1)
    file = BytesIO()
    np.savez_compressed(
        file,
        hu=np.clip(np.rint(hu[up]), -32768, 32767).astype(np.int16),
        mask=_any(mask[up], wide),
        spacing_mm=_spacing_mm(volume, len(begins), wide),
        orientation=volume.orientation,
        probability=probability[up],
    )
    turned = key is not None and volume.normal[2] < 0
    return file.getvalue(), len(begins) - 1 - key if turned and key is not None else key


def _pooled(hu: NDArray[np.float32], begins: NDArray[np.int_], wide: int) -> NDArray[np.float32]:
    """Return (z, y, x) means of slabs that begin at these slices, and of squares of `wide`."""
    counts = np.diff(np.r_[begins, len(hu)]).astype(np.float32)
    slabs = np.add.reduceat(hu, begins) / counts[:, None, None]
    means: NDArray[np.float32] = _squares(slabs, wide).mean((2, 4))
    return means


def _any(mask: NDArray[np.bool_], wide: int) -> NDArray[np.bool_]:
    marked: NDArray[np.bool_] = np.any(_squares(mask, wide), axis=(2, 4))
    return marked


def _squares(planes: NDArray[Any], wide: int) -> NDArray[Any]:
    """Return (z, y, wide, x, wide); rows and columns that fill no square are left out."""
    high, broad = planes.shape[1] // wide, planes.shape[2] // wide
    inside = planes[:, : high * wide, : broad * wide]
    return inside.reshape(len(planes), high, wide, broad, wide)


def _spacing_mm(volume: Volume, slabs: int, wide: int) -> NDArray[np.float64]:
    along = float(volume.slice_extent_mm.sum()) / slabs
    return np.array([along, volume.spacing_mm[0] * wide, volume.spacing_mm[1] * wide])
