"""Asks an archive how many images a series has, while the series is waited for."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from node.arrive.archive import Archive, open_index
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.read.header import DAMAGE
from node.errors import IchnodeError
from node.log import event
from node.records import Series
from node.settings import Assemble, Settings, Source
from node.worklist import Announcements

logger = logging.getLogger(__name__)

ANSWER_S = 2.0
"""How long an archive may take to connect, to associate and for each answer. Cases wait meanwhile;
an archive answers within some tenths of a second."""
SILENT_S = 60.0
"""An archive that failed to answer is left alone for this long, so that it holds up few cases.
Chosen."""


def asker(
    source: Source, settings: Settings, announcements: Announcements, clock: Callable[[], datetime]
) -> Callable[[Series], bool]:
    """Return a function that asks the source about a series when it is time to.

    It notes the answer as an announcement, and returns whether there is a new one. A failure
    changes nothing; it is logged once, until the source has answered again.
    """
    told_by = f"{'QIDO' if source.how == 'web' else 'C-FIND'} of {source.name}"
    failing, again_at = False, clock()

    def ask(series: Series) -> bool:
        nonlocal failing, again_at
        now = clock()
        if now < again_at or not is_time_to_ask(series, told_by, settings.assemble, now):
            return False
        try:
            images = _images(source, settings, series)
        except (IchnodeError, *DAMAGE) as error:
            if not failing:
                logger.warning("no count of images: %s", error, extra=event("ask_failed"))
            failing, again_at = True, clock() + timedelta(seconds=SILENT_S)
            return False
        failing = False
        keys = (series.study_instance_uid, series.series_instance_uid)
        announcements.counted(*keys, images, told_by, now)
        return True

    return ask


def is_time_to_ask(series: Series, told_by: str, settings: Assemble, now: datetime) -> bool:
    """Return whether to ask now: once after the grace, and once more when the idle timer ends.

    Both count from the last image, so that a further one makes the question new.
    """
    quiet, idle = (
        series.last_received_at + timedelta(seconds=seconds)
        for seconds in (settings.grace_s, settings.idle_s)
    )
    asked = [one.at for one in series.announcements if one.told_by == told_by]
    if not asked or max(asked) < quiet:
        return now >= quiet
    return max(asked) < idle <= now


def _images(source: Source, settings: Settings, series: Series) -> int:
    """Return how many images of a series the source has; 0 if it does not know the series."""
    with open_index(source, settings, ANSWER_S) as archive:
        count = archive.count(series.study_instance_uid, series.series_instance_uid)
        if count is not None and count <= len(series.instances):
            return count
        return _listed(archive, series)


def _listed(archive: Archive, series: Series) -> int:
    """Return how many objects the source lists that the node takes: a count may include others."""
    listed = archive.images(series.study_instance_uid, series.series_instance_uid)
    return sum(sop_class in (*ACCEPTED_SOP_CLASSES, "") for sop_class in listed.values())
