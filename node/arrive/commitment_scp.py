"""Storage commitment as SCP: what the node has received it promises to keep (PS3.4 annex J).

A request is answered once its row is committed: from then on a report is owed. It goes over the
same association if the peer waits there, else over one that `node.deliver` requests. What
destinations report of our own requests comes here too.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from node.arrive.commitment import judged, take_report
from node.audit import Trail
from node.committed import CommitmentReport
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.association import COMMITMENT_INSTANCE, Status
from node.dicom.net.commitment import EVENT_TYPES, REQUEST_COMMITMENT, encode_report, event_type
from node.dicom.net.incoming import CommitmentRequest, ReportAnswer
from node.dicom.read.commitment import read_request
from node.errors import BadObject, IchnodeError
from node.log import event
from node.settings import Settings
from node.worklist import Actor, Commitments, Confirmations, Deed, Duty, claimant

logger = logging.getLogger(__name__)

PATIENCE_S = 0.3
"""A peer that is silent for this long after a request waits for the report; one that does not
releases within a round trip. An estimate."""
HELD_S = 300.0
"""How long an association holds the reports that it may send, before others send them. It must
exceed the time in which the files of a request are read."""


class CommitmentScp:
    """Serves requests and reports of storage commitment; threads may share it.

    Parameters
    ----------
    trail
        Takes note of what is refused; without it nobody does.
    """

    def __init__(
        self,
        settings: Settings,
        commitments: Commitments,
        confirmations: Confirmations,
        clock: Callable[[], datetime],
        trail: Trail | None = None,
    ) -> None:
        self.settings = settings
        self.commitments = commitments
        self.confirmations = confirmations
        self.clock = clock
        self.trail = trail

    def on(
        self, incoming: IncomingAssociation, caller: Actor, may: frozenset[str]
    ) -> "AssociationCommitments":
        """Return what serves one association of a caller with these rights."""
        return AssociationCommitments(self, incoming, caller, may)


class AssociationCommitments:
    """Storage commitment on one association; a context manager.

    At its end reports that were not answered there are left to others.
    """

    def __init__(
        self, scp: CommitmentScp, incoming: IncomingAssociation, caller: Actor, may: frozenset[str]
    ) -> None:
        self._scp, self._incoming = scp, incoming
        self._caller, self._may = caller, may
        self._worker = claimant()
        self._owed: list[tuple[Duty, CommitmentRequest]] = []
        self._sent: dict[int, tuple[Duty, CommitmentReport]] = {}
        self._message_id = 0

    def __enter__(self) -> "AssociationCommitments":
        return self

    def __exit__(self, *error: object) -> None:
        left = [*(duty for duty, _ in self._owed), *(duty for duty, _ in self._sent.values())]
        try:
            for duty in left:
                self._scp.commitments.release(duty, self._worker, self._scp.clock())
        except IchnodeError as failure:  # their lease runs out
            logger.error("report not released: %s", failure, extra=event("release_failed"))

    def serve(self, request: CommitmentRequest | ReportAnswer) -> None:
        """Answer a request, or note the peer's answer to a report."""
        if isinstance(request, ReportAnswer):
            self._note(request)
            return
        try:
            answer = self._refusal(request) or self._take(request)
        except BadObject as error:
            answer = Status.INVALID_ARGUMENT_VALUE, str(error)
        except IchnodeError as error:
            logger.error("no commitment: %s", error, extra=event("commitment_failed"))
            answer = Status.PROCESSING_FAILURE, str(error)
        except Exception:  # as for C-STORE: whatever it is, the peer must get an answer
            logger.exception("no commitment", extra=event("commitment_failed"))
            answer = Status.PROCESSING_FAILURE, "internal error, see the node's log"
        if answer[0] is not Status.SUCCESS:
            self._note_refusal(request, *answer)
        self._incoming.answer(request, *answer)

    def report(self) -> None:
        """Send the reports that are owed here, if the peer waits for them."""
        if not self._owed:
            return
        time.sleep(PATIENCE_S)
        while self._owed and self._incoming.is_quiet:
            duty, request = self._owed[0]
            try:
                report = judged(duty, self._scp.commitments, self._scp.settings, self._scp.clock())
            except IchnodeError as error:
                logger.error("not reported: %s", error, extra=event("report_failed"))
                return
            self._message_id += 1
            self._sent[self._message_id] = duty, report
            self._owed.pop(0)
            information = encode_report(report, request.transfer_syntax_uid)
            where = (request.context_id, self._message_id)
            self._incoming.report(*where, event_type(report), information)

    def _refusal(self, request: CommitmentRequest) -> tuple[Status, str] | None:
        """Return why a request is not served; None if it is."""
        known = EVENT_TYPES if request.reports else (REQUEST_COMMITMENT,)
        if not request.reports and "commit" not in self._may:
            return Status.NOT_AUTHORISED, "this caller may not commit (receive.callers)"
        if request.sop_instance_uid != COMMITMENT_INSTANCE:
            return Status.NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance"
        if request.type_id not in known:
            missing = Status.NO_SUCH_EVENT_TYPE if request.reports else Status.NO_SUCH_ACTION
            return missing, f"no type {request.type_id}"
        if request.information is None:
            return Status.RESOURCE_LIMITATION, "the data set is too large"
        return None

    def _take(self, request: CommitmentRequest) -> tuple[Status, str]:
        scp, syntax = self._scp, request.transfer_syntax_uid
        if request.reports:
            told = (request.information, syntax)
            return take_report(*told, scp.confirmations, scp.settings, scp.clock())
        asked = read_request(request.information or b"", syntax)
        duty = scp.commitments.ask(self._caller, asked, self._worker, HELD_S, scp.clock())
        self._owed = [one for one in self._owed if one[0].id != duty.id] + [(duty, request)]
        say = event(
            "commitment_asked", caller=ascii(self._caller.name), objects=len(asked.references)
        )
        logger.info("commitment asked for", extra=say)
        return Status.SUCCESS, ""

    def _note_refusal(self, request: CommitmentRequest, status: Status, why: str) -> None:
        """Log a refusal and why; the trail gets its status alone, as a reason quotes the peer."""
        say = event("commitment_refused", status=status.name, caller=ascii(self._caller.name))
        logger.warning("commitment refused: %s", why, extra=say)
        if self._scp.trail is not None:
            verb = "tells what is kept" if request.reports else "asks to keep objects"
            about = f"{verb}, refused: {status.name}"
            self._scp.trail.note(self._caller, Deed.REFUSED, about=about)

    def _note(self, answer: ReportAnswer) -> None:
        if answer.message_id not in self._sent:
            return
        duty, report = self._sent[answer.message_id]
        if answer.status != Status.SUCCESS:  # it is sent again, over another association
            say = event("report_refused", status=f"{answer.status:04X}")
            logger.warning("the caller refused a report", extra=say)
            return
        try:
            done = (duty, self._worker, self._caller, report)
            self._scp.commitments.reported(*done, self._scp.clock())
        except IchnodeError as error:
            logger.error("not noted: %s", error, extra=event("report_failed"))
            return
        del self._sent[answer.message_id]
