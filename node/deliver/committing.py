"""Storage commitment that goes out: the reports that callers are owed, and requests of our own.

A caller that asked the node to keep objects gets its report over the association on which it asked
(`node.arrive.commitment_scp`) or, if it did not stay, over one from here. A destination with
`commitment = true` is asked to keep what it has stored of a result; only then that is delivered.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from node.arrive.commitment import judged, take_report
from node.committed import CommitmentAsked, CommitmentReport
from node.dicom.net.commitment import new_transaction, request_commitment, send_report
from node.errors import BadConfiguration, Retryable
from node.log import event
from node.settings import Destination, Settings
from node.worklist import Actor, Commitments, Confirmations, Duty, Stored, claimant

logger = logging.getLogger(__name__)

LISTEN_S = 3.0
"""How long an association stays open for a report; one that does not come then comes over another
association. A choice."""
LEASE_S = 300.0
"""As long as reading the files of a request may take; see `node.arrive.commitment_scp.HELD_S`."""

Clock = Callable[[], datetime]
RetryAt = Callable[[int, datetime], datetime | None]
"""When to try again after so many earlier failures; None gives up."""
IsOver = Callable[[], bool]
"""Whether to begin nothing more."""


def _never() -> bool:
    return False


def report_what_is_due(
    settings: Settings,
    commitments: Commitments,
    clock: Clock,
    retry_at: RetryAt,
    is_over: IsOver = _never,
) -> int:
    """Send callers the reports that are due, until `is_over`; return how many took theirs."""
    worker, taken = claimant(), 0
    while not is_over() and (duty := commitments.claim(worker, LEASE_S, clock())) is not None:
        say = {"caller": ascii(duty.caller), "transaction": duty.asked.transaction_uid}
        try:
            told, report = _report(duty, settings, commitments, clock)
        except (Retryable, BadConfiguration) as error:
            again = retry_at(duty.attempts, clock())
            commitments.failed(duty, worker, str(error), again, clock())
            if again is None:
                logger.error("report given up: %s", error, extra=event("report_dead", **say))
            else:
                logger.warning("not reported: %s", error, extra=event("not_reported", **say))
            continue
        commitments.reported(duty, worker, told, report, clock())
        logger.info("commitment reported", extra=event("reported", **say))
        taken += 1
    return taken


def _report(
    duty: Duty, settings: Settings, commitments: Commitments, clock: Clock
) -> tuple[Actor, CommitmentReport]:
    """Tell a caller what is kept; return whom, and what it was told."""
    peer = _listener(duty.caller, settings)
    if peer is None:
        raise Retryable(f"{duty.caller!a} has no host and port in receive.callers")
    report = judged(duty, commitments, settings, clock())
    limits = settings.receive.ae_title, settings.deliver.timeout_s
    send_report(peer, report, ae_title=limits[0], timeout_s=limits[1])
    return Actor(duty.caller, peer.host), report


def _listener(caller: str, settings: Settings) -> Destination | None:
    """Return where a caller listens for reports: as it is set, else as a destination."""
    for known in settings.receive.callers:
        if known.ae_title.strip() == caller and known.host and known.port:
            named = {"name": caller, "ae_title": caller}
            return Destination(**named, host=known.host, port=known.port, tls=known.tls)
    archives = settings.deliver.archives
    return next((one for one in archives if one.ae_title.strip() == caller), None)


def ask_what_is_due(
    settings: Settings, confirmations: Confirmations, clock: Clock, is_over: IsOver = _never
) -> int:
    """Ask destinations to keep what they have, until `is_over`; return of how many objects."""
    worker, asked = claimant(), 0
    lease_s = 4 * settings.deliver.timeout_s + LISTEN_S
    while not is_over() and (stored := confirmations.claim(worker, lease_s, clock())):
        say = {"destination": stored[0].destination, "objects": len(stored)}
        trouble, wait_s = "", settings.deliver.ask_again_s
        try:
            _ask(stored, settings, confirmations, clock)
            asked += len(stored)
            logger.info("commitment asked for", extra=event("asked_to_commit", **say))
        except (Retryable, BadConfiguration) as error:
            trouble, wait_s = str(error), min(wait_s, settings.deliver.max_retry_s)
            logger.warning("not asked: %s", error, extra=event("not_asked_to_commit", **say))
        again_at = clock() + timedelta(seconds=wait_s)
        confirmations.asked(stored, worker, again_at, clock(), trouble)
    return asked


def _ask(
    stored: Sequence[Stored], settings: Settings, confirmations: Confirmations, clock: Clock
) -> None:
    name = stored[0].destination
    peers = [one for one in settings.deliver.archives if one.name == name and one.commitment]
    if not peers:
        raise Retryable(f"no destination {name!r} with commitment is set")
    references = tuple(one.reference for one in stored)
    asked = CommitmentAsked(new_transaction(), references)
    confirmations.asking(asked.transaction_uid, stored, clock())
    take = partial(_take, settings=settings, confirmations=confirmations, clock=clock)
    request_commitment(
        peers[0],
        asked,
        take,
        ae_title=settings.receive.ae_title,
        timeout_s=settings.deliver.timeout_s,
        listen_s=LISTEN_S,
    )


def _take(
    information: bytes,
    transfer_syntax_uid: str,
    *,
    settings: Settings,
    confirmations: Confirmations,
    clock: Clock,
) -> int:
    return take_report(information, transfer_syntax_uid, confirmations, settings, clock())[0]
