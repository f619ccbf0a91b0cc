"""How often an address may connect."""

import time
from collections.abc import Callable

FORGET = 1000
"""How many addresses are remembered before those that are quiet again are forgotten."""


class Pace:
    """Lets each address connect so many times a minute, all at once or spread over it.

    Parameters
    ----------
    a_minute
        How many times.
    clock
        Tells monotonic seconds.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_minute = a_minute
        self._clock = clock
        self._used: dict[str, tuple[float, float]] = {}
        self._told: dict[str, float] = {}

    def allows(self, address: str) -> bool:
        """Count a connection from an address; return whether it may come."""
        now = self._clock()
        used, at = self._used.get(address, (0.0, now))
        used = max(0.0, used - (now - at) * self._a_minute / 60)
        fits = used + 1 <= self._a_minute
        if len(self._used) >= FORGET:
            self._used = {each: (n, t) for each, (n, t) in self._used.items() if now - t < 60}
        self._used[address] = (used + fits, now)
        return fits

    def is_news(self, address: str) -> bool:
        """Return whether a refusal of this address has not been told within the last minute."""
        now = self._clock()
        self._told = {each: at for each, at in self._told.items() if now - at < 60}
        if address in self._told:
            return False
        self._told[address] = now
        return True
