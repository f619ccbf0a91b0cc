"""Bytes that come in pieces, held in little memory whatever their number."""

from collections.abc import Callable
from io import SEEK_END, BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO

from node.errors import Retryable

IN_MEMORY_BYTES = 4 << 20
"""What is longer lies in a file while it comes. A CT slice of 1024 x 1024 points has 2 MiB."""

Scratch = Callable[[], BinaryIO]
"""Opens a file without a name, which is gone when it is closed."""


class GatheredBytes:
    """Bytes that grow by their pieces, in memory or in a scratch file; too many are dropped.

    Parameters
    ----------
    longest
        More bytes than this are dropped.
    scratch
        Opens the file for more than `IN_MEMORY_BYTES`.
    head
        Bytes that come before the first piece; they do not count.

    Attributes
    ----------
    dropped
        Why the bytes are dropped; "" if they are not.
    """

    def __init__(self, longest: int, scratch: Scratch = TemporaryFile, head: bytes = b"") -> None:
        self._scratch = scratch
        self._longest = longest + len(head)
        self._size = len(head)
        self._stream: BinaryIO = BytesIO(head)
        self._stream.seek(0, SEEK_END)
        self._in_memory = True
        self.dropped = ""

    def add(self, piece: memoryview) -> None:
        """Append a piece; drop all of them if they are too many, or cannot be written."""
        self._size += len(piece)
        if self.dropped:
            return
        if self._size > self._longest:
            self._drop(f"over {self._longest >> 20} MB")
            return
        try:
            if self._in_memory and self._size > IN_MEMORY_BYTES:
                self._leave_memory()
            self._stream.write(piece)
        except (OSError, Retryable) as error:
            self._drop(str(error))

    def stream(self) -> BinaryIO | None:
        """Return all of the bytes as a stream at its start; None if they are dropped."""
        if self.dropped:
            return None
        self._stream.seek(0)
        return self._stream

    def _leave_memory(self) -> None:
        file = self._scratch()
        held, self._stream = self._stream, file
        self._in_memory = False
        held.seek(0)
        file.write(held.read())

    def _drop(self, why: str) -> None:
        self.dropped = why
        self._stream.close()
