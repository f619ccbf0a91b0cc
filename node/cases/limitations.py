"""What a radiologist must know of a series that is read, as sentences. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from node.cases.eligibility import WHOLE_HEAD_MM, Verdict
from node.cases.header_words import Contrast, body_part, is_sharp
from node.cases.substitutes import age_in_words, substitutes, years
from node.dicom.read.geometry import Stack
from node.records import Header, Series
from node.wording import counted

LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000})

# Estimates from anatomy; nothing was measured.
NARROW_MM = 180.0  # an adult head is about 190 mm long
THICK_MM = 7.0  # the networks are trained on slabs of about 5 mm
ADULT_YEARS = 18.0

Headers = Sequence[Header]
Sentences = tuple[tuple[bool, str], ...]


def limitations(verdict: Verdict) -> tuple[str, ...]:
    """Return what a radiologist must know about an eligible series, as sentences."""
    ordered = verdict.stack
    assert ordered is not None
    images = tuple(verdict.images[index] for index in sorted({r.header for r in ordered.slices}))
    read = replace(verdict, images=images)
    said = (*_of_geometry(read.headers, ordered), *_of_content(read), *_of_part(verdict.series))
    taken = substitutes(read.headers)
    return (*(sentence for holds, sentence in said if holds), *taken, *verdict.odd_ones)


def not_yet_proven(on: str, studies: int) -> str:
    """Return that so few studies like this one were compared with a report.

    Parameters
    ----------
    on
        What they share, such as "this scanner".
    """
    return f"not yet proven on {on}: {counted(studies, 'study')}"


def _of_geometry(headers: Headers, ordered: Stack) -> Sentences:
    """Return the limitations that follow from where the slices lie."""
    gaps = ordered.gaps_mm
    thickest = max((h.slice_thickness_mm or 0.0 for h in headers), default=0.0)
    plane = ordered.plane
    high, wide = plane.spacing_mm[0] * plane.rows, plane.spacing_mm[1] * plane.columns
    return (
        (ordered.tilt_deg >= 1, f"gantry tilt {ordered.tilt_deg:.1f} degrees"),
        (
            bool(gaps.max() > 1.5 * gaps.min()),
            f"slice spacing varies from {gaps.min():.1f} to {gaps.max():.1f} mm",
        ),
        (thickest >= THICK_MM, f"slices up to {thickest:.1f} mm thick"),
        (
            thickest > 0 and bool(np.median(gaps) > 1.2 * thickest),
            f"slices {thickest:.1f} mm thick lie {np.median(gaps):.1f} mm apart: the head between "
            "them was not imaged",
        ),
        (
            ordered.coverage_mm < WHOLE_HEAD_MM,
            f"only {ordered.coverage_mm:.0f} mm of the head were scanned",
        ),
        (
            min(high, wide) < NARROW_MM,
            f"field of view {high:.0f} x {wide:.0f} mm: it may cut the head",
        ),
    )


def _of_content(verdict: Verdict) -> Sentences:
    """Return the limitations that follow from what the images are and whom they show."""
    headers = verdict.headers
    age = years(headers)
    return (
        (any(map(is_sharp, headers)), "bone kernel: soft tissue is noisy"),
        (verdict.contrast is Contrast.AGENT, "contrast agent: vessels look like blood"),
        (
            verdict.contrast is Contrast.UNCLEAR,
            "the header names a contrast agent and denies it: vessels may look like blood",
        ),
        (any("DERIVED" in h.image_type for h in headers), "derived images, not the scanner's own"),
        (
            any(h.transfer_syntax_uid in LOSSY for h in headers),
            "images came in a lossy transfer syntax",
        ),
        (
            age is not None and age < ADULT_YEARS,
            f"the patient is {age_in_words(age or 0.0)} old: the networks were trained mostly on "
            "adults",
        ),
        (
            all(body_part(h, verdict.settings)[0] is None for h in headers),
            "the header does not name the body part",
        ),
    )


def _of_part(series: Series) -> Sentences:
    """Return the limitations of a series that holds several scans or reconstructions."""
    part = series.part
    return (
        (
            part.count > 1,
            f"the series holds {part.count} scans or reconstructions: this is number "
            f"{part.number + 1}",
        ),
        (
            bool(part.borrowed),
            f"it shows {len(series.instances) - len(part.borrowed)} places again: "
            f"{counted(len(part.borrowed), 'image is', 'images are')} another scan's",
        ),
        (
            part.left_out > 0,
            f"{counted(part.left_out, 'image')} of another reconstruction left out",
        ),
    )
