"""An object's frames and the object itself in another form: as stored, or uncompressed."""

from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UncompressedTransferSyntaxes,
)

from node.dicom.read.elements import integer, short
from node.dicom.read.header import DAMAGE, open_object
from node.dicom.read.image_pixel import without_panic
from node.errors import BadObject

FAULTS = (*DAMAGE, RuntimeError, OSError)
"""What pydicom's decoders raise on pixels that they cannot decode."""

_MEDIA = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""The media types of compressed frames (PS3.18 table 8.7.3-5)."""
_WORDS = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
"""Bytes in a word of a value representation (PS3.5 7.3)."""
PLAIN = "application/octet-stream"


class Frames(NamedTuple):
    """Frames in one form: media type, transfer syntax, and the bytes of each."""

    media_type: str
    transfer_syntax_uid: str
    frames: list[bytes]


class NoFrame(BadObject):
    """The object has no pixel data, or no frame of that number."""


def is_compressed(transfer_syntax_uid: str) -> bool:
    """Return whether objects in a transfer syntax are uncompressed by a codec."""
    return transfer_syntax_uid not in UncompressedTransferSyntaxes


def media_type_of(transfer_syntax_uid: str) -> str:
    """Return the media type of a frame that is stored in a transfer syntax."""
    return _MEDIA.get(transfer_syntax_uid, PLAIN)


def frames_as_stored(file: bytes, numbers: list[int]) -> Frames:
    """Return frames, by their 1-based numbers, as they are stored; nothing is decoded.

    Raises
    ------
    NoFrame, BadObject
        If one is not there, or the pixel data is damaged.
    """
    opened = open_object(file)
    ds, syntax = opened.ds, opened.header.transfer_syntax_uid
    if not is_compressed(syntax):
        return frames_uncompressed(file, numbers)
    count = _require(ds, numbers)
    try:
        stored = generate_frames(ds["PixelData"].value, number_of_frames=count)
        every = [frame for frame, _ in zip(stored, range(max(numbers)), strict=False)]
        return Frames(media_type_of(syntax), syntax, [every[number - 1] for number in numbers])
    except FAULTS as error:
        raise BadObject("the pixel data is damaged") from error


def frames_uncompressed(file: bytes, numbers: list[int]) -> Frames:
    """Return frames, by their 1-based numbers, in Explicit VR Little Endian; raises as above."""
    opened = open_object(file)
    ds, syntax = opened.ds, opened.header.transfer_syntax_uid
    count = _require(ds, numbers)
    try:
        if is_compressed(syntax):
            decoded = (_decoded(ds, syntax, number) for number in numbers)
            found = [np.ascontiguousarray(frame).tobytes() for frame in decoded]
        else:
            found = _native(ds, syntax, numbers, count)
    except FAULTS as error:
        raise BadObject(f"the pixel data cannot be decoded: {type(error).__name__}") from error
    return Frames(PLAIN, ExplicitVRLittleEndian, found)


def uncompressed(file: bytes, *, implicit: bool = False) -> bytes:
    """Return an object in Explicit VR Little Endian or Implicit VR, with the UIDs that it has.

    Raises
    ------
    BadObject
        If it cannot be decoded.
    """
    try:
        with disable_value_validation():
            ds = dcmread(BytesIO(file))
            syntax = ds.file_meta.TransferSyntaxUID
            if syntax == ExplicitVRBigEndian:
                _swap_words(ds)
            if syntax.is_compressed:
                with without_panic():
                    ds.decompress(as_rgb=False, generate_instance_uid=False)
            wanted = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            ds.file_meta.TransferSyntaxUID = wanted
            out = BytesIO()
            plain = {"implicit_vr": implicit, "little_endian": True, "force_encoding": True}
            dcmwrite(out, ds, **plain)
    except FAULTS as error:
        raise BadObject(f"the object cannot be decoded: {type(error).__name__}") from error
    return out.getvalue()


def frame_values(file: bytes, number: int) -> tuple[Dataset, NDArray[np.generic]]:
    """Return an object and the stored values of a frame: (rows, columns[, samples]).

    Raises
    ------
    NoFrame, BadObject
        As `frames_as_stored`.
    """
    opened = open_object(file)
    _require(opened.ds, [number])
    try:
        return opened.ds, _decoded(opened.ds, opened.header.transfer_syntax_uid, number, raw=False)
    except FAULTS as error:
        raise BadObject(f"the pixel data cannot be decoded: {type(error).__name__}") from error


def _swap_words(ds: Dataset) -> None:
    """Convert every element of a big endian data set, and turn the bytes of binary words round."""
    for element in ds.iterall():
        if element.VR in _WORDS and element.value:
            words = np.frombuffer(element.value, f">u{_WORDS[element.VR]}")
            element.value = words.astype(f"<u{_WORDS[element.VR]}").tobytes()


def _decoded(ds: Dataset, syntax: str, number: int, *, raw: bool = True) -> NDArray[np.generic]:
    array: NDArray[np.generic]
    with without_panic():
        array, _ = get_decoder(UID(syntax)).as_array(ds, index=number - 1, raw=raw)
    return array


def _native(ds: Dataset, syntax: str, numbers: list[int], count: int) -> list[bytes]:
    """Return frames cut out of uncompressed pixel data; frames of single bits are packed anew."""
    pixels = (short(ds, "Rows") or 0) * (short(ds, "Columns") or 0)
    bits = pixels * (short(ds, "SamplesPerPixel") or 1) * (short(ds, "BitsAllocated") or 0)
    data = bytes(ds["PixelData"].value)
    if len(data) * 8 < bits * count or not bits:
        raise ValueError("pixel data is too short")
    if bits % 8:
        every = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        cut = (every[(n - 1) * bits : n * bits] for n in numbers)
        return [np.packbits(frame, bitorder="little").tobytes() for frame in cut]
    size = bits // 8
    found = [data[(n - 1) * size : n * size] for n in numbers]
    if syntax == ExplicitVRBigEndian and short(ds, "BitsAllocated") == 16:
        found = [np.frombuffer(frame, ">u2").astype("<u2").tobytes() for frame in found]
    return found


def _require(ds: Dataset, numbers: list[int]) -> int:
    """Return how many frames there are; raise `NoFrame` if one of the numbers is none of them."""
    if "PixelData" not in ds:
        raise NoFrame("the object has no pixel data")
    count = integer(ds, "NumberOfFrames") or 1
    if not numbers or not all(1 <= number <= count for number in numbers):
        raise NoFrame(f"the object has the frames 1 to {count}")
    return count
