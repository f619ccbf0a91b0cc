"""From planned slices to Hounsfield units, decoded by pydicom's plug-ins."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mode
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless, UncompressedTransferSyntaxes

from models.volume import Volume
from node.dicom.read.elements import integer, macros, number, short
from node.dicom.read.geometry import Plane, common_plane
from node.dicom.read.header import OpenObject, open_object, read_header
from node.dicom.read.image_pixel import attributes, pixel_data, refuse_colours
from node.dicom.read.substitutes import bits_stored
from node.errors import BadObject, Refused
from node.records import Header, SeriesPlan, SliceRef
from node.states import Reason

AIR_HU = np.float32(-1024)
"""The lowest value: padding and all lower values become this. Scanners mark the outside so."""

HOUNSFIELD = ("", "HU")
"""Accepted rescale types; a CT without one means HU (PS3.3 C.8.2.1.1)."""

PLUGIN: dict[str, str] = {JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls"}
"""Plug-ins to use where pydicom's own first choice is four times slower (measured)."""

Decoder = Callable[[SeriesPlan, Path], Volume]
"""`load_volume` or the same in another process: plan and folder of its paths -> volume."""

DAMAGE = (
    *(RuntimeError, ValueError, TypeError, AttributeError, LookupError),
    *(NotImplementedError, EOFError),
)
"""What pydicom's decoders raise on pixels that they cannot decode."""

Stored = NDArray[np.integer]
Hounsfield = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a planned image gives no Hounsfield values; the message names the image."""

    ref: SliceRef
    code: str
    message: str


class Damaged(Refused):
    """Some of the planned images give no Hounsfield values.

    Attributes
    ----------
    faults
        One for each of them. Code and message are those of the most frequent kind.
    """

    def __init__(self, code: str, message: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(code, message)
        self.faults = faults

    @classmethod
    def of(cls, faults: Sequence[Fault], planned: int) -> Self:
        """Return the refusal of a series with these faults among its `planned` images."""
        code = mode(fault.code for fault in faults)
        message = next(fault.message for fault in faults if fault.code == code)
        if len(faults) > 1:
            message = f"{len(faults)} of {planned} images cannot be read: {message}"
        return cls(code, message, tuple(faults))


class Doubled(Refused):
    """Different images lie at one position.

    Attributes
    ----------
    images
        By the index of the slice in the plan: the images at its position that differ from one
        another, two or more, in the order of their InstanceNumber.
    """

    def __init__(
        self, code: str, message: str, images: Mapping[int, tuple[SliceRef, ...]] | None = None
    ) -> None:
        super().__init__(code, message)
        self.images = images or {}

    @classmethod
    def of(cls, images: Mapping[int, tuple[SliceRef, ...]]) -> Self:
        """Return the refusal of a series with these images at single positions."""
        first, second, *_ = next(iter(images.values()))
        message = (
            f"images {first.sop_instance_uid} and {second.sop_instance_uid} lie at the same "
            "position and differ; send each scan as a series of its own"
        )
        return cls(Reason.DUPLICATE_POSITION, message, images)


def load_volume(plan: SeriesPlan, root: Path) -> Volume:
    """Return the planned slices in Hounsfield units, in the order of the plan.

    Parameters
    ----------
    root
        The folder that the plan's paths are relative to.

    Raises
    ------
    Damaged
        If images give no Hounsfield values: UNDECODABLE, NO_PIXEL_DATA, NOT_HOUNSFIELD without
        slope and intercept, GEOMETRY where header and pixels contradict each other.
    Doubled
        If a copy differs from the slice at its position.
    Refused
        NOT_HOUNSFIELD if the values do not look like Hounsfield units; GEOMETRY if the headers
        contradict each other.
    """
    refs = (*plan.slices, *plan.copies)
    first = _first_header(refs, root)
    shape = (first.rows or 0, first.columns or 0) if first else (0, 0)
    hu = np.empty((len(refs), *shape), np.float32)
    # Codecs and hashing release the interpreter while they work, so threads pay. Unpacking plain
    # pixels holds it, and one thread is fastest (measured).
    packed = first and first.transfer_syntax_uid not in UncompressedTransferSyntaxes
    headers = _fill_all(refs, root, hu, threads=min(4, os.cpu_count() or 1) if packed else 1)
    plane = common_plane(list(headers.values()))
    _refuse_other_copies(plan, plane, headers, hu)
    _refuse_implausible(hu[: len(plan.slices)])
    return _volume(plan, plane, list(headers.values()), hu[: len(plan.slices)])


def _first_header(refs: Sequence[SliceRef], root: Path) -> Header | None:
    """Return the first header that can be read and tells a matrix; None if there is none."""
    for path in dict.fromkeys(ref.path for ref in refs):
        with suppress(BadObject):
            header = read_header(root / path)
            if header.rows and header.columns:
                return header
    return None


def _fill_all(
    refs: Sequence[SliceRef], root: Path, hu: Hounsfield, *, threads: int
) -> dict[str, Header]:
    """Decode each file once into its planes of `hu` (n, rows, columns); return headers by path.

    Each file's digest is computed beside the decoding, by one more thread.

    Raises
    ------
    Damaged
        If images give no Hounsfield values; all others are decoded before.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, ref in enumerate(refs):
        places[ref.path].append(place)

    def fill(path: str) -> tuple[Header | None, list[Fault], Future[Refused | None]]:
        mine = [refs[place] for place in places[path]]
        data = (root / path).read_bytes()
        change = hashing.submit(_change, data, mine[0])
        return *_fill(data, mine, [hu[place] for place in places[path]]), change

    with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(threads) as decoding:
        filled = list(decoding.map(fill, places) if threads > 1 else map(fill, places))
    faults: list[Fault] = []
    headers = {}
    for path, (header, found, change) in zip(places, filled, strict=True):
        if changed := change.result():  # if the file changed on disk, that is the reason to give
            found = _faults([refs[place] for place in places[path]], changed)
        faults += found
        if header:
            headers[path] = header
    if faults:
        raise Damaged.of(faults, len(refs))
    return headers


def _faults(refs: Sequence[SliceRef], reason: Refused) -> list[Fault]:
    return [Fault(ref, reason.code, str(reason)) for ref in refs]


def _volume(plan: SeriesPlan, plane: Plane, headers: list[Header], hu: Hounsfield) -> Volume:
    """Return the volume; raise GEOMETRY if its slices are not in order."""
    thickness = {header.slice_thickness_mm for header in headers} - {None}
    positions = np.array([ref.position_mm for ref in plan.slices], np.float64)
    try:
        return Volume(
            hu=hu,
            positions_mm=positions,
            orientation=plane.orientation,
            spacing_mm=plane.spacing_mm,
            thickness_mm=thickness.pop() if len(thickness) == 1 else None,
        )
    except ValueError as error:
        raise Refused(Reason.GEOMETRY, f"the geometry is unusable: {error}") from error


def _change(data: bytes, ref: SliceRef) -> Refused | None:
    """Return UNDECODABLE if these are not the bytes that were received."""
    if hashlib.sha256(data).hexdigest() == ref.sha256:
        return None
    return Refused(
        Reason.UNDECODABLE,
        f"image {ref.sop_instance_uid} changed on disk since it was received: its sha256 "
        "differs; check the disk and send the image again",
    )


def _fill(
    data: bytes, refs: list[SliceRef], out: list[Hounsfield]
) -> tuple[Header | None, list[Fault]]:
    """Decode one file, write the Hounsfield values of the wanted frames.

    Return its header, None if none of its frames can be read, and the faults of its frames.
    """
    try:
        opened = _open(data, refs[0])
        header = opened.header
        _refuse_other_count(opened.ds, header)
        values = _values(opened.ds, header)
        frame = _decode(opened.ds, header)
    except Refused as reason:
        return None, _faults(refs, reason)
    faults = []
    for ref, target in zip(refs, out, strict=True):
        try:
            stored = frame(ref.frame_number - 1)
            _refuse_other_matrix(stored, target, header)
            values.to_hounsfield(stored, ref.frame_number - 1, target)
        except Refused as reason:
            faults += _faults([ref], reason)
    return header, faults


def _open(data: bytes, ref: SliceRef) -> OpenObject:
    try:
        return open_object(data)
    except BadObject as error:
        raise _undecodable(ref.sop_instance_uid, error) from error


def _refuse_other_matrix(stored: Stored, out: Hounsfield, header: Header) -> None:
    if stored.shape != out.shape:
        raise Refused(
            Reason.GEOMETRY,
            f"image {header.sop_instance_uid} has another matrix than the series: images of "
            "different matrix are mixed in it",
        )


def _refuse_other_count(ds: Dataset, header: Header) -> None:
    """Raise GEOMETRY if NumberOfFrames is not the number of the frames in the header."""
    announced = integer(ds, "NumberOfFrames") or 1
    if announced != len(header.frames):
        raise Refused(
            Reason.GEOMETRY,
            f"image {header.sop_instance_uid} announces {announced} frames (NumberOfFrames) and "
            f"places {len(header.frames)}; correct it at its source and send it again",
        )


def _decode(ds: Dataset, header: Header) -> Callable[[int], Stored]:
    """Return what gives a frame by its 0-based index: (rows, columns) stored values.

    The values have the bits above BitsStored. If the frames cannot be decoded together, each is
    decoded when it is asked for, and raises UNDECODABLE if it cannot be.
    """
    name = header.sop_instance_uid
    if not header.has_pixel_data:
        raise Refused(
            Reason.NO_PIXEL_DATA, f"image {name} has no pixel data; send the images, not headers"
        )
    refuse_colours(ds, header)
    try:
        decode = partial(
            get_decoder(header.transfer_syntax_uid).as_array,
            pixel_data(ds, header),
            raw=True,
            decoding_plugin=PLUGIN.get(header.transfer_syntax_uid, ""),
            **attributes(ds),
        )
    except DAMAGE as error:
        raise _undecodable(name, error) from error
    try:
        stored, _ = decode()
    except DAMAGE as error:
        if len(header.frames) > 1:
            return partial(_one_frame, decode, name)
        raise _undecodable(name, error) from error
    frames: Stored = stored.reshape(-1, *stored.shape[-2:])
    return frames.__getitem__


def _one_frame(decode: Callable[..., Any], name: str, index: int) -> Stored:
    """Return one frame; raise UNDECODABLE if it cannot be decoded."""
    try:
        stored: Stored = decode(index=index)[0]
    except DAMAGE as error:
        raise _undecodable(f"{name}, frame {index + 1},", error) from error
    return stored


@dataclass(frozen=True, slots=True)
class _Values:
    """What the stored values of one object mean.

    Attributes
    ----------
    unused_bits
        Number of bits of a stored value above BitsStored; archives leave rubbish in them
        (PS3.5 8.1.1).
    wraps
        Whether this is a 12-bit object whose intercept was lost, as in the RSNA 2019 data set:
        BitsStored 12, unsigned, and an intercept above -100 that leaves no room for air. Its
        values below zero were wrapped to the top of the 12 bits. The repair is that of Burduja
        2020 (Sensors 20:5611, code): add 1000, wrap values of 4096 and more, intercept -1000.
    padding
        Lowest and highest stored value outside the reconstructed field (PS3.3 C.7.5.1.1.2).
    rescale
        Slope and intercept of each frame; None where one of them is missing or the slope is zero.
    name
        The object's SOPInstanceUID.
    """

    unused_bits: int
    wraps: bool
    padding: tuple[int, int] | None
    rescale: list[tuple[float, float] | None]
    name: str

    def to_hounsfield(self, stored: Stored, frame: int, out: Hounsfield) -> None:
        """Write (rows, columns) `stored` values of a frame to `out`, float32, HU.

        Raises
        ------
        Refused
            NOT_HOUNSFIELD if the frame lacks slope or intercept, since they are never guessed.
        """
        if (rescale := self.rescale[frame]) is None:
            raise _no_rescale(self.name)
        slope, intercept = rescale
        # Shifting left and back clears the unused bits, and extends the sign of signed values.
        used = (stored << self.unused_bits) >> self.unused_bits if self.unused_bits else stored
        if self.wraps:
            used, intercept = (used + 1000) & 4095, -1000.0
        # In place, since a second array would double the memory of the volume.
        np.copyto(out, used, casting="unsafe")
        if slope != 1:
            out *= np.float32(slope)
        out += np.float32(intercept)
        np.maximum(out, AIR_HU, out=out)
        if self.padding:
            low, high = self.padding
            out[(stored >= low) & (stored <= high)] = AIR_HU


def _values(ds: Dataset, header: Header) -> _Values:
    """Return what the stored values of an object mean.

    Raises
    ------
    Refused
        NOT_HOUNSFIELD if the unit is another one, or no frame has slope and intercept.
    """
    name = header.sop_instance_uid
    if header.rescale_type not in HOUNSFIELD:
        raise _not_hounsfield(name, f"RescaleType is {header.rescale_type!r}, not HU")
    rescale = [_rescale(group) for group in macros(ds, "PixelValueTransformationSequence")]
    known = [values for values in rescale if values]
    if not known:
        raise _no_rescale(name)
    stored = bits_stored(ds) or 16
    unused = (short(ds, "BitsAllocated") or 16) - stored
    signed = short(ds, "PixelRepresentation") == 1
    wraps = stored == 12 and not signed and all(i > -100 and s == 1 for s, i in known)
    return _Values(max(unused, 0), wraps, _padding(ds, signed, *known[0]), rescale, name)


def _rescale(group: Dataset) -> tuple[float, float] | None:
    slope, intercept = number(group, "RescaleSlope"), number(group, "RescaleIntercept")
    return (slope, intercept) if slope and intercept is not None else None


def _padding(ds: Dataset, signed: bool, slope: float, intercept: float) -> tuple[int, int] | None:
    """Return the stored range of padding; None if no value is to be replaced.

    A padding value that means -900..3000 HU is an error of the header: replacing it would make
    holes in tissue. The range must hold all tissue. It is an estimate; one header had padding 0
    with intercept 0, which is water.
    """
    value = short(ds, "PixelPaddingValue", signed=signed)
    if value is None:
        return None
    limit = short(ds, "PixelPaddingRangeLimit", signed=signed)
    low, high = sorted((value, value if limit is None else limit))
    lowest, highest = low * slope + intercept, high * slope + intercept
    if highest <= AIR_HU:
        return None  # AIR_HU is the lowest value kept in any case
    return (low, high) if highest <= -900 or lowest >= 3000 else None


def _refuse_other_copies(
    plan: SeriesPlan, plane: Plane, headers: Mapping[str, Header], hu: Hounsfield
) -> None:
    """Raise Doubled if a copy differs from the slice at its position.

    Parameters
    ----------
    headers
        By path.
    hu
        (n, rows, columns) float32, the slices and then the copies.
    """
    # (z,) places of the slices along the normal.
    locations = np.array([ref.position_mm for ref in plan.slices], np.float64) @ plane.normal
    refs = (*plan.slices, *plan.copies)
    at: defaultdict[int, list[int]] = defaultdict(list)
    for place, ref in enumerate(plan.copies, start=len(plan.slices)):
        location = np.array(ref.position_mm, np.float64) @ plane.normal
        at[int(np.abs(locations - location).argmin())].append(place)

    def number_of(place: int) -> tuple[int, str, int]:
        ref = refs[place]
        number = headers[ref.path].instance_number or 0
        return number, ref.sop_instance_uid, ref.frame_number

    images = {}
    for twin in sorted(at):
        different = _different(sorted((twin, *at[twin]), key=number_of), hu)
        if len(different) > 1:
            images[twin] = tuple(refs[place] for place in different)
    if images:
        raise Doubled.of(images)


def _different(places: Sequence[int], hu: Hounsfield) -> list[int]:
    """Return the places whose planes of `hu` equal none before them."""
    found: list[int] = []
    for place in places:
        if not any(np.array_equal(hu[place], hu[other]) for other in found):
            found.append(place)
    return found


def _refuse_implausible(hu: Hounsfield) -> None:
    """Raise NOT_HOUNSFIELD if the values cannot show a patient in air.

    A head has air around it and soft tissue in it. So at least 0.5 % of the voxels must lie below
    -700 HU, and 0.5 % in 0..80 HU: a twentieth of what the widest field of view leaves.
    """
    sample = hu[::2, ::4, ::4]  # one in 32 voxels is enough
    air, tissue = (sample < -700).mean(), ((sample >= 0) & (sample <= 80)).mean()
    if min(air, tissue) < 0.005:
        raise Refused(
            Reason.NOT_HOUNSFIELD,
            f"the values are no Hounsfield units of a patient: {air:.1%} of the voxels are air "
            f"(below -700) and {tissue:.1%} soft tissue (0 to 80); check slope and intercept",
        )


def _not_hounsfield(name: str, why: str) -> Refused:
    return Refused(Reason.NOT_HOUNSFIELD, f"image {name} is not in Hounsfield units: {why}")


def _no_rescale(name: str) -> Refused:
    return _not_hounsfield(name, "RescaleSlope or RescaleIntercept is missing or zero")


def _undecodable(name: str, error: Exception) -> Refused:
    """Return the refusal, on one line and the same for the same bytes: no address in memory."""
    said = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))
    return Refused(Reason.UNDECODABLE, f"the pixels of image {name} cannot be decoded: {said}")
