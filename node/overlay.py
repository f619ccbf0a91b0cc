"""Slices as pictures: a mask laid over one, and pixels in proportion."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node.wording import AMBER

FILL, LINE = 90, 255
"""How much of a slice a mask covers inside and along its outline, of 255, before a page's own
opacity. Chosen: the tissue under the mask stays visible."""


def painted(mask: NDArray[np.bool_]) -> Image.Image:
    """Return (y, x) bool as a picture: amber inside, its outline stronger, else transparent."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    cover = np.where(mask, np.where(inner, FILL, LINE), 0).astype(np.uint8)
    colour = np.broadcast_to(np.array(AMBER, np.uint8), (*mask.shape, 3))
    return Image.fromarray(np.dstack([colour, cover]))


def in_proportion(picture: Image.Image, spacing_mm: tuple[float, float]) -> Image.Image:
    """Return the picture with square pixels.

    Parameters
    ----------
    spacing_mm
        Distance between rows and between columns.
    """
    high, wide = spacing_mm
    if abs(high - wide) < 0.01 * max(high, wide):
        return picture
    finest = min(high, wide)
    size = round(picture.width * wide / finest), round(picture.height * high / finest)
    return picture.resize(size, Image.Resampling.BILINEAR)
