"""The work role: it claims a case, runs its stage and records the outcome, over and over.

A claim is a lease, which is renewed while the stage runs. If the worker dies, the lease runs out
and another worker goes on with the case where it stood.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from node.cases.pipeline import PIPELINE, Node, run_stage
from node.cases.tell import teller
from node.errors import Permanent
from node.log import event
from node.outcomes import Failed, Outcome, Reported
from node.records import Case
from node.states import Reason
from node.worklist import LeaseLost

logger = logging.getLogger(__name__)


def work(node: Node, name: str, stop: threading.Event) -> None:
    """Work until `stop` is set; finish the current stage first."""
    while not stop.is_set():
        if not work_once(node, name):
            stop.wait(node.settings.work.poll_s)


def work_once(node: Node, name: str, *, study_uid: str | None = None) -> bool:
    """Run one stage of the most urgent case that is due; return whether there was one.

    Parameters
    ----------
    study_uid
        Only a case of this study.
    """
    lease_s = node.settings.work.lease_s
    case = node.cases.claim(PIPELINE, name, lease_s, node.clock(), study_uid=study_uid)
    if case is None:
        return False
    with suppress(LeaseLost), _lease_kept(node, case, name):
        _run(case, node, name)
    return True


def _run(case: Case, node: Node, name: str) -> None:
    """Run the stage and record its outcome: the next state, again later, or FAILED."""
    limit = node.settings.work.max_attempts
    try:
        if case.attempts >= limit:  # each one ended with the worker's death
            raise Permanent(f"{case.state} did not survive {limit} attempts; see the log")
        outcome: Outcome = run_stage(case, node)
    except Exception as error:  # noqa: BLE001  one case must not stop the others
        logger.exception("stage failed", extra=_of(case, "stage_failed"))
        reason = f"{type(error).__name__}: {error}"
        if not isinstance(error, Permanent) and case.attempts + 1 < limit:
            again = node.clock() + timedelta(seconds=2.0 ** (case.attempts + 1))
            node.cases.retry(case, name, reason, again, node.clock())
            return
        outcome = Failed(Reason.INTERNAL, reason)
    node.cases.finish(case, name, outcome, node.clock(), teller(node))
    if outcome.state is not case.state:
        logger.info("%s -> %s", case.state, outcome.state, extra=_of(case, "moved"))
    if isinstance(outcome, Reported) and outcome.compared:
        logger.info("replayed: %s", outcome.compared, extra=_of(case, "compared"))


@contextmanager
def _lease_kept(node: Node, case: Case, name: str) -> Iterator[None]:
    """Renew the claim three times a lease while the block runs."""
    done = threading.Event()
    lease_s = node.settings.work.lease_s

    def keep() -> None:
        while not done.wait(lease_s / 3):
            node.cases.renew(case.id, name, lease_s, node.clock())

    thread = threading.Thread(target=keep, name=f"lease-{case.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _of(case: Case, action: str) -> dict[str, dict[str, object]]:
    return event(action, case=case.id, stage=str(case.state))
