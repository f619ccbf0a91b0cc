"""Sets aside the few images of a series that do not belong to its scan. Pure.

Scanners and archives put a protocol page, a scout, a copy with contrast agent or an image without a
position among the slices of a series. Such an image says nothing against the others.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from node.cases.header_words import Contrast, contrast, is_localiser, is_rendered
from node.records import Header, Instance
from node.settings import Assemble
from node.wording import counted

LEAST_SHARE = 0.5
"""The images that belong together are more than this part of the series; else nobody can say which
of them are the odd ones."""


TURNED = 0.01
"""Difference of a cosine from the median that tells a turned image. Archives round cosines to two
digits."""
SCALED = 0.01
"""Difference of the pixel size from the median, as a share; archives round to two digits."""

LOST = frozenset(
    {
        *("without pixel data", "not in Hounsfield units", "without a position"),
        *("of another pixel size", "of another matrix", "of another frame of reference"),
    }
)
"""Why an image is set aside that may show the head all the same."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SortedOut:
    """The images of a series that belong together, and why others are set aside."""

    images: tuple[Instance, ...]
    limitations: tuple[str, ...] = ()
    lost: int = 0
    """How many of those set aside may show a part of the head that no other image shows."""


def sort_out(images: Sequence[Instance], settings: Assemble) -> SortedOut:
    """Return the images without the odd ones; all of them if no majority belongs together."""
    faults = [_fault(image.header, settings) for image in images]
    sound = [image.header for image, fault in zip(images, faults, strict=True) if not fault]
    if sound:
        usual = Usual.of(sound)
        faults = [
            fault or usual.differs(image.header)
            for image, fault in zip(images, faults, strict=True)
        ]
    kept = tuple(image for image, fault in zip(images, faults, strict=True) if not fault)
    if len(kept) <= LEAST_SHARE * len(images):
        return SortedOut(tuple(images))
    aside = [fault for fault in faults if fault]
    return SortedOut(kept, tuple(_sentences(aside)), sum(fault in LOST for fault in aside))


def _fault(header: Header, settings: Assemble) -> str:
    """Return what makes an image an odd one by itself, "" if nothing does."""
    lost = any(frame.position_mm is None or frame.orientation is None for frame in header.frames)
    said = (
        (is_localiser(header), "localisers"),
        (is_rendered(header), "pages or pictures computed from others"),
        (not header.has_pixel_data, "without pixel data"),
        (header.rescale_type not in ("", "HU"), "not in Hounsfield units"),
        (lost, "without a position"),
        (contrast(header, settings) is Contrast.AGENT, "with contrast agent"),
    )
    return next((words for holds, words in said if holds), "")


@dataclass(frozen=True, slots=True)
class Usual:
    """What most images of the series have in common."""

    orientation: Vector
    spacing_mm: Vector
    matrix: tuple[int | None, int | None]
    frame_of_reference: str

    @classmethod
    def of(cls, headers: Sequence[Header]) -> Self:
        """Return what the largest set of headers that agree in all of this has in common."""
        kinds = [
            (
                tuple(np.round(header.frames[0].orientation or (), 2)),
                tuple(np.round(header.pixel_spacing_mm or (0.0, 0.0), 2)),
                (header.rows, header.columns),
                header.frame_of_reference_uid,
            )
            for header in headers
        ]
        most = Counter(kinds).most_common(1)[0][0]
        alike = [header for header, kind in zip(headers, kinds, strict=True) if kind == most]
        spacings = [header.pixel_spacing_mm or (0.0, 0.0) for header in alike]
        orientation = np.median([header.frames[0].orientation for header in alike], axis=0)
        return cls(orientation, np.median(spacings, axis=0), *most[2:])

    def differs(self, header: Header) -> str:
        """Return in what an image differs from the others, "" if it does not."""
        turned = np.abs(np.array(header.frames[0].orientation) - self.orientation).max()
        scaled = np.abs(np.array(header.pixel_spacing_mm or (0.0, 0.0)) - self.spacing_mm).max()
        frame = header.frame_of_reference_uid
        said = (
            (bool(turned > TURNED), "of another orientation"),
            (bool(scaled > SCALED * self.spacing_mm.max()), "of another pixel size"),
            ((header.rows, header.columns) != self.matrix, "of another matrix"),
            (
                bool(frame and self.frame_of_reference) and frame != self.frame_of_reference,
                "of another frame of reference",
            ),
        )
        return next((words for holds, words in said if holds), "")


def _sentences(aside: Iterable[str]) -> list[str]:
    counts = Counter(aside)
    return [
        f"{counted(count, 'image')} of the series set aside: {why}"
        for why, count in sorted(counts.items())
    ]
