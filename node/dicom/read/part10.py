"""The beginning of a DICOM file: preamble, file meta information, transfer syntax (PS3.10 7.1).

Some archives write the data set alone, or file meta information without its preamble. Such a file
is recognised by its first elements, as other readers do. Their transfer syntax follows from how
these elements are encoded; no guess is made about compressed pixels.
"""

import struct
from io import BytesIO
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom.read.sparing import DAMAGE, read_sparingly
from node.errors import BadObject

PREFIX = b"DICM"
PREAMBLE_BYTES = 128
HEAD_BYTES = 1024
"""How much of a file is looked at: a preamble and several short elements fit in."""

_LONGEST = 512
"""The first elements are character sets, dates and UIDs, of at most 64 bytes a value; some have
several values. An estimate."""
_SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(b" ")
)
_ENCODINGS = (
    (ExplicitVRLittleEndian, "<HH2sH"),
    (ExplicitVRBigEndian, ">HH2sH"),
    (ImplicitVRLittleEndian, "<HHL"),
)


def is_dicom(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is DICOM.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` of the file, or all of a smaller one.
    """
    return _first_element(head) is not None


def read_meta(file: BinaryIO) -> Dataset:
    """Return the file meta information, and leave the stream where the data set begins.

    The file meta information is empty if the file has none.

    Raises
    ------
    BadObject
        If the bytes are not a DICOM file, or its file meta information is damaged.
    """
    head = file.read(HEAD_BYTES)
    first = _first_element(head)
    if first is None:
        raise BadObject(
            "not a DICOM file: no DICM prefix after the preamble, and no elements of a data set "
            "at its start; send DICOM files only"
        )
    file.seek(first)
    if head[first : first + 2] != b"\2\0":
        return Dataset()
    try:
        return read_sparingly(
            file, implicit=False, little=True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2
        )
    except DAMAGE as error:
        raise BadObject(f"the file meta information is damaged ({error})") from error


def dataset_of(file: bytes) -> bytes:
    """Return the bytes of a DICOM file's data set, without preamble and file meta information."""
    stream = BytesIO(file)
    read_meta(stream)
    return file[stream.tell() :]


def plain_syntax(file: BinaryIO) -> str:
    """Return the uncompressed transfer syntax in which the stream's next elements are encoded.

    It is "" if they do not tell. The stream stays where it is.
    """
    here = file.tell()
    head = file.read(HEAD_BYTES)
    file.seek(here)
    return _syntax(head, 0)


def _first_element(head: bytes) -> int | None:
    """Return where the first element lies; None if the bytes are not DICOM."""
    behind = PREAMBLE_BYTES + len(PREFIX)
    if head[PREAMBLE_BYTES:behind] == PREFIX:
        return behind
    places = (len(PREFIX),) if head.startswith(PREFIX) else (0, PREAMBLE_BYTES)
    return next((at for at in places if _syntax(head, at)), None)


def _syntax(head: bytes, at: int) -> str:
    """Return the transfer syntax in which two elements follow each other there, else ""."""
    return next((uid for uid, layout in _ENCODINGS if _two_elements(head, at, layout)), "")


def _two_elements(head: bytes, at: int, layout: str) -> bool:
    """Return whether two elements of group 0002 or 0008 follow each other there, in order."""
    tags: list[tuple[int, int]] = []
    while len(tags) < 2:
        if len(head) < at + 8:
            return False
        group, element, *vr, length = struct.unpack_from(layout, head, at)
        if group not in (2, 8) or length > _LONGEST or length % 2:
            return False
        if vr == [b"OB"] and (group, element) == (2, 1):  # File Meta Information Version
            at, length = at + 4, 2
        elif vr and vr[0] not in _SHORT_VRS:
            return False
        tags.append((group, element))
        at += 8 + length
    return tags[0] < tags[1]
