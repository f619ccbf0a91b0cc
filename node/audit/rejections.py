"""Counts associations that were rejected, so that no number of them fills the audit trail. Pure.

The first of an address and a reason is a row at once; those that follow within `WINDOW` are one
more row when it is over. Further addresses than `MOST` share theirs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from node.worklist import Actor

WINDOW = timedelta(hours=1)
MOST = 20
"""Addresses and reasons that have rows of their own within a window, two at most. Chosen: a flood
from everywhere adds 42 rows an hour, and fewer modalities than that are set up wrongly."""
REJECTED = "association rejected: "
"""What a row says before the reason."""
_OTHERS = Actor("further callers", "")


@dataclass(slots=True)
class _Count:
    first: Actor
    words: str
    since: datetime
    more: int = 0


class Rejections:
    """Says which rows are due."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def add(self, actor: Actor, reason: str, now: datetime) -> tuple[Actor, str] | None:
        """Count one; return who and what its row names, None if it has none of its own yet.

        Parameters
        ----------
        reason
            In words that are not the caller's.
        """
        known = (actor.address, reason) in self._counts
        if not known and len(self._counts) >= MOST:
            actor, reason = _OTHERS, "for several reasons"
        count = self._counts.setdefault((actor.address, reason), _Count(actor, reason, now, -1))
        count.more += 1
        return None if count.more else (actor, f"{REJECTED}{reason}")

    def over(self, now: datetime, *, all_of_them: bool = False) -> Iterator[tuple[Actor, str]]:
        """Yield who and what the rows name of windows that are over, and forget them."""
        for key, count in list(self._counts.items()):
            if not all_of_them and timedelta(0) <= now - count.since < WINDOW:
                continue
            del self._counts[key]
            if count.more:
                again = f"{count.more} more times since {count.since:%Y-%m-%d %H:%M} UTC"
                yield replace(count.first, certificate=None), f"{REJECTED}{count.words}, {again}"
