"""How many associations there may be at once, of all callers and of each."""

import threading
from collections import Counter

from node.arrive.admission import LOCAL_LIMIT, Refusal


class Places:
    """The associations that are open; a caller is an AE title and an address."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def take(self, caller: tuple[str, str]) -> Refusal | None:
        """Give a caller a place; return why it gets none, or None."""
        with self._lock:
            if self._taken.total() >= self._most:
                return Refusal.of(LOCAL_LIMIT)
            if self._taken[caller] >= self._most_of_one:
                words = f"{caller[0]} has {self._most_of_one} (max_associations_of_caller)"
                return Refusal(LOCAL_LIMIT, words)
            self._taken[caller] += 1
        return None

    def leave(self, caller: tuple[str, str]) -> None:
        """Take back the place of a caller's association that has ended."""
        with self._lock:
            self._taken -= Counter({caller: 1})  # keeps those above zero
