"""Can this series be read: judged from its headers alone, by a table of rules. Pure.

The rules run in the order of `RULES`, from what a series is to how much of it there is, and the
first that objects gives the reason. What headers leave open (a body part that is not named) is
allowed here; the reader refuses pixels that show no brain.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    EnhancedCTImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
)

from node.dicom.read.geometry import Stack, stack
from node.errors import NotAnalysed
from node.identity import PatientIdentity, disagreeing
from node.records import Header, Instance, Series
from node.settings import Assemble
from node.states import Reason

CT = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000})

# All numbers and words below are chosen.
MAX_AXIAL_TILT_DEG = 35.0  # gantries tilt up to 30 degrees
WHOLE_HEAD_MM = 120.0  # an adult's vertex to foramen magnum is about 130 mm
LONGER_THAN_A_HEAD_MM = 350.0
NARROW_MM = 180.0  # an adult head is about 190 mm long
THICK_MM = 7.0
ADULT_YEARS = 18.0

_WORD = r"(?<![a-zäöü]){}(?![a-zäöü])"
_LOCALISER = re.compile(r"locali[sz]er|scout|topogram|surview|scanogram", re.I)
_RENDERED = re.compile(r"mpr|mip|minip|reformat|projection|curved|vrt|volume.?render|screen", re.I)
_RENDERED_WORD = re.compile(_WORD.format("(mpr|mip|minip|vrt)"), re.I)
_HEAD = re.compile(
    r"head|brain|skull|crani|cereb|neuro|stroke|ncct|kopf|sch(ae|ä)del|hirn|t[eê]te|cr[aâ]ne|"
    r"testa|cabeza|hoofd|huvud|hjern",
    re.I,
)
_ELSEWHERE = re.compile(
    r"chest|thora|lung|abdom|pelvi|liver|spine|cervical|lumbar|neck|hals|cardiac|coronary|aort|"
    r"shoulder|extremit|face|facial|sinus|orbit|dental|mandib|maxill|petrous|temporal bone|"
    + _WORD.format("(hips?|knees?|foot|feet|ankles?|wrists?|hands?|elbows?|legs?|arms?|ears?)"),
    re.I,
)
_NO_AGENT = re.compile(r"(none|no|without|w/?o|ohne|sans|sin)( .*)?|n/?a|-+|0", re.I)
_CONTRAST = re.compile(
    r"contrast|angio|perfusion|bolus|arterial|venous|delayed|enhanced|c\+|\+c|"
    + _WORD.format("(cta|ctv|ctp|ce|km)"),
    re.I,
)
_NO_CONTRAST = re.compile(
    r"without|w/o|non.?contrast|no contrast|non.?enhanced|un.?enhanced|pre.?contrast|nati(v|f)|"
    r"plain|ncct|ohne|sans|c-(?![a-z])",
    re.I,
)
_BONE = re.compile(_WORD.format("(bone|knochen|os)"), re.I)
_SHARP_KERNEL = re.compile(
    r"bone|edge|lung|sharp|knochen|"  # GE and others in words
    r"^[bhuj][a-z]{0,2}[6-9]\d|"  # Siemens: H60s, B70f, Hr64
    r"^fc(3[01]|8\d)|"  # Canon
    r"^(d|e|l|ec|yc|yd|ye)$",  # Philips
    re.I,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a series cannot be read."""

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
        Its images: all instances but localisers and pages that came along with axial images.
    stack
        Those images in order; None if they are refused before they are put in order.
    refusal
        None if the series can be read.
    """

    series: Series
    images: tuple[Instance, ...]
    stack: Stack | None = None
    refusal: Refusal | None = None

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers of `images`."""
        return tuple(instance.header for instance in self.images)

    @property
    def name(self) -> str:
        """How people call the series: its description, or its UID where it has none."""
        described = self.images[0].header.series_description
        return f"{described!r}" if described else self.series.series_instance_uid


def judge(series: Series, settings: Assemble) -> Verdict:
    """Return what the headers of a series say, whatever the order in which it arrived."""
    images = _images(series)
    headers = tuple(instance.header for instance in images)
    for reason, objection in RULES:
        if message := objection(headers, settings):
            return Verdict(series, images, refusal=Refusal(reason, message))
    try:
        ordered = stack(headers, settings.max_gap_factor, prefer=is_sharp)
    except NotAnalysed as error:
        return Verdict(series, images, refusal=Refusal(Reason(error.code), str(error)))
    for reason, complaint in STACK_RULES:
        if message := complaint(ordered, headers, settings):
            return Verdict(series, images, ordered, Refusal(reason, message))
    return Verdict(series, images, ordered)


def is_sharp(header: Header) -> bool:
    """Whether the image was made for bone or lung, by its kernel or its description."""
    return bool(
        _SHARP_KERNEL.search(header.convolution_kernel.strip())
        or _BONE.search(header.series_description)
    )


def has_contrast(header: Header) -> bool:
    """Whether the header names a contrast agent or a contrast phase.

    The protocol and the study description are not asked: they speak of the whole examination,
    and its first series is the plain one.
    """
    agent = header.contrast_agent
    if agent and not _NO_AGENT.fullmatch(agent):
        return True
    words = header.series_description
    return bool(_CONTRAST.search(words)) and not _NO_CONTRAST.search(words)


def body_part(header: Header) -> tuple[bool | None, str]:
    """Return whether the header speaks of a head (None: it does not say), and its words.

    The most specific attribute that speaks of a body part decides; "head and neck" holds a head.
    """
    for words in (
        header.series_description,
        header.body_part,
        header.protocol_name,
        header.study_description,
    ):
        if _HEAD.search(words):
            return True, words
        if _ELSEWHERE.search(words):
            return False, words
    return None, ""


def limitations(verdict: Verdict) -> tuple[str, ...]:
    """Return what a reader of the result must know about an eligible series."""
    headers, ordered = verdict.headers, verdict.stack
    assert ordered is not None
    gaps = ordered.gaps_mm
    thickest = max((h.slice_thickness_mm or 0.0 for h in headers), default=0.0)
    years = _years(headers)
    field = tuple(
        step * count
        for step, count in zip(
            ordered.plane.spacing_mm, (ordered.plane.rows, ordered.plane.columns), strict=True
        )
    )
    said = (
        (ordered.tilt_deg >= 1, f"gantry tilt {ordered.tilt_deg:.1f} degrees"),
        (
            gaps.max() > 1.5 * gaps.min(),
            f"slice spacing varies from {gaps.min():.1f} to {gaps.max():.1f} mm",
        ),
        (thickest >= THICK_MM, f"slices up to {thickest:.1f} mm thick"),
        (
            thickest > 0 and np.median(gaps) > 1.2 * thickest,
            f"slices {thickest:.1f} mm thick lie {np.median(gaps):.1f} mm apart: the head between "
            "them was not imaged",
        ),
        (
            ordered.coverage_mm < WHOLE_HEAD_MM,
            f"only {ordered.coverage_mm:.0f} mm of the head were scanned",
        ),
        (
            min(field) < NARROW_MM,
            f"field of view {field[0]:.0f} x {field[1]:.0f} mm: it may cut the head",
        ),
        (any(map(is_sharp, headers)), "bone kernel: soft tissue is noisy"),
        (any(map(has_contrast, headers)), "contrast agent: vessels look like blood"),
        (any("DERIVED" in h.image_type for h in headers), "derived images, not the scanner's own"),
        (
            any(h.transfer_syntax_uid in LOSSY for h in headers),
            "images came in a lossy transfer syntax",
        ),
        (
            years is not None and years < ADULT_YEARS,
            f"the patient is {_age(years)} old: the reader was trained mostly on adults",
        ),
        (
            all(body_part(h)[0] is None for h in headers),
            "the header does not name the body part",
        ),
        (
            bool(ordered.set_aside),
            f"{len(ordered.set_aside)} images of a second scan of the same place were left out",
        ),
    )
    return tuple(sentence for holds, sentence in said if holds)


def _years(headers: Sequence[Header]) -> float | None:
    """The patient's age; the lowest, where images differ by a birthday, None where none says."""
    return min(
        (h.patient_age_years for h in headers if h.patient_age_years is not None), default=None
    )


def _age(years: float | None) -> str:
    """The age in words; months for infants."""
    years = years or 0.0
    count, unit = (int(years), "year") if years >= 2 else (round(years * 12), "month")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _images(series: Series) -> tuple[Instance, ...]:
    """The instances in an order that arrival does not change, pages and localisers left out."""
    instances = sorted(series.instances, key=lambda i: i.header.sop_instance_uid)
    ct = [i for i in instances if i.header.sop_class_uid in CT]
    slices = [i for i in ct if not _is_localiser(i.header)]
    return tuple(slices or ct or instances)


def _is_localiser(header: Header) -> bool:
    return bool(_LOCALISER.search(" ".join((*header.image_type, header.series_description))))


Headers = Sequence[Header]


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
    return "a localiser" if _is_localiser(headers[0]) else None


def _derived(headers: Headers, _: Assemble) -> str | None:
    for header in headers:
        kind = "\\".join(header.image_type)
        described = _RENDERED_WORD.search(header.series_description)
        if described or _RENDERED.search(kind) or header.image_type[1:2] == ("SECONDARY",):
            return (
                f"images computed from others (ImageType {kind or 'unnamed'}), not the scan itself"
            )
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


def _elsewhere(headers: Headers, _: Assemble) -> str | None:
    for header in headers:
        is_head, words = body_part(header)
        if is_head is False:
            return f"not a head: the header says {words!r}"
    return None


def _contrast(headers: Headers, settings: Assemble) -> str | None:
    if settings.read_contrast:
        return None
    for header in headers:
        if has_contrast(header):
            words = header.contrast_agent or header.series_description
            return f"contrast agent ({words!r}): vessels would look like blood"
    return None


def _too_young(headers: Headers, settings: Assemble) -> str | None:
    years = _years(headers)
    if years is None or years >= settings.min_age_years:
        return None
    return (
        f"the patient is {_age(years)} old: the reader was not trained on children under "
        f"{_age(settings.min_age_years)}"
    )


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
"""Objections to what a series is, the plainest first."""

CURABLE = frozenset({Reason.TOO_FEW_SLICES, Reason.MISSING_SLICE, Reason.COVERAGE})
"""Objections that further slices can answer."""


def _scanned_often(ordered: Stack, _: Headers, __: Assemble) -> str | None:
    if len(ordered.copies) <= len(ordered.slices):
        return None
    return (
        f"{len(ordered.slices)} positions were scanned {len(ordered.copies)} times more: a dynamic "
        "series, or several in one"
    )


def _longer_than_a_head(ordered: Stack, headers: Headers, _: Assemble) -> str | None:
    if ordered.coverage_mm <= LONGER_THAN_A_HEAD_MM or any(body_part(h)[0] for h in headers):
        return None
    return (
        f"not a head: {ordered.coverage_mm:.0f} mm were scanned and the header names no body part"
    )


def _short(ordered: Stack, _: Headers, settings: Assemble) -> str | None:
    if ordered.coverage_mm >= settings.min_coverage_mm:
        return None
    return (
        f"too little of the head: {ordered.coverage_mm:.0f} mm scanned, "
        f"{settings.min_coverage_mm:.0f} mm needed"
    )


STACK_RULES: tuple[tuple[Reason, Callable[[Stack, Headers, Assemble], str | None]], ...] = (
    (Reason.DUPLICATE_POSITION, _scanned_often),
    (Reason.NOT_A_HEAD, _longer_than_a_head),
    (Reason.COVERAGE, _short),
)
"""Objections to the slices in their order."""
