"""Reads data sets whose few bytes might become many objects.

An item of a sequence has 8 bytes or more, and takes a kilobyte of memory and 20 microseconds; an
element has 8 bytes, and takes 300. So not only bytes are bounded, but how many of these there are.
"""

import struct
from collections.abc import Callable, Iterator
from io import SEEK_END, BytesIO
from typing import BinaryIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_sequence

from node.errors import BadObject

MOST_READS = 200_000
"""How many reads a data set may take: one for an item, two or three for an element. An Enhanced CT
image takes some 100 for a frame, so that 2,000 frames fit; a list of 20,000 images takes 100,000.
Empty items of this number take 4 s and 250 MB (measured)."""
LITTLE_BYTES = 1 << 16
"""Where all elements together are shorter than this, their sequences are not counted: they can hold
8,000 items."""

DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error),
    *(EOFError, RecursionError, NotImplementedError, BytesLengthException, InvalidDicomError),
)
"""What pydicom raises on bytes that are not a data set; its documentation does not list it."""

_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


class TooManyElements(BadObject):
    """The data set holds more elements and items than any that is known."""

    def __init__(self) -> None:
        super().__init__(
            "the data set has more elements and items than the node reads; correct it at its source"
        )


class Sparing:
    """A stream that may be read so many times; as much of a stream as pydicom uses."""

    def __init__(self, file: BinaryIO, reads: int = MOST_READS) -> None:
        self._file = file
        self.left = reads
        self.tell, self.seek = file.tell, file.seek
        here = file.tell()
        self._end = file.seek(0, SEEK_END)
        file.seek(here)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raise `TooManyElements` if it was read too often."""
        self.left -= 1
        if self.left < 0:
            raise TooManyElements
        if size > LITTLE_BYTES:  # a file takes the memory before it finds out that it is shorter
            size = max(0, min(size, self._end - self.tell()))
        return self._file.read(size)


def read_sparingly(
    file: BinaryIO,
    *,
    implicit: bool,
    little: bool,
    stop_when: Callable[[int, str | None, int], bool] | None = None,
    most_reads: int = MOST_READS,
) -> Dataset:
    """Return the data set from the stream's place on, its elements not yet converted.

    Parameters
    ----------
    stop_when
        Given tag, VR and length of an element, whether to stop in front of it.
    most_reads
        What it may take; more is refused.

    Raises
    ------
    TooManyElements
        If it has too many elements or items, those of its sequences included.
    DAMAGE
        If the bytes are no data set.
    OSError
        If the stream cannot be read.
    """
    sparing = Sparing(file, most_reads)
    try:
        ds = read_dataset(sparing, implicit, little, stop_when=stop_when)  # type: ignore[arg-type]
        if sum(len(element.value or b"") for element in _raw(ds)) >= LITTLE_BYTES:
            _count(ds, sparing)
    except OSError as error:
        if sparing.left < 0:  # pydicom makes this of whatever ends the reading of an item
            raise TooManyElements from error
        if error.errno is None:  # nor is this one of the disk's
            raise EOFError(str(error)) from error
        raise
    return ds


def _count(ds: Dataset, sparing: Sparing) -> None:
    """Read the sequences that are not read yet, and forget them; each read is counted."""
    for element in filter(_is_sequence, _raw(ds)):
        value = element.value or b""
        within = Sparing(BytesIO(value), sparing.left)
        layout = (element.is_implicit_VR, element.is_little_endian, len(value))
        try:
            found = read_sequence(within, *layout, "latin-1")  # type: ignore[arg-type]
            sparing.left = within.left
            for item in found:
                _count(item, sparing)
        except (*DAMAGE, OSError):  # whoever needs this sequence will see that it is damaged
            sparing.left = within.left
            if sparing.left < 0:
                raise


def _raw(ds: Dataset) -> Iterator[RawDataElement]:
    return (element for element in ds.values() if isinstance(element, RawDataElement))


def _is_sequence(element: RawDataElement) -> bool:
    """Return whether an element is a sequence, which pydicom reads when it is asked for."""
    if not element.value:
        return False
    if element.VR == "SQ" or element.value[:4] in _ITEMS:
        return True
    known = element.VR in (None, "UN") and dictionary_has_tag(element.tag)
    return known and dictionary_VR(element.tag) == "SQ"
