"""The words in which the page describes a row. Pure."""

from collections.abc import Sequence
from datetime import timedelta

from node.states import State
from node.worklist import DeliveryLine, DeliveryStatus, Row

SUBTYPE_SHOWN = 0.5
"""A subtype is named from this probability on: it is then more probable than not. The most probable
subtype is always named."""

_STAGES = {
    State.RECEIVING: "slices are coming in",
    State.ASSEMBLED: "waiting to be read",
    State.TRIAGED: "waiting for its report",
}
_KINDS = {
    "seg": "SEG",
    "sr": "SR",
    "text": "text SR",
    "capture": "capture",
    "gsps": "outline",
    "key": "key slice",
    "message": "message",
}
"""What the kinds of a report's objects are called here."""


def stage(row: Row) -> str:
    """Return what an undecided study is waiting for."""
    return _STAGES.get(row.state, "")


def span(time: timedelta) -> str:
    """Return a length of time as people say it: "12 s", "7 min", "3 h 05 min", "2 d"."""
    seconds = max(0, int(time.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86400} d"


def subtypes(row: Row) -> list[tuple[str, float]]:
    """Return the subtypes to name, the most probable first."""
    ranked = sorted(row.subtypes.items(), key=lambda item: -item[1])
    return [item for item in ranked if item[1] >= SUBTYPE_SHOWN] or ranked[:1]


def budget(row: Row) -> list[tuple[str, float]]:
    """Return the seconds from the last slice to each stage that is done."""
    stages = {
        "assembled": row.assembled_at,
        "read": row.triaged_at,
        "reported": row.reported_at,
        "delivered": row.delivered_at,
    }
    return [(n, (at - row.received_at).total_seconds()) for n, at in stages.items() if at]


def closing(row: Row) -> str:
    """Return by what evidence the series was closed, and how much earlier than by timer."""
    saved = f", {row.saved_s:.0f} s sooner than by the idle timer" if row.saved_s else ""
    return f"{row.closed_by}{saved}" if row.closed_by else ""


def deliveries(row: Row) -> list[tuple[str, str, str]]:
    """Return, for each destination, its name, how it stands, and that in words."""
    lines: dict[str, list[DeliveryLine]] = {}
    for line in row.deliveries:
        if line.status != DeliveryStatus.CANCELLED:
            lines.setdefault(line.destination, []).append(line)
    return [(name, *_standing(owed)) for name, owed in lines.items()]


def _standing(owed: Sequence[DeliveryLine]) -> tuple[str, str]:
    dead = [line for line in owed if line.status == DeliveryStatus.DEAD]
    waiting = [line for line in owed if line.status == DeliveryStatus.OWED]
    if dead:
        return "dead", f"NOT SENT: {_named(dead)}"
    if not waiting:
        return "sent", f"sent: {_named(owed)}"
    tried = max(line.attempts for line in waiting)
    return "owed", f"waiting: {_named(waiting)}" + (f"; failed attempts: {tried}" if tried else "")


def _named(owed: Sequence[DeliveryLine]) -> str:
    return ", ".join(_kind(line) for line in owed)


def _kind(line: DeliveryLine) -> str:
    answer = line.last_status
    return _KINDS.get(line.kind, "object") + (f" (status {answer:04X})" if answer else "")
