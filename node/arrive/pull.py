"""`ichnode pull`: fetches the CT series of a study from an archive and files them.

By C-GET and DICOMweb the objects come to this process. By C-MOVE the archive sends them to the
running node. In the end the worklist tells which have come.
"""

import logging
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from node.arrive.archive import Archive
from node.arrive.intake import Intake, LeftOut
from node.dicom.net.association import ACCEPTED_SOP_CLASSES, Status
from node.dicom.net.retrieve import Take
from node.errors import IchnodeError, Permanent, Retryable
from node.log import event
from node.settings import Source
from node.worklist import Arrivals

logger = logging.getLogger(__name__)

MOVED_S = 10.0
"""How long after a C-MOVE its objects are waited for. It must exceed the time by which an archive
answers before its last C-STORE; nothing was measured."""

_UID = re.compile(r"[0-9.]{1,64}")
_WILDCARDS = set("*?\\")


@dataclass(frozen=True, slots=True)
class RemoteSeries:
    """A CT series as the archive describes it."""

    series_instance_uid: str
    wanted: frozenset[str]
    """UIDs of its objects that the node takes; empty if the archive does not list objects."""
    whole: bool
    """Whether these are all of its objects."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched of a study, and which other modalities its series have."""

    study_instance_uid: str
    series: tuple[RemoteSeries, ...]
    others: tuple[str, ...]

    @property
    def objects(self) -> int:
        """How many objects are wanted."""
        return sum(len(series.wanted) for series in self.series)


def filing(source: Source, intake: Intake) -> Take:
    """Return a function that files into `intake` each object that the source sends."""
    caller = source.ae_title or source.name

    def take(file: bytes, named: tuple[str, str]) -> Status:
        name = named[1]
        try:
            return intake.take(name, file, caller=caller, announced=named)
        except Retryable as error:
            intake.left_out.append(LeftOut(name, str(error)))
            return Status.OUT_OF_RESOURCES
        except Exception:  # whatever it is, the archive must learn that we do not have it
            logger.exception("not stored", extra=event("store_failed"))
            intake.left_out.append(LeftOut(name, "internal error, see the log"))
            return Status.PROCESSING_FAILURE

    return take


def order(archive: Archive, study: str, source: Source, *, accession: bool = False) -> Order:
    """Return what to fetch: of the study's CT series, the objects of the accepted SOP classes.

    Parameters
    ----------
    study
        Study Instance UID, or the accession number if `accession` is set.

    Raises
    ------
    Permanent
        If the archive has no such study, or several, or the study has no CT images.
    """
    uid = _study_of(archive, study, source) if accession else study
    if not _UID.fullmatch(uid):
        raise Permanent(f"{uid!r} is no Study Instance UID; is it an accession number? --accession")
    modalities = archive.modalities(uid)
    if not modalities:
        raise Permanent(f"{source.name} has no study {uid}")
    chosen = tuple(
        _series(series, archive.images(uid, series))
        for series, modality in sorted(modalities.items())
        if modality == "CT"
    )
    others = tuple(sorted(modality or "?" for modality in modalities.values() if modality != "CT"))
    if not any(series.whole or series.wanted for series in chosen):
        raise Permanent(f"study {uid} has no CT images at {source.name} ({', '.join(others)})")
    return Order(uid, tuple(s for s in chosen if s.whole or s.wanted), others)


def fetch(
    order: Order, archive: Archive, source: Source, intake: Intake, arrivals: Arrivals
) -> Iterator[int]:
    """Fetch what was ordered; yield how many objects have come so far.

    `intake.left_out` says what did not come. The series are released once everything has come.
    """
    done = 0
    for series in order.series:
        study, uid = order.study_instance_uid, series.series_instance_uid
        before = _held(arrivals, study, uid)
        why, number = "", 0
        try:
            for number in archive.fetch(study, uid, () if series.whole else series.wanted):
                yield done + number
        except IchnodeError as error:
            why = str(error)
        if source.how == "move":
            _wait_for(series.wanted, arrivals, study, uid, 0.0 if why else MOVED_S)
            held = _held(arrivals, study, uid)
            intake.count(study, uid, new=len(held - before), here=len(series.wanted & before))
        here = _held(arrivals, study, uid)
        if not series.wanted and not here and not number:
            why = why or "the archive lists none, and sent none"
        missing = series.wanted - here - intake.others
        if missing or why:
            said = f"{len(missing)} of {len(series.wanted)} objects are not here"
            intake.left_out.append(LeftOut(f"series {uid}", f"{said}; {why}" if why else said))
        done += len(series.wanted)
        yield done
    if intake.complete:
        intake.release()


def _study_of(archive: Archive, accession_number: str, source: Source) -> str:
    """Return the UID of the one study with this accession number."""
    if not accession_number.strip() or _WILDCARDS & set(accession_number):
        raise Permanent(f"{accession_number!r} is no single accession number")
    found = sorted(set(archive.studies(accession_number)))
    if not found:
        raise Permanent(f"{source.name} has no study with accession number {accession_number}")
    if len(found) > 1:
        raise Permanent(
            f"{source.name} has {len(found)} studies with accession number {accession_number}: "
            f"give the UID of one, {', '.join(found)}"
        )
    return found[0]


def _series(series: str, images: dict[str, str]) -> RemoteSeries:
    taken = (*ACCEPTED_SOP_CLASSES, "")
    wanted = frozenset(image for image, sop_class in images.items() if sop_class in taken)
    return RemoteSeries(series, wanted, whole=len(wanted) == len(images))


def _held(arrivals: Arrivals, study: str, series: str) -> set[str]:
    """Return the objects of a series that are in the worklist."""
    return {
        instance.header.sop_instance_uid
        for held in arrivals.study(study)
        if held.series_instance_uid == series
        for instance in held.instances
    }


def _wait_for(
    wanted: Collection[str], arrivals: Arrivals, study: str, series: str, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while not set(wanted) <= _held(arrivals, study, series) and time.monotonic() < deadline:
        time.sleep(0.2)
