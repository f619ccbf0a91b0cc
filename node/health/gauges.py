"""A metric as Prometheus takes it: a name, what it says, and a value for each set of labels."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily


def gauge(
    name: str, says: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    """Return a metric with these values, by the values of its labels."""
    made = GaugeMetricFamily(name, says, labels=labels)
    for labelled, value in values.items():
        made.add_metric(labelled, value)
    return made


def seconds_since(now: datetime, then: datetime) -> float:
    """Return how long ago something was; 0 for what lies ahead by another machine's clock."""
    return max(0.0, (now - then).total_seconds())
