"""What Prometheus may ask: how many wait, how long, who answers, and how fast results come.

Every value is read from the worklist when it is asked for, so that it is the same whichever
process answers, and holds after a restart. No value names a patient or a study.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.metadata import version
from statistics import quantiles

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.disk import room_of
from node.health.readiness import conditions
from node.settings import Settings
from node.states import Priority
from node.worklist import Gap, Worklist

WINDOW = timedelta(days=1)
"""Studies that came in it count for the figures of results; a day, since nights differ."""


class NodeMetrics(Collector):
    """The node's metrics, read from the worklist."""

    def __init__(
        self, settings: Settings, worklist: Worklist, clock: Callable[[], datetime]
    ) -> None:
        self._settings, self._worklist, self._clock = settings, worklist, clock

    def describe(self) -> Iterator[Metric]:
        """Return nothing: names are known only by reading, and a registry need not know them."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric.

        Raises
        ------
        IchnodeError
            If the database does not answer.
        """
        now = self._clock()
        yield _gauge("ichnode_info", "Version.", ["version"], {(version("ichnode"),): 1})
        yield from self._queue(now)
        yield from self._results(now)
        yield from self._deliveries(now)
        yield from self._unreachable(now)
        yield from self._running(now)
        yield from self._coverage(now)
        yield from self._canary(now)
        yield from self._disk()

    def _queue(self, now: datetime) -> Iterator[Metric]:
        queue = self._worklist.statistics.queue()
        yield _gauge(
            "ichnode_cases",
            "Cases by state, superseded ones left out.",
            ["state"],
            {(one.state.lower(),): one.cases for one in queue},
        )
        yield _gauge(
            "ichnode_oldest_case_seconds",
            "Seconds since the last slice of the case that waits longest in a state.",
            ["state"],
            {(o.state.lower(),): _seconds(now, o.oldest_at) for o in queue if o.oldest_at},
        )
        arrived_at = self._worklist.statistics.last_arrival()
        yield _gauge(
            "ichnode_last_received_timestamp_seconds",
            "When the last object came, in seconds since 1970.",
            [],
            {(): arrived_at.timestamp()} if arrived_at else {},
        )
        yield _gauge(
            "ichnode_quarantined",
            "Objects that wait for a person's decision.",
            [],
            {(): self._worklist.statistics.quarantined()},
        )

    def _results(self, now: datetime) -> Iterator[Metric]:
        studies = self._worklist.statistics.studies(now - WINDOW)
        counts = Counter(one.priority for one in studies)
        yield _gauge(
            "ichnode_studies",
            "Studies that came in the last 24 hours, by priority.",
            ["priority"],
            {(priority.lower(),): counts[priority] for priority in Priority},
        )
        reasons = Counter(one.reason_code or "" for one in studies if one.reason_code is not None)
        yield _gauge(
            "ichnode_studies_not_analysed",
            "Studies that came in the last 24 hours and were not analysed, by reason.",
            ["reason"],
            {(reason.lower(),): number for reason, number in reasons.items()},
        )
        doors = [one.door_to_flag_s for one in studies if one.door_to_flag_s is not None]
        cuts = quantiles(doors, n=20, method="inclusive") if len(doors) > 1 else doors * 19
        yield _gauge(
            "ichnode_door_to_flag_seconds",
            "Seconds from a study's last slice to its priority, over the last 24 hours.",
            ["quantile"],
            {("0.5",): cuts[9], ("0.95",): cuts[18]} if cuts else {},
        )

    def _deliveries(self, now: datetime) -> Iterator[Metric]:
        lines = self._worklist.statistics.destinations(now - WINDOW).values()
        yield _gauge(
            "ichnode_deliveries",
            "Deliveries: owed and dead ones, and those sent in the last 24 hours.",
            ["destination", "status"],
            {
                (line.name, status): number
                for line in lines
                for status, number in (
                    ("owed", line.owed),
                    ("dead", line.dead),
                    ("sent", line.sent),
                )
            },
        )

    def _unreachable(self, now: datetime) -> Iterator[Metric]:
        down = self._worklist.deliveries.unreachable()
        yield _gauge(
            "ichnode_destination_unreachable_seconds",
            "Seconds since a destination did not answer; none where it does.",
            ["destination"],
            {(one.destination,): _seconds(now, one.since) for one in down},
        )

        paused = self._worklist.deliveries.paused()
        yield _gauge(
            "ichnode_sending_paused_seconds",
            "Seconds since a person paused sending; none while it goes on.",
            [],
            {} if paused is None else {(): _seconds(now, paused.since)},
        )

    def _running(self, now: datetime) -> Iterator[Metric]:
        yield _gauge(
            "ichnode_process_silent_seconds",
            "Seconds since a process of the node last said that it runs.",
            ["role", "process"],
            {
                (one.role, one.name): _seconds(now, one.seen_at)
                for one in self._worklist.processes.listed()
            },
        )
        yield _gauge(
            "ichnode_process_waits",
            "1 if a process of the node waits for the end of an outage.",
            ["role", "process"],
            {
                (one.role, one.name): int(bool(one.waits))
                for one in self._worklist.processes.listed()
            },
        )
        yield _gauge(
            "ichnode_ready",
            "1 if this is as it must be, 0 if not. /readyz says why; it asks the object store too.",
            ["what"],
            {
                (one.what,): int(one.holds)
                for one in conditions(self._settings, self._worklist, now, ask_store=False)
            },
        )
        jobs = self._worklist.jobs.listed()
        yield _gauge(
            "ichnode_job_last_run_timestamp_seconds",
            "When a job last ran, in seconds since 1970.",
            ["job"],
            {(job.name,): job.ran_at.timestamp() for job in jobs if job.ran_at},
        )
        yield _gauge(
            "ichnode_job_next_run_timestamp_seconds",
            "When a job is to run next, in seconds since 1970.",
            ["job"],
            {(job.name,): job.next_at.timestamp() for job in jobs if job.next_at},
        )
        yield _gauge(
            "ichnode_job_failing",
            "1 if a job failed when it last ran.",
            ["job"],
            {(job.name,): int(job.fails) for job in jobs},
        )

    def _coverage(self, now: datetime) -> Iterator[Metric]:
        found = self._worklist.coverage.standing(self._settings.coverage, now)
        numbers = Counter((one.source, one.gap.lower()) for one in found.gaps)
        answered = {line.name: line.last and line.last.answered_at for line in found.sources}
        yield _gauge(
            "ichnode_coverage_studies",
            "Head CTs that a source lists and that are not all here, by what lacks.",
            ["source", "gap"],
            {
                (line.name, gap.lower()): numbers[line.name, gap.lower()]
                for line in found.sources
                for gap in Gap
            },
        )
        yield _gauge(
            "ichnode_coverage_unknown",
            "1 if it is not known what never came from a source, since it does not answer.",
            ["source"],
            {(line.name,): int(bool(line.trouble)) for line in found.sources},
        )
        yield _gauge(
            "ichnode_coverage_answered_timestamp_seconds",
            "When a source was last compared with the worklist, in seconds since 1970.",
            ["source"],
            {(name,): at.timestamp() for name, at in answered.items() if at},
        )

    def _canary(self, now: datetime) -> Iterator[Metric]:
        found = self._worklist.canaries.standing(self._settings.canary, now)
        sound = found.sound
        yield _gauge(
            "ichnode_canary_alarm",
            "1 if the canary is silent, changed or undelivered; no value where none is sent.",
            [],
            {(): int(bool(found.trouble))} if found.on else {},
        )
        yield _gauge(
            "ichnode_canary_sound_timestamp_seconds",
            "When the last canary was sent that came back as it should, in seconds since 1970.",
            [],
            {(): sound.sent_at.timestamp()} if sound else {},
        )
        door_s = sound.door_to_flag_s if sound else None
        yield _gauge(
            "ichnode_canary_door_to_flag_seconds",
            "Seconds from the last slice of that canary to its priority.",
            [],
            {(): door_s} if door_s is not None else {},
        )

    def _disk(self) -> Iterator[Metric]:
        room = room_of(self._settings.data_dir)
        yield _gauge(
            "ichnode_disk_bytes",
            "The disk of the data folder.",
            ["part"],
            {("free",): room.free, ("total",): room.total},
        )


def _gauge(
    name: str, says: str, labels: list[str], values: dict[tuple[str, ...], float]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, says, labels=labels)
    for labelled, value in values.items():
        gauge.add_metric(labelled, value)
    return gauge


def _seconds(now: datetime, then: datetime) -> float:
    return max(0.0, (now - then).total_seconds())
