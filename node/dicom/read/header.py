"""The header of a received object: what it says of itself.

Only the UIDs under which an object is filed are required. Everything else that is missing or cannot
be understood counts as absent; the stage that needs it decides what that means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.dicom.read import sparing
from node.dicom.read.elements import (
    UNDEFINED,
    decimals,
    integer,
    items,
    macros,
    short,
    text,
    uid,
    uid_or_empty,
)
from node.dicom.read.part10 import plain_syntax, read_meta
from node.dicom.read.pixel_length import shortfall
from node.dicom.read.substitutes import age_years, samples_per_pixel, slice_thickness_mm
from node.errors import BadObject
from node.records import Frame, Header

T = TypeVar("T")

_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LONGEST_HEADER_BYTES = 64 << 20
"""A longer header is refused, since it is read into memory. A multi-frame CT has some 2 KB a frame:
64 MiB are 30,000 frames."""
DAMAGE = sparing.DAMAGE
"""What pydicom raises on bytes that are not a data set."""


def read_header(source: Path | bytes | BinaryIO) -> Header:
    """Return the header of a DICOM file; its pixels are not read.

    Parameters
    ----------
    source
        A file, its bytes, or a stream at the file's start. Preamble and file meta information
        (PS3.10 chapter 7) may be missing if the pixels are not compressed.

    Raises
    ------
    BadObject
        If the bytes are not a DICOM file, end inside the header, use the deflated transfer syntax
        (a few bytes may inflate to any size), or lack the UIDs under which an object is filed.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_header(file)
    return open_object(source, pixels=False).header


def named_class(file: bytes) -> str:
    """Return the SOP class that the file meta information names; "" if none can be read."""
    try:
        return text(read_meta(BytesIO(file)), "MediaStorageSOPClassUID")
    except (BadObject, *DAMAGE):
        return ""


@dataclass(frozen=True, slots=True)
class OpenObject:
    """A data set in memory, whose elements are not yet converted, and its header.

    `cut_short` says how its pixel data is cut short; None if it is whole, or if it was read too.
    """

    ds: Dataset
    header: Header
    cut_short: str | None = None


def open_object(
    source: bytes | BinaryIO,
    *,
    pixels: bool = True,
    longest_header: int = LONGEST_HEADER_BYTES,
) -> OpenObject:
    """Return the data set of a DICOM file, with its pixels or without.

    Parameters
    ----------
    longest_header
        How many bytes may precede the value of the pixel data.

    Raises
    ------
    BadObject
        As `read_header`, or if the header is longer.
    """
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        return _open(file, pixels, longest_header)
    except DAMAGE as error:
        raise BadObject(f"the DICOM header is damaged ({error}); send the object again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise BadObject(f"the DICOM header is cut short ({error}); send it again") from error


def describe(ds: Dataset, meta: Dataset, *, has_pixel_data: bool) -> Header:
    """Return the header of a data set, whose elements must not have been converted yet.

    Its file meta information `meta` gives the SOP class if the data set does not.

    Raises
    ------
    BadObject
        If a UID under which the object is filed is missing or malformed.
    """
    measures = macros(ds, "PixelMeasuresSequence")
    acquired = _acquired(ds)
    thickness, thickness_taken = slice_thickness_mm(measures)
    age, age_taken = age_years(ds, acquired)
    samples_taken = samples_per_pixel(ds)[1] if has_pixel_data else ""
    return Header(
        sop_class_uid=text(ds, "SOPClassUID") or uid(meta, "MediaStorageSOPClassUID"),
        sop_instance_uid=uid(ds, "SOPInstanceUID"),
        study_instance_uid=uid(ds, "StudyInstanceUID"),
        series_instance_uid=uid(ds, "SeriesInstanceUID"),
        transfer_syntax_uid=uid(meta, "TransferSyntaxUID"),
        frames=_frames(ds),
        patient_id=text(ds, "PatientID"),
        patient_birth_date=text(ds, "PatientBirthDate"),
        patient_age_years=age,
        acquired=acquired,
        accession_number=text(ds, "AccessionNumber"),
        study_description=text(ds, "StudyDescription"),
        series_description=text(ds, "SeriesDescription"),
        protocol_name=text(ds, "ProtocolName"),
        body_part=text(ds, "BodyPartExamined") or _anatomy(ds),
        modality=text(ds, "Modality"),
        image_type=_image_type(ds),
        manufacturer=text(ds, "Manufacturer"),
        convolution_kernel=_kernel(ds),
        contrast_agent=_contrast_agent(ds),
        frame_of_reference_uid=uid_or_empty(ds, "FrameOfReferenceUID"),
        rescale_type=_rescale_type(ds),
        instance_number=integer(ds, "InstanceNumber"),
        acquisition_number=integer(ds, "AcquisitionNumber"),
        images_in_acquisition=integer(ds, "ImagesInAcquisition"),
        series_related_instances=integer(ds, "NumberOfSeriesRelatedInstances"),
        rows=short(ds, "Rows"),
        columns=short(ds, "Columns"),
        pixel_spacing_mm=_alike(decimals(item, "PixelSpacing", 2) for item in measures),
        slice_thickness_mm=thickness,
        has_pixel_data=has_pixel_data,
        substitutes=tuple(filter(None, (thickness_taken, age_taken, samples_taken))),
        manufacturer_model_name=text(ds, "ManufacturerModelName"),
        station_name=text(ds, "StationName"),
        software_versions=text(ds, "SoftwareVersions"),
    )


def _kernel(ds: Dataset) -> str:
    reconstructions = macros(ds, "CTReconstructionSequence")
    return _alike(text(item, "ConvolutionKernel") for item in reconstructions) or ""


class _Header:
    """The header at the beginning of a longer file; what lies beyond the limit is not read."""

    def __init__(self, file: BinaryIO, longest: int, end: int) -> None:
        self._file = file
        self._longest = longest
        self._end = end
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int) -> bytes:
        if min(self._file.tell() + size, self._end) > self._longest:
            raise BadObject(
                f"the DICOM header is longer than {self._longest >> 20} MB (receive.max_header_mb)"
            )
        return self._file.read(size)


def _bounded(file: BinaryIO, longest: int) -> BinaryIO:
    """Return the file, or where it is longer than a header may be, its header."""
    here = file.tell()
    end = file.seek(0, SEEK_END)
    file.seek(here)
    return file if end <= longest else cast(BinaryIO, _Header(file, longest, end))


def _open(file: BinaryIO, pixels: bool, longest_header: int) -> OpenObject:
    """Return the object; raise `BadObject` if it is deflated or ends inside its header."""
    meta = read_meta(file)
    syntax, stated = _transfer_syntax(meta, file)
    if syntax == DeflatedExplicitVRLittleEndian:
        raise BadObject("the deflated transfer syntax is not accepted; send it uncompressed")
    last: tuple[int, str | None, int, int] = (0, None, 0, 0)  # tag, VR, length, place of the value

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal last
        last = (tag, vr, length, file.tell())
        return tag in _PIXEL_DATA and length > 0

    ds = sparing.read_sparingly(
        _bounded(file, longest_header),
        implicit=syntax == ImplicitVRLittleEndian,
        little=syntax != ExplicitVRBigEndian,
        stop_when=at_pixels,
    )
    tag, vr, length, place = last
    has_pixel_data = tag in _PIXEL_DATA and length > 0
    end = file.seek(0, SEEK_END)
    whole = has_pixel_data or length == UNDEFINED or place + length == end
    if not ds or not whole:
        raise BadObject("the file ends inside the DICOM header; send the object again")
    if has_pixel_data and not stated:
        _refuse_compressed(ds, length)
    if has_pixel_data and pixels:
        file.seek(place)
        value = file.read() if length == UNDEFINED else file.read(min(length, end - place))
        ds[tag] = RawDataElement(BaseTag(tag), vr, length, value, place, *ds.original_encoding)
    header = describe(ds, meta, has_pixel_data=has_pixel_data)
    look = has_pixel_data and not pixels
    return OpenObject(ds, header, shortfall(file, place, length, ds, syntax) if look else None)


def _transfer_syntax(meta: Dataset, file: BinaryIO) -> tuple[str, bool]:
    """Return the transfer syntax, and whether the file states it.

    A file that does not gets it into its file meta information, from its next elements.
    """
    if text(meta, "TransferSyntaxUID"):
        return uid(meta, "TransferSyntaxUID"), True
    found = plain_syntax(file)
    if not found:
        raise BadObject("the object has no TransferSyntaxUID, and no data set that shows one")
    meta.TransferSyntaxUID = found
    return found, False


def _refuse_compressed(ds: Dataset, length: int) -> None:
    """Raise `BadObject` unless this length of the pixel data proves that it is not compressed."""
    bits = (
        (short(ds, "Rows") or 0) * (short(ds, "Columns") or 0) * (short(ds, "BitsAllocated") or 0)
    )
    plain = bits // 8 * (integer(ds, "NumberOfFrames") or 1)
    if length == UNDEFINED or not 0 < plain <= length:
        raise BadObject(
            "the object has no TransferSyntaxUID, and its pixels may be compressed: nothing tells "
            "how to decode them; send it with file meta information"
        )


def _frames(ds: Dataset) -> tuple[Frame, ...]:
    """Return each frame's position and orientation, in the order of the pixels."""
    positions = [
        decimals(item, "ImagePositionPatient", 3) for item in macros(ds, "PlanePositionSequence")
    ]
    orientations = [
        decimals(item, "ImageOrientationPatient", 6)
        for item in macros(ds, "PlaneOrientationSequence")
    ]
    return tuple(Frame(*plane) for plane in zip(positions, orientations, strict=True))


_MOMENT = re.compile(r"(\d{8})(\d{6})?")


def _acquired(ds: Dataset) -> str:
    """Return when the image was acquired, else when its series or study began; "" if unknown."""
    contents = macros(ds, "FrameContentSequence")
    found = [text(contents[0], "FrameAcquisitionDateTime"), text(ds, "AcquisitionDateTime")]
    found += [
        text(ds, f"{of}Date") + text(ds, f"{of}Time")[:6]
        for of in ("Acquisition", "Series", "Study")
        if text(ds, f"{of}Date")
    ]
    moments = (_MOMENT.match(value.replace(".", "").replace(":", "")) for value in found)
    return next((moment[0] for moment in moments if moment), "")


def _image_type(ds: Dataset) -> tuple[str, ...]:
    frame = macros(ds, "CTImageFrameTypeSequence")[0]
    joined = text(ds, "ImageType") or text(frame, "FrameType")
    return tuple(part.strip().upper() for part in joined.split("\\")) if joined else ()


def _anatomy(ds: Dataset) -> str:
    """Return the anatomic region in words, for objects whose BodyPartExamined is empty."""
    regions = [
        region
        for holder in (ds, *macros(ds, "FrameAnatomySequence"))
        for region in items(holder, "AnatomicRegionSequence")
    ]
    return text(regions[0], "CodeMeaning") if regions else ""


def _contrast_agent(ds: Dataset) -> str:
    agents = items(ds, "ContrastBolusAgentSequence")
    return text(ds, "ContrastBolusAgent") or (text(agents[0], "CodeMeaning") if agents else "")


def _rescale_type(ds: Dataset) -> str:
    """Return the frames' rescale type; if they differ, one that is not HU."""
    groups = macros(ds, "PixelValueTransformationSequence")
    found = {text(group, "RescaleType").upper() for group in groups}
    return max(found - {"HU"}, default="HU")


def _alike(values: Iterable[T]) -> T | None:
    """Return the value that all frames share; None if they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
