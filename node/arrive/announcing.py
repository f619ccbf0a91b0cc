"""Serves N-CREATE and N-SET: whoever makes or keeps images tells the node how many there are.

A Modality Performed Procedure Step (PS3.4 F.7) announces the images that it lists once it has
ended; while it is in progress, further images may come. An Instance Availability Notification
(PS3.4 R.3) announces the images that it lists. The messages themselves are not kept.
"""

import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from node.announced import IAN
from node.dicom.net.association import (
    ACCEPTED_SOP_CLASSES,
    AVAILABILITY_NOTIFICATION,
    PROCEDURE_STEP,
    Status,
)
from node.dicom.net.incoming import AttributesRequest
from node.dicom.read.announcements import InvalidValue, MissingAttribute, Reader
from node.log import event
from node.worklist import Announcements, Step

logger = logging.getLogger(__name__)

NO_LONGER_UPDATED = 0xA710
"""Error ID of "Performed Procedure Step Object may no longer be updated" (PS3.4 F.7.2.2.4)."""

_UID = re.compile(r"[0-9.]{1,64}")
_READER = Reader(ACCEPTED_SOP_CLASSES)


class Answer(NamedTuple):
    """What a request is answered: its status, Error Comment and Error ID."""

    status: Status
    comment: str = ""
    error_id: int = 0


NOTED = Answer(Status.SUCCESS)
TOO_LARGE = Answer(Status.RESOURCE_LIMITATION, "the data set is too large")
NO_UID = Answer(Status.INVALID_SOP_INSTANCE, "no valid SOP Instance UID")

STEP_ANSWERS: Mapping[Step, Answer] = {
    Step.NOTED: NOTED,
    Step.KNOWN: Answer(Status.DUPLICATE_SOP_INSTANCE, "the step was created before"),
    Step.UNKNOWN: Answer(Status.NO_SUCH_SOP_INSTANCE, "the step was never created here"),
    Step.ENDED: Answer(
        Status.PROCESSING_FAILURE,
        "Performed Procedure Step Object may no longer be updated",
        NO_LONGER_UPDATED,
    ),
}


def note(request: AttributesRequest, announcements: Announcements, now: datetime) -> Answer:
    """Note what a request tells, and return its answer.

    Raises
    ------
    Retryable, Permanent
        If the database cannot take it now, or never.
    """
    if request.dataset is None:
        return TOO_LARGE
    if not _UID.fullmatch(request.sop_instance_uid):
        return NO_UID
    try:
        return _HANDLERS[request.sop_class_uid, request.creates](
            request.sop_instance_uid,
            request.dataset,
            request.transfer_syntax_uid,
            announcements,
            now,
        )
    except MissingAttribute as error:
        return Answer(Status.MISSING_ATTRIBUTE, str(error))
    except InvalidValue as error:
        return Answer(Status.INVALID_ATTRIBUTE_VALUE, str(error))


def _create_step(
    uid: str, dataset: bytes, syntax: str, announcements: Announcements, now: datetime
) -> Answer:
    return STEP_ANSWERS[announcements.create_step(uid, _READER.new_step(dataset, syntax), now)]


def _set_step(
    uid: str, dataset: bytes, syntax: str, announcements: Announcements, now: datetime
) -> Answer:
    change = _READER.step_change(dataset, syntax)
    step, foreign = announcements.set_step(uid, change.status, change.images, now)
    _warn_of(foreign, "MPPS")
    return STEP_ANSWERS[step]


def _notify(
    _uid: str, dataset: bytes, syntax: str, announcements: Announcements, now: datetime
) -> Answer:
    said = _READER.notification(dataset, syntax)
    study = said.study_instance_uid
    _warn_of(announcements.listed(study, said.images, IAN, now, gone=said.gone), IAN)
    return NOTED


_Handler = Callable[[str, bytes, str, Announcements, datetime], Answer]
_HANDLERS: Mapping[tuple[str, bool], _Handler] = {
    (PROCEDURE_STEP, True): _create_step,
    (PROCEDURE_STEP, False): _set_step,
    (AVAILABILITY_NOTIFICATION, True): _notify,
}
"""What notes each request, by its SOP class and whether it is an N-CREATE."""


def _warn_of(series: tuple[str, ...], told_by: str) -> None:
    """Log the series of which nothing was noted, because another study has them."""
    for uid in series:
        say = event("announcement_ignored", series=uid, told_by=told_by)
        logger.warning("announced under another study than the series' own: ignored", extra=say)
