"""Values of DICOM elements, parsed from their bytes.

Real archives break rules that a strict parser insists on: they have wrong value representations,
padding, missing and superfluous values. A value that cannot be understood counts as absent ("",
None or an empty list) and is never guessed.
"""

import re
from functools import cache
from typing import Any, Literal

from pydicom.charset import decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.valuerep import TEXT_VR_DELIMS

from node.errors import BadObject

UNDEFINED = 0xFFFFFFFF
"""The length of an element whose end is marked by a delimitation item (PS3.5 7.1.1)."""

LARGEST = 1e10
"""No attribute that is read here has larger numbers: an integer string ends at 2**31, a place at
some metres. What is computed from numbers within it stays finite. Chosen."""
MOST_FRAMES = 4_000
"""Functional groups of more frames are not read: at 0.5 mm they are two metres. Chosen."""

_UID = re.compile(r"[0-9.]{1,64}")


def text(ds: Dataset, keyword: str) -> str:
    """Return the text of an element, decoded from its data set's character set; "" if absent.

    A NUL within it, which no database takes, becomes a replacement character.
    """
    element = unconverted(ds, keyword)
    if isinstance(element, DataElement):  # already converted, as pydicom does in the file meta
        return str(element.value or "")
    if not isinstance(element, RawDataElement) or not element.value:
        return ""  # a short way, since most elements are absent: it halves the time of a header
    charset = ds.original_character_set
    encodings = [charset] if isinstance(charset, str) else list(charset)
    decoded: str = decode_bytes(element.value, encodings, TEXT_VR_DELIMS)
    return decoded.strip("\0 \r\n\t").replace("\0", "\N{REPLACEMENT CHARACTER}")


def uid(ds: Dataset, keyword: str) -> str:
    """Return a UID of 1 to 64 digits and dots (PS3.5 chapter 9; leading zeros are forgiven).

    Raises
    ------
    BadObject
        If it is absent or malformed.
    """
    found = text(ds, keyword)
    if not found:
        raise BadObject(f"the object has no {keyword}; nothing can be filed without it")
    if not _UID.fullmatch(found):
        raise BadObject(
            f"{keyword} {found[:64]!r} is no UID: 1 to 64 digits and dots; correct it at the source"
        )
    return found


def uid_or_empty(ds: Dataset, keyword: str) -> str:
    """Return a UID as `uid` does; "" if it is absent or malformed."""
    found = text(ds, keyword)
    return found if _UID.fullmatch(found) else ""


def decimals(ds: Dataset, keyword: str, count: int) -> Any:
    """Return the `count` numbers of a decimal string; None if it contains anything else.

    Numbers beyond `LARGEST` are anything else.
    """
    try:
        values = tuple(float(part) for part in text(ds, keyword).split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(abs(v) <= LARGEST for v in values) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """Return the number of a decimal string; None unless it is one finite number."""
    return next(iter(decimals(ds, keyword, 1) or ()), None)


def integer(ds: Dataset, keyword: str) -> int | None:
    """Return the number of an integer string; None unless it is one whole number."""
    found = number(ds, keyword)
    return int(found) if found is not None and found.is_integer() else None


def short(ds: Dataset, keyword: str, *, signed: bool = False) -> int | None:
    """Return the first value of a binary short, US or SS by `signed`; None if it is absent."""
    element = unconverted(ds, keyword)
    if isinstance(element, DataElement):  # already converted, as a sequence does to some elements
        return element.value if isinstance(element.value, int) else None
    value = raw(ds, keyword)[:2]
    order: Literal["little", "big"] = "little" if ds.original_encoding[1] else "big"
    return int.from_bytes(value, order, signed=signed) if len(value) == 2 else None


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; an empty list if it is absent or is not a sequence."""
    tag = _tag(keyword)
    value = ds[tag].value if tag in ds else None
    return list(value) if isinstance(value, Sequence) else []


def macros(ds: Dataset, keyword: str) -> list[Dataset]:
    """Return a functional group macro for each frame (PS3.3 C.7.6.16); a shared one is repeated.

    A classic object has no functional groups; it is returned itself. For a frame without the macro
    the item is empty.

    Raises
    ------
    BadObject
        If there are more than `MOST_FRAMES`.
    """
    frames = items(ds, "PerFrameFunctionalGroupsSequence")
    if not frames:
        return [ds]
    if len(frames) > MOST_FRAMES:
        raise BadObject(f"the image has {len(frames)} frames, more than the node reads")
    shared = [
        macro
        for groups in items(ds, "SharedFunctionalGroupsSequence")
        for macro in items(groups, keyword)
    ]
    return [(items(frame, keyword) or shared or [Dataset()])[0] for frame in frames]


def raw(ds: Dataset, keyword: str) -> bytes:
    """Return the bytes of an element as they were sent; b"" if absent."""
    element = unconverted(ds, keyword)
    return (element.value or b"") if isinstance(element, RawDataElement) else b""


def unconverted(ds: Dataset, keyword: str) -> object:
    """Return an element as it stands in a data set; None if it is absent.

    pydicom takes an empty one for one to be read later and converts it, which fails for an unknown
    value representation.
    """
    return ds.get_item(_tag(keyword), keep_deferred=True)


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return BaseTag(tag)
