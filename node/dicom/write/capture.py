"""The result as a picture, and the picture as a Secondary Capture (PS3.3 A.8.1).

One frame of 1280 x 1000 pixels, which any viewer can show. It has the research-use notice, the
result in words, the slice to look at first with the lesion outlined, and other slices beside it. If
the result is suspected or uncertain, the first of these is the same slice under its probability
map. No identity is burnt in; the viewer shows it.
"""

from collections.abc import Sequence
from functools import cache
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from scipy import ndimage

from models.findings import Findings
from models.volume import Volume
from models.windows import BRAIN
from node.dicom.write.slices import called, first_look, reference
from node.dicom.write.source import Imprint, Source, imprint
from node.wording import AMBER, RESEARCH_USE_ONLY, UNCERTAIN, verdict

SIZE = (1280, 1000)
BANNER = (0, 0, 1280, 40)
LARGE = (16, 150, 736, 910)
MONTAGE = (752, 150, 1264, 910)
COLUMNS, ROWS = 3, 4
FOOTER_Y, FOOTER_LINES, LINE = 920, 4, 150
GAP = 8

BLACK, WHITE, GREY = (0, 0, 0), (255, 255, 255), (170, 170, 170)

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
    """Return the picture of a result.

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
    picture = Image.new("RGB", SIZE, BLACK)
    pen = ImageDraw.Draw(picture)
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
    _small_print(pen, notes)
    return picture


def capture(source: Source, picture: Image.Image, shown: Sequence[int], mark: Imprint) -> Dataset:
    """Return the picture as a Secondary Capture, ready to be saved.

    Parameters
    ----------
    shown
        Indices of the shown slices, which are its source images.
    """
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.Modality = "OT"
    imprint(ds, source, mark)
    ds.BodyPartExamined = "HEAD"
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = ds.ContentDate, ds.ContentTime
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation = "NO"
    ds.RecognizableVisualFeatures = "NO"
    ds.LossyImageCompression = source.first.get("LossyImageCompression") or "00"
    ds.SourceImageSequence = [reference(source, source.plan.slices[index]) for index in shown]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Columns, ds.Rows = picture.size
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.PixelData = picture.tobytes()
    return ds


def labels(source: Source, shown: Sequence[int]) -> list[str]:
    """Return what a viewer calls each shown slice: its InstanceNumber or frame number."""
    return [called(source, source.plan.slices[index]) for index in shown]


def _headline(pen: ImageDraw.ImageDraw, findings: Findings, in_part: str) -> None:
    """Draw the notice, the result and its numbers."""
    pen.rectangle(BANNER, fill=AMBER)
    pen.text((SIZE[0] // 2, 21), RESEARCH_USE_ONLY, BLACK, _font(24), "mm")
    left = LARGE[0]
    if findings.suspected:
        pen.polygon([(left, 88), (left + 18, 54), (left + 36, 88)], fill=AMBER)
        pen.text((left + 18, 87), "!", BLACK, _font(26), "ms")
        left += 50
    pen.text((left, 72), verdict(findings, in_part), WHITE, _font(32), "lm")
    if findings.uncertain:
        pen.text((LARGE[0], 104), UNCERTAIN, WHITE, _font(20), "lm")
    pen.text((LARGE[0], 130), _numbers(findings), WHITE, _font(20), "lm")


def _numbers(findings: Findings) -> str:
    """Return the numbers of the result on one line."""
    parts = [f"Probability {findings.probability:.2f}"]
    if findings.suspected and findings.mask.any():
        parts.append(f"outlined volume {findings.volume_ml:.1f} mL")
    elif findings.suspected:
        parts.append("nothing outlined")
    parts += [f"{name} {value:.2f}" for name, value in findings.subtypes.items()]
    return "   ".join(parts)


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
    across, down = orientation[:3], orientation[3:]
    _write(pen, (left + 4, (top + bottom) // 2), _side(-across), size, "lm")
    _write(pen, (right - 4, (top + bottom) // 2), _side(across), size, "rm")
    if large:
        _write(pen, ((left + right) // 2, top + 4), _side(-down), size, "mt")
        _write(pen, ((left + right) // 2, bottom - 4), _side(down), size, "mb")


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, anchor: str
) -> None:
    """Write on a slice; the dark stroke makes it legible on bone as on air."""
    pen.text(at, text, WHITE, _font(size), anchor, stroke_width=2, stroke_fill=BLACK)


def _side(direction: NDArray[np.float64]) -> str:
    """(3,) direction in LPS -> the letter of the nearest side of the patient."""
    axis = int(np.abs(direction).argmax())
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]


def _small_print(pen: ImageDraw.ImageDraw, notes: Sequence[str]) -> None:
    """Write the notes below the slices; what does not fit is left to the report."""
    lines = [line for note in notes for line in wrap(note, LINE)]
    if len(lines) > FOOTER_LINES:
        lines = [*lines[: FOOTER_LINES - 1], "... further limitations stand in the report."]
    for number, line in enumerate(lines):
        pen.text((LARGE[0], FOOTER_Y + 20 * number), line, GREY, _font(16), "lt")


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)
