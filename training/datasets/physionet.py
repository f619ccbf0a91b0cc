"""PhysioNet CT-ICH 1.0.0 in its JPG layout: Hounsfield volumes, masks and slice labels.

Hssayeni et al., Data 2020, 5(1):14, doi 10.3390/data5010014. Each slice comes as two 8-bit images,
a brain and a bone window, from which the Hounsfield values are put together again; pixel size
and position are not recorded and are given nominal values here.
"""

import csv
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.findings import SUBTYPES
from models.volume import Volume
from training.datasets import splits
from training.datasets.case import Case, DataSet, Unreadable, known_any, study_labels

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


def open_jpg(root: Path) -> DataSet:
    """Open the data set; `root` holds `slices.csv` and the folders brain, bone and mask.

    Raises
    ------
    FileNotFoundError
        If `slices.csv` is missing.
    """
    patients = {str(number): rows for number, rows in _rows(root).items()}
    return DataSet(
        name="PhysioNet CT-ICH",
        site="physionet",
        citation=(
            "Hssayeni MD et al., Intracranial hemorrhage segmentation using a deep convolutional "
            "model, Data 2020;5(1):14, doi 10.3390/data5010014"
        ),
        licence="CC BY 4.0 (release 1.0.0; later releases are restricted)",
        loaders={patient: [partial(_read, root, rows)] for patient, rows in patients.items()},
        bleeding={
            patient: float(any(row[name.capitalize()] == "1" for row in rows for name in SUBTYPES))
            for patient, rows in patients.items()
        },
    )


def patients(root: Path) -> list[int]:
    """Numbers of the patients in `root`, ascending."""
    return list(_rows(root))


def load(root: Path, number: int) -> Case:
    """Read one patient of those that a recipe names; a patient that cannot be read is an error.

    Raises
    ------
    Unreadable
        If the patient has no readable slice.
    """
    patients = _rows(root)
    if number not in patients:
        raise Unreadable(f"patient {number}: no slice in {root}")
    case = _read(root, patients[number])
    for line in case.problems:
        log.info(line, extra={"action": "incomplete"})
    return case


def _read(root: Path, rows: Sequence[dict[str, str]]) -> Case:
    """Read one patient's slices.

    A slice without a readable brain image is left out (its position stays empty, so the gap shows)
    and one without a bone image has its saturated pixels guessed; both are named.
    """
    hu: list[NDArray[np.float32]] = []
    masks, labels, heights, problems = [], [], [], []
    number = int(rows[0]["PatientNumber"])
    for row in rows:
        index = int(row["SliceNumber"])
        name = f"{number:03d}_{index:02d}.jpg"
        brain = _grey(root / "brain" / name)
        if brain is None or (hu and brain.shape != hu[0].shape):
            what = "no brain image" if brain is None else f"another size, {brain.shape}"
            problems.append(f"{name}: {what}, slice left out")
            continue
        bone_index = index + BONE_NUMBER_SHIFT.get(number, 0)
        bone = _grey(root / "bone" / f"{number:03d}_{bone_index:02d}.jpg", brain.shape)
        if bone is None:
            problems.append(f"{name}: no bone image, bone and air guessed")
        windows = WINDOWS_OF_50 if number == 50 else WINDOWS
        lesion = _grey(root / "mask" / name, brain.shape)
        hu.append(hounsfield(brain, bone, windows))
        masks.append(np.zeros(brain.shape, bool) if lesion is None else lesion > 127)
        labels.append([row[subtype.capitalize()] == "1" for subtype in SUBTYPES])
        heights.append(index * SLICE_MM)
        if lesion is None and any(labels[-1]):
            problems.append(f"{name}: labelled hemorrhage without a mask")
    if not hu:
        raise Unreadable(f"patient {number}: none of {len(rows)} slices has a brain image")
    volume = Volume(
        hu=np.stack(hu),
        positions_mm=np.array([(0.0, 0.0, height) for height in heights]),
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(PIXEL_MM, PIXEL_MM),
        thickness_mm=SLICE_MM,
    )
    known = np.array(labels, np.float32)
    bleeds = known_any(known, axis=1)
    return Case(
        name=f"{number:03d}",
        patient=str(number),
        volume=volume,
        labels=known,
        bleeds=bleeds,
        study=study_labels(known, bleeds),
        mask=np.stack(masks),
        kind="mask",
        problems=tuple(problems),
    )


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
        level, width = map(np.float32, windows[kind])
        return (grey.astype(np.float32) / np.float32(255) - np.float32(0.5)) * width + level

    soft = unwindow(brain, "brain")
    level, width = windows["brain"]
    high: NDArray[np.float32] | np.float32 = np.float32(700)
    low: NDArray[np.float32] | np.float32 = np.float32(-1000)
    if bone is not None:
        hard = unwindow(bone, "bone")
        hard[bone == 0] = -1000
        high = np.maximum(hard, level + width / 2)
        low = np.minimum(hard, level - width / 2)
    soft = np.where(brain > 255 - _SATURATED, high, soft)
    return np.where(brain < _SATURATED, low, soft).astype(np.float32)


class Split(NamedTuple):
    """Patient numbers of each part; each patient is in one part."""

    train: tuple[int, ...]
    tune: tuple[int, ...]
    test: tuple[int, ...]


def read_split(path: Path) -> Split:
    """Read a split of this data set, see `training.datasets.splits.read_split`; as numbers."""
    split = splits.read_split(path)
    return Split(*(tuple(map(int, part)) for part in (split.train, split.tune, split.test)))


def _rows(root: Path) -> dict[int, list[dict[str, str]]]:
    """Rows of the table by patient, in the order of patients and slices."""
    patients: dict[int, list[dict[str, str]]] = {}
    with (root / "slices.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            patients.setdefault(int(row["PatientNumber"]), []).append(row)
    return {
        number: sorted(patients[number], key=lambda row: int(row["SliceNumber"]))
        for number in sorted(patients)
    }


def _grey(path: Path, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8] | None:
    """(y, x) uint8, or None where the file is missing, or broken or no `shape` (both logged)."""
    try:
        grey = np.asarray(Image.open(path).convert("L"))
    except FileNotFoundError:
        return None
    except (UnidentifiedImageError, OSError) as error:
        log.warning("%s: %s", path.name, error, extra={"action": "broken_image"})
        return None
    if shape is not None and grey.shape != shape:
        log.warning("%s: size %s", path.name, grey.shape, extra={"action": "broken_image"})
        return None
    return grey
