"""Hounsfield volumes from 8-bit pictures in a brain window, which record no place and no size.

RSNA slices, PHE-SICH and Near East come so: 0..80 HU over 0..255, anterior up, without the bone
window. What lies outside the window is guessed, and the couch, as white as bone, is removed.
"""

import csv
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from models.slabs import AIR
from models.volume import Volume
from training.datasets.case import Unreadable

log = logging.getLogger(__name__)

Grey = NDArray[np.uint8]
"""(y, x) or (z, y, x) grey values, 0..255."""

Row = Mapping[str, str]
"""A row of a data set's table: "file", "patient" and more."""

WINDOW_HU = 80.0
"""HU of white; black is 0 HU (level 40, width 80)."""

BLACK, WHITE = 4, 251
"""Grey values below `BLACK` are black but for JPEG noise (ours); from `WHITE` on they are bone."""

BONE_HU, FAT_HU = 700.0, -30.0
"""What white, and black that air does not reach, is taken for."""

HEAD_WIDTH_MM = 155.0
FIELD_MM, FIELDS_MM = 250.0, (190.0, 290.0)
"""Width of a picture where the head's width says none of `FIELDS_MM` (ours).

A slice at the vertex is not as wide as the head, and an infant's head is smaller."""

HEAD_HEIGHT_MM = 165.0
"""A series of a head spans about this."""

_COUCH = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4.2
"""What is thinner than this disc of pixels, as a couch's shell is, is no head."""


def rows_by_patient(table: Path, order: str) -> dict[str, list[Row]]:
    """Return the rows of each patient, sorted by the number in the column `order`.

    Raises
    ------
    FileNotFoundError
        If the table is missing.
    """
    patients: defaultdict[str, list[Row]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            patients[row["patient"]].append(row)
    return {name: sorted(rows, key=lambda row: int(row[order])) for name, rows in patients.items()}


def read_series(root: Path, rows: Sequence[Row]) -> tuple[list[Row], list[Grey], list[str]]:
    """Read a patient's pictures: the rows that have one, the pictures, and what is missing.

    Raises
    ------
    Unreadable
        If no row has a picture.
    """
    kept: list[Row] = []
    greys: list[Grey] = []
    problems = []
    for row in rows:
        grey = read_grey(root / row["file"])
        if grey is None or (greys and grey.shape != greys[0].shape):
            problems.append(f"{row['file']}: no picture of the series' size, slice left out")
        else:
            kept.append(row)
            greys.append(grey)
    if not greys:
        raise Unreadable(f"patient {rows[0]['patient']}: none of {len(rows)} slices has a picture")
    return kept, greys, problems


def read_grey(path: Path) -> Grey | None:
    """(y, x) uint8, or None where the file is missing or broken (the latter is logged)."""
    try:
        return np.asarray(Image.open(path).convert("L"))
    except FileNotFoundError:
        return None
    except (UnidentifiedImageError, OSError) as error:
        log.warning("%s: %s", path.name, error, extra={"action": "broken_image"})
        return None


def hounsfield(grey: Grey) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put the Hounsfield values of one picture together.

    Parameters
    ----------
    grey
        (y, x) uint8.

    Returns
    -------
    hu
        (y, x) float32; air outside the head.
    head
        (y, x) bool, the head: the largest piece of what air does not reach from the border.
    """
    black = grey < BLACK
    outside, _ = ndimage.label(black)
    edges = np.concatenate((outside[0], outside[-1], outside[:, 0], outside[:, -1]))
    body = ~(black & np.isin(outside, edges[edges > 0]))
    head = _largest(body)
    hu = np.where(black, FAT_HU, grey.astype(np.float32) * (WINDOW_HU / 255))
    hu = np.where(grey >= WHITE, BONE_HU, hu)
    return np.where(head, hu, AIR).astype(np.float32), head


def _largest(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest piece, without a couch that touches it; nothing if all is thin."""
    thick = ndimage.binary_opening(np.pad(body, 5), _COUCH)[5:-5, 5:-5]
    pieces, count = ndimage.label(thick)
    if count == 0:
        return np.zeros_like(body)
    core = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    # The opening rounded corners off: what lies within two pixels belongs to the head.
    grown: NDArray[np.bool_] = body & ndimage.binary_dilation(core, iterations=2)
    return grown


def volume_of(greys: Sequence[Grey]) -> Volume:
    """Return the volume of a series of pictures, (y, x) uint8 each, from the feet to the head.

    The pixels' distance follows from the head's width, which four fifths of the slices do not
    exceed (shoulders may), and the slices' from their number; one alone is taken as 5 mm thick.
    """
    found = [hounsfield(grey) for grey in greys]
    pixel_mm = _field_mm([head for _, head in found]) / greys[0].shape[1]
    gap_mm = HEAD_HEIGHT_MM / len(found) if len(found) > 1 else 5.0
    return Volume(
        hu=np.stack([hu for hu, _ in found]),
        positions_mm=np.outer(np.arange(len(found)) * gap_mm, [0.0, 0.0, 1.0]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(pixel_mm, pixel_mm),
        thickness_mm=gap_mm,
    )


def _field_mm(heads: Sequence[NDArray[np.bool_]]) -> float:
    """Return how wide the picture is."""
    columns = [np.flatnonzero(head.any(0)) for head in heads]
    widths = [each[-1] - each[0] + 1 if len(each) else 1 for each in columns]
    field = HEAD_WIDTH_MM * heads[0].shape[1] / float(np.quantile(widths, 0.8))
    return field if FIELDS_MM[0] <= field <= FIELDS_MM[1] else FIELD_MM


def upwards(volume: Volume) -> bool:
    """Whether a series of a whole head runs from the neck to the vertex.

    The vertex shows less of a head than the neck or the skull base does: the tenth of the slices
    with the smaller area is the upper end.
    """
    area = (volume.hu > AIR).sum((1, 2))
    tenth = max(1, len(area) // 10)
    return bool(area[:tenth].sum() > area[-tenth:].sum())
