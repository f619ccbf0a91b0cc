"""What is wrong with a canary's answer: it is silent, late, undelivered, or another than before."""

from dataclasses import dataclass
from datetime import datetime

from node.settings import Canary as Limits
from node.states import Priority, State
from node.worklist import Canary, DeliveryStatus, Finding, Row


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of an answer.

    Attributes
    ----------
    waits
        Whether nothing can be said yet.
    trouble
        What is wrong, in a sentence; None if nothing is.
    found
        None where there is no result.
    """

    waits: bool = False
    trouble: str | None = None
    found: Finding | None = None


def found_in(row: Row) -> Finding | None:
    """Return what the node found in a study; None where it was not read."""
    if row.probability is None:
        return None
    return Finding(row.priority, row.probability, row.volume_ml or 0.0, row.bundle or "")


def judge(
    sent: Canary, row: Row | None, reference: Finding | None, limits: Limits, now: datetime
) -> Judged:
    """Return what is wrong with a canary's answer. Pure.

    Parameters
    ----------
    row
        How its study stands in the worklist; None if nothing of it came.
    reference
        What the bundle found at first; None before that.
    """
    late = now - sent.sent_at >= limits.limit
    found = None if row is None else found_in(row)
    if row is not None and row.state in _ENDED_BADLY:
        return Judged(trouble=f"the phantom is {row.state}: {row.reason}", found=found)
    if row is None or row.priority is Priority.PENDING:
        stands = "nothing of it came" if row is None else f"it stands at {row.state}"
        silent = f"no result of the phantom within {limits.limit_s:.0f} s: {stands}"
        return Judged(trouble=silent) if late else Judged(waits=True)
    if row.priority is Priority.NOT_ANALYSED:
        return Judged(trouble=f"the phantom was not analysed: {row.reason}", found=found)
    if found and reference and (change := changed(found, reference, limits)):
        return Judged(trouble=f"the finding in the phantom changed: {change}", found=found)
    if row.state is not State.DELIVERED:
        return Judged(trouble=_undelivered(row), found=found) if late else Judged(waits=True)
    if row.door_to_flag_s is not None and row.door_to_flag_s > limits.limit_s:
        return Judged(trouble=f"the flag took {row.door_to_flag_s:.0f} s", found=found)
    return Judged(found=found)


_ENDED_BADLY = (State.FAILED, State.SKIPPED)


def changed(found: Finding, before: Finding, limits: Limits) -> str:
    """Return in which way a finding differs from the one before by more than is tolerated."""
    if found.priority is not before.priority:
        return f"{found.priority}, was {before.priority}"
    if abs(found.probability - before.probability) > limits.probability_tolerance:
        return f"probability {found.probability:.3f}, was {before.probability:.3f}"
    if abs(found.volume_ml - before.volume_ml) > limits.volume_tolerance * before.volume_ml:
        return f"volume {found.volume_ml:.1f} mL, was {before.volume_ml:.1f} mL"
    return ""


def _undelivered(row: Row) -> str:
    """Return which destinations did not get the result, with the last words of each."""
    words = {
        line.destination: line.last_message or "no answer yet"
        for line in row.deliveries
        if line.status != DeliveryStatus.SENT
    }
    if not words:
        return f"the phantom's report is not done: it stands at {row.state}"
    said = "; ".join(f"{name} ({word})" for name, word in words.items())
    return f"the phantom's result did not reach {said}"
