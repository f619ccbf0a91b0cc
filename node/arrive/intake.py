"""Files objects that arrive by another way than a C-STORE, and counts what became of each.

Each is kept as a C-STORE keeps it: durable before the next is read, its dataset byte for byte after
file meta information of our own. So an object gives the same file whichever way it arrives, and a
second arrival is recognised as a duplicate.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node.arrive.filing import file_or_set_aside
from node.arrive.spool import Spool
from node.depot import depot_of
from node.dicom.net.association import ACCEPTED_SOP_CLASSES, Status, part10_prefix
from node.dicom.read import part10
from node.dicom.read.header import named_class, read_header
from node.errors import BadObject
from node.records import Header
from node.settings import Settings
from node.wording import counted
from node.worklist import Arrival, Arrivals

ASIDE = (Arrival.CHANGED, Arrival.CUT_SHORT)
"""Arrivals that are set aside, though their sender is told that they are kept."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not filed.

    Attributes
    ----------
    name
        The file's name, or the UID of the object or series.
    fault
        Whether it should have been filed: a person has to find out why it was not.
    """

    name: str
    reason: str
    fault: bool = True


class Intake:
    """Takes objects into the spool and the worklist.

    Parameters
    ----------
    kinds
        The SOP classes that are taken; None takes all.

    Attributes
    ----------
    series
        UIDs of the series that have a filed object, new or there before.
    left_out
        What was not filed, and why.
    others
        Names of the objects that are of no kind that is taken.
    """

    def __init__(
        self,
        settings: Settings,
        arrivals: Arrivals,
        clock: Callable[[], datetime],
        kinds: Collection[str] | None = None,
    ) -> None:
        depot = depot_of(settings)
        self._spool = Spool(depot.root, settings.receive.min_free_mb, depot)
        self._longest_header = settings.receive.max_header_mb << 20
        self._max_bytes = settings.receive.max_object_mb << 20
        self._arrivals = arrivals
        self._clock = clock
        self._kinds = kinds
        self._studies: set[str] = set()
        self._new = self._here = self._quarantined = self._no_dicom = 0
        self._cut_short: set[str] = set()
        self.series: set[str] = set()
        self.left_out: list[LeftOut] = []
        self.others: set[str] = set()

    def take_file(self, name: str, path: Path, *, expected: bool = False) -> None:
        """Take a file as `take` does; leave it out if it is not DICOM or cannot be read.

        Parameters
        ----------
        expected
            Whether its name or a DICOMDIR says that it is DICOM: then it is a fault that it is not.

        Raises
        ------
        Retryable
            As `take`.
        """
        try:
            if not is_dicom(path):
                self._no_dicom += 1
                self.left_out.append(LeftOut(name, _unlike(path, expected), fault=expected))
            elif not self._too_large(name, path.stat().st_size):
                self.take(name, path.read_bytes())
        except OSError as error:
            self.left_out.append(LeftOut(name, f"cannot be read: {error.strerror or error}"))

    def take(
        self, name: str, file: bytes, *, caller: str = "", announced: tuple[str, str] | None = None
    ) -> Status:
        """File a Part 10 file; return the status with which its C-STORE would be answered.

        Parameters
        ----------
        name
            The object's name in `left_out`.
        caller
            The source's AE title; "" for a file.
        announced
            SOP class and instance UID that it was announced with, which it must have.

        Raises
        ------
        Retryable
            If the spool or the database cannot take it now.
        """
        if self._too_large(name, len(file)):
            return Status.OUT_OF_RESOURCES
        try:
            header = read_header(file)
            file = _under_our_meta(file, header)
            sop_class_uid = header.sop_class_uid
        except BadObject:  # it goes to quarantine as it is, if it may be an image at all
            sop_class_uid = named_class(file)
        if self._kinds is not None and sop_class_uid not in (*self._kinds, ""):
            self.others.add(name)
            return Status.SOP_CLASS_NOT_SUPPORTED
        filed = file_or_set_aside(
            file,
            self._arrivals,
            self._spool,
            caller=caller,
            now=self._clock(),
            announced=announced,
            longest_header=self._longest_header,
        )
        if filed.arrival is Arrival.CUT_SHORT and filed.header is not None:
            self._cut_short.add(filed.header.series_instance_uid)
        if filed.status is not Status.SUCCESS or filed.arrival in ASIDE:
            reason = filed.comment or "other bytes than the object of this UID that is here"
            self._quarantined += 1
            fault = sop_class_uid in (*ACCEPTED_SOP_CLASSES, "")
            self.left_out.append(LeftOut(name, f"{reason}; kept in quarantine", fault))
        elif filed.header is not None:
            self.count(
                filed.header.study_instance_uid,
                filed.header.series_instance_uid,
                new=int(filed.arrival is Arrival.NEW),
                here=int(filed.arrival is Arrival.DUPLICATE),
            )
        return filed.status

    def count(self, study: str, series: str, *, new: int, here: int) -> None:
        """Count filed objects of one series: the new ones, and those that were here before."""
        self._new += new
        self._here += here
        if new or here:
            self.series.add(series)
            self._studies.add(study)

    def release(self) -> None:
        """Record that everything of these series has arrived, so that they are read without delay.

        This is the same evidence as a released association.
        """
        if arrived := self.series | self._cut_short:
            self._arrivals.release(arrived, self._clock())

    def _too_large(self, name: str, size: int) -> bool:
        if size <= self._max_bytes:
            return False
        reason = f"larger than receive.max_object_mb, {self._max_bytes >> 20} MB"
        self.left_out.append(LeftOut(name, reason))
        return True

    @property
    def complete(self) -> bool:
        """Whether something was filed, or was here before, and nothing is missing."""
        return bool(self.series) and not any(left.fault for left in self.left_out)

    @property
    def summary(self) -> str:
        """What became of all objects, in one line."""
        parts = [
            f"{counted(self._new, 'new object')}, {len(self.series)} series, "
            f"{counted(len(self._studies), 'study')}",
            f"{self._here} already here",
            f"{self._quarantined} quarantined",
            f"{len(self.others)} of other kinds than CT",
            f"{self._no_dicom} no DICOM",
        ]
        return "; ".join(parts)


def is_dicom(path: Path) -> bool:
    """Return whether the file begins as DICOM does, with or without preamble and file meta."""
    with path.open("rb") as file:
        return part10.is_dicom(file.read(part10.HEAD_BYTES))


def _unlike(path: Path, expected: bool) -> str:
    """Return what is to be said of a file that is not DICOM."""
    if not expected:
        return "no DICOM file"
    fault = "empty" if path.stat().st_size == 0 else "damaged: it does not begin as DICOM does"
    return f"{fault}, though it is listed or named as DICOM"


def _under_our_meta(file: bytes, header: Header) -> bytes:
    """Return the file as the storage SCP would have stored it."""
    named = (header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid)
    return part10_prefix(*named) + part10.dataset_of(file)
