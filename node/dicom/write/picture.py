"""The result as a picture of 1280 x 1000 pixels, which any viewer can show.

It has the research-use notice, the result in words, the slice to look at first with the lesion
outlined, and other slices beside it. If the result is suspected or uncertain, the first of these is
the same slice under its probability map. Of a series that was not analysed it says what happened.
No identity is burnt in; the viewer shows it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy import ndimage

from models.findings import Findings
from models.volume import Volume
from models.windows import BRAIN
from node.dicom.write.canvas import (
    BLACK,
    SIZE,
    WHITE,
    blank,
    centred,
    folded,
    font,
    small_print,
    warning_sign,
)
from node.dicom.write.slices import first_look
from node.overlay import sides
from node.wording import AMBER, NOT_ANALYSED, UNCERTAIN, millilitres, verdict

LARGE = (16, 206, 736, 880)
MONTAGE = (752, 206, 1264, 880)
COLUMNS, ROWS = 3, 4
FOOTER_Y = 890
GAP = 8

HEAD_HU = -200.0
"""Voxels above this are part of the head or of what it lies on.

It is between air at -1000 HU and fat at -100 HU.
"""
MARGIN = 8
"""Pixels of the source that the picture leaves around the head.

It must exceed the 3 pixels that a search on every fourth pixel may miss.
"""
OPACITY = 0.6
"""How much of a slice the probability map covers where the probability is 1.

An estimate: below 1, so that the slice stays visible; nothing was measured.
"""

Box = tuple[int, int, int, int]
Picture = Image.Image


def shown_slices(findings: Findings) -> tuple[int, ...]:
    """Return the indices of the slices in the picture: the large one, then the small ones in order.

    The large one is the slice to look at first. The small ones are those with most of the lesion,
    then its neighbours. If nothing is outlined, they are evenly spaced over the whole head.
    """
    large = first_look(findings)
    others = np.delete(np.arange(len(findings.slices)), large)
    count = min(COLUMNS * ROWS - _shows_heat(findings), len(others))
    if findings.suspected and findings.mask.any():
        # (n,) lesion pixels on each; most of them first, then the slices nearest to the large one.
        area = findings.mask.sum(axis=(1, 2))[others]
        small = others[np.lexsort((abs(others - large), -area))][:count]
    else:
        small = others[np.linspace(0, len(others) - 1, count).round().astype(int)]
    return large, *sorted(int(index) for index in small)


def _shows_heat(findings: Findings) -> bool:
    """Whether the first small slice is the large one under its probability map."""
    return findings.suspected or findings.uncertain


def draw(
    volume: Volume,
    findings: Findings,
    shown: Sequence[int],
    labels: Sequence[str],
    notes: Sequence[str],
    in_part: str = "",
) -> Image.Image:
    """Return the picture of a result; in grey if it has neither outlines nor a probability map.

    Parameters
    ----------
    volume
        Only the shown slices, in ascending order.
    findings
        What the detector found in the whole series.
    shown
        Index of each shown slice in the series: the large one, then the small ones.
    labels
        What a viewer calls each shown slice, in the order of `shown`.
    notes
        Small print: which detector analysed it and when, limitations.
    in_part
        Why the series is not cleared, though nothing suspicious was seen.
    """
    picture, pen = blank()
    _headline(pen, findings, in_part)
    crop = _head(volume)
    heat = int(_shows_heat(findings))
    cells = _cells(heat + len(shown) - 1)
    for place, index, label in zip([LARGE, *cells[heat:]], shown, labels, strict=True):
        tile = _slice(volume, sorted(shown).index(index), crop, place)
        if findings.suspected and findings.mask[index][crop].any():
            _outline(tile, findings.mask[index][crop], width=2 if place == LARGE else 1)
        _place(picture, tile, place, volume.orientation, label)
    if heat:
        tile = _slice(volume, sorted(shown).index(shown[0]), crop, cells[0])
        _warm(tile, findings.heat[shown[0]][crop])
        _place(picture, tile, cells[0], volume.orientation, f"probability, {labels[0]}")
    small_print(pen, notes, FOOTER_Y)
    return picture if heat else picture.convert("L")


def draw_not_analysed(
    what: str, why: str, notes: Sequence[str], headline: str = NOT_ANALYSED
) -> Image.Image:
    """Return the picture of a series that was not analysed, in grey.

    Parameters
    ----------
    what
        What happened, in a person's words.
    why
        The technical reason.
    notes
        Small print: when that was decided, limitations.
    headline
        The result in a sentence.
    """
    picture, pen = blank()
    top = centred(pen, 200, headline, 36)
    top = centred(pen, top + 40, what, 44)
    top = centred(pen, top + 60, f"Reason: {why}", 22)
    small_print(pen, notes, max(top + 60, 700), 18)
    return picture.convert("L")


def _headline(pen: ImageDraw.ImageDraw, findings: Findings, in_part: str) -> None:
    """Write the result and its numbers above the slices."""
    said = verdict(findings, in_part)
    if findings.suspected:
        wide = max(font(28).getlength(line) for line in folded(said, 28))
        warning_sign(pen, round(SIZE[0] / 2 - wide / 2) - 50, 46)
    top = centred(pen, 46, said, 28)
    if findings.uncertain:
        top = centred(pen, top, UNCERTAIN, 18)
    for line in _numbers(findings):
        top = centred(pen, top, line, 16)


def _numbers(findings: Findings) -> list[str]:
    """Return the numbers of the result, on two lines."""
    first = f"Probability {findings.probability:.2f}"
    if findings.suspected:
        outlined = findings.mask.any()
        volume = f"outlined volume {millilitres(findings.volume_ml)}" if outlined else ""
        first += f", {volume or 'nothing outlined'}"
    types = ", ".join(f"{name} {value:.2f}" for name, value in findings.subtypes.items())
    return [first, types] if types else [first]


def _cells(count: int) -> list[Box]:
    """Return the places of so many small slices, row by row."""
    left, top, right, bottom = MONTAGE
    width = (right - left - GAP * (COLUMNS - 1)) // COLUMNS
    height = (bottom - top - GAP * (ROWS - 1)) // ROWS
    cells = []
    for number in range(count):
        x = left + (number % COLUMNS) * (width + GAP)
        y = top + (number // COLUMNS) * (height + GAP)
        cells.append((x, y, x + width, y + height))
    return cells


def _head(volume: Volume) -> tuple[slice, slice]:
    """Return the rows and columns that contain the head on any of the slices, with a margin.

    The head is the largest connected piece that is not air.
    """
    # Every fourth pixel is enough: (z, y / 4, x / 4) numbers of the pieces, 0 for air.
    pieces, count = ndimage.label(volume.hu[:, ::4, ::4] > HEAD_HU)
    if not count:
        return slice(None), slice(None)
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    _, rows, columns = ndimage.find_objects(pieces)[largest - 1]
    return _widen(rows), _widen(columns)


def _widen(coarse: slice) -> slice:
    """Return a slice of every fourth pixel as one of all pixels, with the margin."""
    return slice(max(0, 4 * coarse.start - MARGIN), 4 * coarse.stop + MARGIN)


def _slice(volume: Volume, index: int, crop: tuple[slice, slice], place: Box) -> Image.Image:
    """Return one slice in the brain window, as large as its place allows, pixels in proportion."""
    # (z, y, x) -> (h, w) HU of the head -> (h, w) uint8 grey.
    hu = volume.hu[index][crop].copy()
    grey = Image.fromarray(np.rint(BRAIN(hu) * 255).astype(np.uint8))
    # Its size in mm, and the pixels of the picture for each mm.
    high, wide = grey.height * volume.spacing_mm[0], grey.width * volume.spacing_mm[1]
    scale = min((place[2] - place[0]) / wide, (place[3] - place[1]) / high)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    return grey.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _place(
    picture: Image.Image,
    tile: Image.Image,
    place: Box,
    orientation: NDArray[np.float64],
    label: str,
) -> None:
    """Paste a slice into the middle of its place, and write its sides and its label."""
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = place
    corner = (left + (right - left - tile.width) // 2, top + (bottom - top - tile.height) // 2)
    picture.paste(tile, corner)
    _mark_sides(pen, place, orientation, large=place == LARGE)
    _write(pen, (left + 4, bottom - 4), label, 18 if place == LARGE else 14, "ls")


def _warm(tile: Image.Image, heat: NDArray[np.uint8]) -> None:
    """Blend amber into a slice, in proportion to the probability.

    Parameters
    ----------
    heat
        (h, w) uint8, probability as 0..255, on the pixels that `tile` shows.
    """
    # (h, w) at the size of the tile, then as opacity, 0..255.
    cover = Image.fromarray(heat).resize(tile.size, Image.Resampling.BILINEAR)
    tile.paste(AMBER, mask=cover.point(lambda value: OPACITY * value))


def _outline(tile: Image.Image, mask: NDArray[np.bool_], *, width: int) -> None:
    """Draw an outline around the lesion, with a dark rim on its outer side.

    No pixel of the lesion is painted over.

    Parameters
    ----------
    mask
        (h, w) bool, on the pixels that `tile` shows.
    """
    # The lesion at the size of the tile, 0 or 255; grown by the line; grown by the rim.
    lesion = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        tile.size, Image.Resampling.BILINEAR
    )
    inside = lesion.point(lambda value: 255 * (value >= 128))
    line = inside.filter(ImageFilter.MaxFilter(2 * width + 1))
    rim = line.filter(ImageFilter.MaxFilter(3))
    tile.paste(BLACK, mask=ImageChops.subtract(rim, line))
    tile.paste(AMBER, mask=ImageChops.subtract(line, inside))


def _mark_sides(
    pen: ImageDraw.ImageDraw, place: Box, orientation: NDArray[np.float64], *, large: bool
) -> None:
    """Write at each edge of a slice which side of the patient it is (LPS, PS3.3 C.7.6.2.1.1)."""
    left, top, right, bottom = place
    size = 26 if large else 15
    letters = sides(orientation)
    _write(pen, (left + 4, (top + bottom) // 2), letters["left"], size, "lm")
    _write(pen, (right - 4, (top + bottom) // 2), letters["right"], size, "rm")
    if large:
        _write(pen, ((left + right) // 2, top + 4), letters["top"], size, "mt")
        _write(pen, ((left + right) // 2, bottom - 4), letters["bottom"], size, "mb")


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, anchor: str
) -> None:
    """Write on a slice; the dark stroke makes it legible on bone as on air."""
    pen.text(at, text, WHITE, font(size), anchor, stroke_width=2, stroke_fill=BLACK)
