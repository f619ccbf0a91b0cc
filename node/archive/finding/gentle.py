"""How an archive is asked so that it can do its work: so often a minute, and in these hours."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from node.errors import BadConfiguration, Interrupted


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the day, by this machine's zone; they may go over midnight. All if both are equal.

    Attributes
    ----------
    first, end
        Whole hours: from the beginning of `first` to the beginning of `end`.
    """

    first: int = 0
    end: int = 0

    def __contains__(self, now: datetime) -> bool:
        """Whether a moment lies in these hours."""
        if self.first <= self.end:
            return self.first == self.end or self.first <= now.hour < self.end
        return not self.end <= now.hour < self.first

    def begin(self, now: datetime) -> datetime:
        """Return when they begin next."""
        begin = now.replace(hour=self.first, minute=0, second=0, microsecond=0)
        return begin if begin > now else begin + timedelta(days=1)


def hours(text: str) -> Hours:
    """Return the hours that "20-6" names; all of them for "".

    Raises
    ------
    BadConfiguration
        If they are none.
    """
    found = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
    if not text:
        return Hours()
    if not found or max(first := int(found[1]), end := int(found[2])) > 24:
        raise BadConfiguration(f"{text!r} are no hours: write them as 20-6")
    return Hours(first % 24, end % 24)


class Gentle:
    """Waits before each request to an archive, as long as it must.

    Parameters
    ----------
    per_minute
        How many requests.
    hours
        When.
    clock
        Tells the time in this machine's zone.
    """

    def __init__(
        self,
        per_minute: float,
        hours: Hours,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if not per_minute > 0:
            raise BadConfiguration("--per-minute: at least some requests a minute are needed")
        self._every = timedelta(minutes=1 / per_minute)
        self._stopped = threading.Event()
        self._hours, self._clock, self._sleep = hours, clock, sleep or self._stopped.wait
        self._next = clock()

    def may(self) -> bool:
        """Whether the hour allows requests."""
        return self._clock() in self._hours

    def wait(self) -> None:
        """Return when the next request may go out."""
        now = self._clock()
        if now < self._next:
            self._pause((self._next - now).total_seconds())
        self._next = max(now, self._next) + self._every

    def wait_for_hours(self, tell: Callable[[str], None]) -> None:
        """Return in the hours that allow requests; say that there is a wait."""
        while not self.may():
            begin = self._hours.begin(self._clock())
            tell(f"waiting until {begin:%Y-%m-%d %H:%M}")
            self._pause((begin - self._clock()).total_seconds())

    def stop(self) -> None:
        """End every wait, now and later, by an `Interrupted`."""
        self._stopped.set()

    def _pause(self, seconds: float) -> None:
        self._sleep(seconds)
        if self._stopped.is_set():
            raise Interrupted("stopped while waiting for an archive's hours")
