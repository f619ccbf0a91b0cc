"""From planned slices to Hounsfield units, decoded by pydicom's plug-ins."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless, UncompressedTransferSyntaxes

from models.volume import Volume
from node.dicom.read.damage import Damaged, Doubled, Fault
from node.dicom.read.elements import integer
from node.dicom.read.geometry import Plane, common_plane
from node.dicom.read.header import OpenObject, open_object, read_header
from node.dicom.read.hounsfield import Hounsfield, Stored, refuse_implausible, values_of
from node.dicom.read.image_pixel import attributes, pixel_data, refuse_colours, without_panic
from node.errors import BadObject, Refused
from node.records import Header, SeriesPlan, SliceRef
from node.states import Reason

PLUGIN: dict[str, str] = {JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls"}
"""Plug-ins to use where pydicom's own first choice is four times slower (measured)."""

Decoder = Callable[[SeriesPlan, Path], Volume]
"""`load_volume` or the same in another process: plan and folder of its paths -> volume."""

DAMAGE = (
    *(RuntimeError, ValueError, TypeError, AttributeError, LookupError),
    *(NotImplementedError, EOFError),
)
"""What pydicom's decoders raise on pixels that they cannot decode."""


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
        slope and intercept, GEOMETRY where header and pixels contradict each other. An image that
        is lost, or is not the one received, is UNDECODABLE.
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
    refuse_implausible(hu[: len(plan.slices)])
    return _volume(plan, plane, list(headers.values()), hu[: len(plan.slices)])


def _first_header(refs: Sequence[SliceRef], root: Path) -> Header | None:
    """Return the first header that can be read and tells a matrix; None if there is none."""
    for path in dict.fromkeys(ref.path for ref in refs):
        with suppress(BadObject, FileNotFoundError):
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

    def fill(path: str) -> tuple[Header | None, list[Fault], Future[Refused | None] | None]:
        mine = [refs[place] for place in places[path]]
        try:
            data = (root / path).read_bytes()
        except FileNotFoundError:
            return None, _faults(mine, _lost(mine[0])), None
        change = hashing.submit(_change, data, mine[0])
        return *_fill(data, mine, [hu[place] for place in places[path]]), change

    with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(threads) as decoding:
        filled = list(decoding.map(fill, places) if threads > 1 else map(fill, places))
    faults: list[Fault] = []
    headers = {}
    for path, (header, found, change) in zip(places, filled, strict=True):
        # If the file changed on disk, that is the reason to give.
        if changed := change and change.result():
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


def _lost(ref: SliceRef) -> Refused:
    name = ref.sop_instance_uid
    return Refused(
        Reason.UNDECODABLE, f"image {name} is on disk no more; check the disk and send it again"
    )


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
        values = values_of(opened.ds, header)
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
        with without_panic():
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
        with without_panic():
            stored: Stored = decode(index=index)[0]
    except DAMAGE as error:
        raise _undecodable(f"{name}, frame {index + 1},", error) from error
    return stored


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


def _undecodable(name: str, error: Exception) -> Refused:
    """Return the refusal, on one line and the same for the same bytes: no address in memory."""
    said = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))
    return Refused(Reason.UNDECODABLE, f"the pixels of image {name} cannot be decoded: {said}")
