"""Cases brought to the networks' grids once, so that training only augments."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models.findings import SUBTYPES
from models.preprocess import Array, CoarseHead, Frame, Grid, canvas, coarse_head, slabs
from models.volume import Volume
from training.datasets import physionet
from training.datasets.brain import inside_skull
from training.phantoms import Phantom, random_phantom

log = logging.getLogger(__name__)

MARGIN = (256, 224)
"""Rows and columns kept around the fine canvas for turning and shifting."""

Strip = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Skull stripper: coarse HU (z, y, x) -> probability of the inside of the skull."""


class Slices(NamedTuple):
    """Slices on the fine lattice with `MARGIN`.

    Attributes
    ----------
    hu
        (n, y, x) int16.
    brain
        (n, y, x) uint8, probability of the inside of the skull 0..255.
    mask
        (n, y, x) bool, hemorrhage.
    labels
        (n, 5) float32, `SUBTYPES`; NaN where unknown.
    patient
        (n,) int; slices of a patient stand together, from the feet to the head.
    patient_ml
        (n,) float32, the patient's hemorrhage in mL.
    """

    hu: NDArray[np.int16]
    brain: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    labels: NDArray[np.float32]
    patient: NDArray[np.int32]
    patient_ml: NDArray[np.float32]


class Heads(NamedTuple):
    """Coarse boxes: `hu` (n, z, y, x) int16 and `inside` (n, z, y, x) bool, the skull's inside."""

    hu: NDArray[np.int16]
    inside: NDArray[np.bool_]


def digest(root: Path) -> str:
    """SHA-256 over the names and contents of the data set's files, 64 hex digits."""
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def heads(root: Path, numbers: tuple[int, ...], grid: Grid, cache: Path) -> Heads:
    """Coarse boxes of these patients, labelled by `inside_skull`; from the cache if there."""
    if not (cache / "done.json").exists():
        parts = [_head(root, number, grid) for number in numbers]
        _save(cache, Heads(*(np.stack(part) for part in zip(*parts, strict=True))), numbers)
    return Heads(*_open(cache, Heads._fields))


def _head(root: Path, number: int, grid: Grid) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    source = slabs(physionet.load(root, number).volume, grid.slab_mm)
    head = coarse_head(source, grid)
    fine = Frame(
        head.frame.centre_mm, 2 * head.frame.rows, 2 * head.frame.columns, head.frame.step_mm / 2
    )
    inside = inside_skull(fine.sample(source), fine.step_mm).astype(np.float32)
    labelled = replace(source, hu=inside, spacing_mm=(fine.step_mm, fine.step_mm))
    middle = ((fine.rows - 1) * fine.step_mm / 2, (fine.columns - 1) * fine.step_mm / 2)
    coarse = replace(head.frame, centre_mm=middle).sample(labelled)
    return head.hu.astype(np.int16), _at_box(head, coarse, source.locations_mm)


def slices(root: Path, numbers: tuple[int, ...], grid: Grid, strip: Strip, cache: Path) -> Slices:
    """Fine slices of these patients, from the cache if there."""
    if not (cache / "done.json").exists():
        wide = replace(grid, rows=MARGIN[0], columns=MARGIN[1])
        parts = [fine_slices(physionet.load(root, number), wide, strip) for number in numbers]
        _save(cache, Slices(*(np.concatenate(part) for part in zip(*parts, strict=True))), numbers)
    return Slices(*_open(cache, Slices._fields))


def of_patients(these: Slices, numbers: Sequence[int]) -> Slices:
    """Return the slices of these patients alone."""
    chosen = np.isin(these.patient, numbers)
    return Slices(*(array[chosen] for array in these))


def fine_slices(case: physionet.Patient, grid: Grid, strip: Strip) -> Slices:
    """One case's slabs on the fine lattice of `grid`."""
    source = slabs(case.volume, grid.slab_mm)
    head = coarse_head(source, grid)
    fine = canvas(source, head, strip(head.hu), grid)
    lesion = slabs(replace(case.volume, hu=case.mask.astype(np.float32)), grid.slab_mm)
    labels = np.zeros((len(source.hu), case.labels.shape[1]), np.float32)
    np.maximum.at(labels, source.of_slice, case.labels.astype(np.float32))
    count = len(fine.hu)
    return Slices(
        np.round(fine.hu).astype(np.int16),
        np.round(fine.brain * 255).astype(np.uint8),
        fine.frame.sample(lesion) > 0.5,
        labels,
        np.full(count, case.number, np.int32),
        np.full(count, case.mask.sum((1, 2)) @ case.volume.voxel_ml, np.float32),
    )


def phantoms(seeds: range, split: str, grid: Grid, cache: Path) -> tuple[Heads, Slices]:
    """Coarse boxes and fine slices of random phantoms, from the cache if there.

    The phantom's own inside of the skull takes the skull stripper's place.
    """
    if not (cache / "slices" / "done.json").exists():
        with ProcessPoolExecutor() as pool:
            drawn = pool.map(partial(_drawn, split=split, grid=grid), seeds)
            boxes, parts = zip(*track(drawn, "drawing phantoms", len(seeds)), strict=True)
        _save(cache / "heads", Heads(*(np.stack(part) for part in zip(*boxes, strict=True))), seeds)
        _save(
            cache / "slices",
            Slices(*(np.concatenate(part) for part in zip(*parts, strict=True))),
            seeds,
        )
    return (
        Heads(*_open(cache / "heads", Heads._fields)),
        Slices(*_open(cache / "slices", Slices._fields)),
    )


def _drawn(
    seed: int, split: str, grid: Grid
) -> tuple[tuple[NDArray[np.int16], NDArray[np.bool_]], Slices]:
    drawn = random_phantom(seed, split=split)
    box = _labelled_box(drawn.volume, drawn.brain, grid)
    wide = replace(grid, rows=MARGIN[0], columns=MARGIN[1])
    return box, fine_slices(phantom_case(seed, drawn), wide, lambda _: box[1] * 1.0)


def phantom_case(seed: int, drawn: Phantom) -> physionet.Patient:
    """Return a phantom as a case; a slice shows a subtype from 10 square millimetres."""
    pixel = drawn.volume.spacing_mm[0] * drawn.volume.spacing_mm[1]
    codes = np.arange(1, len(SUBTYPES) + 1)
    area = np.stack([(drawn.lesions == code).sum((1, 2)) * pixel for code in codes], axis=1)
    return physionet.Patient(seed, drawn.volume, drawn.lesions > 0, area >= 10, ())


def _labelled_box(
    volume: Volume, brain: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    source = slabs(volume, grid.slab_mm)
    head = coarse_head(source, grid)
    labelled = slabs(replace(volume, hu=brain.astype(np.float32)), grid.slab_mm)
    return head.hu.astype(np.int16), _at_box(head, head.frame.sample(labelled), source.locations_mm)


def coarse_box(volume: Volume, grid: Grid) -> NDArray[np.int16]:
    """(z, y, x) int16 HU of the skull stripper's box."""
    return coarse_head(slabs(volume, grid.slab_mm), grid).hu.round().astype(np.int16)


def _at_box(
    head: CoarseHead, inside: Array, locations_mm: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Labels of the slabs at the nearest planes of the coarse box; none below the scan."""
    nearest = np.abs(head.heights_mm[:, None] - locations_mm).argmin(1)
    within = (head.heights_mm > locations_mm[0] - 3)[:, None, None]
    return (inside[nearest] > 0.5) & within


def _save(cache: Path, arrays: Slices | Heads, numbers: Sequence[int]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for name, array in zip(arrays._fields, arrays, strict=True):
        np.save(cache / f"{name}.npy", array)
    (cache / "done.json").write_text(json.dumps({"cases": list(numbers)}))
    log.info("prepared %d cases in %s", len(numbers), cache, extra={"action": "prepared"})


def _open(cache: Path, names: tuple[str, ...]) -> list[NDArray[np.generic]]:
    return [np.load(cache / f"{name}.npy", mmap_mode="r") for name in names]
