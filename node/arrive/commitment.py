"""What the node promises to keep, by its files, and what destinations promise (PS3.4 annex J)."""

import logging
from datetime import datetime, timedelta

from node.arrive.spool import StoredBytes
from node.committed import CommitmentReport, FailureReason, Reference
from node.depot import depot_of
from node.dicom.net.association import ACCEPTED_SOP_CLASSES, Status
from node.dicom.read.commitment import read_report
from node.errors import BadObject, IchnodeError
from node.log import event
from node.settings import Settings
from node.worklist import Commitments, Confirmations, Duty, Held

logger = logging.getLogger(__name__)


def judged(
    duty: Duty, commitments: Commitments, settings: Settings, now: datetime
) -> CommitmentReport:
    """Commit the node to those of the objects asked for that it has whole; return the report.

    An object is whole if the bytes on disk are those that were received. One of which other bytes
    wait in quarantine is not committed: which of them the caller means is not known.
    """
    asked = duty.asked
    if duty.duplicate:
        reason = FailureReason.DUPLICATE_TRANSACTION_UID
        return CommitmentReport(asked.transaction_uid, (), dict.fromkeys(asked.references, reason))
    until = now + timedelta(days=settings.receive.commitment_days)
    kept = commitments.keep(asked.references, until)
    stored_bytes = StoredBytes(depot_of(settings))
    reasons = {
        one: _objection(one, kept.get(one.sop_instance_uid), stored_bytes)
        for one in asked.references
    }
    failed = {one: int(reason) for one, reason in reasons.items() if reason is not None}
    committed = tuple(one for one in asked.references if one not in failed)
    return CommitmentReport(asked.transaction_uid, committed, failed)


def _objection(
    one: Reference, kept: Held | None, stored_bytes: StoredBytes
) -> FailureReason | None:
    """Return why an object is not committed, None if it is."""
    if kept is None and one.sop_class_uid not in ACCEPTED_SOP_CLASSES:
        return FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED
    if kept is None:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    if kept.sop_class_uid != one.sop_class_uid:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    try:
        damaged = stored_bytes.altered(kept.path, kept.sha256) is not None
        if not stored_bytes.holds(kept.path):
            return FailureReason.NO_SUCH_OBJECT_INSTANCE
    except FileNotFoundError:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    except OSError as error:
        logger.error("not committed: %s", error.strerror, extra=event("not_committed"))
        return FailureReason.PROCESSING_FAILURE
    return FailureReason.PROCESSING_FAILURE if damaged or kept.unsettled else None


def take_report(
    information: bytes | None,
    transfer_syntax_uid: str,
    confirmations: Confirmations,
    settings: Settings,
    now: datetime,
) -> tuple[Status, str]:
    """Record what a destination reports; return the status and Error Comment to answer."""
    if information is None:
        return Status.RESOURCE_LIMITATION, "the data set is too large"
    try:
        report = read_report(information, transfer_syntax_uid)
        limits = settings.deliver
        send_again_at = now + timedelta(seconds=limits.max_retry_s)
        settled = confirmations.settle(report, send_again_at, limits.max_attempts, now)
    except BadObject as error:
        return Status.INVALID_ARGUMENT_VALUE, str(error)
    except IchnodeError as error:
        logger.error("report not noted: %s", error, extra=event("report_failed"))
        return Status.PROCESSING_FAILURE, str(error)
    if settled is None:
        say = event("report_unknown", transaction=report.transaction_uid)
        logger.warning("a commitment was reported that nobody asked for", extra=say)
        return Status.INVALID_ARGUMENT_VALUE, "no such transaction"
    say = event("confirmed", objects=settled.confirmed, failed=settled.failed)
    (logger.warning if settled.failed else logger.info)("commitment reported", extra=say)
    return Status.SUCCESS, ""
