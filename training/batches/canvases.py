"""The training table's pixels: cases of any data set on the networks' canvas, once, on disk.

    table = make_table([open_dataset(...), ...], Path("runs/table"), strip=strip)

Each data set gets a folder. A run that was stopped goes on behind the last whole patient.
"""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models import findings
from models.preprocess import Grid
from models.slabs import make_slabs
from training.batches.prepared import Strip, canvas_of, on_canvas
from training.datasets.case import Case, DataSet, Labels, known_any
from training.datasets.table import (
    JOURNAL,
    KNOWN,
    LABELS,
    PIXELS,
    TOLD,
    Located,
    Table,
    TabledCase,
    journal_line,
    tabled,
)

log = logging.getLogger(__name__)

GRID = Grid(rows=192, columns=192)
"""The canvas of the table: a brain is about 170 by 140 mm."""


class Painted(NamedTuple):
    """One case on the canvas.

    Attributes
    ----------
    hu, brain, mask
        (s, y, x) as in `training.datasets.table.Slice`.
    labels
        (s, 6) float32, `LABELS`; a slab shows what one of its slices shows.
    located
        (s,) uint8, `Located`.
    """

    hu: NDArray[np.int16]
    brain: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    labels: Labels
    located: NDArray[np.uint8]


def make_table(data_sets: Sequence[DataSet], cache: Path, strip: Strip, grid: Grid = GRID) -> Table:
    """Return the table of all cases of these data sets, made where `cache` lacks it.

    Parameters
    ----------
    cache
        Gets a folder for each data set.
    strip
        The skull stripper; slices without neighbours are centred on the inside of the skull by a
        rule (`training.datasets.brain.inside_skull`) instead.

    Raises
    ------
    ValueError
        If a folder was made for another grid, or of a data set no case could be read.
    """
    folders = [cache / data_set.name.replace(" ", "-").lower() for data_set in data_sets]
    for data_set, folder in zip(data_sets, folders, strict=True):
        _fill(folder, data_set, strip, grid)
    return Table.open(folders)


def _fill(folder: Path, data_set: DataSet, strip: Strip, grid: Grid) -> None:
    """Bring the patients to the canvas that the folder does not hold yet."""
    told = {
        "name": data_set.name,
        "site": data_set.site,
        "citation": data_set.citation,
        "licence": data_set.licence,
        "judge_only": data_set.judge_only,
        "bleeders_only": data_set.bleeders_only,
        "shape": [grid.rows, grid.columns],
        "grid": json.loads(json.dumps(asdict(grid))),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_another_grid(folder, told)
    if (folder / TOLD).exists():
        return
    done = _done(folder)
    rows = sum(case.rows for case in tabled(folder))
    with ExitStack() as files:
        arrays = {
            name: files.enter_context(_behind(folder / f"{name}.raw", rows * size))
            for name, size in _sizes(grid).items()
        }
        journal = files.enter_context((folder / JOURNAL).open("a"))
        left = [patient for patient in data_set.patients() if patient not in done]
        read = groupby(data_set.cases(left), key=lambda case: case.patient)
        for patient, cases in track(read, f"preparing {data_set.name}", len(left), transient=True):
            written = [_written(case, arrays, strip, grid) for case in cases]
            for file in arrays.values():
                file.flush()
            journal.write(journal_line(patient, [case for case in written if case]))
            journal.flush()
    if not any(tabled(folder)):
        raise ValueError(f"{data_set.name}: no case could be read for {folder}")
    (folder / TOLD).write_text(json.dumps(told, indent=2) + "\n")
    log.info("%s is prepared in %s", data_set.name, folder, extra={"action": "prepared"})


def _refuse_another_grid(folder: Path, told: dict[str, object]) -> None:
    """Keep the grid that a folder is made for, from its first patient on."""
    path = folder / "grid.json"
    if not path.exists():
        path.write_text(json.dumps(told["grid"]) + "\n")
    elif json.loads(path.read_text()) != told["grid"]:
        raise ValueError(f"{folder} was made for another grid: remove it, or choose another cache")


def _done(folder: Path) -> set[str]:
    """Patients that the journal holds; a line that was cut short is taken away."""
    journal = folder / JOURNAL
    if not journal.exists():
        return set()
    whole = journal.read_text().rpartition("\n")[0]
    journal.write_text(whole + "\n" if whole else "")
    return {json.loads(line)["patient"] for line in whole.splitlines()}


def _sizes(grid: Grid) -> dict[str, int]:
    """Bytes of a slice in each array."""
    pixels = grid.rows * grid.columns
    sizes = {name: pixels * np.dtype(kind).itemsize for name, kind in PIXELS.items()}
    known = {"labels": len(LABELS), "located": 1}
    return sizes | {name: known[name] * np.dtype(kind).itemsize for name, kind in KNOWN.items()}


def _behind(path: Path, size: int) -> BinaryIO:
    """Open a file to write behind its first `size` bytes."""
    file = path.open("ab")
    file.truncate(size)
    return file


def _written(
    case: Case, arrays: dict[str, BinaryIO], strip: Strip, grid: Grid
) -> TabledCase | None:
    """Write a case behind the others; None if it holds no head (logged)."""
    try:
        painted = paint(case, strip, grid)
    except findings.Unreadable as error:
        log.warning("%s: %s; case left out", case.name, error, extra={"action": "case_left_out"})
        return None
    for name, array in painted._asdict().items():
        arrays[name].write(np.ascontiguousarray(array).tobytes())
    ml = np.nan if case.mask is None else float(case.mask.sum((1, 2)) @ case.volume.voxel_ml)
    return TabledCase(
        name=case.name,
        patient=case.patient,
        site=case.site,
        licence=case.licence,
        kind=case.kind,
        neighbours=case.neighbours,
        fair_window=case.fair_window,
        study=tuple(map(float, case.study)),
        drawn_ml=ml,
        rows=len(painted.hu),
    )


def paint(case: Case, strip: Strip, grid: Grid = GRID) -> Painted:
    """Return a case on the canvas.

    Raises
    ------
    models.findings.Unreadable
        If the volume holds no head.
    """
    source = make_slabs(case.volume, grid.slab_mm)
    canvas = canvas_of(case, source, strip, grid)
    count = len(canvas.hu)
    known = np.column_stack((case.bleeds, case.labels))
    labels = np.stack([known_any(known[source.of_slice == slab], 0) for slab in range(count)])
    mask, located = np.zeros(canvas.hu.shape, bool), np.zeros(count, np.uint8)
    for drawn, what in ((case.boxes, Located.BOXED), (case.mask, Located.DRAWN)):
        if drawn is not None:
            mask = on_canvas(case, drawn, canvas.frame, grid)
            located[mask.any((1, 2))] = what
    located[(labels == 0).all(1) & (located == Located.NOWHERE)] = Located.DRAWN
    return Painted(
        np.round(canvas.hu).astype(np.int16),
        np.round(canvas.brain * 255).astype(np.uint8),
        mask,
        labels,
        located,
    )
