"""From planned slices to Hounsfield units, decoded by pydicom's plug-ins."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless, UncompressedTransferSyntaxes

from models.volume import Volume
from node.dicom.read.elements import integer, macros, number, short
from node.dicom.read.geometry import Plane, common_plane
from node.dicom.read.header import open_object, read_header
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

Stored = NDArray[np.integer]
Hounsfield = NDArray[np.float32]


def load_volume(plan: SeriesPlan, root: Path) -> Volume:
    """Return the planned slices in Hounsfield units, in the order of the plan.

    Parameters
    ----------
    root
        The folder that the plan's paths are relative to.

    Raises
    ------
    Refused
        NO_PIXEL_DATA or UNDECODABLE, naming the image; NOT_HOUNSFIELD if the header says that the
        values are not Hounsfield units, or they do not look so; DUPLICATE_POSITION if a copy
        differs from the slice at its position; GEOMETRY if the headers contradict each other.
    """
    refs = (*plan.slices, *plan.copies)
    first = read_header(root / refs[0].path)
    hu = np.empty((len(refs), first.rows or 0, first.columns or 0), np.float32)
    # Codecs and hashing release the interpreter while they work, so threads pay. Unpacking plain
    # pixels holds it, and one thread is fastest (measured).
    packed = first.transfer_syntax_uid not in UncompressedTransferSyntaxes
    headers = _fill_all(refs, root, hu, threads=min(4, os.cpu_count() or 1) if packed else 1)
    plane = common_plane(headers)
    _refuse_other_copies(plan, plane, hu)
    _refuse_implausible(hu[: len(plan.slices)])
    return _volume(plan, plane, headers, hu[: len(plan.slices)])


def _fill_all(
    refs: Sequence[SliceRef], root: Path, hu: Hounsfield, *, threads: int
) -> list[Header]:
    """Decode each file once into its planes of `hu` (n, rows, columns); return the headers.

    Each file's digest is computed beside the decoding, by one more thread.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, ref in enumerate(refs):
        places[ref.path].append(place)

    def fill(path: str) -> tuple[Header, Future[None]]:
        mine = [refs[place] for place in places[path]]
        data = (root / path).read_bytes()
        unchanged = hashing.submit(_refuse_changed, data, mine[0])
        try:
            return _fill(data, mine, [hu[place] for place in places[path]]), unchanged
        except Refused:
            unchanged.result()  # if the file changed on disk, that is the reason to give
            raise

    with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(threads) as decoding:
        filled = list(decoding.map(fill, places) if threads > 1 else map(fill, places))
    for _, unchanged in filled:
        unchanged.result()
    return [header for header, _ in filled]


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


def _refuse_changed(data: bytes, ref: SliceRef) -> None:
    """Raise UNDECODABLE if these are not the bytes that were received."""
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise Refused(
            Reason.UNDECODABLE,
            f"image {ref.sop_instance_uid} changed on disk since it was received: its sha256 "
            "differs; check the disk and send the image again",
        )


def _fill(data: bytes, refs: list[SliceRef], out: list[Hounsfield]) -> Header:
    """Decode one file, write the Hounsfield values of the wanted frames, return its header."""
    try:
        opened = open_object(data)
    except BadObject as error:
        raise _undecodable(refs[0].sop_instance_uid, error) from error
    header = opened.header
    _refuse_other_count(opened.ds, header)
    values = _values(opened.ds, header)
    frames = _decode(opened.ds, header)
    if frames.shape[1:] != out[0].shape:
        raise Refused(Reason.GEOMETRY, "images of different matrix are mixed in the series")
    for ref, target in zip(refs, out, strict=True):
        values.to_hounsfield(frames[ref.frame_number - 1], ref.frame_number - 1, target)
    return header


def _refuse_other_count(ds: Dataset, header: Header) -> None:
    """Raise GEOMETRY if NumberOfFrames is not the number of the frames in the header."""
    announced = integer(ds, "NumberOfFrames") or 1
    if announced != len(header.frames):
        raise Refused(
            Reason.GEOMETRY,
            f"image {header.sop_instance_uid} announces {announced} frames (NumberOfFrames) and "
            f"places {len(header.frames)}; correct it at its source and send it again",
        )


def _decode(ds: Dataset, header: Header) -> Stored:
    """Return the (frames, rows, columns) stored values, with the bits above BitsStored."""
    name = header.sop_instance_uid
    if not header.has_pixel_data:
        raise Refused(
            Reason.NO_PIXEL_DATA, f"image {name} has no pixel data; send the images, not headers"
        )
    refuse_colours(ds, header)
    try:
        stored, _ = get_decoder(header.transfer_syntax_uid).as_array(
            pixel_data(ds, header),
            raw=True,
            decoding_plugin=PLUGIN.get(header.transfer_syntax_uid, ""),
            **attributes(ds),
        )
    except (
        *(RuntimeError, ValueError, TypeError, AttributeError, LookupError),
        *(NotImplementedError, EOFError),
    ) as error:
        raise _undecodable(name, error) from error
    return stored.reshape(-1, *stored.shape[-2:])


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
        Slope and intercept of each frame.
    """

    unused_bits: int
    wraps: bool
    padding: tuple[int, int] | None
    rescale: list[tuple[float, float]]

    def to_hounsfield(self, stored: Stored, frame: int, out: Hounsfield) -> None:
        """Write (rows, columns) `stored` values of a frame to `out`, float32, HU."""
        slope, intercept = self.rescale[frame]
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
        NOT_HOUNSFIELD if a frame lacks slope or intercept, since they are never guessed.
    """
    if header.rescale_type not in HOUNSFIELD:
        raise _not_hounsfield(header, f"RescaleType is {header.rescale_type!r}, not HU")
    rescale = []
    for group in macros(ds, "PixelValueTransformationSequence"):
        slope, intercept = number(group, "RescaleSlope"), number(group, "RescaleIntercept")
        if not slope or intercept is None:
            raise _not_hounsfield(header, "RescaleSlope or RescaleIntercept is missing or zero")
        rescale.append((slope, intercept))
    stored = bits_stored(ds) or 16
    unused = (short(ds, "BitsAllocated") or 16) - stored
    signed = short(ds, "PixelRepresentation") == 1
    wraps = stored == 12 and not signed and all(i > -100 and s == 1 for s, i in rescale)
    return _Values(max(unused, 0), wraps, _padding(ds, signed, *rescale[0]), rescale)


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


def _refuse_other_copies(plan: SeriesPlan, plane: Plane, hu: Hounsfield) -> None:
    """Raise DUPLICATE_POSITION if a copy differs from the slice at its position.

    Parameters
    ----------
    hu
        (n, rows, columns) float32, the slices and then the copies.
    """
    # (z,) places of the slices along the normal.
    locations = np.array([ref.position_mm for ref in plan.slices], np.float64) @ plane.normal
    for place, ref in enumerate(plan.copies, start=len(plan.slices)):
        at = np.array(ref.position_mm, np.float64) @ plane.normal
        twin = int(np.abs(locations - at).argmin())
        if not np.array_equal(hu[place], hu[twin]):
            raise Refused(
                Reason.DUPLICATE_POSITION,
                f"images {plan.slices[twin].sop_instance_uid} and {ref.sop_instance_uid} lie at "
                "the same position and differ; send each scan as a series of its own",
            )


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


def _not_hounsfield(header: Header, why: str) -> Refused:
    return Refused(
        Reason.NOT_HOUNSFIELD, f"image {header.sop_instance_uid} is not in Hounsfield units: {why}"
    )


def _undecodable(name: str, error: Exception) -> Refused:
    return Refused(Reason.UNDECODABLE, f"the pixels of image {name} cannot be decoded: {error}")
