"""Whether an object's pixel data is whole, told by lengths alone: nothing is decoded."""

import struct
from io import SEEK_END
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.uid import UncompressedTransferSyntaxes

from node.dicom.read.elements import UNDEFINED, integer, short, text

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
"""Tags of an item, and of the delimiter that ends encapsulated pixel data (PS3.5 A.4)."""


def shortfall(file: BinaryIO, start: int, length: int, ds: Dataset, syntax: str) -> str | None:
    """Return how the pixel data is cut short, as a sentence; None if all of it can be there.

    Parameters
    ----------
    file
        The object; its position changes.
    start, length
        Where the value of its pixel data begins, and what its length field says.
    ds
        The elements before the pixel data.
    syntax
        UID of the transfer syntax.
    """
    end = file.seek(0, SEEK_END)
    if length == UNDEFINED:
        return _of_fragments(file, start, end, integer(ds, "NumberOfFrames") or 1)
    if end - start < length:
        return f"its pixel data is cut short: {end - start} of {length} bytes are there"
    if syntax and syntax not in UncompressedTransferSyntaxes:
        return None
    needed = _needed(ds)
    if length < needed:
        return f"its pixel data is cut short: {length} bytes, and its images take {needed}"
    return None


def _needed(ds: Dataset) -> int:
    """Return the bytes that uncompressed images take (PS3.5 8.1.1); 0 if the header does not say.

    Missing SamplesPerPixel counts as 1. YBR_FULL_422 has two samples a pixel (PS3.3 C.7.6.3.1.2).
    """
    size = [short(ds, name) or 0 for name in ("Rows", "Columns", "BitsAllocated")]
    samples = short(ds, "SamplesPerPixel") or 1
    if samples == 3 and text(ds, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    frames = max(integer(ds, "NumberOfFrames") or 1, 1)
    rows, columns, bits = size
    return (rows * columns * samples * frames * bits + 7) // 8


def _of_fragments(file: BinaryIO, start: int, end: int, frames: int) -> str | None:
    """Return how encapsulated pixel data is cut short: inside a fragment, or before the last frame.

    Each frame has at least one fragment. A missing delimiter alone means nothing. What is no item
    at all is left to the decoder.
    """
    at, items = start, 0  # the first item is the offset table
    while at < end:
        file.seek(at)
        head = file.read(8)
        if head[:4] == _END[: len(head)] and (head[:4] == _END or items > frames):
            break
        if not _ITEM.startswith(head[:4]):
            return None
        held = end - at - 8
        size = struct.unpack("<L", head[4:])[0] if len(head) == 8 else 1
        if size == UNDEFINED:
            return None
        if held < size:
            there = f"{max(held, 0)} of {size}" if len(head) == 8 else "none of its"
            return f"its pixel data is cut short inside fragment {items}: {there} bytes are there"
        at += 8 + size
        items += 1
    fragments = max(items - 1, 0)
    if fragments < frames:
        return f"its pixel data is cut short: {fragments} fragments for {frames} images"
    return None
