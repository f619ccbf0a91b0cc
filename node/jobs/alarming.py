"""Raises, ends and tells the alarms of coverage and of the node as a whole."""

from collections.abc import Callable
from datetime import datetime

from node.deliver import NotTold, Unnoted, tell_all
from node.errors import IchnodeError
from node.health import conditions
from node.settings import Settings
from node.worklist import Worklist

COVERAGE, NODE, WORKLIST = "coverage", "node", "worklist"
"""What the alarms are called."""


class Alarming:
    """Looks for what is wrong, and tells of it once; keeps since when the node lacks something."""

    def __init__(
        self, in_force: Callable[[], Settings], worklist: Worklist, clock: Callable[[], datetime]
    ) -> None:
        self._in_force, self._worklist, self._clock = in_force, worklist, clock
        self._lacks_since: datetime | None = None
        self._unnoted = Unnoted(WORKLIST)

    def __call__(self) -> None:
        """Note what is wrong and what is well again, and tell of each.

        Raises
        ------
        NotTold
            If a destination was not told; the next call tries again.
        IchnodeError
            If the worklist is out of reach, which is an alarm too.
        """
        settings, now = self._in_force(), self._clock()
        try:
            self._worklist.alarms.note(COVERAGE, self._never_seen(settings, now), now)
            self._worklist.alarms.note(NODE, self._lacking(settings, now), now)
            tell_all(settings, self._worklist.alarms, now)
        except NotTold:
            raise
        except IchnodeError as error:
            self._unnoted.note(f"the worklist takes nothing: {error}", settings, now)
            raise
        self._unnoted.note("", settings, now)

    def _never_seen(self, settings: Settings, now: datetime) -> str:
        if not settings.coverage.ask:
            return ""
        standing = self._worklist.coverage.standing(settings.coverage, now)
        return standing.warnings[0] if standing.never_seen else ""

    def _lacking(self, settings: Settings, now: datetime) -> str:
        """Return what the node lacks, and has lacked for `alarms.after_s`."""
        found = conditions(settings, self._worklist, now)
        failing = [one for one in found if not one.holds and not one.by_will]
        if not failing:
            self._lacks_since = None
            return ""
        self._lacks_since = self._lacks_since or now
        if now - self._lacks_since < settings.alarms.after:
            return ""
        return "; ".join(f"{one.what}: {one.found}" for one in failing)
