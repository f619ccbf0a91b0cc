"""PhysioNet CT-ICH 1.0.0 in its JPG layout: Hounsfield volumes, masks and slice labels.

Hssayeni et al., Data 2020, 5(1):14, doi 10.3390/data5010014. Each slice comes as two 8-bit images,
a brain and a bone window, from which the Hounsfield values are put together again; pixel size
and position are not recorded and are given nominal values here.
"""

import csv
import logging
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.findings import SUBTYPES
from models.volume import Volume

log = logging.getLogger(__name__)

PIXEL_MM = 0.354
"""Nominal: a 230 mm field of view over 650 pixels (the data set records none)."""

SLICE_MM = 5.0

# (level, width) of the brain and the bone images; patient 50 was exported with others.
WINDOWS = {"brain": (40, 120), "bone": (700, 3200)}
WINDOWS_OF_50 = {"brain": (30, 80), "bone": (500, 2000)}

BONE_NUMBER_SHIFT = {81: 2}
"""Patient 81's bone images are numbered two higher than its brain images."""

_SATURATED = 3
"""Grey values this close to 0 or 255 may be clipped (the images are JPEG-compressed)."""


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient of the data set.

    Attributes
    ----------
    number
        The data set's patient number.
    volume
        Axial slices from the feet to the head, nominal spacing.
    mask
        (z, y, x) bool, hemorrhage of any subtype.
    labels
        (z, 5) bool, `SUBTYPES` present on each slice.
    incomplete
        What is missing, one line each: slices left out, bone images guessed.
    """

    number: int
    volume: Volume
    mask: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    incomplete: tuple[str, ...]


def patients(root: Path) -> list[int]:
    """Numbers of the patients in `root`, ascending."""
    return sorted({int(row["PatientNumber"]) for row in _rows(root)})


def load(root: Path, number: int) -> Patient:
    """Read one patient.

    A slice without a readable brain image is left out (its position stays empty, so the gap shows)
    and one without a bone image has its saturated pixels guessed; both are named.

    Raises
    ------
    FileNotFoundError
        If the patient has no readable slice.
    """
    hu, masks, labels, heights, incomplete = [], [], [], [], []
    for row in _rows(root):
        if int(row["PatientNumber"]) != number:
            continue
        index = int(row["SliceNumber"])
        name = f"{number:03d}_{index:02d}.jpg"
        brain = _grey(root / "brain" / name)
        if brain is None:
            incomplete.append(f"{name}: no brain image, slice left out")
            continue
        bone_index = index + BONE_NUMBER_SHIFT.get(number, 0)
        bone = _grey(root / "bone" / f"{number:03d}_{bone_index:02d}.jpg")
        if bone is None:
            incomplete.append(f"{name}: no bone image, bone and air guessed")
        windows = WINDOWS_OF_50 if number == 50 else WINDOWS
        lesion = _grey(root / "mask" / name)
        hu.append(hounsfield(brain, bone, windows))
        masks.append(np.zeros(brain.shape, bool) if lesion is None else lesion > 127)
        labels.append([row[subtype.capitalize()] == "1" for subtype in SUBTYPES])
        heights.append(index * SLICE_MM)
        if lesion is None and any(labels[-1]):
            incomplete.append(f"{name}: labelled hemorrhage without a mask")
    if not hu:
        raise FileNotFoundError(f"no slice of patient {number} in {root}")
    for line in incomplete:
        log.info(line, extra={"action": "incomplete"})
    volume = Volume(
        hu=np.stack(hu),
        positions_mm=np.array([(0.0, 0.0, height) for height in heights]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(PIXEL_MM, PIXEL_MM),
        thickness_mm=SLICE_MM,
    )
    return Patient(number, volume, np.stack(masks), np.array(labels), tuple(incomplete))


def hounsfield(
    brain: NDArray[np.uint8],
    bone: NDArray[np.uint8] | None,
    windows: dict[str, tuple[int, int]] = WINDOWS,
) -> NDArray[np.float32]:
    """Put the Hounsfield values together: the brain image where it is not saturated, else bone.

    Parameters
    ----------
    brain, bone
        (y, x) uint8 images. Without a bone image what is brighter than the brain window is taken
        as 700 HU and what is darker as air.
    windows
        (level, width) of each.

    Returns
    -------
    NDArray
        (y, x) float32, HU.
    """

    def unwindow(grey: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
        level, width = windows[kind]
        return (grey.astype(np.float32) / 255 - np.float32(0.5)) * width + level

    soft = unwindow(brain, "brain")
    level, width = windows["brain"]
    if bone is None:
        high, low = np.float32(700), np.float32(-1000)
    else:
        hard = unwindow(bone, "bone")
        hard[bone == 0] = -1000
        high = np.maximum(hard, level + width / 2)
        low = np.minimum(hard, level - width / 2)
    soft = np.where(brain > 255 - _SATURATED, high, soft)
    return np.where(brain < _SATURATED, low, soft).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Split:
    """Patient numbers of each part; no patient is in two."""

    train: tuple[int, ...]
    tune: tuple[int, ...]
    test: tuple[int, ...]


def read_split(path: Path) -> Split:
    """Read a split from TOML: three arrays of patient numbers.

    Raises
    ------
    ValueError
        If a patient is in two parts.
    """
    parts = tomllib.loads(path.read_text())
    split = Split(*(tuple(parts[name]) for name in ("train", "tune", "test")))
    if twice := [
        n for n, times in Counter(split.train + split.tune + split.test).items() if times > 1
    ]:
        raise ValueError(f"{path}: patients in two parts: {twice}")
    return split


def _rows(root: Path) -> list[dict[str, str]]:
    with (root / "slices.csv").open(newline="") as file:
        return sorted(
            csv.DictReader(file), key=lambda r: (int(r["PatientNumber"]), int(r["SliceNumber"]))
        )


def _grey(path: Path) -> NDArray[np.uint8] | None:
    """(y, x) uint8, or None where the file is missing or broken (which is logged)."""
    try:
        return np.asarray(Image.open(path).convert("L"))
    except FileNotFoundError:
        return None
    except (UnidentifiedImageError, OSError) as error:
        log.warning("%s: %s", path.name, error, extra={"action": "broken_image"})
        return None
