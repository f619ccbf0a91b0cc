"""Finds the series of a folder tree or of a medium by the headers of its files.

Each folder is a part of the search, done again only if its files have changed. A series is judged
by the rules of the node. A file that should be an image and cannot be read belongs to every series
beside it: it may be a slice of theirs, and the reading counts it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from node.archive.finding.series import FoundSeries
from node.archive.finding.store import Store
from node.archive.finding.words import day_of, iso_day, place
from node.arrive.intake import is_dicom
from node.arrive.media import DICOM_SUFFIXES, Found, find
from node.cases.eligibility import Verdict, judge_parts
from node.cases.substitutes import years
from node.dicom.read.header import open_object
from node.dicom.read.makers import unnamed
from node.dicom.read.provenance import Provenance, provenance
from node.errors import BadConfiguration, BadObject
from node.records import Header, Instance, Series, StoredObject
from node.settings import Assemble

_THEN = datetime(1970, 1, 1, tzinfo=UTC)
"""When the files were received does not matter here."""


@dataclass(frozen=True, slots=True)
class Days:
    """The days whose studies are looked for, ISO 8601; None is open."""

    since: date | None = None
    until: date | None = None

    def has(self, written: str) -> bool:
        """Whether a DICOM date is one of them; one that cannot be read may be."""
        day = day_of(written)
        return day is None or (self.since or day) <= day <= (self.until or day)


@dataclass
class _Beside:
    """The images of one series in one folder."""

    provenance: Provenance
    instances: list[Instance] = field(default_factory=list)


def search_folder(
    root: Path,
    days: Days,
    words: Assemble,
    store: Store,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, int]]:
    """Search a folder, a medium or a file; yield how many folders are done, and of how many.

    Raises
    ------
    BadConfiguration
        If there is no file.
    """
    root = root.resolve()
    found = find(root, all_files=True)
    if not found.files:
        raise BadConfiguration(f"{root} holds no file")
    for left in found.left_out:
        tell(f"{left.name} is left out: {left.reason}")
    folders = [(folder, list(files)) for folder, files in _by_folder(found.files)]
    for number, (folder, files) in enumerate(folders, start=1):
        part = _part(folder, files, days)
        if not store.is_done(part):
            store.add(part, _search(files, _lost(found, folder), str(root), days, words, tell))
        yield number, len(folders)


def joined(words: Assemble) -> Callable[[Sequence[FoundSeries]], FoundSeries]:
    """Return a function that judges a series anew from all the folders that hold its files."""

    def join(found: Sequence[FoundSeries]) -> FoundSeries:
        series = found[-1]
        for other in found[:-1]:
            series = other.joined(series)
        if not series.paths:
            return series
        again, _ = _read([Path(path) for path in series.paths])
        (judged,) = (
            _judged(beside, series.source, words)
            for beside in again.values()
            if _uid(beside) == series.series_instance_uid
        )
        return replace(judged, paths=series.paths)

    return join


def _by_folder(files: Sequence[Path]) -> Iterator[tuple[Path, Iterator[Path]]]:
    return groupby(sorted(files, key=lambda file: (file.parent, file.name)), lambda f: f.parent)


def _part(folder: Path, files: Sequence[Path], days: Days) -> str:
    """Return the name of a folder as a part: another one if its files are others."""
    known = hashlib.sha256(f"{folder}\0{days}".encode())
    for file in files:
        stat = file.stat() if file.exists() else None
        known.update(f"\0{file.name}\0{stat and (stat.st_size, stat.st_mtime_ns)}".encode())
    return known.hexdigest()


def _lost(found: Found, folder: Path) -> list[str]:
    """Return the files of a folder that are known to be missing, or lead out of it."""
    names = (left.name for left in found.left_out if left.fault)
    faults = (found.root / name.replace("\\", "/") for name in names)  # as a DICOMDIR writes it
    return [str(path) for path in faults if path.parent == folder]


def _search(
    files: Sequence[Path],
    lost: Sequence[str],
    source: str,
    days: Days,
    words: Assemble,
    tell: Callable[[str], None],
) -> list[FoundSeries]:
    """Return the series of a folder's files."""
    beside, damaged = _read(files)
    for file, why in damaged:
        tell(f"{file} cannot be used: {why}")
    extra = (*(str(file) for file, _ in damaged), *lost)
    return [
        replace(found, paths=(*found.paths, *extra))
        for each in beside.values()
        if days.has(_day(each))
        for found in [_judged(each, source, words)]
    ]


def _read(files: Sequence[Path]) -> tuple[dict[str, _Beside], list[tuple[Path, str]]]:
    """Return the images by series, and the files that should be images and cannot be read."""
    beside: dict[str, _Beside] = {}
    damaged: list[tuple[Path, str]] = []
    for file in files:
        try:
            if not is_dicom(file):
                if file.suffix.lower() in DICOM_SUFFIXES:
                    damaged.append((file, "it is named as DICOM and is none"))
                continue
            with file.open("rb") as opened:
                found = open_object(opened, pixels=False)
        except (BadObject, OSError) as error:
            damaged.append((file, str(error)))
            continue
        uid = found.header.series_instance_uid
        if uid not in beside:  # the first image tells where all of them come from
            beside[uid] = _Beside(provenance(found.ds))
        stored = StoredObject(str(file), "", 0)
        beside[uid].instances.append(Instance(found.header, stored, _THEN))
    return beside, damaged


def _judged(beside: _Beside, source: str, words: Assemble) -> FoundSeries:
    """Return what is known of a series, and whether the node would read it."""
    images = tuple(beside.instances)
    first, origin = images[0].header, beside.provenance
    series = Series(_uid(beside), first.study_instance_uid, images, _THEN, _THEN, _THEN)
    verdicts = judge_parts(series, words)
    verdict = next((one for one in verdicts if one.refusal is None), verdicts[0])
    nameless = partial(unnamed, identifying=origin.identifying)
    return FoundSeries(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=_uid(beside),
        source=source,
        paths=tuple(image.stored.path for image in images),
        patient_id=first.patient_id,
        issuer_of_patient_id=origin.issuer_of_patient_id,
        accession_number=first.accession_number,
        study_date=iso_day(_day(beside)),
        modality=first.modality,
        body_part=nameless(first.body_part),
        description=nameless(first.series_description),
        manufacturer=nameless(origin.manufacturer),
        model=nameless(origin.manufacturer_model_name),
        software=nameless(origin.software_versions),
        station=origin.station_name,
        kernel=nameless(first.convolution_kernel),
        thickness_mm=first.slice_thickness_mm,
        spacing_mm=_spacing_mm(verdict),
        slices=sum(len(image.header.frames) for image in images),
        age_years=years([image.header for image in images]),
        sex=origin.patient_sex,
        place=place(origin.places),
        taken=verdict.refusal is None,
        why=nameless(_why(verdict, len(verdicts))),
    )


def _uid(beside: _Beside) -> str:
    return beside.instances[0].header.series_instance_uid


def _day(beside: _Beside) -> str:
    header: Header = beside.instances[0].header
    return beside.provenance.study_date or header.acquired


def _spacing_mm(verdict: Verdict) -> float | None:
    """Return the distance between neighbouring slices, mm; None if they were not put in order."""
    if verdict.stack is None or len(verdict.stack.slices) < 2:
        return None
    return round(float(np.median(verdict.stack.gaps_mm)), 3)


def _why(verdict: Verdict, parts: int) -> str:
    if verdict.refusal is not None:
        return verdict.refusal.message
    of_parts = f", in {parts} parts" if parts > 1 else ""
    stack = verdict.stack
    if stack is None:
        return f"a plain head CT by its headers{of_parts}"
    extent = f"{len(stack.slices)} slices over {stack.coverage_mm:.0f} mm"
    return f"a plain head CT by its headers: {extent}{of_parts}"
