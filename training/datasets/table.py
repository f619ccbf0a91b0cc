"""One training table of several sites: every prepared slice, whose it is and what is known of it.

    python -m training.datasets.table FOLDER ...

lists the tables that `training.batches.canvases` made in these folders: cases, patients and slices
by site, kind of label and subtype.
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from training.datasets.case import LabelKind, Labels
from training.datasets.splits import Part, Split, part_of

LABELS = ("any", *SUBTYPES)
"""The columns of `Table.labels`."""

IMPLANTED = " implanted"
"""What follows the name of a site whose normal patients got hemorrhages."""

Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

JOURNAL, TOLD = "patients.jsonl", "done.json"
"""One line for each patient of a folder, and what is true of all of them once it is finished."""


class Located(IntEnum):
    """What the mask of a slice says.

    `NOWHERE`: nothing, so that an empty mask is no "nothing here". `DRAWN`: where the hemorrhage
    is; it is empty where the slice is labelled free of all subtypes. `BOXED`: a box round it.
    """

    NOWHERE = 0
    DRAWN = 1
    BOXED = 2


@dataclass(frozen=True, slots=True)
class TabledCase:
    """What is known of one case; see `training.datasets.case.Case`.

    Attributes
    ----------
    study
        (6,) `LABELS` in the whole series; 0, 1 or NaN.
    drawn_ml
        Volume of the drawn mask; NaN where there is none.
    rows
        Number of its slices in the table. They stand together, from the feet to the head.
    """

    name: str
    patient: str
    site: str
    licence: str
    kind: LabelKind
    neighbours: bool
    fair_window: bool
    study: tuple[float, ...]
    drawn_ml: float
    rows: int


class Slice(NamedTuple):
    """The pixels of one slice.

    Attributes
    ----------
    hu
        (y, x) int16.
    brain
        (y, x) uint8, probability of the inside of the skull, 0..255.
    mask
        (y, x) bool, hemorrhage or the inside of boxes round it; see `Located`.
    """

    hu: NDArray[np.int16]
    brain: NDArray[np.uint8]
    mask: NDArray[np.bool_]


PIXELS: Mapping[str, Any] = {"hu": np.int16, "brain": np.uint8, "mask": np.bool_}
"""The arrays of a folder with (y, x) for each slice, and their types."""

KNOWN: Mapping[str, Any] = {"labels": np.float32, "located": np.uint8}
"""The arrays of a folder with (6,) and () for each slice."""


@dataclass(frozen=True, slots=True)
class Table:
    """Slices of several data sets, their pixels mapped from disk.

    A drawer picks a site, a subtype, a patient and then a row from `choices(where(part="train"))`.

    Attributes
    ----------
    cases
        All cases.
    case
        (n,) int, the index in `cases` of each slice.
    patient, site
        (n,) str, "site/patient" of each slice, and its site.
    labels
        (n, 6) float32, `LABELS` on each slice; 0, 1 or NaN where unknown. "any" may be known where
        the subtypes are not, and the other way round.
    located
        (n,) uint8, `Located` of each slice.
    pixels
        For each folder its memory-mapped arrays (n, y, x).
    bleeders_only
        Sites whose patients all bleed: they train no label of a series, and no intercept.
    judge_only
        Sites whose terms are not stated: shipped weights do not learn from them.
    """

    cases: tuple[TabledCase, ...]
    case: Rows
    patient: NDArray[np.str_]
    site: NDArray[np.str_]
    labels: Labels
    located: NDArray[np.uint8]
    pixels: tuple[Slice, ...]
    bleeders_only: frozenset[str]
    judge_only: frozenset[str]

    @classmethod
    def open(cls, folders: Sequence[Path]) -> Self:
        """Open the tables of these folders as one.

        Raises
        ------
        FileNotFoundError
            If one of them is not finished.
        """
        told = [json.loads((folder / TOLD).read_text()) for folder in folders]
        found = [list(tabled(folder)) for folder in folders]
        cases = tuple(case for part in found for case in part)
        counts = [sum(case.rows for case in part) for part in found]
        shapes = [tuple(each["shape"]) for each in told]
        several = zip(folders, counts, shapes, strict=True)
        index = np.repeat(np.arange(len(cases)), [case.rows for case in cases])
        return cls(
            cases,
            index,
            np.array([f"{case.site}/{case.patient}" for case in cases], np.str_)[index],
            np.array([case.site for case in cases], np.str_)[index],
            np.concatenate([_known(folder, "labels", (len(LABELS),)) for folder in folders]),
            np.concatenate([_known(folder, "located", ()) for folder in folders]),
            tuple(_mapped(folder, (count, *shape)) for folder, count, shape in several),
            frozenset(each["site"] for each in told if each["bleeders_only"]),
            frozenset(each["site"] for each in told if each["judge_only"]),
        )

    def __len__(self) -> int:
        return len(self.case)

    def slice(self, row: int) -> Slice:
        """Return the pixels of a slice."""
        for part in self.pixels:
            if row < len(part.hu):
                return Slice(part.hu[row], part.brain[row], part.mask[row])
            row -= len(part.hu)
        raise IndexError(row)

    def beside(self, row: int) -> tuple[int, int]:
        """Return the rows of the slices below and above; the slice itself where there is none."""
        below, above = row - 1, row + 1
        within = [0 <= at < len(self) and self.case[at] == self.case[row] for at in (below, above)]
        return (below if within[0] else row), (above if within[1] else row)

    def where(
        self,
        sites: Collection[str] | None = None,
        part: Part | None = None,
        kinds: Collection[LabelKind] | None = None,
        splits: Mapping[str, Split] = MappingProxyType({}),
    ) -> Bools:
        """(n,) bool, the slices of these sites and kinds of label, and of this part of the split.

        Patients of the sites in `splits` are in the parts that these say, those of other sites in
        parts by a hash of their names (`training.datasets.splits.part_of`).
        """
        rows = np.ones(len(self), bool)
        if sites is not None:
            rows &= np.isin(self.site, list(sites))
        if kinds is not None:
            rows &= np.isin([case.kind for case in self.cases], list(kinds))[self.case]
        if part is not None:
            rows &= np.array([_within(case, part, splits) for case in self.cases])[self.case]
        return rows

    def leave_out(self, site: str) -> tuple[Bools, Bools]:
        """Return the slices of all other sites, and those of this one, (n,) bool each.

        Raises
        ------
        ValueError
            If the table has no such site, or no other one.
        """
        held = self.site == site
        if not held.any() or held.all():
            raise ValueError(f"no site {site!r} among others: {', '.join(sorted(set(self.site)))}")
        return ~held, held

    def choices(self, rows: Bools) -> dict[str, dict[str, dict[str, Rows]]]:
        """Return what may be drawn of these slices (n,): site -> class -> patient -> rows.

        Classes are "normal" (known to show none) and, for bleeding slices, each of `LABELS` that
        they are known to show; "any" holds all of them. A class without slices is left out.
        """
        any_ = self.labels[:, 0]
        classes = {"normal": any_ == 0} | {
            name: (self.labels[:, place] == 1) | ((any_ == 1) & (place == 0))
            for place, name in enumerate(LABELS)
        }
        found: dict[str, dict[str, dict[str, Rows]]] = {}
        for site in np.unique(self.site[rows]):
            of_site = rows & (self.site == site)
            shown = {name: self._by_patient(of_site & some) for name, some in classes.items()}
            found[str(site)] = {name: patients for name, patients in shown.items() if patients}
        return found

    def _by_patient(self, rows: Bools) -> dict[str, Rows]:
        places = np.flatnonzero(rows)
        names, where = np.unique(self.patient[places], return_inverse=True)
        return {str(name): places[where == index] for index, name in enumerate(names)}

    def listing(self) -> str:
        """Return counts by site, kind of label, part and subtype, as a table for reading."""
        columns = ("site", "labels", "cases", "patients", "slices", "drawn", "boxed", "normal")
        lines = ["".join(f"{column:>10}" for column in columns) + _row(LABELS, 18)]
        for site in np.unique(self.site):
            for kind in sorted({case.kind for case in self.cases if case.site == site}):
                rows = self.where([str(site)], kinds=[kind])
                cells = [site, kind, len(np.unique(self.case[rows])), *self._counts(rows)]
                shown = (self.labels[rows] == 1).sum(0)
                lines.append("".join(f"{cell!s:>10}" for cell in cells) + _row(shown, 18))
        return "\n".join(lines)

    def _counts(self, rows: Bools) -> list[int]:
        located = self.located[rows]
        return [
            len(np.unique(self.patient[rows])),
            int(rows.sum()),
            int((located == Located.DRAWN).sum()),
            int((located == Located.BOXED).sum()),
            int((self.labels[rows, 0] == 0).sum()),
        ]


def _within(case: TabledCase, part: Part, splits: Mapping[str, Split]) -> bool:
    if split := splits.get(case.site):
        return case.patient in getattr(split, part)
    return part_of(f"{case.site}/{case.patient}") == part


def _row(cells: Sequence[Any] | NDArray[Any], width: int) -> str:
    return "".join(f"{cell!s:>{width}}" for cell in cells)


def tabled(folder: Path) -> Iterator[TabledCase]:
    """Yield the cases that a folder holds, finished or not; none if it is new."""
    journal = folder / JOURNAL
    if journal.exists():
        for line in journal.read_text().splitlines():
            for case in json.loads(line)["cases"]:
                yield TabledCase(**case | {"study": tuple(case["study"])})


def journal_line(patient: str, cases: Sequence[TabledCase]) -> str:
    """Return a patient as a line of the journal, which `tabled` reads."""
    return json.dumps({"patient": patient, "cases": [asdict(case) for case in cases]}) + "\n"


def _known(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.fromfile(folder / f"{name}.raw", KNOWN[name]).reshape(-1, *shape)


def _mapped(folder: Path, shape: tuple[int, ...]) -> Slice:
    return Slice(
        *(
            np.memmap(folder / f"{name}.raw", kind, "r", shape=shape)
            for name, kind in PIXELS.items()
        )
    )


if __name__ == "__main__":
    sys.stdout.write(Table.open([Path(each) for each in sys.argv[1:]]).listing() + "\n")
