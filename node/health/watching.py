"""What the node watches itself by, as metrics: coverage, the canary, reports and charts."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from prometheus_client.core import Metric

from node.health.gauges import gauge
from node.reported import Answer
from node.settings import Settings
from node.worklist import Gap, Worklist

REPORTS_OF = timedelta(days=7)
"""Reports that came in it are counted; a week, since few of studies here come in a night."""


def watching(settings: Settings, worklist: Worklist, now: datetime) -> Iterator[Metric]:
    """Yield the metrics of all of them; of what is off there is no value."""
    yield from _coverage(settings, worklist, now)
    yield from _canary(settings, worklist, now)
    yield from _reports(settings, worklist, now)
    yield from _charts(settings, worklist)


def _coverage(settings: Settings, worklist: Worklist, now: datetime) -> Iterator[Metric]:
    found = worklist.coverage.standing(settings.coverage, now)
    numbers = Counter((one.source, one.gap.lower()) for one in found.gaps)
    answered = {line.name: line.last and line.last.answered_at for line in found.sources}
    yield gauge(
        "ichnode_coverage_studies",
        "Head CTs that a source lists and that are not all here, by what lacks.",
        ["source", "gap"],
        {
            (line.name, gap.lower()): numbers[line.name, gap.lower()]
            for line in found.sources
            for gap in Gap
        },
    )
    yield gauge(
        "ichnode_coverage_unknown",
        "1 if it is not known what never came from a source, since it does not answer.",
        ["source"],
        {(line.name,): int(bool(line.trouble)) for line in found.sources},
    )
    yield gauge(
        "ichnode_coverage_answered_timestamp_seconds",
        "When a source was last compared with the worklist, in seconds since 1970.",
        ["source"],
        {(name,): at.timestamp() for name, at in answered.items() if at},
    )


def _canary(settings: Settings, worklist: Worklist, now: datetime) -> Iterator[Metric]:
    found = worklist.canaries.standing(settings.canary, now)
    sound = found.sound
    yield gauge(
        "ichnode_canary_alarm",
        "1 if the canary is silent, changed or undelivered; no value where none is sent.",
        [],
        {(): int(bool(found.trouble))} if found.on else {},
    )
    yield gauge(
        "ichnode_canary_sound_timestamp_seconds",
        "When the last canary was sent that came back as it should, in seconds since 1970.",
        [],
        {(): sound.sent_at.timestamp()} if sound else {},
    )
    door_s = sound.door_to_flag_s if sound else None
    yield gauge(
        "ichnode_canary_door_to_flag_seconds",
        "Seconds from the last slice of that canary to its priority.",
        [],
        {(): door_s} if door_s is not None else {},
    )


def _reports(settings: Settings, worklist: Worklist, now: datetime) -> Iterator[Metric]:
    if not settings.watch.reports:
        return
    found = worklist.reports.counts(now - REPORTS_OF)
    yield gauge(
        "ichnode_reports",
        "Radiologists' reports of studies here that came in the last 7 days, by what they say.",
        ["answer"],
        {(each.value.replace(" ", "_"),): found.answers.get(each, 0) for each in Answer},
    )
    yield gauge(
        "ichnode_reports_apart",
        "Reports that came in the last 7 days and are of no study here.",
        [],
        {(): found.apart},
    )
    yield gauge(
        "ichnode_last_report_timestamp_seconds",
        "When the last report came, in seconds since 1970.",
        [],
        {(): found.last_at.timestamp()} if found.last_at else {},
    )


def _charts(settings: Settings, worklist: Worklist) -> Iterator[Metric]:
    if not settings.watch.charts:
        return
    found = worklist.charts.counts()
    yield gauge(
        "ichnode_charts",
        "Charts of the watch: with an alarm, without one, and those that learn their baseline.",
        ["state"],
        {
            ("alarm",): found.alarmed,
            ("calm",): found.calm,
            ("learning",): found.learning,
        },
    )
