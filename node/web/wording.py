"""The words in which the page describes a row. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from node.states import Priority, State
from node.wording import UNCERTAIN
from node.worklist import DeliveryLine, DeliveryStatus, Event, Row

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far a scanner's clock may be ahead of this machine's. An estimate."""

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
    "rejection": "rejection note",
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


def acquired(row: Row, now: datetime) -> tuple[str, str]:
    """Return when a study was acquired, in ISO 8601 and in words.

    The scanner's clock has no zone; it counts as this machine's. Where it says nothing, or a time
    to come, the arrival counts.
    """
    at, what = _began(row, now)
    local, today = at.astimezone(), now.astimezone().date()
    form = "%H:%M" if local.date() == today else "%d %b %H:%M"
    return at.isoformat(), f"{what}{local.strftime(form)}"


def waited(row: Row, now: datetime) -> str:
    """Return how long ago a study was acquired, as `acquired`."""
    return span(now - _began(row, now)[0])


def _began(row: Row, now: datetime) -> tuple[datetime, str]:
    at = _acquired_at(row)
    if at is None or at > now + CLOCKS_DIFFER:
        return row.first_received_at, "received "
    return at, ""


def _acquired_at(row: Row) -> datetime | None:
    try:
        return datetime.strptime(row.acquired, "%Y-%m-%d %H:%M").astimezone()
    except ValueError:
        return None


def spoken(code: str) -> str:
    """Return a code such as NOT_ANALYSED as words."""
    return code.replace("_", " ").lower()


def announced(row: Row) -> str:
    """Return how a row is announced to who cannot see it; without any identity."""
    if row.withdrawn:
        return "withdrawn"
    return f"{spoken(row.priority)}{', uncertain' if row.uncertain else ''}"


def verdict(row: Row) -> str:
    """Return what a row says, in a few words."""
    if row.withdrawn:
        return "Withdrawn: read it as usual"
    return {
        Priority.SUSPECTED: "Suspected, unverified",
        Priority.NOT_ANALYSED: "Not analysed: read it as usual",
        Priority.PENDING: stage(row).capitalize() or "Not decided yet",
        Priority.NOT_SUSPECTED: "No hemorrhage suspected",
    }[row.priority]


def answer(line: DeliveryLine) -> str:
    """Return what a peer answered for one object, in words."""
    if line.last_status is None:
        return line.last_message or ("no answer yet" if line.attempts else "not tried yet")
    said = "stored" if line.status == DeliveryStatus.SENT else line.last_message or "refused"
    return f"{said} (status {line.last_status:04X})"


def happened(event: Event) -> str:
    """Return an event's details in words; UIDs and digests are left to the database."""
    told = {name: value for name, value in event.detail.items() if name not in _UNSAID}
    was, state = told.pop("was", None), told.pop("state", None)
    moved = [f"{spoken(was)} → {spoken(state)}"] if was and state else [spoken(state or "")]
    said = (f"{spoken(name)} {_value(value)}" for name, value in told.items())
    return ", ".join(filter(None, [*moved, *said]))


_UNSAID = ("sop_instance_uid", "sha256", "path", "study_instance_uid")


def _value(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else spoken(str(value))


def notes(row: Row) -> list[str]:
    """Return what a person must know of a row beside its result, the weightiest first."""
    said = [UNCERTAIN] if row.uncertain else []
    said += [row.why] if row.why else []
    if row.quarantined:
        objects = f"{row.quarantined} received object{'s' if row.quarantined > 1 else ''}"
        said.append(f"{objects} set aside: the study may be incomplete")
    if row.purged:
        said.append(row.purged)
    if len(row.scans) > 1:
        said.append(f"{len(row.scans)} scans: " + ", ".join(spoken(s.priority) for s in row.scans))
    return [*said, *row.limitations]


def duration(seconds: float) -> str:
    """Return a duration: to the tenth below a minute, then as `span`."""
    return f"{seconds:.1f} s" if 0 <= seconds < 60 else span(timedelta(seconds=seconds))


_MIMICS = ("look like blood", "imitate")
"""What the sentence of a limitation has that names something which may pass for blood."""


def mimics(limitations: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the limitations that name what may look like blood, and the others."""
    hints = [one for one in limitations if any(words in one for words in _MIMICS)]
    return hints, [one for one in limitations if one not in hints]
