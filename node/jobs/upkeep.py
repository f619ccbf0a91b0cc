"""Looks after the node itself: whether it runs, and whether there is room."""

import shutil
from datetime import datetime

from node.errors import Retryable
from node.health import conditions
from node.settings import Settings
from node.worklist import Worklist

HEADROOM = 2
"""Free disk is short below this many times `receive.min_free_mb`. Chosen: at 60 studies a day of
200 MB the node then has some hours."""


class Unwell(Retryable):
    """The node cannot do all of its work now."""


def require_well(settings: Settings, worklist: Worklist, now: datetime) -> None:
    """Return if studies can come and results go out.

    Raises
    ------
    Unwell
        Naming each thing that is not as it must be.
    """
    failing = [one for one in conditions(settings, worklist, now) if not one.holds]
    if failing:
        raise Unwell("; ".join(f"{one.what}: {one.found}" for one in failing))


def free_mb(settings: Settings) -> int:
    """Return the free space of the data folder's disk, MiB.

    Raises
    ------
    OSError
        If it cannot be asked.
    """
    return shutil.disk_usage(settings.data_dir).free >> 20


def require_room(settings: Settings) -> None:
    """Return if the disk is far from the mark below which images are refused.

    Raises
    ------
    Unwell
        If it is near; the words say how near.
    """
    free, least = free_mb(settings), settings.receive.min_free_mb
    if free < HEADROOM * least:
        raise Unwell(f"{free} MB free: below {least} MB images are refused")
