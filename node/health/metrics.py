"""What Prometheus may ask: how many wait, how long, who answers, and how fast results come.

Every value is read from the worklist when it is asked for, so that it is the same whichever
process answers, and holds after a restart. No value names a patient or a study.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.metadata import version
from statistics import quantiles

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from node.disk import room_of
from node.health.gauges import gauge, seconds_since
from node.health.readiness import conditions
from node.health.watching import watching
from node.settings import Settings
from node.states import Priority
from node.worklist import Worklist

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
        yield gauge("ichnode_info", "Version.", ["version"], {(version("ichnode"),): 1})
        yield from self._queue(now)
        yield from self._results(now)
        yield from self._deliveries(now)
        yield from self._unreachable(now)
        yield from self._running(now)
        yield from watching(self._settings, self._worklist, now)
        yield from self._disk()

    def _queue(self, now: datetime) -> Iterator[Metric]:
        queue = self._worklist.statistics.queue()
        yield gauge(
            "ichnode_cases",
            "Cases by state, superseded ones left out.",
            ["state"],
            {(one.state.lower(),): one.cases for one in queue},
        )
        yield gauge(
            "ichnode_oldest_case_seconds",
            "Seconds since the last slice of the case that waits longest in a state.",
            ["state"],
            {(o.state.lower(),): seconds_since(now, o.oldest_at) for o in queue if o.oldest_at},
        )
        arrived_at = self._worklist.statistics.last_arrival()
        yield gauge(
            "ichnode_last_received_timestamp_seconds",
            "When the last object came, in seconds since 1970.",
            [],
            {(): arrived_at.timestamp()} if arrived_at else {},
        )
        yield gauge(
            "ichnode_quarantined",
            "Objects that wait for a person's decision.",
            [],
            {(): self._worklist.statistics.quarantined()},
        )

    def _results(self, now: datetime) -> Iterator[Metric]:
        studies = self._worklist.statistics.studies(now - WINDOW)
        counts = Counter(one.priority for one in studies)
        yield gauge(
            "ichnode_studies",
            "Studies that came in the last 24 hours, by priority.",
            ["priority"],
            {(priority.lower(),): counts[priority] for priority in Priority},
        )
        reasons = Counter(one.reason_code or "" for one in studies if one.reason_code is not None)
        yield gauge(
            "ichnode_studies_not_analysed",
            "Studies that came in the last 24 hours and were not analysed, by reason.",
            ["reason"],
            {(reason.lower(),): number for reason, number in reasons.items()},
        )
        doors = [one.door_to_flag_s for one in studies if one.door_to_flag_s is not None]
        cuts = quantiles(doors, n=20, method="inclusive") if len(doors) > 1 else doors * 19
        yield gauge(
            "ichnode_door_to_flag_seconds",
            "Seconds from a study's last slice to its priority, over the last 24 hours.",
            ["quantile"],
            {("0.5",): cuts[9], ("0.95",): cuts[18]} if cuts else {},
        )

    def _deliveries(self, now: datetime) -> Iterator[Metric]:
        lines = self._worklist.statistics.destinations(now - WINDOW).values()
        yield gauge(
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
        yield gauge(
            "ichnode_destination_unreachable_seconds",
            "Seconds since a destination did not answer; none where it does.",
            ["destination"],
            {(one.destination,): seconds_since(now, one.since) for one in down},
        )

        paused = self._worklist.deliveries.paused()
        yield gauge(
            "ichnode_sending_paused_seconds",
            "Seconds since a person paused sending; none while it goes on.",
            [],
            {} if paused is None else {(): seconds_since(now, paused.since)},
        )

    def _running(self, now: datetime) -> Iterator[Metric]:
        yield gauge(
            "ichnode_process_silent_seconds",
            "Seconds since a process of the node last said that it runs.",
            ["role", "process"],
            {
                (one.role, one.name): seconds_since(now, one.seen_at)
                for one in self._worklist.processes.listed()
            },
        )
        yield gauge(
            "ichnode_process_waits",
            "1 if a process of the node waits for the end of an outage.",
            ["role", "process"],
            {
                (one.role, one.name): int(bool(one.waits))
                for one in self._worklist.processes.listed()
            },
        )
        yield gauge(
            "ichnode_ready",
            "1 if this is as it must be, 0 if not. /readyz says why; it asks the object store too.",
            ["what"],
            {
                (one.what,): int(one.holds)
                for one in conditions(self._settings, self._worklist, now, ask_store=False)
            },
        )
        jobs = self._worklist.jobs.listed()
        yield gauge(
            "ichnode_job_last_run_timestamp_seconds",
            "When a job last ran, in seconds since 1970.",
            ["job"],
            {(job.name,): job.ran_at.timestamp() for job in jobs if job.ran_at},
        )
        yield gauge(
            "ichnode_job_next_run_timestamp_seconds",
            "When a job is to run next, in seconds since 1970.",
            ["job"],
            {(job.name,): job.next_at.timestamp() for job in jobs if job.next_at},
        )
        yield gauge(
            "ichnode_job_failing",
            "1 if a job failed when it last ran.",
            ["job"],
            {(job.name,): int(job.fails) for job in jobs},
        )

    def _disk(self) -> Iterator[Metric]:
        room = room_of(self._settings.data_dir)
        yield gauge(
            "ichnode_disk_bytes",
            "The disk of the data folder.",
            ["part"],
            {("free",): room.free, ("total",): room.total},
        )
