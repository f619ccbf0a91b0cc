"""Whether the node can take studies and bring results out, in one line for each thing."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.depot import depot_of
from node.errors import IchnodeError
from node.settings import Settings
from node.worklist import Process, Worklist

SILENT_S = 60.0
"""A process that said nothing for this long does not run. Six beats; chosen, since a full disk or
a long commit may delay some."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One thing that must be so, whether it is, and what was found."""

    what: str
    holds: bool
    found: str


def conditions(settings: Settings, worklist: Worklist, now: datetime) -> list[Ready]:
    """Return whether database and storage answer, and each role runs somewhere."""
    try:
        processes = worklist.processes.listed()
    except IchnodeError as error:
        return [Ready("database", False, str(error)), *_bytes(settings)]
    roles = (_role(role, processes, now) for role in settings.health.roles)
    return [Ready("database", True, "answers"), *_bytes(settings), *roles]


def _bytes(settings: Settings) -> Iterator[Ready]:
    yield from _disk(settings)
    if not settings.storage.is_on:
        return
    try:
        depot_of(settings).require_reachable()
    except (IchnodeError, OSError) as error:
        yield Ready("object store", False, str(error))
    else:
        yield Ready("object store", True, "answers")


def _disk(settings: Settings) -> Iterator[Ready]:
    try:
        free_mb = shutil.disk_usage(settings.data_dir).free >> 20
        read_only = os.statvfs(settings.data_dir).f_flag & os.ST_RDONLY
    except OSError as error:
        yield Ready("disk", False, f"{error.strerror}: the data folder cannot be reached")
        return
    if read_only:
        yield Ready("disk", False, "the data folder is on a read-only disk")
        return
    least = settings.receive.min_free_mb
    yield Ready("disk", free_mb >= least, f"{free_mb} MB free, at least {least} MB are needed")


def _role(role: str, processes: Sequence[Process], now: datetime) -> Ready:
    own = [one for one in processes if one.role == role]
    seen = [one for one in own if (now - one.seen_at).total_seconds() < SILENT_S]
    if any(one.ready_at for one in seen):
        return Ready(role, True, f"{sum(one.ready_at is not None for one in seen)} running")
    if seen:
        return Ready(role, False, "is starting")
    if own:
        silent = min((now - one.seen_at).total_seconds() for one in own)
        return Ready(role, False, f"silent for {silent:.0f} s")
    return Ready(role, False, "does not run")
