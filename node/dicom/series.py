"""What a received object says of itself, read without its pixels.

Values are parsed here from the raw bytes, because real archives break the rules that a strict
parser holds them to: wrong value representations, padding, missing and superfluous values. What
cannot be understood is absent ("" or None), never guessed; only the UIDs that file an object are
demanded.
"""

import math
import re
import struct
from collections.abc import Iterable
from functools import cache
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from pydicom.charset import decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import TEXT_VR_DELIMS

from node.errors import BadObject
from node.records import Frame, Header

T = TypeVar("T")

_UID = re.compile(r"[0-9.]{1,64}")
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNDEFINED = 0xFFFFFFFF


def read_header(source: Path | bytes | BinaryIO) -> Header:
    """Return what a DICOM file says of itself; its pixels are noticed and left alone.

    Parameters
    ----------
    source
        A file, its bytes, or a stream at the file's start (preamble and file meta information
        included, PS3.10 chapter 7).

    Raises
    ------
    BadObject
        If the bytes are no DICOM file, end inside the header, use the deflated transfer syntax
        (a few bytes may inflate without bound), or lack the UIDs that file an object.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_header(file)
    try:
        return _read(BytesIO(source) if isinstance(source, bytes) else source)
    except InvalidDicomError as error:
        raise BadObject(
            "not a DICOM file: no DICM prefix after the preamble; send DICOM files only"
        ) from error
    except (
        *(ValueError, TypeError, LookupError, AttributeError, struct.error),
        *(EOFError, RecursionError, NotImplementedError),
    ) as error:
        raise BadObject(f"the DICOM header is damaged ({error}); send the object again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise BadObject(f"the DICOM header is cut short ({error}); send it again") from error


def describe(ds: Dataset, meta: Dataset, *, has_pixel_data: bool) -> Header:
    """Return the header of a data set as it was read, none of its elements converted yet.

    Parameters
    ----------
    meta
        Its file meta information, whose SOP class serves data sets that lack their own.

    Raises
    ------
    BadObject
        If a UID that files the object is missing or malformed.
    """
    measures = _macros(ds, "PixelMeasuresSequence")
    reconstructions = _macros(ds, "CTReconstructionSequence")
    return Header(
        sop_class_uid=_uid(ds if _tag("SOPClassUID") in ds else meta, "SOPClassUID"),
        sop_instance_uid=_uid(ds, "SOPInstanceUID"),
        study_instance_uid=_uid(ds, "StudyInstanceUID"),
        series_instance_uid=_uid(ds, "SeriesInstanceUID"),
        transfer_syntax_uid=_uid(meta, "TransferSyntaxUID"),
        frames=_frames(ds),
        patient_id=_text(ds, "PatientID"),
        patient_birth_date=_text(ds, "PatientBirthDate"),
        accession_number=_text(ds, "AccessionNumber"),
        study_description=_text(ds, "StudyDescription"),
        series_description=_text(ds, "SeriesDescription"),
        protocol_name=_text(ds, "ProtocolName"),
        body_part=_text(ds, "BodyPartExamined") or _anatomy(ds),
        modality=_text(ds, "Modality"),
        image_type=_image_type(ds),
        manufacturer=_text(ds, "Manufacturer"),
        convolution_kernel=_alike(_text(item, "ConvolutionKernel") for item in reconstructions)
        or "",
        contrast_agent=_contrast_agent(ds),
        frame_of_reference_uid=_text(ds, "FrameOfReferenceUID"),
        rescale_type=_rescale_type(ds),
        instance_number=_integer(ds, "InstanceNumber"),
        acquisition_number=_integer(ds, "AcquisitionNumber"),
        images_in_acquisition=_integer(ds, "ImagesInAcquisition"),
        series_related_instances=_integer(ds, "NumberOfSeriesRelatedInstances"),
        rows=_unsigned(ds, "Rows"),
        columns=_unsigned(ds, "Columns"),
        pixel_spacing_mm=_alike(_decimals(item, "PixelSpacing", 2) for item in measures),
        slice_thickness_mm=_alike(_number(item, "SliceThickness") for item in measures),
        has_pixel_data=has_pixel_data,
    )


def _read(file: BinaryIO) -> Header:
    """Read the file meta information, then the wanted elements up to the pixels."""
    read_preamble(file, force=False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    syntax = _uid(meta, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        raise BadObject("the deflated transfer syntax is not accepted; send it uncompressed")
    end = 0
    has_pixel_data = False

    def at_pixels(tag: int, _vr: str | None, length: int) -> bool:
        nonlocal end, has_pixel_data
        end = 0 if length == _UNDEFINED else file.tell() + length
        has_pixel_data |= tag in _PIXEL_DATA and length > 0
        return has_pixel_data

    ds = read_dataset(
        file,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=at_pixels,
    )
    if not has_pixel_data and end > file.seek(0, SEEK_END):
        raise BadObject("the file ends inside the DICOM header; send the object again")
    return describe(ds, meta, has_pixel_data=has_pixel_data)


def _frames(ds: Dataset) -> tuple[Frame, ...]:
    """Each frame's plane, in the order of the pixels."""
    positions = [
        _decimals(item, "ImagePositionPatient", 3) for item in _macros(ds, "PlanePositionSequence")
    ]
    orientations = [
        _decimals(item, "ImageOrientationPatient", 6)
        for item in _macros(ds, "PlaneOrientationSequence")
    ]
    return tuple(Frame(*plane) for plane in zip(positions, orientations, strict=True))


def _macros(ds: Dataset, sequence: str) -> list[Dataset]:
    """The functional group `sequence` of each frame (PS3.3 C.7.6.16), shared ones repeated.

    A classic object is its own only functional group; a group that is absent is an empty item.
    """
    frames = _items(ds, "PerFrameFunctionalGroupsSequence")
    if not frames:
        return [ds]
    shared = [
        group
        for item in _items(ds, "SharedFunctionalGroupsSequence")
        for group in _items(item, sequence)
    ]
    return [(_items(frame, sequence) or shared or [Dataset()])[0] for frame in frames]


def _items(ds: Dataset, sequence: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent or no sequence."""
    tag = _tag(sequence)
    value = ds[tag].value if tag in ds else None
    return list(value) if isinstance(value, Sequence) else []


def _image_type(ds: Dataset) -> tuple[str, ...]:
    text = _text(ds, "ImageType") or _text(_macros(ds, "CTImageFrameTypeSequence")[0], "FrameType")
    return tuple(part.strip().upper() for part in text.split("\\")) if text else ()


def _anatomy(ds: Dataset) -> str:
    """The anatomic region in words, where BodyPartExamined is empty."""
    regions = [
        item
        for holder in (ds, *_macros(ds, "FrameAnatomySequence"))
        for item in _items(holder, "AnatomicRegionSequence")
    ]
    return _text(regions[0], "CodeMeaning") if regions else ""


def _contrast_agent(ds: Dataset) -> str:
    agents = _items(ds, "ContrastBolusAgentSequence")
    return _text(ds, "ContrastBolusAgent") or (_text(agents[0], "CodeMeaning") if agents else "")


def _rescale_type(ds: Dataset) -> str:
    """The frames' rescale type; where they differ, the first that is not HU."""
    macros = _macros(ds, "PixelValueTransformationSequence")
    found = {_text(item, "RescaleType").upper() for item in macros}
    return min(found - {"HU"}, default="HU") if len(found) > 1 else found.pop()


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return BaseTag(tag)


def _value(ds: Dataset, keyword: str) -> bytes:
    """The bytes of an element as they were sent, b"" where absent."""
    element = ds.get_item(_tag(keyword))
    return (element.value or b"") if isinstance(element, RawDataElement) else b""


def _text(ds: Dataset, keyword: str) -> str:
    """The text of an element in its data set's character set, "" where absent."""
    charset = ds.original_character_set
    encodings = [charset] if isinstance(charset, str) else list(charset)
    text: str = decode_bytes(_value(ds, keyword), encodings, TEXT_VR_DELIMS)
    return text.strip("\0 \r\n\t")


def _uid(ds: Dataset, keyword: str) -> str:
    """A UID of legal syntax (PS3.5 chapter 9, leading zeros forgiven)."""
    value = _text(ds, keyword)
    if not value:
        raise BadObject(f"the object has no {keyword}; nothing can be filed without it")
    if not _UID.fullmatch(value):
        raise BadObject(
            f"{keyword} {value[:64]!r} is no UID: 1 to 64 digits and dots; correct it at the source"
        )
    return value


def _decimals(ds: Dataset, keyword: str, count: int) -> Any:
    """The `count` finite numbers of a decimal string as a tuple, None where it holds others."""
    try:
        values = tuple(float(part) for part in _text(ds, keyword).split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _number(ds: Dataset, keyword: str) -> float | None:
    """The number of a decimal string."""
    return next(iter(_decimals(ds, keyword, 1) or ()), None)


def _integer(ds: Dataset, keyword: str) -> int | None:
    """The first value of an integer string, None where it is no whole number."""
    value = _number(ds, keyword)
    return int(value) if value is not None and value.is_integer() else None


def _unsigned(ds: Dataset, keyword: str) -> int | None:
    """The first value of a binary unsigned short."""
    value = _value(ds, keyword)[:2]
    order: Literal["little", "big"] = "little" if ds.original_encoding[1] else "big"
    return int.from_bytes(value, order) if len(value) == 2 else None


def _alike(values: Iterable[T]) -> T | None:
    """The value that all frames share, None where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
