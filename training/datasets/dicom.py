"""CT series of public data sets, from DICOM files that lack much of what the standard asks for.

Headers are read once into an index; a series is put in order by ImagePositionPatient alone,
projected on the slice normal (PS3.3 C.7.6.2.1.1). The node has stricter rules of its own for DICOM:
a slice left out there would be a patient's.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from rich.progress import track

from models.volume import Volume
from training.datasets.case import Unreadable

log = logging.getLogger(__name__)

AIR_HU = -1024
"""The lowest value kept: scanners mark what lies outside the field of view with less."""

SAME_POSITION_MM = 0.1
"""Slices closer than this are one slice twice (ours; finer than any CT slice spacing)."""

COSINE_TOLERANCE = 0.002
"""Half a millimetre across a head (ours)."""

FEW = 500
"""So many headers are read faster than worker processes start (ours)."""

KEYWORDS = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "ConvolutionKernel"),
    *("ContrastBolusAgent", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("Rows", "Columns", "SliceThickness"),
)

# What pydicom and its decoders raise for broken files.
BROKEN = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError),
    *(NotImplementedError, MemoryError, pydicom.errors.InvalidDicomError),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What the loaders need of one file's header.

    Attributes
    ----------
    path
        Below the data set's root, with forward slashes.
    patient, study, series, kernel, contrast
        PatientID, StudyInstanceUID, SeriesInstanceUID, ConvolutionKernel, ContrastBolusAgent;
        empty where missing.
    position_mm, orientation, spacing_mm
        ImagePositionPatient (3), ImageOrientationPatient (6), PixelSpacing (2).
    rows, columns
        The matrix.
    thickness_mm
        SliceThickness, None where missing.
    problem
        Why the file cannot be used; empty if it can.
    """

    path: str
    patient: str = ""
    study: str = ""
    series: str = ""
    kernel: str = ""
    contrast: str = ""
    position_mm: Sequence[float] = ()
    orientation: Sequence[float] = ()
    spacing_mm: Sequence[float] = ()
    rows: int = 0
    columns: int = 0
    thickness_mm: float | None = None
    problem: str = ""


def index(root: Path, paths: Iterable[str], cache: Path) -> list[Header]:
    """Read the headers of these files, each of them once.

    What was read is kept in `cache`, a text file with a JSON array a line; only files that are not
    in it, or were broken, are opened. A million files take many minutes the first time, on all
    processors, and seconds afterwards.
    """
    known = {header.path: header for header in _load(cache)} if cache.exists() else {}
    known = {path: known.get(path, Header(path, problem="new")) for path in paths}
    new = [path for path, header in known.items() if header.problem]
    for header in _read_all(root, new):
        known[header.path] = header
    if new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_name(cache.name + ".part")
        with part.open("w") as file:
            file.writelines(json.dumps(astuple(header)) + "\n" for header in known.values())
        part.replace(cache)
        log.info(
            "%d headers of %d read into %s",
            *(len(new), len(known), cache.name),
            extra={"action": "indexed"},
        )
    return list(known.values())


def _load(cache: Path) -> Iterable[Header]:
    with cache.open() as file:
        for line in file:
            yield Header(*json.loads(line))


def _read_all(root: Path, paths: Sequence[str]) -> Iterable[Header]:
    read = partial(read_header, root)
    if len(paths) <= FEW:
        yield from map(read, paths)
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        headers = pool.map(read, paths, chunksize=256)
        yield from track(headers, "reading DICOM headers", len(paths))


def read_header(root: Path, path: str) -> Header:
    """Read one header; a file that cannot be used has its `problem` set."""
    try:
        with disable_value_validation():
            ds = pydicom.dcmread(root / path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            header = Header(
                path,
                patient=str(ds.get("PatientID") or ""),
                study=str(ds.get("StudyInstanceUID") or ""),
                series=str(ds.get("SeriesInstanceUID") or ""),
                kernel=str(ds.get("ConvolutionKernel") or ""),
                contrast=str(ds.get("ContrastBolusAgent") or ""),
                position_mm=[float(mm) for mm in ds.get("ImagePositionPatient") or ()],
                orientation=[float(cosine) for cosine in ds.get("ImageOrientationPatient") or ()],
                spacing_mm=[float(mm) for mm in ds.get("PixelSpacing") or ()],
                rows=int(ds.get("Rows") or 0),
                columns=int(ds.get("Columns") or 0),
                thickness_mm=float(ds.SliceThickness) if ds.get("SliceThickness") else None,
            )
    except BROKEN as error:
        return Header(path, problem=f"{path}: not a readable DICOM file ({error})")
    counts = len(header.position_mm), len(header.orientation), len(header.spacing_mm)
    if counts != (3, 6, 2) or not header.series:
        return replace(header, problem=f"{path}: does not say to which series or place it belongs")
    return header


@dataclass(frozen=True, slots=True)
class Stack:
    """A series read: its volume, the header of each slice, and what was left out, one line each."""

    volume: Volume
    headers: tuple[Header, ...]
    problems: tuple[str, ...]


def read_stack(root: Path, headers: Sequence[Header]) -> Stack:
    """Read one series, in order along the slice normal.

    Left out and named are files of another matrix, orientation or spacing than most, a second file
    at the same position (the first by path stays), and files whose pixels cannot be read; their
    positions then stay empty, so that the gap shows.

    Raises
    ------
    Unreadable
        If no slice is left, or the orientation is invalid.
    """
    ordered, problems = in_order(headers)
    slices, kept = [], []
    for header in ordered:
        try:
            slices.append(read_pixels(root / header.path))
            kept.append(header)
        except Unreadable as error:
            problems.append(f"{header.path}: {error}, slice left out")
    if not kept:
        raise Unreadable(f"{headers[0].path}: no slice of its series can be read")
    thickness = {header.thickness_mm for header in kept}
    volume = Volume(
        hu=np.stack(slices),
        positions_mm=np.array([header.position_mm for header in kept], np.float64),
        orientation=_orientation(kept),
        spacing_mm=(float(kept[0].spacing_mm[0]), float(kept[0].spacing_mm[1])),
        thickness_mm=thickness.pop() if len(thickness) == 1 else None,
    )
    return Stack(volume, tuple(kept), tuple(problems))


def in_order(headers: Sequence[Header]) -> tuple[list[Header], list[str]]:
    """Sort the slices of one series along their normal; also name those that do not belong.

    Raises
    ------
    Unreadable
        If ImageOrientationPatient is no pair of unit vectors at right angles.
    """
    matrix = Counter((header.rows, header.columns) for header in headers).most_common(1)[0][0]
    same = [header for header in headers if (header.rows, header.columns) == matrix]
    planes = np.array([(*header.orientation, *header.spacing_mm) for header in same])
    apart = np.abs(planes - np.median(planes, axis=0)).max(axis=1)
    kept = [header for header, off in zip(same, apart, strict=True) if off < COSINE_TOLERANCE]
    paths = {header.path for header in kept}
    problems = [
        f"{header.path}: other matrix, orientation or spacing than its series, slice left out"
        for header in headers
        if header.path not in paths
    ]
    if not kept:
        raise Unreadable(f"{headers[0].path}: no two slices of its series lie alike")
    orientation = _orientation(kept)
    normal = np.cross(orientation[:3], orientation[3:])
    place = {header.path: float(np.dot(header.position_mm, normal)) for header in kept}
    ordered: list[Header] = []
    for header in sorted(kept, key=lambda header: (place[header.path], header.path)):
        if ordered and place[header.path] - place[ordered[-1].path] < SAME_POSITION_MM:
            twin = ordered[-1].path
            problems.append(f"{header.path}: at the position of {twin}, slice left out")
        else:
            ordered.append(header)
    return ordered, problems


def _orientation(headers: Sequence[Header]) -> NDArray[np.float64]:
    """(6,) median cosines, freed of rounding."""
    pair = np.median([header.orientation for header in headers], axis=0).reshape(2, 3)
    if np.any(np.abs(pair @ pair.T - np.eye(2)) > 0.01):
        raise Unreadable(f"{headers[0].path}: its orientation is no pair of unit vectors")
    row = pair[0] / np.linalg.norm(pair[0])
    column = pair[1] - (pair[1] @ row) * row
    return np.concatenate((row, column / np.linalg.norm(column)))


def read_pixels(path: Path) -> NDArray[np.float32]:
    """(y, x) float32, HU of one file.

    Raises
    ------
    Unreadable
        If the pixels are missing, cut off or cannot be decoded, or no Hounsfield values.
    """
    try:
        with disable_value_validation():
            ds = pydicom.dcmread(path)
            return hounsfield(ds.pixel_array, ds)
    except BROKEN as error:
        raise Unreadable(f"its pixels cannot be read ({error})") from error


def hounsfield(stored: NDArray[Any], ds: pydicom.Dataset) -> NDArray[np.float32]:
    """(y, x) float32, HU of stored values.

    Some 12-bit unsigned slices of RSNA 2019 lost their intercept, and what lay below zero was
    wrapped to the top of the 12 bits. Where BitsStored is 12, PixelRepresentation 0 and the
    intercept above -100, this adds 1000, wraps values of 4096 and more, and takes -1000 as the
    intercept, as published by Burduja 2020 (Sensors 20:5611, code).

    Raises
    ------
    AttributeError
        If slope or intercept is missing: they are never guessed.
    ValueError
        If the pixels are no single grey image.
    """
    if stored.ndim != 2:
        raise ValueError(f"shape {stored.shape}, not one grey image")
    values = stored.astype(np.int32)
    slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
    if ds.BitsStored == 12 and ds.PixelRepresentation == 0 and intercept > -100:
        values, intercept = (values + 1000) & 4095, -1000.0
    hu = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return np.asarray(np.maximum(hu, np.float32(AIR_HU)))
