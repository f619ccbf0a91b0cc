"""Looks after the node itself: whether it runs, and whether there is room."""

from datetime import datetime

from node.disk import room_of
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
    """Return if studies can come and results go out, or would but for a person's will.

    Raises
    ------
    Unwell
        Naming each thing that is not as it must be.
    """
    failing = [one for one in conditions(settings, worklist, now) if not (one.holds or one.by_will)]
    if failing:
        raise Unwell("; ".join(f"{one.what}: {one.found}" for one in failing))


def require_room(settings: Settings) -> None:
    """Return if the disk is far from the mark below which images are refused.

    Raises
    ------
    Unwell
        If it is near; the words say how near.
    """
    free, least = room_of(settings.data_dir).free_mb, settings.receive.min_free_mb
    if free < HEADROOM * least:
        raise Unwell(f"{free} MB free: below {least} MB images are refused")
