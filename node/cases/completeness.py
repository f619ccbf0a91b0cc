"""Says when a series counts as complete, and by what evidence. Pure."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from node.cases.eligibility import Verdict
from node.records import Closing, Series
from node.settings import Assemble


def closing(verdict: Verdict, settings: Assemble) -> Closing:
    """Return when a series is complete.

    Evidence is a readable series (contiguous slices that cover a head) together with the release
    of its association or the number of images that the scanner announced; a short grace follows
    it. Without evidence the series is closed after `idle_s` without another image.
    """
    last = verdict.series.last_received_at
    idle = last + timedelta(seconds=settings.idle_s)
    evidence = None if verdict.refusal else _evidence(verdict.series)
    if evidence is None:
        return Closing(idle, f"closed after {settings.idle_s:.0f} s without another image")
    at = max(last + timedelta(seconds=settings.grace_s), evidence.since)
    saved_s = max(0.0, (idle - at).total_seconds())
    return Closing(at, f"complete: {evidence.what}", saved_s)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Why no further image of a series is expected, and since when that is known."""

    what: str
    since: datetime


def _evidence(series: Series) -> _Evidence | None:
    last = series.last_received_at
    if series.released_at is not None:
        released = "contiguous over a head, and the association was released"
        return _Evidence(released, series.released_at)
    headers = [instance.header for instance in series.instances]
    announced = max(header.series_related_instances or 0 for header in headers)
    if 0 < announced <= len(headers):
        return _Evidence(f"all {announced} images of NumberOfSeriesRelatedInstances came", last)
    acquisitions = defaultdict(list)
    for header in headers:
        acquisitions[header.acquisition_number].append(header.images_in_acquisition or 0)
    if all(0 < max(counts) <= len(counts) for counts in acquisitions.values()):
        return _Evidence(f"all {len(headers)} images of ImagesInAcquisition came", last)
    return None


def announces_images(series: Series) -> bool:
    """Return whether any header says how many images will come."""
    headers = (instance.header for instance in series.instances)
    return any(h.series_related_instances or h.images_in_acquisition for h in headers)
