"""Separates the scans and the reconstructions that stand in one series. Pure.

Scanners and archives put a repeat, a later scan or a second kernel under one SeriesInstanceUID.
Each becomes a part of the series, and is judged, ranked and read like a series of its own;
`node.cases.scans` says which parts show one scan. Only what shows a place again is taken apart:
images that add new places stay together, whatever their headers call them.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from node.cases.header_words import is_localiser, is_rendered, is_sharp
from node.cases.odd_ones import Usual
from node.dicom.read.geometry import SAME_POSITION_MM
from node.records import Header, Instance, Part, Series
from node.settings import Assemble

SAME_SCAN_S = 120.0
"""Images that were acquired further apart show two scans. A helical head scan takes seconds and a
sequential one about a minute; a repeat comes after somebody has looked. An estimate."""

OVERLAP = 0.5
"""What is one scan shares at least this part of the shorter extent along the patient. An estimate:
reconstructions of one scan share nearly all of it, neighbouring blocks nearly none."""

LEAST_IMAGES = 3
"""Fewer images are no part of their own."""

DYNAMIC = 3
"""So many scans of one place within `SAME_SCAN_S`, or without times, are a dynamic series. Of such
a series the first scan is read. An estimate: nobody repeats a head twice so soon."""

NEAR = 0.4
"""An image nearer than this part of the spacing shows the place of the other one again. It lies
below the half, where interleaved slices lie. An estimate."""

Vector = NDArray[np.float64]


def parts(series: Series, settings: Assemble) -> tuple[Series, ...]:
    """Return the parts of a series, the one acquired first in front; itself if it has only one.

    A part that is too short to be cleared borrows the places that it lacks from a longer part of
    the same reconstruction. So a repeat of the lowest slices is read within its head.
    """
    images = sorted(series.instances, key=_number)
    slices = [image for image in images if _is_slice(image.header)]
    heaps = [heap for number, plane in enumerate(_planes(slices)) for heap in _heaps(plane, number)]
    found = sorted((heap for heap in heaps if len(heap.images) >= LEAST_IMAGES), key=_begin)
    if len(heaps) < 2 or not found:
        return (series,)
    largest = max(found, key=lambda heap: len(heap.images))
    strays = [image for heap in heaps if _strays(heap, largest) for image in heap.images]
    placed = {id(image) for heap in found for image in heap.images} | set(map(id, strays))
    rest = [image for image in images if id(image) not in placed]
    kept = _without_phases(found)
    unread = sum(len(heap.images) for heap in found) - sum(len(heap.images) for heap in kept)
    keeper = max(kept, key=lambda heap: len(heap.images))
    separate = []
    for number, heap in enumerate(kept):
        borrowed = _borrowed(heap, kept, settings)
        mine = (*heap.images, *borrowed, *(rest if heap is keeper else ()))
        uids = frozenset(image.header.sop_instance_uid for image in borrowed)
        part = Part(number, len(kept), uids, len(strays), unread)
        separate.append(replace(series, instances=mine, part=part, whole=series.instances))
    return tuple(separate)


def moment(stamp: str) -> datetime | None:
    """Return `Header.acquired` as a time, None if it has no time of day."""
    try:
        return datetime.strptime(stamp, "%Y%m%d%H%M%S")  # noqa: DTZ007  scanners name no time zone
    except ValueError:
        return None


# --- heaps: images of one plane that show each place once ----------------------------------------


@dataclass(frozen=True, slots=True)
class _Group:
    """Images of one acquisition and reconstruction."""

    images: tuple[Instance, ...]
    scan: int
    """Which of the scans by time it belongs to."""
    locations: Vector
    """(frames,) float64, mm along the normal."""

    def sort_key(self) -> tuple[int, bool, int, int, tuple[int, str]]:
        """Return what orders groups: the largest first, then soft kernels, then as acquired."""
        header = self.images[0].header
        order = self.scan, header.acquisition_number or 0, _number(self.images[0])
        return -len(self.images), is_sharp(header), *order


@dataclass(slots=True)
class _Heap:
    plane: int
    reconstruction: tuple[Hashable, ...]
    images: list[Instance] = field(default_factory=list)
    scans: set[int] = field(default_factory=set)
    locations: Vector = field(default_factory=lambda: np.empty(0))
    """(frames,) float64, mm along the normal."""

    def take(self, group: _Group) -> None:
        self.images += group.images
        self.scans.add(group.scan)
        self.locations = np.concatenate([self.locations, group.locations])

    def shows(self, group: _Group) -> bool:
        """Return whether the places of the group are here already."""
        here, there = self.locations, group.locations
        distance = distance_mm(there, here)
        if len(group.images) < LEAST_IMAGES:
            return bool((distance < SAME_POSITION_MM).any())
        near_mm = max(NEAR * max(spacing_mm(here), spacing_mm(there)), SAME_POSITION_MM)
        if (distance < near_mm).mean() > 0.5:
            return True
        return group.scan not in self.scans and overlap(here, there) >= OVERLAP


def _heaps(plane: Sequence[Instance], number: int) -> list[_Heap]:
    heaps: list[_Heap] = []
    for group in sorted(_groups(plane), key=_Group.sort_key):
        reconstruction = _reconstruction(group.images[0].header)
        free = [heap for heap in heaps if not heap.shows(group)]
        alike = [heap for heap in free if heap.reconstruction == reconstruction]
        if not free:
            heaps.append(_Heap(number, reconstruction))
        (alike or free or heaps[-1:])[0].take(group)
    return heaps


def _groups(plane: Sequence[Instance]) -> Iterator[_Group]:
    """Yield the images of each acquisition and reconstruction; runs over the same places apart."""
    scans = _scans(plane)
    by: defaultdict[Hashable, list[Instance]] = defaultdict(list)
    for image in plane:
        header, scan = image.header, scans[image.header.acquired]
        by[scan, header.acquisition_number or 0, _reconstruction(header)].append(image)
    for (scan, *_), images in by.items():  # type: ignore[misc]
        yield from (_Group(tuple(run), scan, _locations(run)) for run in _runs(images))


def _scans(images: Iterable[Instance]) -> dict[str, int]:
    """Return the number of the scan that each stamp of acquisition belongs to, by time."""
    stamps = {image.header.acquired for image in images}
    known = sorted(stamp for stamp in stamps if moment(stamp))
    numbers, number = dict.fromkeys(stamps, 0), 0
    for before, stamp in pairwise(known):
        apart = moment(stamp) - moment(before)  # type: ignore[operator]
        number += apart.total_seconds() > SAME_SCAN_S
        numbers[stamp] = number
    return numbers


def _runs(images: Sequence[Instance]) -> list[list[Instance]]:
    """Split images at each jump back along the normal, if each run then shows every place once.

    Parameters
    ----------
    images
        In order of InstanceNumber.
    """
    if len(images) < 2 or _shows_each_place_once(images):
        return [list(images)]
    places = [float(_locations([image])[0]) for image in images]
    steps = np.diff(places)
    forth = np.sign(np.median(steps)) or 1.0
    ends = np.flatnonzero(steps * forth < -SAME_POSITION_MM) + 1
    runs = [list(images[a:b]) for a, b in pairwise([0, *map(int, ends), len(images)])]
    whole = all(len(run) >= LEAST_IMAGES and _shows_each_place_once(run) for run in runs)
    return runs if whole else [list(images)]


def _shows_each_place_once(images: Sequence[Instance]) -> bool:
    gaps = np.diff(np.sort(_locations(images)))
    return bool((gaps >= SAME_POSITION_MM).all())


def _planes(images: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Yield images of one orientation, pixel size, matrix and frame of reference, most first."""
    rest = list(images)
    while rest:
        usual = Usual.of([image.header for image in rest])
        alike = [image for image in rest if not usual.differs(image.header)]
        yield alike
        rest = [image for image in rest if usual.differs(image.header)]


# --- parts ---------------------------------------------------------------------------------------


def _without_phases(found: Sequence[_Heap]) -> list[_Heap]:
    """Return the heaps without the later phases of a dynamic series."""
    alike: defaultdict[Hashable, list[_Heap]] = defaultdict(list)
    for heap in found:
        alike[heap.plane, heap.reconstruction].append(heap)
    phases: set[int] = set()
    for scans in alike.values():
        repeats = [id(b) for a, b in pairwise(scans) if a.scans & b.scans]
        phases |= set(repeats) if len(repeats) >= DYNAMIC - 1 else set()
    return [heap for heap in found if id(heap) not in phases]


def _strays(heap: _Heap, largest: _Heap) -> bool:
    """Return whether a heap is too small for a part, and no copies of the largest part either."""
    alike = heap.plane != largest.plane or heap.reconstruction == largest.reconstruction
    return len(heap.images) < LEAST_IMAGES and not alike


def _borrowed(heap: _Heap, found: Sequence[_Heap], settings: Assemble) -> list[Instance]:
    """Return the images that complete a short part."""
    mine = heap.locations
    if np.ptp(mine) + spacing_mm(mine) >= settings.min_coverage_mm:
        return []
    alike = (heap.plane, heap.reconstruction)
    lenders = [h for h in found if (h.plane, h.reconstruction) == alike]
    lender = max(lenders, key=lambda h: len(h.images))
    if lender is heap:
        return []
    half = spacing_mm(lender.locations) / 2 - SAME_POSITION_MM
    return [i for i in lender.images if distance_mm(_locations([i]), mine).min() >= half]


def _begin(heap: _Heap) -> tuple[str, int, str]:
    """Return what orders parts: the time of acquisition, then number and UID."""
    headers = [image.header for image in heap.images]
    first = min(heap.images, key=_number).header
    stamps = (header.acquired for header in headers if moment(header.acquired))
    return min(stamps, default=""), first.instance_number or 0, first.sop_instance_uid


def _reconstruction(header: Header) -> tuple[Hashable, ...]:
    return header.convolution_kernel, header.image_type, header.contrast_agent


def _number(image: Instance) -> tuple[int, str]:
    return image.header.instance_number or 0, image.header.sop_instance_uid


def _is_slice(header: Header) -> bool:
    placed = all(f.position_mm is not None and f.orientation is not None for f in header.frames)
    return placed and not is_localiser(header) and not is_rendered(header)


def _locations(images: Iterable[Instance]) -> Vector:
    """(frames,) float64, mm along the normal."""
    frames = (frame for image in images for frame in image.header.frames)
    return np.array([frame.location_mm for frame in frames], np.float64)


def spacing_mm(locations: Vector) -> float:
    """Return the median distance between different places; 0 if there are fewer than two."""
    gaps = np.diff(np.sort(locations))
    gaps = gaps[gaps >= SAME_POSITION_MM]
    return float(np.median(gaps)) if len(gaps) else 0.0


def distance_mm(these: Vector, those: Vector) -> Vector:
    """Return the (n,) float64 distance of each of `these` places from the nearest of `those`."""
    return np.asarray(np.abs(np.subtract.outer(these, those)).min(axis=1))


def overlap(one: Vector, other: Vector) -> float:
    """Return what two extents share, as a part of the shorter one; negative if they lie apart."""
    shared = min(one.max(), other.max()) - max(one.min(), other.min())
    return float(shared / max(min(np.ptp(one), np.ptp(other)), SAME_POSITION_MM))
