"""Can this series be analysed? Its headers alone decide, by a table of rules. Pure.

The rules run in the order of `RULES`, from what a series is to how much of it there is. The first
that objects gives the reason. What the headers do not say is allowed here, such as the body part;
the detector refuses pixels that show no brain.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from node.cases.header_words import (
    Contrast,
    body_part,
    contrast,
    is_localiser,
    is_rendered,
)
from node.cases.odd_ones import sort_out
from node.cases.parts import parts
from node.cases.substitutes import age_doubts, age_in_words, years
from node.dicom.read.geometry import Stack, stack
from node.errors import Refused
from node.identity import PatientIdentity, disagreeing
from node.records import Header, Instance, Series
from node.settings import Assemble
from node.states import Reason

CT = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})

# Estimates from anatomy and from what scanners can do; nothing was measured.
MAX_AXIAL_TILT_DEG = 35.0  # gantries tilt up to 30 degrees
WHOLE_HEAD_MM = 120.0  # an adult's vertex to foramen magnum is about 130 mm
LONGER_THAN_A_HEAD_MM = 350.0
LONGEST_HEAD_MM = 250.0  # an adult's vertex to chin is about 230 mm
HEAD_FIELD_MM = (150.0, 300.0)  # fields of view of heads; those of trunks are wider

Headers = Sequence[Header]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a series cannot be analysed."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the headers say of a series.

    Attributes
    ----------
    series
        The series judged.
    images
        Its images: all its instances, without the localisers and pages that came with them.
    settings
        The settings by which it is judged.
    stack
        Those images in order; None if they are refused before they are put in order.
    refusal
        None if the series can be analysed.
    """

    series: Series
    images: tuple[Instance, ...]
    settings: Assemble
    stack: Stack | None = None
    refusal: Refusal | None = None
    odd_ones: tuple[str, ...] = ()
    """What is said of images that were set aside (`node.cases.odd_ones`)."""
    lost: int = 0
    """How many of these may show a part of the head that no other image shows."""
    doubted: str = ""
    """Why the header says that it is no head, where it is read all the same."""

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers of `images`."""
        return tuple(instance.header for instance in self.images)

    @property
    def contrast(self) -> Contrast:
        """What the headers say of contrast agent; the image that speaks most for it decides."""
        return max(contrast(header, self.settings) for header in self.headers)

    @property
    def name(self) -> str:
        """What people call the series: its description, or its UID if it has no description."""
        described = self.images[0].header.series_description
        name = f"{described!r}" if described else self.series.series_instance_uid
        part = self.series.part
        return name if part.count == 1 else f"{name} (part {part.number + 1} of {part.count})"


def judge(series: Series, settings: Assemble, *, doubt: bool = False) -> Verdict:
    """Return what the headers of a series say; the order of arrival does not matter.

    Parameters
    ----------
    doubt
        Do not believe a header that names another part of the body, if the images have the size of
        a head.
    """
    everything = _images(series)
    headers = tuple(instance.header for instance in series.received)
    if message := _mixed_identity(headers, settings):
        return Verdict(
            series, everything, settings, refusal=Refusal(Reason.MIXED_IDENTITY, message)
        )
    found = sort_out(everything, settings)
    verdict = _judge(series, found.images, settings, doubt=doubt)
    if message := _purged(everything):
        verdict = replace(verdict, refusal=Refusal(Reason.PURGED, message))
    return replace(verdict, odd_ones=found.limitations, lost=found.lost)


def judge_parts(series: Series, settings: Assemble) -> tuple[Verdict, ...]:
    """Return what the headers say of each part of a series, the part acquired first in front."""
    return tuple(judge(part, settings) for part in parts(series, settings))


def first_objection(headers: Headers, settings: Assemble) -> Refusal | None:
    """Return the first of `RULES` to what a series is; None if nothing speaks against it."""
    objections = ((reason, objection(headers, settings)) for reason, objection in RULES)
    return next((Refusal(reason, message) for reason, message in objections if message), None)


def _purged(images: Sequence[Instance]) -> str | None:
    """Return that a series cannot be read for want of images; half of them are not enough."""
    gone = [image.purged_at for image in images if image.purged_at is not None]
    if 2 * len(gone) < len(images) or not gone:
        return None
    return (
        f"{len(gone)} of {len(images)} images were purged on {max(gone):%Y-%m-%d}: "
        "send the series again"
    )


def _judge(
    series: Series, images: tuple[Instance, ...], settings: Assemble, *, doubt: bool
) -> Verdict:
    headers = tuple(instance.header for instance in images)
    doubted = ""
    for reason, objection in RULES:
        if message := objection(headers, settings):
            if reason is Reason.NOT_A_HEAD and doubt:
                doubted = message
                continue
            return Verdict(series, images, settings, refusal=Refusal(reason, message))
    try:
        ordered = stack(headers, settings.max_gap_factor)
    except Refused as error:
        return Verdict(series, images, settings, refusal=Refusal(Reason(error.code), str(error)))
    for reason, complaint in STACK_RULES:
        if message := complaint(ordered, headers, settings):
            return Verdict(series, images, settings, ordered, Refusal(reason, message))
    if doubted and not _has_size_of_a_head(ordered):
        refusal = Refusal(Reason.NOT_A_HEAD, doubted)
        return Verdict(series, images, settings, ordered, refusal)
    return Verdict(series, images, settings, ordered, doubted=doubted)


def _has_size_of_a_head(ordered: Stack) -> bool:
    plane = ordered.plane
    high, wide = plane.spacing_mm[0] * plane.rows, plane.spacing_mm[1] * plane.columns
    low, most = HEAD_FIELD_MM
    return low <= min(high, wide) <= most and ordered.coverage_mm <= LONGEST_HEAD_MM


def _images(series: Series) -> tuple[Instance, ...]:
    """Return the instances sorted by UID, without pages and localisers if there are others."""
    instances = sorted(series.instances, key=lambda i: i.header.sop_instance_uid)
    ct = [i for i in instances if i.header.sop_class_uid in CT]
    slices = [i for i in ct if not is_localiser(i.header)]
    return tuple(slices or ct or instances)


def _mixed_identity(headers: Headers, _: Assemble) -> str | None:
    if not disagreeing(*(PatientIdentity.of(header).values() for header in headers)):
        return None
    return "the series holds images of different patients (PatientID or birth date); separate them"


def _not_ct(headers: Headers, _: Assemble) -> str | None:
    header = headers[0]
    if header.sop_class_uid in CT and header.modality in ("CT", ""):
        return None
    return (
        f"no CT images (modality {header.modality or 'unnamed'}, SOP class {header.sop_class_uid})"
    )


def _localiser(headers: Headers, _: Assemble) -> str | None:
    return "a localiser" if is_localiser(headers[0]) else None


def _derived(headers: Headers, _: Assemble) -> str | None:
    for header in headers:
        if is_rendered(header):
            kind = "\\".join(header.image_type) or "unnamed"
            return f"images computed from others (ImageType {kind}), not the scan itself"
    return None


def _no_pixel_data(headers: Headers, _: Assemble) -> str | None:
    lost = sum(not header.has_pixel_data for header in headers)
    return f"{lost} of {len(headers)} images came without pixel data" if lost else None


def _not_hounsfield(headers: Headers, _: Assemble) -> str | None:
    units = {header.rescale_type for header in headers} - {"", "HU"}
    return f"not in Hounsfield units (RescaleType {', '.join(sorted(units))})" if units else None


def _not_axial(headers: Headers, _: Assemble) -> str | None:
    for header in headers:
        for frame in header.frames:
            if frame.orientation is None:
                continue
            row, column = np.reshape(frame.orientation, (2, 3))
            normal = np.cross(row, column)
            upright = abs(normal[2]) / max(float(np.linalg.norm(normal)), 1e-6)
            if upright < np.cos(np.radians(MAX_AXIAL_TILT_DEG)):
                return "not axial: by its orientation a coronal, sagittal or oblique series"
    return None


def _elsewhere(headers: Headers, settings: Assemble) -> str | None:
    for header in headers:
        is_head, words = body_part(header, settings)
        if is_head is False:
            return f"not a head: the header says {words!r}"
    return None


def _contrast(headers: Headers, settings: Assemble) -> str | None:
    if settings.read_contrast:
        return None
    for header in headers:
        if contrast(header, settings) is Contrast.AGENT:
            words = ", ".join(filter(None, (header.contrast_agent, header.series_description)))
            return f"contrast agent ({words!r}): vessels would look like blood"
    return None


def _too_young(headers: Headers, settings: Assemble) -> str | None:
    age = years(headers)
    if age is None or age >= settings.min_age_years:
        return None
    said = (
        f"the patient is {age_in_words(age)} old: the networks were not trained on children under "
        f"{age_in_words(settings.min_age_years)}"
    )
    return "; ".join((said, *age_doubts(headers)))


def _too_few(headers: Headers, settings: Assemble) -> str | None:
    count = sum(len(header.frames) for header in headers)
    if count >= settings.min_slices:
        return None
    return f"too few slices: {count} received, {settings.min_slices} needed"


RULES: tuple[tuple[Reason, Callable[[Headers, Assemble], str | None]], ...] = (
    (Reason.MIXED_IDENTITY, _mixed_identity),
    (Reason.NOT_CT, _not_ct),
    (Reason.LOCALISER, _localiser),
    (Reason.DERIVED, _derived),
    (Reason.NOT_AXIAL, _not_axial),
    (Reason.NOT_A_HEAD, _elsewhere),
    (Reason.CONTRAST, _contrast),
    (Reason.NOT_HOUNSFIELD, _not_hounsfield),
    (Reason.NO_PIXEL_DATA, _no_pixel_data),
    (Reason.AGE, _too_young),
    (Reason.TOO_FEW_SLICES, _too_few),
)
"""Objections to what a series is, the most obvious ones first."""

CURABLE = frozenset({Reason.TOO_FEW_SLICES, Reason.PURGED})
"""Objections that further slices can remove, or the same ones again."""


def _too_few_places(ordered: Stack, _: Headers, settings: Assemble) -> str | None:
    count = len(ordered.slices)
    if count >= settings.min_slices:
        return None
    return f"too few slices: {count} places shown, {settings.min_slices} needed"


def _longer_than_a_head(ordered: Stack, headers: Headers, settings: Assemble) -> str | None:
    named = any(body_part(header, settings)[0] for header in headers)
    if ordered.coverage_mm <= LONGER_THAN_A_HEAD_MM or named:
        return None
    return (
        f"not a head: {ordered.coverage_mm:.0f} mm were scanned and the header names no body part"
    )


STACK_RULES: tuple[tuple[Reason, Callable[[Stack, Headers, Assemble], str | None]], ...] = (
    (Reason.TOO_FEW_SLICES, _too_few_places),
    (Reason.NOT_A_HEAD, _longer_than_a_head),
)
"""Objections to the ordered slices."""
