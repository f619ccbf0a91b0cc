"""Whether the node can take studies and bring results out, in one line for each thing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.depot import depot_of
from node.disk import room_of
from node.errors import IchnodeError
from node.outages import waits_for
from node.settings import Settings
from node.worklist import Paused, Process, Worklist

SILENT_S = 60.0
"""A process that said nothing for this long does not run. Six beats; chosen, since a full disk or
a long commit may delay some."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One thing that must be so, whether it is, and what was found.

    `by_will`: a person wants it to be otherwise for a while.
    """

    what: str
    holds: bool
    found: str
    by_will: bool = False


def conditions(
    settings: Settings, worklist: Worklist | None, now: datetime, *, ask_store: bool = True
) -> list[Ready]:
    """Return whether database and storage answer, each role works somewhere, and results go out.

    Without a worklist, which cannot be opened, only what this process waits for is known.

    Parameters
    ----------
    ask_store
        Whether an object is put in the object store, which may take `storage.timeout_s`.
    """
    stored = list(_bytes(settings, ask_store=ask_store))
    if worklist is None:
        return [Ready("database", False, f"waits: {waits_for()}"), *stored]
    try:
        processes, paused = worklist.processes.listed(), worklist.deliveries.paused()
    except IchnodeError as error:
        return [Ready("database", False, str(error)), *stored]
    roles = (_role(role, processes, now) for role in settings.health.roles)
    return [Ready("database", True, "answers"), *stored, *roles, _sending(paused)]


def _bytes(settings: Settings, *, ask_store: bool) -> Iterator[Ready]:
    yield from _disk(settings)
    if not (settings.storage.is_on and ask_store):
        return
    try:
        depot_of(settings).require_reachable()
    except (IchnodeError, OSError) as error:
        yield Ready("object store", False, str(error))
    else:
        yield Ready("object store", True, "answers")


def _disk(settings: Settings) -> Iterator[Ready]:
    try:
        room = room_of(settings.data_dir)
    except OSError as error:
        yield Ready("disk", False, f"{error.strerror}: the data folder cannot be reached")
        return
    if room.read_only:
        yield Ready("disk", False, "the data folder is on a read-only disk")
        return
    least = settings.receive.min_free_mb
    found = f"{room.free_mb} MB free, at least {least} MB are needed"
    yield Ready("disk", room.free_mb >= least, found)


def _role(role: str, processes: Sequence[Process], now: datetime) -> Ready:
    own = [one for one in processes if one.role == role]
    seen = [one for one in own if (now - one.seen_at).total_seconds() < SILENT_S]
    waiting = [one.waits for one in seen if one.waits]
    working = sum(one.ready_at is not None and not one.waits for one in seen)
    if working:
        also = f", {len(waiting)} waits: {waiting[0]}" if waiting else ""
        return Ready(role, True, f"{working} running{also}")
    if waiting:
        return Ready(role, False, f"waits: {waiting[0]}")
    if seen:
        return Ready(role, False, "is starting")
    if own:
        silent = min((now - one.seen_at).total_seconds() for one in own)
        return Ready(role, False, f"silent for {silent:.0f} s")
    return Ready(role, False, "does not run")


def _sending(paused: Paused | None) -> Ready:
    if paused is None:
        return Ready("sending", True, "goes on")
    since = f"{paused.since.astimezone():%d %b %H:%M}"
    return Ready("sending", False, f"paused since {since}, see `ichnode resume`", by_will=True)
