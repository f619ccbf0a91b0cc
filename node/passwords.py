"""Passwords: which are taken, how they are kept, and how one is compared.

A password is kept as an Argon2id hash (RFC 9106) with the parameters of argon2-cffi.
"""

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from node.errors import Permanent

SHORTEST = 12
"""Characters of a password. Chosen; NIST SP 800-63B (2017), 5.1.1.2, asks for 8 at least."""
LONGEST = 1024
"""Characters that are read of a password."""


class WeakPassword(Permanent):
    """The password is not taken; the message says why."""


def hashed(password: str, name: str) -> str:
    """Return the hash by which a new password of a person is kept.

    Raises
    ------
    WeakPassword
        If it is too short or too long, or is the person's name.
    """
    if len(password) < SHORTEST:
        raise WeakPassword(f"a password has {SHORTEST} characters at least")
    if len(password) > LONGEST:
        raise WeakPassword(f"a password has {LONGEST} characters at most")
    if password.casefold() == name.casefold() or len(set(password)) < 4:
        raise WeakPassword("this password is guessed at once: take another one")
    return PasswordHasher().hash(_normal(password))


class Comparison:
    """Compares passwords; a person who does not exist takes as long as one who does.

    One password is compared at a time: each takes 64 MiB of memory.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash("nobody's password")
        self._turn = threading.Lock()

    def matches(self, kept: str | None, password: str) -> bool:
        """Return whether a password is that of the hash; False, as slowly, if there is none."""
        with self._turn:
            try:
                self._hasher.verify(kept or self._nobody, _normal(password[:LONGEST]))
            except (VerificationError, InvalidHashError):
                return False
        return kept is not None and len(password) <= LONGEST


def _normal(password: str) -> bytes:
    """Return the bytes of a password, however a keyboard composed its characters (NIST, same)."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")
