"""What a replay changed of a case's result, told by the history of its study. Pure.

The bytes are compared by `node.cases.manifest`; here stands what a person asks first: is it still
suspected, by which score, from which limit, and by which networks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from node.states import Priority, State
from node.worklist import Event


@dataclass(frozen=True, slots=True)
class Result:
    """What a case came to; None is what it did not say, or what was not recorded then.

    Attributes
    ----------
    priority, reason_code
        The verdict, and why the series is NOT_ANALYSED if it is.
    probability
        The score of the study, 0..1.
    operating_point
        The score from which it is suspected; older versions did not record it.
    uncertain
        Whether the networks disagreed.
    bundle
        Name and version of the networks.
    """

    priority: str | None = None
    reason_code: str | None = None
    probability: float | None = None
    operating_point: float | None = None
    uncertain: bool | None = None
    bundle: str | None = None


NAMES = tuple(field.name for field in fields(Result))


@dataclass(frozen=True, slots=True)
class Replay:
    """The last replay of a case.

    Attributes
    ----------
    at
        When a person asked for it.
    before, after
        What the case said before and says now; None if it had said nothing, or has not yet.
    changed
        The fields of `Result` in which both differ.
    compared
        "same result" or "other result" and all that differs (`node.cases.manifest.compare`); None
        while no report was made again.
    """

    at: datetime
    before: Result | None
    after: Result | None = None
    changed: tuple[str, ...] = ()
    compared: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object that `ichnode replay --json` shows; a stable interface."""
        return {**asdict(self), "at": self.at.isoformat()}


def last_replay(events: Iterable[Event], case_id: int) -> Replay | None:
    """Return what the last replay of a case did, None if it was never replayed.

    Parameters
    ----------
    events
        What happened to its study, oldest first.
    """
    said: Result | None = None
    replay: Replay | None = None
    for event in events:
        if event.case_id != case_id:
            continue
        if event.what == "replayed":
            replay = Replay(event.at, before=said)
        elif event.what == "moved":
            said = _said(event.detail, said)
            replay = replay and _went_on(replay, event.detail, said)
    return replay


def _said(detail: Mapping[str, Any], said: Result | None) -> Result | None:
    """Return what a case says after a move; a report, or a failure once read, adds nothing."""
    state = detail["state"]
    if state in (State.TRIAGED, State.NOT_ANALYSED):
        return Result(**{name: detail.get(name) for name in NAMES})
    if state in (State.SKIPPED, State.FAILED) and said is None:
        return Result(Priority.NOT_ANALYSED, detail.get("reason_code"))
    return said


def _went_on(replay: Replay, detail: Mapping[str, Any], said: Result | None) -> Replay:
    """Return the replay after a further move of its case."""
    if detail["state"] not in (State.TRIAGED, State.NOT_ANALYSED, State.REPORTED):
        return replay
    changed = _changed(replay.before, said) if replay.before and said else ()
    return Replay(replay.at, replay.before, said, changed, detail.get("compared", replay.compared))


def _changed(before: Result, after: Result) -> tuple[str, ...]:
    """Return the names of what differs; an operating point that was not recorded does not."""
    differ = [name for name in NAMES if getattr(before, name) != getattr(after, name)]
    recorded = before.operating_point is not None or before.probability is None
    return tuple(name for name in differ if name != "operating_point" or recorded)
