"""A labelled head CT, whatever data set it comes from, and a data set that loads them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from models.volume import Volume

log = logging.getLogger(__name__)

Labels = NDArray[np.float32]
"""0, 1, or NaN where unknown."""

LabelKind = Literal["mask", "box", "slice", "series"]
"""The finest that a case's labels say: a drawn mask, boxes, labels of slices, or of the series."""


class Unreadable(Exception):
    """A case, or one file of it, cannot be read; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One series and what is known about it.

    Attributes
    ----------
    name
        Unique in its data set.
    patient
        The patient's name or number; a patient may have several cases.
    volume
        Slices in order along their normal.
    labels
        (z, 5) float32, `SUBTYPES` on each slice; 0, 1 or NaN where unknown.
    bleeds
        (z,) float32, hemorrhage of any kind on each slice; 0, 1 or NaN.
    study
        (6,) float32, any hemorrhage and `SUBTYPES` in the whole study; 0, 1 or NaN.
    mask
        (z, y, x) bool, hemorrhage of any subtype; None where the data set draws none.
    problems
        What is missing or broken, one line each.
    boxes
        (z, y, x) bool, the inside of boxes round hemorrhage; None where the data set has none.
    kind
        The finest that its labels say.
    neighbours
        Whether its slices lie beside each other; not so for a single slice of a series.
    fair_window
        Whether its Hounsfield values are right; not so for pictures of an unknown window.
    site, licence
        Where it comes from and on what terms; `DataSet.cases` fills them in.
    """

    name: str
    patient: str
    volume: Volume
    labels: Labels
    bleeds: Labels
    study: Labels
    mask: NDArray[np.bool_] | None
    problems: tuple[str, ...] = ()
    boxes: NDArray[np.bool_] | None = None
    kind: LabelKind = "slice"
    neighbours: bool = True
    fair_window: bool = True
    site: str = ""
    licence: str = ""

    @property
    def number(self) -> int:
        """The patient as a number, in data sets that number their patients."""
        return int(self.patient)


def finest(mask: NDArray[Any] | None) -> LabelKind:
    """Return what the labels of slices say that may come with a mask."""
    return "slice" if mask is None else "mask"


def known_any(labels: Labels, axis: int) -> Labels:
    """1 where one of the labels is 1, 0 where all are 0, else NaN (unknown)."""
    unknown = np.isnan(labels).any(axis)
    some = np.nan_to_num(labels).any(axis)
    return np.where(some, 1, np.where(unknown, np.nan, 0)).astype(np.float32)


def slice_labels(lesions: NDArray[np.uint8], spacing_mm: tuple[float, float]) -> Labels:
    """Return what a drawn label map shows: a slice shows a subtype from 10 square millimetres.

    The limit is an estimate; nothing was measured.

    Parameters
    ----------
    lesions
        (z, y, x) uint8, 0 where there is no blood, else 1 + the subtype's index in `SUBTYPES`.
    spacing_mm
        Distance of rows and of columns.

    Returns
    -------
    Labels
        (z, 5) float32 of `SUBTYPES`, 0 or 1.
    """
    pixel_mm2 = spacing_mm[0] * spacing_mm[1]
    codes = np.arange(1, len(SUBTYPES) + 1)
    area_mm2 = np.stack([(lesions == code).sum((1, 2)) * pixel_mm2 for code in codes], axis=1)
    return (area_mm2 >= 10).astype(np.float32)


def study_labels(labels: Labels, bleeds: Labels) -> Labels:
    """(6,) what the labels of the slices, (z, 5) and (z,), say about the study."""
    return known_any(np.column_stack((bleeds, labels)), axis=0)


@dataclass(slots=True)
class DataSet:
    """A data set on disk: who is in it, and how their cases are read, one at a time.

    Attributes
    ----------
    name, citation, licence
        For tables and the model card.
    loaders
        For each patient, in the data set's order, one function for each case.
        It returns the case or raises `Unreadable`.
    bleeding
        For each patient what the tables of the data set say without a look at the images:
        hemorrhage 0, 1 or NaN. Splits are stratified by it.
    problems
        What is missing or broken, one line each; grows as cases are read.
    site
        The hospitals that it comes from. Data sets of one site may share patients or scanners, and
        are left out together when a detector is judged on a site that it never saw.
    judge_only
        Whether its terms are not stated: shipped weights do not learn from it.
    neighbours
        Whether its cases are series; else each is a single slice.
    bleeders_only
        Whether all patients bleed: it says nothing of normals, and trains no label of a series.
    """

    name: str
    citation: str
    licence: str
    loaders: Mapping[str, Sequence[Callable[[], Case]]]
    bleeding: Mapping[str, float]
    problems: list[str] = field(default_factory=list)
    site: str = ""
    judge_only: bool = False
    neighbours: bool = True
    bleeders_only: bool = False

    def __post_init__(self) -> None:
        """Say what was already found wrong when the tables and folders were read."""
        found, self.problems = self.problems, []
        self._note(found)
        log.info(
            "%s: %d patients, %d cases, %d problems so far",
            *(self.name, len(self.loaders), sum(map(len, self.loaders.values())), len(found)),
            extra={"action": "data_set_opened"},
        )

    def patients(self) -> list[str]:
        """Return all patients, in the data set's order."""
        return list(self.loaders)

    def cases(self, patients: Sequence[str]) -> Iterator[Case]:
        """Read the cases of these patients, one after another.

        What cannot be read is left out, named in `problems` and in the log, and counted at the end.
        """
        read = 0
        before = len(self.problems)
        for patient in patients:
            if patient not in self.loaders:
                self._note([f"patient {patient} is not in the data set"])
            for load in self.loaders.get(patient, ()):
                try:
                    case = load()
                except Unreadable as error:
                    self._note([f"{error}; case left out"])
                    continue
                self._note(case.problems)
                read += 1
                yield replace(case, site=self.site, licence=self.licence)
        count = len(self.problems) - before
        log.log(
            logging.WARNING if count else logging.INFO,
            "%s: %d cases of %d patients read, %d problems",
            *(self.name, read, len(patients), count),
            extra={"action": "data_set_read"},
        )

    def _note(self, problems: Sequence[str]) -> None:
        for line in problems:
            log.info("%s: %s", self.name, line, extra={"action": "incomplete"})
        self.problems += problems
