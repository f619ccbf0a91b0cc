"""The work role: it claims a case, runs its stage and records the outcome, over and over.

A claim is a lease, which is renewed while the stage runs. If the worker dies, the lease runs out
and another worker goes on with the case where it stood.
"""

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta

from node.cases.pipeline import PIPELINE, Node, run_stage
from node.cases.tell import teller
from node.errors import Interrupted, Outage, Permanent
from node.log import event
from node.outages import outage_of, require_room, sit_out
from node.outcomes import Failed, Outcome, Reported
from node.records import Case
from node.states import Reason, State
from node.worklist import LeaseLost, lease_kept

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 900.0
"""Longest wait before a stage is tried again; chosen, as that of a delivery."""


def work(
    node: Node,
    name: str,
    stop: threading.Event,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Work until `stop` is set; finish the current stage first, and sit out each outage.

    Parameters
    ----------
    is_over
        Is asked before each stage; the node is not for that one if it says so.
    """

    def require_over() -> None:
        require_room(node.root)
        node.depot.require_reachable()
        node.cases.give_back(name)

    while not stop.is_set():
        try:
            if is_over():
                return
            if not work_once(node, name):
                stop.wait(node.settings.work.poll_s)
        except Outage as outage:
            sit_out(outage, "work", require_over, stop)


def work_once(
    node: Node,
    name: str,
    *,
    study_uid: str | None = None,
    states: Collection[State] = PIPELINE,
) -> bool:
    """Run one stage of the most urgent case that is due; return whether there was one.

    Parameters
    ----------
    study_uid
        Only a case of this study.
    states
        Only a case in one of them; none of them is an end.

    Raises
    ------
    Outage
        If what the node stands on fails: the case is given back as it was.
    """
    lease_s = node.settings.work.lease_s
    case = node.cases.claim(states, name, lease_s, node.clock(), study_uid=study_uid)
    if case is None:
        return False

    def renew() -> None:
        node.cases.renew(case.id, name, lease_s, node.clock())

    with suppress(LeaseLost), lease_kept(renew, lease_s, f"lease-{case.id}"):
        _run(case, node, name)
    return True


def _run(case: Case, node: Node, name: str) -> None:
    """Run the stage and record its outcome: the next state, again later, or FAILED."""
    outcome = _outcome(case, node, name)
    if outcome is None:
        return
    node.cases.finish(case, name, outcome, node.clock(), teller(node.settings))
    node.depot.leave(case.folder)
    if outcome.state is not case.state:
        moved = event("moved", case=case.id, stage=str(case.state), **_result(outcome))
        logger.info("%s -> %s", case.state, outcome.state, extra=moved)
    if isinstance(outcome, Reported) and outcome.compared:
        logger.info("replayed: %s", outcome.compared, extra=_of(case, "compared"))


def _outcome(case: Case, node: Node, name: str) -> Outcome | None:
    """Return how the stage ended; None if it failed and is tried again later."""
    try:
        _require_survivors(case, node)
        return run_stage(case, node)
    except Exception as error:  # noqa: BLE001  one case must not stop the others
        return _after(error, case, node, name)


def _require_survivors(case: Case, node: Node) -> None:
    """Refuse a stage in which more workers ended than is likely if the case has no part in it."""
    if case.interruptions > node.settings.work.max_interruptions:
        raise Permanent(
            f"{case.state} was interrupted {case.interruptions} times: its worker was killed, or "
            "ended its process; see the log"
        )
    if case.attempts >= node.settings.work.max_attempts:  # what failed by itself has ended already
        raise Permanent(
            f"{case.state} hung, or failed, in each of {case.attempts} attempts; see the log"
        )


def _after(error: Exception, case: Case, node: Node, name: str) -> Failed | None:
    """Return how a case ends whose stage failed; None if it is tried again later.

    What may have come from outside is no attempt: it is counted by itself, with a larger limit. So
    is an outage that nobody else sees, such as a file that cannot be read.

    Raises
    ------
    Outage
        If the stage met one, and it lasts: the case is given back as it was.
    """
    outage = outage_of(error)
    if outage is not None:
        _require_over(outage, case, node, name)
    logger.error("stage failed", extra=_of(case, "stage_failed"), exc_info=error)
    reason = f"{type(error).__name__}: {error}"
    interrupted = outage is not None or isinstance(error, Interrupted | MemoryError)
    if interrupted:
        ended, limit = case.interruptions + 1, node.settings.work.max_interruptions + 1
    else:
        ended, limit = case.attempts + 1, node.settings.work.max_attempts
    if not isinstance(error, Permanent) and ended < limit:
        again = node.clock() + timedelta(seconds=min(2.0**ended, LONGEST_WAIT_S))
        node.cases.retry(case, name, reason, again, node.clock(), interrupted=interrupted)
        return None
    if interrupted:
        reason = f"{case.state} was interrupted {ended} times, at last by {reason}"
    elif isinstance(error, Permanent):
        reason = str(error)
    return Failed(Reason.INTERNAL, reason)


def _require_over(outage: Outage, case: Case, node: Node, name: str) -> None:
    """Give what the worker holds back and raise the outage if it lasts."""
    try:
        require_room(node.root)
        node.depot.require_reachable()
        node.cases.renew(case.id, name, node.settings.work.lease_s, node.clock())
    except Outage:
        with suppress(Outage):
            node.cases.give_back(name)
        raise outage from None


def _result(outcome: Outcome) -> dict[str, str]:
    """Return what a stage came to, for the log: a priority, a reason's code."""
    priority = getattr(outcome, "priority", None)
    said = {"priority": str(priority)} if priority is not None else {}
    code = getattr(outcome, "reason_code", None) or getattr(outcome, "code", None)
    return said | ({"reason": str(code)} if code else {})


def _of(case: Case, action: str) -> dict[str, dict[str, object]]:
    return event(action, case=case.id, stage=str(case.state))
