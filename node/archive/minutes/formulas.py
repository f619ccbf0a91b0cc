"""Mean waits in closed form, where queueing theory has one.

A wait is the time from a study's arrival until its reading is done, less the reading itself: what
interrupts the reading counts. Streams stand in the order of their priority, the first one first.

One radiologist: M/G/1, whatever the spread of the reading times. Streams in turn, non-pre-emptive
(Cobham, Oper. Res. 2:70, 1954); pre-emptive resume (White and Christie, Oper. Res. 6:79, 1958).
Several: M/M/c, if all readings are exponential with one mean. First come, first served is Erlang's
C; in turn Cobham's, too; pre-emptive, the streams down to each are an M/M/c of their own (Buzen and
Bondi, Oper. Res. 31:456, 1983).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from node.archive.minutes.department import MINUTES, Department, Group, Law, ReadingTime


@dataclass(frozen=True, slots=True)
class Stream:
    """Poisson arrivals of one priority.

    Attributes
    ----------
    per_min
        Arrivals a minute.
    mean_min, square_min2
        Means of the reading times and of their squares.
    """

    per_min: float
    mean_min: float
    square_min2: float

    @property
    def offered(self) -> float:
        """Radiologists that it keeps busy."""
        return self.per_min * self.mean_min

    @property
    def residual_min(self) -> float:
        """Mean minutes that its reading in hand still takes, whether there is one or not."""
        return self.per_min * self.square_min2 / 2


@dataclass(frozen=True, slots=True)
class Expected:
    """Mean waits in minutes by theory; a group that has no studies is not among them."""

    model: str
    without: dict[Group, float]
    with_node: dict[Group, float]

    def sooner(self, group: Group) -> float:
        """Return how many minutes sooner the group is read with the node."""
        return self.without[group] - self.with_node[group]


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that who arrives at an M/M/c must wait, by Erlang's recursion."""
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = offered * blocked / (server + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def wait_mmc(servers: int, per_min: float, mean_min: float) -> float:
    """Return the mean wait of an M/M/c, first come, first served."""
    offered = per_min * mean_min
    return erlang_c(servers, offered) * mean_min / (servers - offered)


def starts_in_turn(streams: Sequence[Stream], servers: int = 1) -> list[float]:
    """Return each stream's mean wait for its start where no reading is stopped (Cobham).

    Of one server it holds for the streams below one that stops readings, too: what is found and
    what is in hand are as great, and both take 1 / (1 - its load) times as long.

    Parameters
    ----------
    servers
        Several want exponential readings of one mean.
    """
    if servers == 1:
        residual = sum(stream.residual_min for stream in streams)
    else:
        busy = erlang_c(servers, sum(stream.offered for stream in streams))
        residual = busy * max(stream.mean_min for stream in streams) / servers
    return _queued(streams, [residual] * len(streams), servers)


def starts_pre_emptive(streams: Sequence[Stream]) -> list[float]:
    """Return each stream's mean wait for its start where one server stops for those above it."""
    return _queued(streams, [*accumulate(stream.residual_min for stream in streams)], 1)


def _queued(streams: Sequence[Stream], residuals: Sequence[float], servers: int) -> list[float]:
    loads = [*accumulate(stream.offered / servers for stream in streams)]
    return [
        residual / ((1 - above) * (1 - here))
        for residual, above, here in zip(residuals, [0.0, *loads[:-1]], loads, strict=True)
    ]


def waits_pre_emptive(servers: int, per_min: Sequence[float], mean_min: float) -> list[float]:
    """Return each stream's mean wait where servers stop for those above it.

    All readings are exponential with one mean. A stream without arrivals has NaN.

    Parameters
    ----------
    per_min
        Arrivals a minute, of each stream.
    """
    waits, above, waiting_above = [], 0.0, 0.0
    for rate in per_min:
        here = above + rate
        waiting = here * wait_mmc(servers, here, mean_min)
        waits.append((waiting - waiting_above) / rate if rate else float("nan"))
        above, waiting_above = here, waiting
    return waits


def expected(department: Department) -> Expected | None:
    """Return the mean waits with and without the node; None if no closed form is known."""
    if not department.is_steady:
        return None
    if department.radiologists[0] == 1:
        return _one_radiologist(department)
    if _all_alike(department) and (department.flag_interrupts or not _interrupted(department)):
        return _several_radiologists(department)
    return None


def _one_radiologist(department: Department) -> Expected:
    urgent, flagged, rest = _streams(department)
    _, plain = starts_in_turn([urgent, _together(flagged, rest)])
    in_order = starts_pre_emptive if department.flag_interrupts else starts_in_turn
    _, first, last = in_order([urgent, flagged, rest])
    # A reading takes 1 / (1 - the load of what stops it) times as long.
    stops = urgent.offered + (flagged.offered if department.flag_interrupts else 0.0)
    longer, longest = urgent.offered / (1 - urgent.offered), stops / (1 - stops)

    def with_node(reading: ReadingTime, flagged: bool) -> float:
        return first + reading.mean_min * longer if flagged else last + reading.mean_min * longest

    exponential = all(one.law is Law.EXPONENTIAL for one in _readings(department))
    return Expected(
        f"{'M/M/1' if exponential else 'M/G/1'}, {_discipline(department)}",
        _by_group(department, lambda reading, _: plain + reading.mean_min * longer),
        _by_group(department, with_node),
    )


def _several_radiologists(department: Department) -> Expected:
    streams, servers = _streams(department), department.radiologists[0]
    urgent, flagged, rest = (stream.per_min for stream in streams)
    mean_min = department.other.mean_min
    plain = waits_pre_emptive(servers, [urgent, flagged + rest], mean_min)[-1]
    if department.flag_interrupts:
        first, last = waits_pre_emptive(servers, [urgent, flagged, rest], mean_min)[1:]
    else:
        first, last = starts_in_turn(streams[1:], servers)
    return Expected(
        f"M/M/{servers}, {_discipline(department)}",
        _by_group(department, lambda _, __: plain),
        _by_group(department, lambda _, is_flagged: first if is_flagged else last),
    )


def _by_group(
    department: Department, wait: Callable[[ReadingTime, bool], float]
) -> dict[Group, float]:
    """Return each group's mean of the waits of its flagged and unflagged studies."""
    bleeding, other = department.bleeding, department.other
    found, alarms = department.sensitivity, 1 - department.specificity
    parts = {
        Group.FOUND: (bleeding, 1.0 if found else 0.0, 0.0),
        Group.MISSED: (bleeding, 0.0, 1.0 if found < 1 else 0.0),
        Group.BLEEDS: (bleeding, found, 1 - found),
        Group.OTHERS: (other, alarms, 1 - alarms),
    }
    return {
        group: sum(
            share * wait(reading, is_flagged)
            for share, is_flagged in ((flagged, True), (unflagged, False))
            if share
        )
        for group, (reading, flagged, unflagged) in parts.items()
        if flagged or unflagged
    }


def _streams(department: Department) -> tuple[Stream, Stream, Stream]:
    """Return what interrupts, what is flagged, and the rest."""
    per_min = department.studies_per_hour[0] / MINUTES
    bleeds = per_min * department.prevalence
    others = per_min - bleeds
    found, alarms = bleeds * department.sensitivity, others * (1 - department.specificity)
    bleeding, other = department.bleeding, department.other
    return (
        _stream(department.interruptions_per_hour[0] / MINUTES, department.interruption),
        _together(_stream(found, bleeding), _stream(alarms, other)),
        _together(_stream(bleeds - found, bleeding), _stream(others - alarms, other)),
    )


def _stream(per_min: float, reading: ReadingTime) -> Stream:
    return Stream(per_min, reading.mean_min, reading.square_min2)


def _together(*streams: Stream) -> Stream:
    per_min = sum(stream.per_min for stream in streams)
    if not per_min:
        return Stream(0.0, 0.0, 0.0)
    return Stream(
        per_min,
        sum(stream.per_min * stream.mean_min for stream in streams) / per_min,
        sum(stream.per_min * stream.square_min2 for stream in streams) / per_min,
    )


def _readings(department: Department) -> list[ReadingTime]:
    interruption = [department.interruption] if _interrupted(department) else []
    return [department.bleeding, department.other, *interruption]


def _interrupted(department: Department) -> bool:
    return any(department.interruptions_per_hour)


def _all_alike(department: Department) -> bool:
    """Whether all readings are exponential with one mean."""
    readings = _readings(department)
    return readings[0].law is Law.EXPONENTIAL and len(set(readings)) == 1


def _discipline(department: Department) -> str:
    if department.flag_interrupts:
        return "pre-emptive priority"
    return "non-pre-emptive priority"
