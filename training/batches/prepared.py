"""Cases brought to the networks' grids once, so that training only augments."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy import ndimage

from models import findings
from models.preprocess import Array, Canvas, CoarseHead, Frame, Grid, coarse_head, make_canvas
from models.slabs import Slabs, make_slabs
from models.volume import Volume
from training.datasets.brain import inside_skull
from training.datasets.case import Case, known_any
from training.phantoms import random_phantom
from training.phantoms.cases import phantom_case

log = logging.getLogger(__name__)

MARGIN = (256, 224)
"""Rows and columns kept around the fine canvas for turning and shifting."""

TISSUE_HU = -300.0
"""What is denser is no air."""

WHOLE_BYTES = 4_000_000_000
"""Data sets up to this size are told apart by all their bytes."""

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
    """SHA-256 over the names and contents of the data set's files, 64 hex digits.

    Of more than `WHOLE_BYTES` it takes sizes instead of contents.
    """
    total = hashlib.sha256()
    files = sorted(path for path in root.rglob("*") if path.is_file())
    whole = sum(path.stat().st_size for path in files) <= WHOLE_BYTES
    for path in files:
        content = path.read_bytes() if whole else str(path.stat().st_size).encode()
        total.update(path.relative_to(root).as_posix().encode())
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


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
        try:
            found = fine_slices(case, grid, strip, numbers.get(case.patient, own))
        except findings.Unreadable as error:
            log.warning(
                "%s: %s; case left out", case.name, error, extra={"action": "case_left_out"}
            )
            continue
        numbers[case.patient] = int(found.patient[0])
        yield case.patient, found


def fine_slices(case: Case, grid: Grid, strip: Strip, number: int) -> Slices:
    """One case's slabs on the fine lattice of `grid`; `number` stands for the patient.

    A slab shows what one of its slices shows. Without a mask `mask` is empty and `patient_ml` NaN.
    """
    source = make_slabs(case.volume, grid.slab_mm)
    fine = canvas_of(case, source, strip, grid)  # (s, y, x)
    count = len(fine.hu)
    # The mask goes the same way, as a share of each slab; half of it counts.
    lesion, lesion_ml = np.zeros(fine.hu.shape, bool), np.nan
    if case.mask is not None:
        lesion = on_canvas(case, case.mask, fine.frame, grid)
        lesion_ml = case.mask.sum((1, 2)) @ case.volume.voxel_ml
    return Slices(
        np.round(fine.hu).astype(np.int16),
        np.round(fine.brain * 255).astype(np.uint8),
        lesion,
        np.stack([known_any(case.labels[source.of_slice == slab], 0) for slab in range(count)]),
        np.full(count, number, np.int32),
        np.full(count, lesion_ml, np.float32),
    )


def on_canvas(case: Case, drawn: NDArray[np.bool_], frame: Frame, grid: Grid) -> NDArray[np.bool_]:
    """(z, y, x) bool -> (s, y, x) bool on the canvas: half of a slab's share counts."""
    share = make_slabs(replace(case.volume, hu=drawn.astype(np.float32)), grid.slab_mm)
    return np.asarray(frame.sample(share) > 0.5)


def canvas_of(case: Case, source: Slabs, strip: Strip, grid: Grid) -> Canvas:
    """Return a case's slabs on the canvas.

    Raises
    ------
    models.findings.Unreadable
        If the volume holds no head, or no brain.
    """
    if not case.neighbours:
        return _alone(source, grid)
    head = coarse_head(source, grid)
    inside = strip(head.hu)
    if not (inside > 0.5).any():
        raise findings.Unreadable("no brain found")
    return make_canvas(source, head, inside, grid)


def _alone(source: Slabs, grid: Grid) -> Canvas:
    """Return slices on the canvas that say too little of the head for the skull stripper.

    They are centred on the head: the brain of a low slice lies far behind the whole brain's middle.
    """
    size = source.hu.shape[1:]
    extent = [(n - 1) * mm for n, mm in zip(size, source.spacing_mm, strict=True)]
    rows, columns = (int(length / grid.step_mm) + 1 for length in extent)
    whole = Frame((extent[0] / 2, extent[1] / 2), rows, columns, grid.step_mm)
    hu = whole.sample(source)
    inside = inside_skull(hu, grid.step_mm)
    middle = _middle(_largest(hu > TISSUE_HU))
    (top, left), step = whole.corner_mm, grid.step_mm
    centre = (top + middle[0] * step, left + middle[1] * step)
    frame = Frame(centre, grid.rows, grid.columns, step)
    corner = frame.corner_mm
    moved = replace(whole, centre_mm=tuple(np.subtract(whole.centre_mm, corner)))
    brain = moved.spread(inside.astype(np.float32), (grid.rows, grid.columns), (step, step))
    return Canvas(frame.sample(source), np.clip(brain, 0, 1), frame)


def _largest(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest piece of what is seen, (s, y, x) bool."""
    pieces, count = ndimage.label(seen)
    if count == 0:
        return seen
    largest: NDArray[np.bool_] = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return largest


def _middle(seen: NDArray[np.bool_] | Array) -> tuple[float, float]:
    """(s, y, x) bool -> half way between the ends of what is seen, in pixels; else the centre."""
    ends = []
    for axis in (1, 2):
        other = tuple({0, 1, 2} - {axis})
        places = np.flatnonzero(np.any(seen, other))
        ends.append((places[0] + places[-1]) / 2 if len(places) else (seen.shape[axis] - 1) / 2)
    return ends[0], ends[1]


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


def numbers(cache: Path) -> dict[str, int]:
    """Return the number that stands for each patient in a cache."""
    found: dict[str, int] = json.loads((cache / "done.json").read_text())["patients"]
    return found


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
