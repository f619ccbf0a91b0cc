"""Whole series of the Near East set, from pictures in a brain window back to Hounsfield units.

The pictures hold 0..80 HU as 8 bits; `more.md` beside the data says how the rest is told apart, and
that pixel size and slice spacing are known only by what a head measures.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.volume import Volume

HEAD_WIDTH_MM = 155.0
SERIES_MM = 165.0
WHITE_HU, AIR_HU, DARK_HU = 700.0, -1000.0, -30.0


def names(root: Path) -> list[str]:
    """The patients of the set, one series each."""
    return list(_files(root))


def load(root: Path, patient: str) -> Volume:
    """Return a patient's series, from the feet to the head."""
    grey = np.stack([np.asarray(Image.open(root / f).convert("L")) for f in _files(root)[patient]])
    heads = np.stack([_largest_part(plane) for plane in grey])
    hu = np.stack([_hounsfield(plane, head) for plane, head in zip(grey, heads, strict=True)])
    area = ndimage.uniform_filter1d(heads.sum((1, 2)).astype(float), max(len(heads) // 20, 1))
    if area[0] < area[-1]:  # the vertex ends in a point, the neck does not
        hu, heads = hu[::-1], heads[::-1]
    widths = heads.any(1).sum(1)
    spacing = HEAD_WIDTH_MM / float(np.percentile(widths, 90))
    heights = np.arange(len(hu)) * SERIES_MM / len(hu)
    return Volume(
        hu=np.ascontiguousarray(hu),
        positions_mm=heights[:, None] * np.array([0.0, 0.0, 1.0]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(spacing, spacing),
        thickness_mm=SERIES_MM / len(hu),
    )


def _files(root: Path) -> dict[str, Sequence[str]]:
    """The files of each patient, in order."""
    with (root / "series.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["order"]))
    patients = sorted({row["patient"] for row in rows})
    return {p: [row["file"] for row in rows if row["patient"] == p] for p in patients}


def _largest_part(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(y, x) picture -> (y, x) bool, the largest part that is not black, without its holes."""
    pieces, _ = ndimage.label(ndimage.binary_opening(grey > 20, np.ones((3, 3))))
    sizes = np.bincount(pieces.ravel(), minlength=2)
    head: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == 1 + sizes[1:].argmax())
    return head


def _hounsfield(grey: NDArray[np.uint8], head: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(y, x) picture and its head -> (y, x) float32 HU; all outside the head is air."""
    hu = grey.astype(np.float32) * np.float32(80 / 255)
    hu[grey > 250] = WHITE_HU
    hu[grey < 1] = DARK_HU
    # Black that reaches the border of the picture is air.
    pieces, _ = ndimage.label(np.pad(~head | (grey < 1), 1, constant_values=True))
    hu[(pieces == pieces[0, 0])[1:-1, 1:-1] | ~head] = AIR_HU
    return hu
