"""UIDs that follow from what an object says, so that a retry sends the same object again."""

from hashlib import sha256
from uuid import UUID


def derived_uid(*words: str) -> str:
    """Return the UID that belongs to these words, in any process and at any time.

    A UUID-derived UID (PS3.5 B.2: "2.25." and the UUID as a decimal number) of a version 8 UUID
    (RFC 9562) that holds the first 122 bits of a SHA-256 over the words.
    """
    digest = sha256("\0".join(words).encode()).digest()
    bits = bytearray(digest[:16])
    bits[6] = bits[6] & 0x0F | 0x80
    bits[8] = bits[8] & 0x3F | 0x80
    return f"2.25.{UUID(bytes=bytes(bits)).int}"
