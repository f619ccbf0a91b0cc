"""Says when a series counts as complete, and by what evidence. Pure."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from node.announced import IAN, MPPS
from node.cases.eligibility import Verdict
from node.records import Closing, Series
from node.settings import Assemble

RHYTHM = 3.0
"""A sender that opens an association for each image pauses between them. The release of one is
evidence only after this many times the longest pause so far. An estimate."""


def closing(verdict: Verdict, settings: Assemble, *, reported: bool = False) -> Closing:
    """Return when a series is complete.

    Evidence is a readable series (contiguous slices that cover a head) together with the release
    of its association or the number of images that was announced; a short grace follows it, and
    after a release also the sender's rhythm. Fewer images than announced are no evidence, and while
    a procedure step of the study is in progress, a release is none. Without evidence the series is
    closed after `idle_s` without another image.

    Parameters
    ----------
    reported
        A result of the series left before these images came. Then a release is no evidence, so
        that a series that comes in pieces is reported anew once and not at each pause.
    """
    last = verdict.series.last_received_at
    idle = last + timedelta(seconds=settings.idle_s)
    evidence = _evidence(verdict.series) if _is_whole(verdict, settings) else None
    if evidence is None or (reported and not evidence.counted):
        return Closing(idle, f"closed after {settings.idle_s:.0f} s without another image")
    quiet = timedelta(seconds=settings.grace_s)
    if not evidence.counted:
        quiet = max(quiet, RHYTHM * _longest_pause(verdict.series))
    at = min(max(last + quiet, evidence.since), idle)
    saved_s = max(0.0, (idle - at).total_seconds())
    return Closing(at, f"complete: {evidence.what}", saved_s)


@dataclass(frozen=True, slots=True)
class Announced:
    """The highest number of images that is announced for a series, and by whom."""

    images: int
    told_by: str


def announced(series: Series) -> Announced:
    """Return how many images are announced for the series; 0 if nobody announces any.

    Of the headers, NumberOfSeriesRelatedInstances counts those of the series, ImagesInAcquisition
    those of one acquisition (PS3.3 C.7.3.1, C.7.6.1).
    """
    headers = [instance.header for instance in series.received]
    acquisitions = {h.acquisition_number: h.images_in_acquisition or 0 for h in headers}
    in_series = max(header.series_related_instances or 0 for header in headers)
    told = (
        Announced(in_series, "NumberOfSeriesRelatedInstances"),
        Announced(sum(acquisitions.values()), "ImagesInAcquisition"),
        *(Announced(one.images, one.told_by) for one in series.announcements),
    )
    return max(told, key=lambda one: one.images)


def _is_whole(verdict: Verdict, settings: Assemble) -> bool:
    """Return whether the slices can be read, leave no hole, and cover what a head needs."""
    stack = verdict.stack
    if verdict.refusal or stack is None or stack.holes:
        return False
    return stack.coverage_mm >= settings.min_coverage_mm


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Why no further image of a series is expected, and since when that is known."""

    what: str
    since: datetime
    counted: bool = True
    """Whether all announced images came; else an association was released."""


def _longest_pause(series: Series) -> timedelta:
    """Return the longest time between two images of a series that came by several associations."""
    if series.associations < 2:
        return timedelta()
    came = sorted(instance.received_at for instance in series.received)
    return max((later - earlier for earlier, later in pairwise(came)), default=timedelta())


def _evidence(series: Series) -> _Evidence | None:
    if len(series.received) < announced(series).images:
        return None
    return _listed(series) or _counted(series) or _release(series)


def _listed(series: Series) -> _Evidence | None:
    """Return the evidence of a list whose images all came.

    An archive's answer is no such list: it may be receiving the series itself. Nor is a
    notification while a procedure step goes on: it may be about the first of several images.
    """
    tellers = (MPPS,) if series.in_progress else (MPPS, IAN)
    came = len(series.received)
    for told in series.announcements:
        if told.told_by in tellers and told.images == came:
            what = f"all {came} images announced by {told.told_by} came"
            return _Evidence(what, max(told.at, series.last_received_at))
    return None


def _release(series: Series) -> _Evidence | None:
    if series.released_at is None or series.in_progress:
        return None
    released = "contiguous over a head, and the association was released"
    return _Evidence(released, series.released_at, counted=False)


def _counted(series: Series) -> _Evidence | None:
    """Return the evidence of the headers' count."""
    last = series.last_received_at
    headers = [instance.header for instance in series.received]
    wanted = max(header.series_related_instances or 0 for header in headers)
    if 0 < wanted <= len(headers):
        return _Evidence(f"all {wanted} images of NumberOfSeriesRelatedInstances came", last)
    acquisitions = defaultdict(list)
    for header in headers:
        acquisitions[header.acquisition_number].append(header.images_in_acquisition or 0)
    if all(0 < max(counts) <= len(counts) for counts in acquisitions.values()):
        return _Evidence(f"all {len(headers)} images of ImagesInAcquisition came", last)
    return None


def announces_images(series: Series) -> bool:
    """Return whether anybody says how many images will come."""
    if series.announcements:
        return True
    headers = (instance.header for instance in series.instances)
    return any(h.series_related_instances or h.images_in_acquisition for h in headers)
