"""UIDs that follow from an object's content, so that a retry sends the same object again."""

from hashlib import sha256
from uuid import UUID


def derived_uid(*words: str) -> str:
    """Return the UID of these words, the same in any process and at any time.

    It is a UUID-derived UID (PS3.5 B.2: "2.25." and the UUID as a decimal number). The UUID is of
    version 8 (RFC 9562), from the first 128 bits of a SHA-256 over the words, six of which give way
    to version and variant.
    """
    digest = sha256("\0".join(words).encode()).digest()
    bits = bytearray(digest[:16])
    bits[6] = bits[6] & 0x0F | 0x80
    bits[8] = bits[8] & 0x3F | 0x80
    return f"2.25.{UUID(bytes=bytes(bits)).int}"
