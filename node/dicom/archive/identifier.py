"""Identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.4), as plain values and as bytes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom.charset import python_encoding
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.dicom.archive.json_model import PRIVATE_CREATOR
from node.dicom.read.elements import text
from node.dicom.read.sparing import DAMAGE, read_sparingly
from node.errors import BadObject
from node.wording import RESEARCH_USE_ONLY

PRIVATE_GROUP, PRIORITY, NOTICE = 0x2117, 0x01, 0x02
"""Private attributes that a query may ask for: `node.dicom.archive.json_model.PRIORITY`."""

Value = str | int | None | Sequence[str]
_OWN = {"QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC", "RetrieveAETitle"}
_OWN |= {"InstanceAvailability"}


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request asks for.

    Attributes
    ----------
    keys
        The value of each attribute that is asked for, by keyword; "" for any.
    unknown
        Whether it asks for attributes that have no keyword, or for sequences.
    priority
        Whether it asks for the study's priority in the worklist.
    """

    level: str
    keys: Mapping[str, str]
    unknown: bool = False
    priority: bool = False


def decode_identifier(encoded: bytes, transfer_syntax_uid: str) -> Identifier:
    """Return the identifier of a request.

    Raises
    ------
    BadObject
        If it cannot be decoded.
    """
    try:
        ds = read_sparingly(
            BytesIO(encoded),
            implicit=transfer_syntax_uid == ImplicitVRLittleEndian,
            little=transfer_syntax_uid != ExplicitVRBigEndian,
        )
        return _identifier(ds)
    except (*DAMAGE, OSError) as error:
        raise BadObject("the identifier cannot be decoded") from error


def encode_answer(
    values: Mapping[str, Value],
    wanted: Collection[str],
    level: str,
    ae_title: str,
    transfer_syntax_uid: str,
    priority: str | None = None,
) -> bytes:
    """Return the identifier of a C-FIND response, in UTF-8.

    Parameters
    ----------
    values
        What was found, by keyword.
    wanted
        The keywords that were asked for; others are left out.
    ae_title
        From which the objects can be retrieved.
    priority
        Of the study in the worklist; None if it was not asked for, or there is none.
    """
    with disable_value_validation():
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.QueryRetrieveLevel = level
        ds.RetrieveAETitle = ae_title
        ds.InstanceAvailability = "ONLINE"
        for keyword in wanted:
            if keyword in values:
                setattr(ds, keyword, _set(values[keyword]))
        if priority is not None:
            block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
            block.add_new(PRIORITY, "CS", priority)
            block.add_new(NOTICE, "LO", RESEARCH_USE_ONLY)
        return _encoded(ds, transfer_syntax_uid)


def encode_failed(uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """Return the identifier of a C-MOVE or C-GET response: the objects that were not sent."""
    ds = Dataset()
    ds.FailedSOPInstanceUIDList = list(uids)
    return _encoded(ds, transfer_syntax_uid)


def _identifier(ds: Dataset) -> Identifier:
    keys, unknown, priority = {}, False, False
    for tag in ds.keys():  # noqa: SIM118  iteration would convert, and may raise
        if tag.is_private:
            unknown = unknown or tag.group != PRIVATE_GROUP
            continue
        keyword = keyword_for_tag(tag)
        if tag.element == 0 or keyword in _OWN:
            continue
        if not keyword or dictionary_VR(tag) == "SQ":
            unknown = True
            continue
        keys[keyword] = _value(ds, keyword)
    try:
        priority = PRIORITY in ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)
    except KeyError:
        priority = False
    return Identifier(text(ds, "QueryRetrieveLevel").upper(), keys, unknown, priority)


def _value(ds: Dataset, keyword: str) -> str:
    """Return the value to match; numbers are matched as text."""
    if dictionary_VR(keyword) in ("US", "SS", "UL", "SL"):
        value = ds[keyword].value
        return "" if value is None else str(value)
    return text(ds, keyword)


def _set(value: Value) -> object:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _encoded(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    out.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    write_dataset(out, ds, parent_encoding=python_encoding["ISO_IR 192"])
    return out.getvalue()
