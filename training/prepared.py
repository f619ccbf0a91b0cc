"""Cases brought to the networks' grids once, so that training only augments."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models.preprocess import Array, CoarseHead, Frame, Grid, coarse_head, make_canvas
from models.slabs import make_slabs
from models.volume import Volume
from training.datasets import physionet
from training.datasets.brain import inside_skull
from training.datasets.case import Case, known_any
from training.phantoms import random_phantom
from training.phantoms.cases import phantom_case

log = logging.getLogger(__name__)

MARGIN = (256, 224)
"""Rows and columns kept around the fine canvas for turning and shifting."""

_Kind = TypeVar("_Kind", "Slices", "Heads")

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
        (n,) int, the patient's number; where the data set does not number its patients, the one
        that `done.json` of the cache gives them. Slices of a case stand together, from the feet
        to the head.
    patient_ml
        (n,) float32, the case's hemorrhage in mL; NaN where no mask was drawn.
    """

    hu: NDArray[np.int16]
    brain: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    labels: NDArray[np.float32]
    patient: NDArray[np.int32]
    patient_ml: NDArray[np.float32]

    @property
    def located(self) -> NDArray[np.bool_]:
        """(n,) bool, whether `mask` is known: it was drawn, or the slice is labelled free."""
        free: NDArray[np.bool_] = (self.labels == 0).all(1)
        return np.isfinite(self.patient_ml) | free


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


def heads(root: Path, numbers: Sequence[int], grid: Grid, cache: Path) -> Heads:
    """`heads_of` these patients of PhysioNet CT-ICH."""
    return heads_of((physionet.load(root, number) for number in numbers), grid, cache)


def heads_of(cases: Iterable[Case], grid: Grid, cache: Path) -> Heads:
    """Coarse boxes of these cases, labelled by `inside_skull`; from the cache if there."""
    if not (cache / "done.json").exists():
        _save(cache, ((case.patient, _head(case, grid)) for case in cases))
    return _open(cache, Heads)


def _head(case: Case, grid: Grid) -> Heads:
    # The rule needs pixels half as wide as those of the coarse box: (s, 2 y, 2 x).
    source = make_slabs(case.volume, grid.slab_mm)
    head = coarse_head(source, grid)
    fine = Frame(
        head.frame.centre_mm, 2 * head.frame.rows, 2 * head.frame.columns, head.frame.step_mm / 2
    )
    inside = inside_skull(fine.sample(source), fine.step_mm).astype(np.float32)
    # Its labels are brought to the box's pixels, then to its planes.
    labelled = replace(source, hu=inside, spacing_mm=(fine.step_mm, fine.step_mm))
    middle = ((fine.rows - 1) * fine.step_mm / 2, (fine.columns - 1) * fine.step_mm / 2)
    coarse = replace(head.frame, centre_mm=middle).sample(labelled)
    box = head.hu.astype(np.int16), _at_box(head, coarse, source.locations_mm)
    return Heads(box[0][None], box[1][None])


def slices(root: Path, numbers: Sequence[int], grid: Grid, strip: Strip, cache: Path) -> Slices:
    """`slices_of` these patients of PhysioNet CT-ICH."""
    return slices_of((physionet.load(root, number) for number in numbers), grid, strip, cache)


def slices_of(cases: Iterable[Case], grid: Grid, strip: Strip, cache: Path) -> Slices:
    """Fine slices of these cases, from the cache if there.

    One case is in memory at a time, so a cache may be larger than the memory.
    """
    if not (cache / "done.json").exists():
        wide = replace(grid, rows=MARGIN[0], columns=MARGIN[1])
        _save(cache, _numbered(cases, wide, strip))
    return _open(cache, Slices)


def _numbered(cases: Iterable[Case], grid: Grid, strip: Strip) -> Iterator[tuple[str, Slices]]:
    """Number the patients: by their own number, else from 0 in the order of appearance."""
    numbers: dict[str, int] = {}
    for case in cases:
        own = int(case.patient) if case.patient.isdecimal() else len(numbers)
        number = numbers.setdefault(case.patient, own)
        yield case.patient, fine_slices(case, grid, strip, number)


def fine_slices(case: Case, grid: Grid, strip: Strip, number: int) -> Slices:
    """One case's slabs on the fine lattice of `grid`; `number` stands for the patient.

    A slab shows what one of its slices shows. Without a mask `mask` is empty and `patient_ml` NaN.
    """
    # Slabs of the source slices, the coarse box for the stripper, then the canvas (s, y, x).
    source = make_slabs(case.volume, grid.slab_mm)
    head = coarse_head(source, grid)
    fine = make_canvas(source, head, strip(head.hu), grid)
    count = len(fine.hu)
    # The mask goes the same way, as a share of each slab; half of it counts.
    lesion, lesion_ml = np.zeros(fine.hu.shape, bool), np.nan
    if case.mask is not None:
        drawn = make_slabs(replace(case.volume, hu=case.mask.astype(np.float32)), grid.slab_mm)
        lesion = fine.frame.sample(drawn) > 0.5
        lesion_ml = case.mask.sum((1, 2)) @ case.volume.voxel_ml
    return Slices(
        np.round(fine.hu).astype(np.int16),
        np.round(fine.brain * 255).astype(np.uint8),
        lesion,
        np.stack([known_any(case.labels[source.of_slice == slab], 0) for slab in range(count)]),
        np.full(count, number, np.int32),
        np.full(count, lesion_ml, np.float32),
    )


def phantoms(seeds: range, split: str, grid: Grid, cache: Path) -> tuple[Heads, Slices]:
    """Coarse boxes and fine slices of random phantoms, from the cache if there.

    The phantom's own inside of the skull takes the skull stripper's place.
    """
    if not (cache / "slices" / "done.json").exists():
        with ProcessPoolExecutor() as pool:
            drawn = pool.map(partial(_drawn, split=split, grid=grid), seeds)
            boxes, parts = zip(*track(drawn, "drawing phantoms", len(seeds)), strict=True)
        names = [str(seed) for seed in seeds]
        _save(cache / "heads", zip(names, boxes, strict=True))
        _save(cache / "slices", zip(names, parts, strict=True))
    return (
        _open(cache / "heads", Heads),
        _open(cache / "slices", Slices),
    )


def _drawn(seed: int, split: str, grid: Grid) -> tuple[Heads, Slices]:
    drawn = random_phantom(seed, split=split)
    box = _labelled_box(drawn.volume, drawn.brain, grid)
    wide = replace(grid, rows=MARGIN[0], columns=MARGIN[1])
    return box, fine_slices(phantom_case(seed, drawn), wide, lambda _: box.inside[0] * 1.0, seed)


def _labelled_box(volume: Volume, brain: NDArray[np.bool_], grid: Grid) -> Heads:
    source = make_slabs(volume, grid.slab_mm)
    head = coarse_head(source, grid)
    labelled = make_slabs(replace(volume, hu=brain.astype(np.float32)), grid.slab_mm)
    inside = _at_box(head, head.frame.sample(labelled), source.locations_mm)
    return Heads(head.hu.astype(np.int16)[None], inside[None])


def coarse_box(volume: Volume, grid: Grid) -> NDArray[np.int16]:
    """(z, y, x) int16 HU of the skull stripper's box."""
    return coarse_head(make_slabs(volume, grid.slab_mm), grid).hu.round().astype(np.int16)


def _at_box(
    head: CoarseHead, inside: Array, locations_mm: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Labels of the slabs at the nearest planes of the coarse box; none below the scan."""
    nearest = np.abs(head.heights_mm[:, None] - locations_mm).argmin(1)
    within = (head.heights_mm > locations_mm[0] - 3)[:, None, None]
    return np.asarray((inside[nearest] > 0.5) & within)


def _save(cache: Path, parts: Iterable[tuple[str, Slices | Heads]]) -> None:
    """Write the arrays of all parts one behind the other, and the patients' numbers."""
    cache.mkdir(parents=True, exist_ok=True)
    patients: dict[str, int] = {}
    with ExitStack() as files:
        growing: dict[str, _Growing] = {}
        for patient, part in parts:
            for name, array in part._asdict().items():
                if name not in growing:
                    file = files.enter_context((cache / f"{name}.npy").open("wb"))
                    growing[name] = _Growing(file, array)
                growing[name].append(array)
            patients[patient] = int(part.patient[0]) if isinstance(part, Slices) else len(patients)
        for each in growing.values():
            each.finish()
    if not patients:
        raise ValueError(f"no case could be read for {cache}")
    (cache / "done.json").write_text(json.dumps({"patients": patients}))
    log.info("prepared %d patients in %s", len(patients), cache, extra={"action": "prepared"})


class _Growing:
    """An .npy file whose first axis grows: the same bytes as `numpy.save` of the whole."""

    def __init__(self, file: BinaryIO, first: NDArray[np.generic]) -> None:
        self.file, self.like, self.length = file, first, 0
        self._header()

    def append(self, array: NDArray[np.generic]) -> None:
        """Write an array that differs from the first one in its length alone."""
        self.file.write(np.ascontiguousarray(array).tobytes())
        self.length += len(array)

    def finish(self) -> None:
        """Write the header again; numpy leaves room in it for the first axis to grow."""
        self.file.seek(0)
        self._header()

    def _header(self) -> None:
        described = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(self.like))
        described["shape"] = (self.length, *self.like.shape[1:])
        np.lib.format.write_array_header_1_0(self.file, described)


def _open(cache: Path, kind: type[_Kind]) -> _Kind:
    return kind(*(np.load(cache / f"{name}.npy", mmap_mode="r") for name in kind._fields))
