"""An object's pixels as a decoder takes them: bytes and Image Pixel module (PS3.3 C.7.6.3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, UncompressedTransferSyntaxes

from node.dicom.read.elements import UNDEFINED, integer, raw, short, text
from node.dicom.read.substitutes import bits_stored, samples_per_pixel
from node.errors import Refused
from node.records import Header
from node.states import Reason

_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE = b"\xff\xd9"


@contextmanager
def without_panic() -> Iterator[None]:
    """Raise a `RuntimeError` in place of the panic of a codec in Rust, which is no `Exception`."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # its module cannot be imported
            raise
        raise RuntimeError(f"the codec fails: {error}") from error


def attributes(ds: Dataset) -> Any:
    """Return the options of pydicom's decoder.

    They are parsed from the bytes, four times faster than from a data set. No photometric
    interpretation changes what one stored value means, so the decoder is told the plain one.
    """
    return {
        "rows": short(ds, "Rows"),
        "columns": short(ds, "Columns"),
        "number_of_frames": integer(ds, "NumberOfFrames") or 1,
        "samples_per_pixel": 1,
        "bits_allocated": short(ds, "BitsAllocated"),
        "bits_stored": bits_stored(ds),
        "pixel_representation": short(ds, "PixelRepresentation"),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW",
        "allow_excess_frames": False,
        "correct_unused_bits": False,
        "view_only": True,
    }


def pixel_data(ds: Dataset, header: Header) -> bytes:
    """Return the bytes of the pixels; of compressed ones, the fragments.

    A lost Sequence Delimitation Item (PS3.5 A.4) costs nothing, nor what stands in its place.

    Raises
    ------
    ValueError
        If the file ends before its last image does.
    """
    value = raw(ds, "PixelData")
    element: object = ds.get_item("PixelData")
    if not isinstance(element, RawDataElement) or element.length != UNDEFINED:
        return value
    end = 0
    while value[end : end + 4] == _ITEM and len(value) >= end + 8:
        end += 8 + int.from_bytes(value[end + 4 : end + 8], "little")
    if value[end : end + 4] == _DELIMITER:
        return value
    # A code stream cannot contain the marker of its end (ISO 10918-1, 14495-1 and 15444-1). RLE has
    # no such marker, but all its lengths are known to its decoder.
    whole = header.transfer_syntax_uid == RLELossless and end - len(value) <= 1
    if not whole and not value[:end].rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError("the file ends inside the pixel data; send the image again")
    return value[:end]


def refuse_colours(ds: Dataset, header: Header) -> None:
    """Raise NOT_HOUNSFIELD if a pixel has several values, or may have."""
    samples, _ = samples_per_pixel(ds)
    photometric = text(ds, "PhotometricInterpretation").upper()
    if samples == 1 and (photometric or _fits_one_sample(ds, header)):
        return
    if not photometric:
        why = "SamplesPerPixel and PhotometricInterpretation are missing"
    elif photometric.startswith("MONOCHROME"):
        why = f"SamplesPerPixel {samples} contradicts PhotometricInterpretation {photometric}"
    else:
        why = f"its pixels are colours (PhotometricInterpretation {photometric})"
    raise Refused(
        Reason.NOT_HOUNSFIELD, f"image {header.sop_instance_uid} is not in Hounsfield units: {why}"
    )


def _fits_one_sample(ds: Dataset, header: Header) -> bool:
    """Return whether the bytes are those of one value a pixel; of compressed ones, always."""
    packed = header.transfer_syntax_uid not in UncompressedTransferSyntaxes
    if packed or short(ds, "SamplesPerPixel"):
        return True
    pixels = (header.rows or 0) * (header.columns or 0) * (integer(ds, "NumberOfFrames") or 1)
    plain = pixels * (short(ds, "BitsAllocated") or 0) // 8
    return len(raw(ds, "PixelData")) == plain + plain % 2
