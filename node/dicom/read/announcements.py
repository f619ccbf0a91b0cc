"""Messages that tell how many images there are: procedure steps and availability notifications.

Modality Performed Procedure Step: PS3.4 table F.7.2-1. Instance Availability Notification: table
R.3.2-1. Only what tells of images is read.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from io import BytesIO
from typing import NamedTuple, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.announced import Listed, PerformedStep, StepStatus
from node.dicom.read.elements import items, text, uid
from node.dicom.read.sparing import DAMAGE, TooManyElements, read_sparingly
from node.errors import BadObject

T = TypeVar("T")

PERFORMED = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
NOTIFIED = ("ReferencedSOPSequence",)


class MissingAttribute(BadObject):
    """The message lacks an attribute that it must have."""


class InvalidValue(BadObject):
    """An attribute has a value that it cannot have, or the message cannot be decoded."""


class StepChange(NamedTuple):
    """What an N-SET changes; None is what it leaves as it is."""

    status: StepStatus | None
    images: Listed | None


class Notification(NamedTuple):
    """What an availability notification says of a study."""

    study_instance_uid: str
    images: Listed
    gone: frozenset[str]
    """Images that are not to be had: their InstanceAvailability is UNAVAILABLE."""


class Reader:
    """Reads messages; of the images that they name, those of some SOP classes."""

    def __init__(self, sop_classes: Collection[str]) -> None:
        self._sop_classes = frozenset(sop_classes)

    def new_step(self, encoded: bytes, transfer_syntax_uid: str) -> PerformedStep:
        """Return the procedure step that an N-CREATE describes.

        Parameters
        ----------
        encoded
            The attributes in an uncompressed transfer syntax.

        Raises
        ------
        MissingAttribute, InvalidValue
            If it is no new procedure step of a study, or cannot be decoded.
        """
        return _read(self._new_step, encoded, transfer_syntax_uid)

    def step_change(self, encoded: bytes, transfer_syntax_uid: str) -> StepChange:
        """Return what an N-SET changes of a procedure step; raises as `new_step`."""
        return _read(self._step_change, encoded, transfer_syntax_uid)

    def notification(self, encoded: bytes, transfer_syntax_uid: str) -> Notification:
        """Return what an availability notification says; raises as `new_step`."""
        return _read(self._notification, encoded, transfer_syntax_uid)

    def _new_step(self, ds: Dataset) -> PerformedStep:
        status = _status(ds)
        if status is None:
            raise MissingAttribute("no PerformedProcedureStepStatus")
        if status is not StepStatus.IN_PROGRESS:
            raise InvalidValue("a new step must be IN PROGRESS")
        scheduled = _required(ds, "ScheduledStepAttributesSequence")
        studies = frozenset(_uid(item, "StudyInstanceUID") for item in scheduled)
        return PerformedStep(status, text(ds, "Modality")[:16], studies, self._performed(ds))

    def _step_change(self, ds: Dataset) -> StepChange:
        given = "PerformedSeriesSequence" in ds
        return StepChange(_status(ds), self._performed(ds) if given else None)

    def _performed(self, ds: Dataset) -> Listed:
        return self._images(items(ds, "PerformedSeriesSequence"), PERFORMED)[0]

    def _notification(self, ds: Dataset) -> Notification:
        study = _uid(ds, "StudyInstanceUID")
        series = _required(ds, "ReferencedSeriesSequence")
        return Notification(study, *self._images(series, NOTIFIED))

    def _images(
        self, series: list[Dataset], sequences: Collection[str]
    ) -> tuple[Listed, frozenset[str]]:
        """Return the images that can be had, by series, and those that cannot."""
        found: dict[str, set[str]] = defaultdict(set)
        gone = set()
        for one in series:
            series_uid = _uid(one, "SeriesInstanceUID")
            for sop_class, image, availability in _references(one, sequences):
                if availability == "UNAVAILABLE":
                    gone.add(image)
                elif sop_class in self._sop_classes:
                    found[series_uid].add(image)
        return {uid: frozenset(images) for uid, images in found.items()}, frozenset(gone)


def _read(make: Callable[[Dataset], T], encoded: bytes, transfer_syntax_uid: str) -> T:
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    try:
        return make(read_sparingly(BytesIO(encoded), implicit=implicit, little=little))
    except (*DAMAGE, OSError, TooManyElements) as error:
        raise InvalidValue(f"it cannot be decoded ({type(error).__name__})") from error


def _references(series: Dataset, sequences: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield SOP class, SOP instance and availability of each object that is named."""
    for sequence in sequences:
        for item in items(series, sequence):
            named = (_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))
            yield *named, text(item, "InstanceAvailability")


def _status(ds: Dataset) -> StepStatus | None:
    said = text(ds, "PerformedProcedureStepStatus")
    try:
        return StepStatus(said) if said else None
    except ValueError as error:
        raise InvalidValue("PerformedProcedureStepStatus is none that a step can have") from error


def _required(ds: Dataset, keyword: str) -> list[Dataset]:
    found = items(ds, keyword)
    if not found:
        raise MissingAttribute(f"no {keyword}")
    return found


def _uid(ds: Dataset, keyword: str) -> str:
    if not text(ds, keyword):
        raise MissingAttribute(f"no {keyword}")
    try:
        return uid(ds, keyword)
    except BadObject as error:
        raise InvalidValue(f"{keyword} is no UID") from error
