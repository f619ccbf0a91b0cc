"""How often a sign-in may be tried: counted in memory, for a bounded number of names and addresses.

An account and an address are counted together and each alone: the pair closely, since guesses come
from one place; the account alone loosely, so that nobody can easily lock another person out.
"""

import ipaddress
import threading
from collections import OrderedDict
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=15)
PAIR, ADDRESS, ACCOUNT = 5, 30, 50
"""Failures within `WINDOW` from which no more tries are taken: of an account from one address, of
one address, of one account. Chosen; NIST SP 800-63B (2017), 5.2.2, asks for 100 at most."""
MOST = 10_000
"""Counters that are kept; the oldest gives way."""

Key = tuple[str, str]


class Attempts:
    """The tries of late; threads share it."""

    def __init__(self) -> None:
        self._tries: OrderedDict[Key, list[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, login: str, address: str, now: datetime) -> bool:
        """Count a try that is about to be made; return False if there were too many.

        It counts before the password is compared, so that tries at one time count as well.
        """
        limits = _limits(login, _network(address))
        with self._lock:
            for key in limits:
                self._forget(key, now - WINDOW)
            if any(len(self._tries.get(key, ())) >= most for key, most in limits.items()):
                return False
            for key in limits:
                self._tries.setdefault(key, []).append(now)
                self._tries.move_to_end(key)
            while len(self._tries) > MOST:
                self._tries.popitem(last=False)
        return True

    def succeeded(self, login: str, address: str) -> None:
        """Take back the last try, which was none; forget the failures of the pair."""
        limits = _limits(login, _network(address))
        with self._lock:
            for key, most in limits.items():
                tries = self._tries.get(key)
                if tries:
                    tries.pop()
                if most == PAIR or not tries:
                    self._tries.pop(key, None)

    def _forget(self, key: Key, before: datetime) -> None:
        tries = [at for at in self._tries.get(key, ()) if at > before]
        if tries:
            self._tries[key] = tries
        else:
            self._tries.pop(key, None)


def _limits(login: str, network: str) -> dict[Key, int]:
    return {(login, network): PAIR, ("", network): ADDRESS, (login, ""): ACCOUNT}


def _network(address: str) -> str:
    """Return what one client has of addresses: one of IPv4, 64 bits of IPv6 (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
