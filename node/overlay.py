"""Slices as pictures: a mask laid over one, pixels in proportion, and the sides of the patient."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

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


def sides(orientation: NDArray[np.float64]) -> dict[str, str]:
    """Return which side of the patient lies at each edge of a slice: "left", "right" and so on.

    The letters are DICOM's own: R, L, A, P, F and H (PS3.3 C.7.6.1.1.1).

    Parameters
    ----------
    orientation
        (6,) unit cosines of the row and of the column direction, LPS (PS3.3 C.7.6.2.1.1).
    """
    across, down = orientation[:3], orientation[3:]
    edges = {"left": -across, "right": across, "top": -down, "bottom": down}
    return {edge: _side(direction) for edge, direction in edges.items()}


def _side(direction: NDArray[np.float64]) -> str:
    """(3,) direction in LPS -> the letter of the nearest side of the patient."""
    axis = int(np.abs(direction).argmax())
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]


def write_sides(picture: Image.Image, letters: Mapping[str, str], size: int) -> None:
    """Write at the left and at the right edge of a picture which side of the patient it is."""
    pen, middle = ImageDraw.Draw(picture), picture.height // 2
    drawn = ImageFont.load_default(size=size)
    for edge, x, anchor in (("left", 4, "lm"), ("right", picture.width - 4, "rm")):
        pen.text(
            (x, middle), letters[edge], "white", drawn, anchor, stroke_width=2, stroke_fill="black"
        )
