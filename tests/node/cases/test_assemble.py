"""Which series are read, as what volume, and why the others are not."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage,
    XRayRadiationDoseSRStorage,
)

from models.volume import Volume
from node.cases.assemble import decide
from node.cases.completeness import closing
from node.cases.eligibility import judge
from node.dicom.read.pixels import load_volume
from node.errors import Refused
from node.outcomes import Outcome
from node.records import Case, Series
from node.settings import Assemble
from node.states import Priority, Reason, State
from tests.support.builder import (
    HEAD,
    T0,
    Edit,
    Scan,
    again,
    alone,
    case_of,
    each,
    encoded,
    frame,
    one,
    pixels,
    plus,
    rescaled,
    reverse,
    series,
    store,
    uid,
    where_it_claims,
    without,
)

SETTINGS = Assemble()


# --- one series: what it becomes -----------------------------------------------------------------

EVEN = (5.0,) * 29
DOWN = EVEN[::-1]


@dataclass(frozen=True)
class Read:
    """A series that is read: the gaps between its slices along the normal, and the tilt."""

    gaps_mm: tuple[float, ...] = EVEN
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Partly:
    """A series that is read, and is not cleared for this reason."""

    code: Reason


def of(scan: Scan, *edits: Edit) -> Callable[[], list[Dataset]]:
    def build() -> list[Dataset]:
        images = scan.build()
        for edit in edits:
            images = edit(images)
        return images

    return build


def enhanced(
    scan: Scan, *edits: Edit, order: Sequence[int] | None = None, shared_rescale: bool = False
) -> Callable[[], list[Dataset]]:
    def build() -> list[Dataset]:
        images = [scan.enhanced(order, shared_rescale=shared_rescale)]
        for edit in edits:
            images = edit(images)
        return images

    return build


def joined(*parts: Callable[[], list[Dataset]]) -> Callable[[], list[Dataset]]:
    return lambda: [ds for part in parts for ds in part()]


def lost_intercept(stored: np.ndarray) -> np.ndarray:
    """12-bit values whose intercept of -1000 was lost: below zero they wrapped to the top."""
    return (stored.astype(int) - 1024) & 4095


def leaning(degrees: float, turned: float) -> tuple[float, ...]:
    """Orientation of slices whose normal leans back, of a head that is turned: oblique, no tilt."""
    a, b = np.radians((degrees, turned))
    return tuple(
        np.r_[np.cos(b), np.sin(b), 0, np.cos(a) * np.r_[-np.sin(b), np.cos(b)], -np.sin(a)]
    )


COS15, SIN15 = float(np.cos(np.pi / 12)), float(np.sin(np.pi / 12))
TURNED = (COS15, SIN15, 0.0, -SIN15, COS15, 0.0)
OBLIQUE = leaning(20, 10)
TO_THE_FEET = (*(-cosine for cosine in OBLIQUE[:3]), *OBLIQUE[3:])
FOSSA = (4.0,) * 14 + (7.0,) * 13
TENS = (10.0,) * 14
MILLIMETRES = (1.0,) * 147
TWELVE = HEAD(signed=False, bits_stored=12)
CORNER = np.s_[:6, :6]


def corner(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def padded(stored: np.ndarray) -> np.ndarray:
        stored = stored.copy()
        stored[:, *CORNER] = np.array(value & 0xFFFF, np.uint16).astype(stored.dtype)
        return stored

    return padded


def another_voxel(stored: np.ndarray) -> np.ndarray:
    """The last voxel of the last frame is another."""
    stored = stored.copy()
    stored[-1, -1, -1] += 40
    return stored


SHUFFLED = random.Random(1).sample(range(30), 30)

SERIES: list[tuple[str, Callable[[], list[Dataset]], Read | Reason]] = [
    # order and number
    ("as it should be", of(HEAD), Read()),
    ("sent from head to feet", of(HEAD, reverse), Read()),
    ("numbered from head to feet", of(HEAD, each(InstanceNumber=lambda i: 30 - i)), Read()),
    ("no instance numbers", of(HEAD.having(InstanceNumber=None)), Read()),
    ("all with the same number", of(HEAD.having(InstanceNumber=1)), Read()),
    ("numbered at random", of(HEAD, each(InstanceNumber=lambda i: 7 * i % 30)), Read()),
    ("slice locations that lie", of(HEAD, each(SliceLocation=lambda i: -5 * i)), Read()),
    (
        "positions noisy by 0.02 mm",
        of(HEAD(gaps_mm=(4.98, 5.02) * 14 + (5,))),
        Read((4.98, 5.02) * 14 + (5,)),
    ),
    ("thin slices", of(HEAD(gaps_mm=(1.5,) * 99, thickness_mm=1.5)), Read((1.5,) * 99)),
    ("slices of 1 mm", of(HEAD(gaps_mm=MILLIMETRES, thickness_mm=1)), Read(MILLIMETRES)),
    (
        "slices of 1 mm, oblique, sent backwards",
        of(HEAD(gaps_mm=MILLIMETRES, thickness_mm=1, orientation=TO_THE_FEET), reverse),
        Read(MILLIMETRES),
    ),
    ("overlapping slices", of(HEAD(gaps_mm=(2.5,) * 59)), Read((2.5,) * 59)),
    ("slices with gaps between them", of(HEAD(gaps_mm=(10.0,) * 14)), Read((10.0,) * 14)),
    ("thin fossa, thick vertex", of(HEAD(gaps_mm=FOSSA, thickness_mm=None)), Read(FOSSA)),
    (
        "three times thicker above",
        of(HEAD(gaps_mm=(2.5,) * 20 + (7.5,) * 12, thickness_mm=None)),
        Read((2.5,) * 20 + (7.5,) * 12),
    ),
    (
        "zones that overlap at the seam",
        of(HEAD(gaps_mm=(*FOSSA[:13], 1.1, *FOSSA[14:]))),
        Read((*FOSSA[:13], 1.1, *FOSSA[14:])),
    ),
    (
        "overlapping slices with one lost, but no tissue",
        of(HEAD(gaps_mm=(2.5,) * 59), without(30)),
        Read((2.5,) * 29 + (5.0,) + (2.5,) * 28),
    ),
    ("no thickness", of(HEAD(thickness_mm=None)), Read()),
    # planes
    ("tilted up", of(HEAD(tilt_deg=18.5)), Read(tilt_deg=18.5)),
    ("tilted down", of(HEAD(tilt_deg=-25)), Read(tilt_deg=25)),
    ("tilted, sent backwards", of(HEAD(tilt_deg=18.5), reverse), Read(tilt_deg=18.5)),
    ("tilted with zones", of(HEAD(tilt_deg=18.5, gaps_mm=FOSSA)), Read(FOSSA, 18.5)),
    ("head turned", of(HEAD(orientation=TURNED)), Read()),
    ("head turned and tilted", of(HEAD(orientation=TURNED, tilt_deg=12)), Read(tilt_deg=12)),
    ("oblique", of(HEAD(orientation=OBLIQUE)), Read()),
    ("oblique, sent backwards", of(HEAD(orientation=OBLIQUE), reverse), Read()),
    ("oblique, its normal to the feet", of(HEAD(orientation=TO_THE_FEET)), Read()),
    ("oblique and tilted", of(HEAD(orientation=OBLIQUE, tilt_deg=-9)), Read(tilt_deg=9)),
    ("cosines of a thousandth", of(HEAD(orientation=(1, 0.001, 0, -0.001, 1, 0))), Read()),
    ("mirrored rows", of(HEAD(orientation=(-1, 0, 0, 0, 1, 0))), Read()),
    ("prone", of(HEAD(orientation=(-1, 0, 0, 0, -1, 0))), Read()),
    ("rows for columns", of(HEAD(orientation=(0, 1, 0, 1, 0, 0))), Read()),
    ("square pixels, another matrix", of(HEAD(rows=64, columns=48, spacing_mm=(4, 4))), Read()),
    ("an odd matrix", of(HEAD(rows=57, columns=81)), Read()),
    ("pixels five times as high as wide", of(HEAD(rows=28, spacing_mm=(8, 1.6))), Read()),
    (
        "a matrix of 512",
        of(HEAD(rows=512, columns=512, spacing_mm=(0.45, 0.45), gaps_mm=TENS)),
        Read(TENS),
    ),
    (
        "a matrix of 768 x 640",
        of(HEAD(rows=768, columns=640, spacing_mm=(0.3, 0.35), gaps_mm=TENS)),
        Read(TENS),
    ),
    # acquisitions
    ("an acquisition for each slice", of(HEAD, each(AcquisitionNumber=lambda i: i + 1)), Read()),
    ("two acquisitions, odd and even", of(HEAD, each(AcquisitionNumber=lambda i: i % 2)), Read()),
    ("scanned twice", of(HEAD, plus(HEAD(acquisition=2))), Read()),
    ("scanned twice, 1.5 mm apart", of(HEAD, plus(HEAD(acquisition=2, start_mm=-70.5))), Read()),
    (
        "one slice scanned again",
        of(HEAD, plus(HEAD(acquisition=2, start_mm=-2.0, gaps_mm=()))),
        Read(),
    ),
    (
        "two acquisitions that adjoin",
        of(HEAD(gaps_mm=(5.0,) * 14), plus(HEAD(acquisition=2, start_mm=3.0, gaps_mm=(5.0,) * 14))),
        Read(),
    ),
    (
        "two acquisitions that share a slice",
        of(HEAD(gaps_mm=(5.0,) * 15), plus(HEAD(acquisition=2, start_mm=3.0, gaps_mm=(5.0,) * 14))),
        Read(),
    ),
    ("an image sent under two names", of(HEAD, again(12)), Read()),
    (
        "a copy stored with another intercept",
        of(HEAD, again(12, RescaleIntercept=-1124), pixels(lambda p: p + 100, 30)),
        Read(),
    ),
    (
        "a copy that lies 0.05 mm off",
        of(HEAD, again(12, ImagePositionPatient=[-98.75, -110, -11.95])),
        Read(),
    ),
    (
        "a localiser among them",
        of(HEAD, again(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], Rows=32, Columns=140)),
        Read(),
    ),
    # pixels
    ("unsigned", of(HEAD(signed=False)), Read()),
    ("12 bits", of(TWELVE), Read()),
    ("12 bits with an overlay above them", of(TWELVE, pixels(lambda p: p | 0x1000)), Read()),
    (
        "signed and unsigned mixed",
        lambda: HEAD.build()[:15] + HEAD(signed=False).build()[15:],
        Read(),
    ),
    (
        "a slope and intercept of its own for each slice",
        of(HEAD, rescaled(lambda i: ((1.0, 0.5, 0.25)[i % 3], -1024 - i))),
        Read(),
    ),
    (
        "one slice of another slope",
        of(HEAD, rescaled(lambda i: (0.5 if i == 9 else 1.0, -1024))),
        Read(),
    ),
    (
        "12 bits, signed",
        of(HEAD(bits_stored=12), rescaled(lambda _: (1, 0))),
        Read(),
    ),
    (
        "12 bits, signed, sign not extended",
        of(HEAD(bits_stored=12), rescaled(lambda _: (1, 0)), pixels(lambda p: p & 0xFFF)),
        Read(),
    ),
    (
        "12 bits with a lost intercept",
        of(TWELVE.having(RescaleIntercept=0), pixels(lost_intercept)),
        Read(),
    ),
    (
        "12 bits with an intercept lost in some slices",
        of(
            TWELVE,
            pixels(lost_intercept, *range(5, 9)),
            each(RescaleIntercept=lambda i: 0 if 5 <= i < 9 else -1024),
        ),
        Read(),
    ),
    ("padding -2000", of(HEAD.having(PixelPaddingValue=-2000), pixels(corner(-2000))), Read()),
    ("padding 30768", of(HEAD.having(PixelPaddingValue=30768), pixels(corner(30768))), Read()),
    (
        "padding 63536 in 12 bits",
        of(TWELVE.having(PixelPaddingValue=63536), pixels(corner(63536))),
        Read(),
    ),
    (
        "a range of padding",
        of(
            HEAD.having(PixelPaddingValue=-3000, PixelPaddingRangeLimit=-2000),
            pixels(corner(-2500)),
        ),
        Read(),
    ),
    (
        "a range of padding, unsigned, upper end first",
        of(
            HEAD(signed=False).having(PixelPaddingValue=63536, PixelPaddingRangeLimit=63000),
            pixels(corner(63300)),
        ),
        Read(),
    ),
    (
        "padding -2000 in signed, 63536 in unsigned slices",
        joined(
            of(HEAD.having(PixelPaddingValue=-2000), pixels(corner(-2000)), without(*range(15))),
            of(
                HEAD(signed=False).having(PixelPaddingValue=63536),
                pixels(corner(63536)),
                without(*range(15, 30)),
            ),
        ),
        Read(),
    ),
    ("padding declared in tissue", of(HEAD.having(PixelPaddingValue=1054)), Read()),
    ("no padding value, but -3024 HU", of(HEAD, pixels(corner(-2000))), Read()),
    ("white is low", of(HEAD.having(PhotometricInterpretation="MONOCHROME1")), Read()),
    ("several windows", of(HEAD.having(WindowCenter=[40, 500], WindowWidth=[80, 3000])), Read()),
    ("no rescale type", of(HEAD.having(RescaleType=None)), Read()),
    ("rescale type in small letters", of(HEAD.having(RescaleType="hu")), Read()),
    # one object of many frames, a rescale of its own for each
    ("Enhanced CT", enhanced(HEAD), Read()),
    ("Enhanced CT, frames shuffled", enhanced(HEAD, order=SHUFFLED), Read()),
    (
        "Enhanced CT, shuffled, tilted, with zones",
        enhanced(HEAD(tilt_deg=18.5, gaps_mm=FOSSA), order=[i for i in SHUFFLED if i < 28]),
        Read(FOSSA, 18.5),
    ),
    (
        "Enhanced CT, oblique, frames backwards",
        enhanced(HEAD(orientation=OBLIQUE), order=range(29, -1, -1)),
        Read(),
    ),
    ("Enhanced CT, one rescale for all", enhanced(HEAD, shared_rescale=True), Read()),
    (
        "Enhanced CT, a frame that says its shared plane again",
        enhanced(
            HEAD,
            frame(9, "PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
            frame(9, "PixelMeasuresSequence", PixelSpacing=[4, 2.5], SliceThickness=5),
        ),
        Read(),
    ),
    (
        "Enhanced CT, padding 30768",
        enhanced(HEAD.having(PixelPaddingValue=30768), pixels(corner(30768))),
        Read(),
    ),
    (
        "Enhanced CT, a frame twice",
        enhanced(HEAD, order=[*range(30), 12]),
        Read(),
    ),
    (
        "Enhanced CT, odd and even frames in two objects",
        joined(
            enhanced(HEAD, order=range(0, 30, 2)),
            enhanced(HEAD.having(SOPInstanceUID=uid("odd")), order=range(1, 30, 2)),
        ),
        Read(),
    ),
    (
        "Legacy Converted Enhanced CT",
        enhanced(HEAD.having(SOPClassUID=LegacyConvertedEnhancedCTImageStorage)),
        Read(),
    ),
    # words
    ("no image type", of(HEAD.having(ImageType=None)), Read()),
    (
        "a header that names no body part",
        of(HEAD.having(SeriesDescription="5.0 H31s", BodyPartExamined=None)),
        Read(),
    ),
    ("body part wrong, series right", of(HEAD.having(BodyPartExamined="CHEST")), Read()),
    ("contrast agent NONE", of(HEAD.having(ContrastBolusAgent="NONE")), Read()),
    ("without contrast", of(HEAD.having(SeriesDescription="Head w/o contrast")), Read()),
    # slices that are not there, or twice
    ("a slice missing", of(HEAD, without(14)), Partly(Reason.MISSING_SLICE)),
    ("the second slice missing", of(HEAD, without(1)), Partly(Reason.MISSING_SLICE)),
    ("three slices missing", of(HEAD, without(14, 15, 16)), Partly(Reason.MISSING_SLICE)),
    ("two slices missing near another", of(HEAD, without(12, 14)), Partly(Reason.MISSING_SLICE)),
    (
        "a thin slice missing: the gap is within the reading thickness",
        of(HEAD(gaps_mm=(1.5,) * 99, thickness_mm=1.5), without(50)),
        Read((1.5,) * 49 + (3.0,) + (1.5,) * 48),
    ),
    (
        "a slice missing in the thick zone",
        of(HEAD(gaps_mm=FOSSA, thickness_mm=None), without(20)),
        Partly(Reason.MISSING_SLICE),
    ),
    (
        "a slice missing under tilt",
        of(HEAD(tilt_deg=18.5), without(9)),
        Partly(Reason.MISSING_SLICE),
    ),
    ("two slices", of(HEAD, without(*range(2, 30))), Reason.TOO_FEW_SLICES),
    ("seven slices", of(HEAD, without(*range(7, 30))), Partly(Reason.COVERAGE)),
    ("60 mm of a head", of(HEAD, without(*range(12, 30))), Partly(Reason.COVERAGE)),
    (
        "two images at one position",
        lambda: pixels(lambda p: p + 1, 30)(again(12)(HEAD.build())),
        Reason.DUPLICATE_POSITION,
    ),
    (
        "each image three times in one series",
        of(HEAD, *(again(i) for i in range(30)), *(again(i, InstanceNumber=99) for i in range(30))),
        Read(),
    ),
    (
        "two images at one position under tilt",
        of(HEAD(tilt_deg=18.5), again(12), pixels(lambda p: p + 1, 30)),
        Reason.DUPLICATE_POSITION,
    ),
    (
        "an Enhanced CT frame missing",
        enhanced(HEAD, order=[*range(9), *range(10, 30)]),
        Partly(Reason.MISSING_SLICE),
    ),
    (
        "an Enhanced CT frame twice, a voxel different",
        enhanced(HEAD, pixels(another_voxel), order=[*range(30), 12]),
        Reason.DUPLICATE_POSITION,
    ),
    # planes that are no stack
    (
        "an image turned",
        of(HEAD, one(9, ImageOrientationPatient=[0.97, 0.24, 0, -0.24, 0.97, 0])),
        Partly(Reason.MISSING_SLICE),
    ),
    (
        "cosines not at right angles",
        of(HEAD.having(ImageOrientationPatient=[1, 0, 0, 0.3, 1, 0])),
        Reason.GEOMETRY,
    ),
    (
        "cosines of length two",
        of(HEAD.having(ImageOrientationPatient=[2, 0, 0, 0, 2, 0])),
        Reason.GEOMETRY,
    ),
    ("no positions", of(HEAD.having(ImagePositionPatient=None)), Reason.GEOMETRY),
    (
        "one position missing",
        of(HEAD, one(9, ImagePositionPatient=None)),
        Partly(Reason.MISSING_SLICE),
    ),
    ("no orientation", of(HEAD.having(ImageOrientationPatient=None)), Reason.GEOMETRY),
    ("no pixel spacing", of(HEAD.having(PixelSpacing=None)), Reason.GEOMETRY),
    ("pixel spacing zero", of(HEAD.having(PixelSpacing=[0, 0])), Reason.GEOMETRY),
    ("two pixel spacings", of(HEAD, one(9, PixelSpacing=[4, 3])), Partly(Reason.MISSING_SLICE)),
    ("two matrices", of(HEAD, one(9, Rows=40)), Partly(Reason.MISSING_SLICE)),
    (
        "two frames of reference",
        of(HEAD, one(9, FrameOfReferenceUID="1.2.3")),
        Partly(Reason.MISSING_SLICE),
    ),
    (
        "a slice shifted sideways",
        of(HEAD, one(9, ImagePositionPatient=[-60, -110, -27])),
        Reason.GEOMETRY,
    ),
    (
        "slices that lean further than a gantry",
        of(HEAD, each(ImagePositionPatient=lambda i: [-98.75 + 4 * i, -110, -72 + 5 * i])),
        Reason.GEOMETRY,
    ),
    (
        "a tilt that no gantry has",
        of(HEAD(orientation=(0, 1, 0, -1, 0, 0), tilt_deg=40)),
        Reason.NOT_AXIAL,
    ),
    ("coronal", of(HEAD(orientation=(1, 0, 0, 0, 0, -1))), Reason.NOT_AXIAL),
    ("sagittal", of(HEAD(orientation=(0, 1, 0, 0, 0, -1))), Reason.NOT_AXIAL),
    (
        "an Enhanced CT frame turned",
        enhanced(
            HEAD,
            frame(
                9,
                "PlaneOrientationSequence",
                ImageOrientationPatient=[0.97, 0.24, 0, -0.24, 0.97, 0],
            ),
        ),
        Reason.GEOMETRY,
    ),
    (
        "an Enhanced CT frame of another spacing",
        enhanced(HEAD, frame(9, "PixelMeasuresSequence", PixelSpacing=[4, 3])),
        Reason.GEOMETRY,
    ),
    (
        "an Enhanced CT frame without position",
        enhanced(HEAD, frame(9, "PlanePositionSequence")),
        Reason.GEOMETRY,
    ),
    ("Enhanced CT, 29 of 30 announced", enhanced(HEAD.having(NumberOfFrames=29)), Reason.GEOMETRY),
    ("Enhanced CT, 31 of 30 announced", enhanced(HEAD.having(NumberOfFrames=31)), Reason.GEOMETRY),
    ("Enhanced CT, none announced", enhanced(HEAD.having(NumberOfFrames=None)), Reason.GEOMETRY),
    (
        "a classic image of two frames",
        of(HEAD, one(9, NumberOfFrames=2), pixels(lambda p: np.concatenate([p, p]), 9)),
        Reason.GEOMETRY,
    ),
    # values that are no Hounsfield units
    ("rescale type US", of(HEAD.having(RescaleType="US")), Reason.NOT_HOUNSFIELD),
    (
        "one image in another unit",
        of(HEAD, one(9, RescaleType="Z_EFF")),
        Partly(Reason.MISSING_SLICE),
    ),
    ("no rescale intercept", of(HEAD.having(RescaleIntercept=None)), Reason.NOT_HOUNSFIELD),
    ("one image without slope", of(HEAD, one(9, RescaleSlope=None)), Reason.NOT_HOUNSFIELD),
    ("slope zero", of(HEAD.having(RescaleSlope=0)), Reason.NOT_HOUNSFIELD),
    ("values 1000 too high", of(HEAD.having(RescaleIntercept=0)), Reason.NOT_HOUNSFIELD),
    (
        "12 bits, 1000 too high, and nothing wrapped",
        of(TWELVE.having(RescaleIntercept=0)),
        Reason.NOT_HOUNSFIELD,
    ),
    (
        "16 bits with a lost intercept",
        of(HEAD(signed=False).having(RescaleIntercept=0), pixels(lambda p: p - 1024)),
        Reason.NOT_HOUNSFIELD,
    ),
    (
        "12 bits at the top of 16",
        of(TWELVE.having(HighBit=15), pixels(lambda p: p << 4)),
        Reason.NOT_HOUNSFIELD,
    ),
    (
        "an Enhanced CT frame in another unit",
        enhanced(
            HEAD,
            frame(
                9,
                "PixelValueTransformationSequence",
                RescaleSlope=1,
                RescaleIntercept=-1033,
                RescaleType="Z_EFF",
            ),
        ),
        Reason.NOT_HOUNSFIELD,
    ),
    (
        "an Enhanced CT frame without rescale",
        enhanced(HEAD, frame(9, "PixelValueTransformationSequence")),
        Reason.NOT_HOUNSFIELD,
    ),
    ("empty images", of(HEAD, pixels(np.zeros_like)), Reason.NOT_HOUNSFIELD),
    # pixels that are not there
    ("headers without pixels", of(HEAD.having(PixelData=None)), Reason.NO_PIXEL_DATA),
    ("one image without pixels", of(HEAD, one(9, PixelData=None)), Partly(Reason.MISSING_SLICE)),
    ("half an image", of(HEAD, one(9, PixelData=b"\0" * 4000)), Reason.UNDECODABLE),
    # something else
    (
        "a localiser",
        of(HEAD.having(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        Reason.LOCALISER,
    ),
    ("a topogram by name", of(HEAD(description="Topogram 0.6 T20f")), Reason.LOCALISER),
    ("an MPR", of(HEAD.having(ImageType=["DERIVED", "SECONDARY", "MPR"])), Reason.DERIVED),
    ("a secondary image", of(HEAD.having(ImageType=["DERIVED", "SECONDARY"])), Reason.DERIVED),
    ("a MIP by name", of(HEAD(description="Head MIP 10mm")), Reason.DERIVED),
    ("MR", of(HEAD.having(Modality="MR", SOPClassUID=MRImageStorage)), Reason.NOT_CT),
    (
        "a chest",
        of(
            HEAD(description="Thorax 5.0 B31f", spacing_mm=(6.0, 5.0)).having(
                BodyPartExamined="CHEST"
            )
        ),
        Reason.NOT_A_HEAD,
    ),
    (
        "called a chest, as wide as a head",
        of(HEAD(description="Thorax 5.0 B31f").having(BodyPartExamined="CHEST")),
        Partly(Reason.NOT_A_HEAD),
    ),
    ("called a neck", of(HEAD(description="Neck 3.0")), Partly(Reason.NOT_A_HEAD)),
    ("called sinuses", of(HEAD(description="Sinus 2.0 H60s")), Partly(Reason.NOT_A_HEAD)),
    (
        "40 cm without a name",
        of(
            HEAD(start_mm=-330, gaps_mm=(10.0,) * 40, description="x").having(BodyPartExamined=None)
        ),
        Reason.NOT_A_HEAD,
    ),
    ("a contrast agent", of(HEAD.having(ContrastBolusAgent="Iomeprol 400")), Reason.CONTRAST),
    ("an angiography", of(HEAD(description="Head CTA 1.0")), Reason.CONTRAST),
    ("a perfusion", of(HEAD(description="Brain Perfusion 10.0")), Reason.CONTRAST),
    ("two patients", of(HEAD, one(9, PatientID="P2")), Reason.MIXED_IDENTITY),
]


@pytest.mark.parametrize(
    ("build", "expected"), [row[1:] for row in SERIES], ids=[row[0] for row in SERIES]
)
def test_a_series_is_read_where_it_lies_or_says_why_not(
    build: Callable[[], list[Dataset]], expected: Read | Partly | Reason, tmp_path: Path
) -> None:
    received = store([encoded(ds) for ds in build()], tmp_path)
    outcome, plan = alone(received)
    assert plan is not None
    try:
        volume = load_volume(plan, tmp_path) if outcome.state is State.ASSEMBLED else None
    except Refused as error:
        assert error.code is expected, error
        return
    if volume is None:
        assert outcome.reason_code is expected, outcome.reason
        return
    assert lies_where_it_claims(volume)
    assert len(plan.slices) == len(volume.hu)
    against = [one.code for one in plan.unseen if one.forbids]
    if isinstance(expected, Partly):
        assert expected.code in against
        assert set(plan.limitations) >= {one.message for one in plan.unseen}
        return
    assert isinstance(expected, Read) and against == []
    assert np.diff(volume.locations_mm) == pytest.approx(expected.gaps_mm, abs=1e-4)
    assert tilt_deg(volume.positions_mm, volume.normal) == pytest.approx(
        expected.tilt_deg, abs=0.01
    )


def tilt_deg(positions: np.ndarray, normal: np.ndarray) -> float:
    way = positions[-1] - positions[0]
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(way, normal)), way @ normal)))


def lies_where_it_claims(volume: Volume) -> bool:
    """Whether every slice shows the head, value for value but for a few that rounding may tip."""
    seen = volume.hu.copy()
    padding = seen[:, *CORNER]  # it lies in the air of the corner
    padding[padding == -1024] = -1000
    return bool((seen == where_it_claims(volume)).mean((1, 2)).min() > 0.999)


MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": lambda hu: hu[::-1],
    "front for back": lambda hu: hu[:, ::-1],
    "left for right": lambda hu: hu[:, :, ::-1],
    "one slice too high": lambda hu: np.roll(hu, 1, 0),
    "one row too low": lambda hu: np.roll(hu, 1, 1),
    "one column too far": lambda hu: np.roll(hu, 1, 2),
    "two neighbours swapped": lambda hu: hu[[*range(14), 15, 14, *range(16, len(hu))]],
    "a slice in its neighbour's place": lambda hu: hu[[*range(14), 15, *range(15, len(hu))]],
    "a slice 1 HU too bright": lambda hu: hu + (np.arange(len(hu)) == 14)[:, None, None],
}


@pytest.mark.parametrize("scan", [HEAD, HEAD(gaps_mm=MILLIMETRES), HEAD(tilt_deg=18.5)])
def test_no_mistake_about_the_place_of_voxels_goes_unnoticed(scan: Scan) -> None:
    hu = np.stack([scan.hu(position) for position in scan.positions_mm])
    right = Volume(hu, scan.positions_mm, scan.cosines, scan.spacing_mm)
    assert lies_where_it_claims(right)
    for name, mistaken in MISTAKES.items():
        assert not lies_where_it_claims(replace(right, hu=mistaken(hu))), name


# --- completeness --------------------------------------------------------------------------------


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ask(mine: Series, study: Sequence[Series], when: datetime, *cases: Case) -> Outcome:
    return decide(case_of(mine, 99), study, cases, SETTINGS, when)[0]


OPEN = {"released_at": None}


@pytest.mark.parametrize(
    ("received", "closes_at_s", "evidence"),
    [
        (series(HEAD), 2, "association was released"),
        (replace(series(HEAD), **OPEN), 60, "60 s without another image"),
        (
            replace(series(HEAD.having(NumberOfSeriesRelatedInstances=30)), **OPEN),
            2,
            "all 30 images",
        ),
        (replace(series(HEAD.having(NumberOfSeriesRelatedInstances=31)), **OPEN), 60, "60 s"),
        (replace(series(HEAD.having(ImagesInAcquisition=30)), **OPEN), 2, "ImagesInAcquisition"),
        (replace(series(HEAD.having(ImagesInAcquisition=31)), **OPEN), 60, "60 s"),
        (series(HEAD, without(*range(12, 30))), 60, "60 s"),
        (series(HEAD, without(14)), 60, "60 s"),
    ],
    ids=[
        "a head, released",
        "a head, association open",
        "a head, all announced images there",
        "a head, one announced image not there",
        "a head, acquisition complete",
        "a head, acquisition not complete",
        "part of a head, released",
        "a head with a hole, released",
    ],
)
def test_a_series_closes_on_evidence_or_when_it_has_been_idle(
    received: Series, closes_at_s: float, evidence: str
) -> None:
    found = closing(judge(received, SETTINGS), SETTINGS)
    assert found.at == at(closes_at_s)
    assert evidence in found.why
    before = ask(received, [received], at(closes_at_s - 0.1))
    assert before.state is State.RECEIVING
    assert before.retry_at is not None and at(closes_at_s - 0.1) < before.retry_at <= at(
        closes_at_s
    )
    assert ask(received, [received], at(closes_at_s)).state is not State.RECEIVING


@pytest.mark.parametrize(
    ("received", "saved_s"),
    [
        (series(HEAD), 58),
        (replace(series(HEAD), released_at=at(20)), 40),
        (replace(series(HEAD.having(NumberOfSeriesRelatedInstances=30)), **OPEN), 58),
        (replace(series(HEAD.having(ImagesInAcquisition=30)), **OPEN), 58),
        (replace(series(HEAD), **OPEN), 0),
        (replace(series(HEAD), released_at=at(300)), 0),
        (series(HEAD, without(14)), 0),
    ],
    ids=[
        "released at once",
        "released after 20 s",
        "all announced images there",
        "acquisition complete",
        "association open",
        "released after the timer",
        "a hole",
    ],
)
def test_plan_and_worklist_say_what_closed_the_series_and_what_that_saved(
    received: Series, saved_s: float
) -> None:
    outcome, plan = decide(case_of(received), [received], [], SETTINGS, at(400))
    assert plan is not None
    assert plan.closed_by == closing(judge(received, SETTINGS), SETTINGS).why
    assert plan.closed_by in plan.decision
    assert plan.saved_s == saved_s
    assert (outcome.closing.why, outcome.closing.saved_s) == (plan.closed_by, plan.saved_s)


def test_another_image_starts_the_grace_anew() -> None:
    received = replace(series(HEAD), last_received_at=at(1.5), released_at=at(1.5))
    assert ask(received, [received], at(3)).retry_at == at(3.5)


def test_images_that_are_announced_are_counted_before_the_association_ends() -> None:
    received = replace(series(HEAD.having(ImagesInAcquisition=31)), **OPEN)
    assert ask(received, [received], at(1)).retry_at == at(1.5)


# --- choice --------------------------------------------------------------------------------------

THICK = HEAD
THIN = HEAD(name="thin", description="Head 1.5 H31s", gaps_mm=(1.5,) * 99, thickness_mm=1.5)
BONE = HEAD(name="bone", description="Head 5.0 H60s", kernel="H60s")
CTA = HEAD(name="cta", description="Head CTA", thickness_mm=4.0)
LOCALISER = HEAD(name="scout", description="Topogram", gaps_mm=())
NECK = HEAD(name="neck", description="Neck 3.0 B31f")
CORONAL = HEAD(name="coronal", description="Head cor", orientation=(1, 0, 0, 0, 0, -1))
DOSE = HEAD(name="dose", gaps_mm=()).having(Modality="SR", SOPClassUID=XRayRadiationDoseSRStorage)
SHORT = HEAD(name="short", description="Head fossa", gaps_mm=(5.0,) * 17)

STUDY = {
    scan.name: series(scan)
    for scan in (THICK, THIN, BONE, CTA, LOCALISER, NECK, CORONAL, DOSE, SHORT)
}


LONG_AFTER = at(100)


def read_of(names: Sequence[str], when: datetime = LONG_AFTER, *cases: Case) -> dict[str, Outcome]:
    study = [STUDY[name] for name in names]
    return {name: ask(STUDY[name], study, when, *cases) for name in names}


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("head", "thin"), "head"),
        (("thin", "bone"), "thin"),
        (("bone", "cta"), "bone"),
        (("short", "head"), "head"),
        (("short", "bone"), "bone"),
        (("short", "cta"), "short"),
        (("scout", "thin", "neck"), "thin"),
        (tuple(STUDY), "head"),
    ],
)
def test_the_best_series_is_read_and_the_others_say_why_not(
    names: tuple[str, ...], best: str
) -> None:
    outcomes = read_of(names)
    assert {n for n, o in outcomes.items() if o.state is State.ASSEMBLED} == {best}
    for name, outcome in outcomes.items():
        if name == best:
            continue
        assert outcome.state is State.SKIPPED
        assert outcome.reason
        assert outcome.reason_code == WHY.get(name, Reason.OTHER_SERIES_READ)


WHY = {
    "cta": Reason.CONTRAST,
    "scout": Reason.LOCALISER,
    "neck": Reason.NOT_A_HEAD,
    "coronal": Reason.NOT_AXIAL,
    "dose": Reason.NOT_CT,
}


def test_the_reason_names_the_series_read_and_the_rule() -> None:
    reason = read_of(["head", "bone"])["bone"].reason
    assert reason == "series 'Head 5.0 H31s' is read instead: soft-tissue kernel"


def test_the_decision_names_what_was_not_read_and_why() -> None:
    plan = decide(case_of(STUDY["head"]), list(STUDY.values()), [], SETTINGS, at(100))[1]
    assert plan is not None
    assert plan.decision.startswith("series 'Head 5.0 H31s' is read: 30 axial slices over 150 mm")
    assert "'Topogram' (a localiser)" in plan.decision
    assert "'Head 5.0 H60s' (less fit by: soft-tissue kernel)" in plan.decision


def test_contrast_is_read_where_the_settings_say_so() -> None:
    received = STUDY["cta"]
    allowed = Assemble(read_contrast=True)
    outcome, plan = decide(case_of(received), [received], [], allowed, at(100))
    assert outcome.state is State.ASSEMBLED
    assert plan is not None
    assert "contrast agent: vessels look like blood" in plan.limitations


def test_a_study_without_a_readable_series_speaks_through_its_best() -> None:
    outcomes = read_of(["scout", "neck", "cta", "dose"])
    assert outcomes["cta"].state is State.NOT_ANALYSED
    assert outcomes["cta"].priority is Priority.NOT_ANALYSED
    assert outcomes["cta"].reason_code is Reason.CONTRAST
    assert {outcomes[n].state for n in ("scout", "neck", "dose")} == {State.SKIPPED}


ODD_ONES: dict[str, tuple[Edit, str]] = {
    "a protocol page": (
        lambda images: [
            *images,
            *one(0, ImageType=["DERIVED", "SECONDARY", "OTHER"], ImagePositionPatient=None)(
                HEAD(name="head", first_number=99, gaps_mm=()).build()
            ),
        ],
        "1 image of the series set aside: pages or pictures computed from others",
    ),
    "the first image without a position": (
        one(0, ImagePositionPatient=None),
        "1 image of the series set aside: without a position",
    ),
    "the last image of another matrix": (
        one(29, Rows=40),
        "1 image of the series set aside: of another matrix",
    ),
    "the last image with contrast agent": (
        one(29, ContrastBolusAgent="Iomeprol"),
        "1 image of the series set aside: with contrast agent",
    ),
}


@pytest.mark.parametrize(("edit", "said"), ODD_ONES.values(), ids=ODD_ONES)
def test_an_odd_one_out_is_set_aside_and_refuses_nothing(edit: Edit, said: str) -> None:
    outcome, plan = alone(series(HEAD, edit))
    assert outcome.state is State.ASSEMBLED
    assert plan is not None and said in plan.limitations
    assert not any(one.forbids for one in plan.unseen)


def test_the_plan_of_a_series_not_analysed_lists_all_that_came_of_it() -> None:
    received = series(HEAD.having(ImagePositionPatient=None))
    _, plan = alone(received)
    assert plan is not None
    assert len(plan.slices) == 30
    assert all(ref.position_mm is None for ref in plan.slices)


def test_a_localiser_waits_for_the_head_that_follows_it() -> None:
    scout = STUDY["scout"]
    assert ask(scout, [scout], at(10)).state is State.RECEIVING
    assert ask(scout, [scout, STUDY["head"]], at(10)).state is State.SKIPPED
    assert ask(scout, [scout], at(60)).state is State.NOT_ANALYSED


def test_a_localiser_does_not_hold_up_the_head() -> None:
    study = [STUDY["scout"], STUDY["dose"], STUDY["head"]]
    assert ask(STUDY["head"], study, at(2)).state is State.ASSEMBLED


def test_a_series_waits_for_a_better_one_that_still_arrives() -> None:
    some = replace(series(THICK, without(*range(9, 30))), **OPEN)
    waiting = ask(STUDY["bone"], [STUDY["bone"], some], at(5))
    assert waiting.state is State.RECEIVING
    assert ask(STUDY["bone"], [STUDY["bone"], some], at(60)).state is State.ASSEMBLED
    assert ask(STUDY["bone"], [STUDY["bone"], STUDY["head"]], at(5)).state is State.SKIPPED


def test_a_series_does_not_wait_for_a_worse_one_or_for_one_that_stopped() -> None:
    bone = replace(series(BONE, without(*range(9, 30))), **OPEN)
    assert ask(STUDY["head"], [STUDY["head"], bone], at(2)).state is State.ASSEMBLED
    stopped = series(THICK, without(*range(9, 30)))
    assert ask(STUDY["bone"], [STUDY["bone"], stopped], at(2)).state is State.ASSEMBLED


# --- before and after ----------------------------------------------------------------------------


def done(name: str, number: int = 1, **values: Any) -> Case:
    values = {"state": State.DELIVERED, "priority": Priority.NOT_SUSPECTED, **values}
    return case_of(STUDY[name], number, **values)


def test_a_better_series_that_comes_later_is_read_too_and_a_worse_one_is_not() -> None:
    assert read_of(["head", "bone"], at(500), done("bone"))["head"].state is State.ASSEMBLED
    assert read_of(["head", "bone"], at(500), done("head"))["bone"].state is State.SKIPPED


def test_a_series_whose_pixels_failed_does_not_keep_another_from_being_read() -> None:
    failed = done("head", priority=Priority.NOT_ANALYSED)
    assert read_of(["head", "bone"], at(500), failed)["bone"].state is State.ASSEMBLED


def test_a_series_passed_over_before_is_not_named_as_the_one_read() -> None:
    skipped = done("head", state=State.SKIPPED)
    assert read_of(["head", "bone"], at(500), skipped)["bone"].state is State.ASSEMBLED


def test_late_slices_are_read_again_even_beside_a_better_series() -> None:
    old = done("bone", 1)
    again_case = case_of(STUDY["bone"], 3, supersedes=1)
    study = [STUDY["head"], STUDY["bone"]]
    outcome, _ = decide(again_case, study, [old, done("head", 2), again_case], SETTINGS, at(500))
    assert outcome.state is State.ASSEMBLED
    skipped = done("bone", 1, state=State.SKIPPED)
    outcome, _ = decide(again_case, study, [skipped, done("head", 2)], SETTINGS, at(500))
    assert outcome.state is State.SKIPPED


def test_a_slice_that_fills_the_hole_makes_the_series_readable() -> None:
    old = done("head", 1, priority=Priority.NOT_ANALYSED, reason_code=Reason.MISSING_SLICE)
    again_case = case_of(STUDY["head"], 2, supersedes=1)
    outcome, _ = decide(again_case, [STUDY["head"]], [old, again_case], SETTINGS, at(500))
    assert outcome.state is State.ASSEMBLED


# --- limitations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (HEAD, ()),
        (HEAD(tilt_deg=18.5), ("gantry tilt 18.5 degrees",)),
        (
            HEAD(gaps_mm=FOSSA, thickness_mm=None),
            (
                "slice spacing varies from 4.0 to 7.0 mm",
                "SliceThickness is missing or no thickness: the distance between slices was taken",
            ),
        ),
        (HEAD(gaps_mm=(8.0,) * 18, thickness_mm=8.0), ("slices up to 8.0 mm thick",)),
        (
            HEAD(gaps_mm=(10.0,) * 14),
            ("slices 5.0 mm thick lie 10.0 mm apart: the head between them was not imaged",),
        ),
        (SHORT, ("only 90 mm of the head were scanned",)),
        (
            HEAD(rows=40, columns=60),
            ("field of view 160 x 150 mm: it may cut the head",),
        ),
        (BONE, ("bone kernel: soft tissue is noisy",)),
        (
            HEAD.having(ImageType=["DERIVED", "PRIMARY", "AXIAL"]),
            ("derived images, not the scanner's own",),
        ),
        (
            HEAD(description="5.0").having(BodyPartExamined=None),
            ("the header does not name the body part",),
        ),
    ],
)
def test_limitations_are_said_when_they_hold(scan: Scan, said: tuple[str, ...]) -> None:
    outcome, plan = alone(series(scan))
    assert plan is not None
    assert plan.limitations == said == outcome.limitations


# --- priors --------------------------------------------------------------------------------------


def dated(*days: str) -> Series:
    """A head whose images are dated in turn."""
    received = series(HEAD)
    instances = [
        replace(i, header=replace(i.header, acquired=days[number % len(days)]))
        for number, i in enumerate(received.instances)
    ]
    return replace(received, instances=tuple(instances))


@pytest.mark.parametrize(
    ("received", "age_days"),
    [
        (dated("20230103"), 1108),
        (dated("20230103235959"), 1108),
        (dated("20200101", "20230103", ""), 1108),
        (dated("20260107"), 8),
        (dated("20260108"), None),
        (dated("20260115"), None),
        (dated("20300101"), None),
        (dated(""), None),
        (dated("20261399"), None),
    ],
    ids=[
        "years ago",
        "with a time of day",
        "the newest image counts",
        "a day too old",
        "at the limit",
        "today",
        "in the future",
        "undated",
        "no such day",
    ],
)
def test_a_study_acquired_long_before_it_arrived_is_a_prior(
    received: Series, age_days: int | None
) -> None:
    outcome, plan = alone(received)
    assert plan is not None
    assert (outcome.state, outcome.prior) == (State.ASSEMBLED, age_days is not None)
    said = [text for text in plan.limitations if "prior" in text]
    assert outcome.limitations == plan.limitations
    if age_days is None:
        assert not said
    else:
        assert said[0].endswith(f", {age_days} days before it arrived: a prior study")


def test_late_images_make_no_prior_of_a_current_study() -> None:
    received = replace(dated("20260115"), last_received_at=at(30 * 86400))
    outcome, _ = decide(case_of(received), [received], [], SETTINGS, at(31 * 86400))
    assert outcome.prior is False


def test_a_prior_is_told_before_it_is_complete_and_when_it_is_not_analysed() -> None:
    received = dated("20230103")
    waiting, _ = decide(case_of(received), [received], [], SETTINGS, at(1))
    assert (waiting.state, waiting.prior) == (State.RECEIVING, True)
    short = series(HEAD.having(AcquisitionDate="20230103"), without(*range(2, 30)))
    outcome, plan = alone(short)
    assert plan is not None
    assert (outcome.state, outcome.prior) == (State.NOT_ANALYSED, True)
    assert plan.limitations == outcome.limitations
    assert plan.limitations[-1] == (
        "acquired on 2023-01-03, 1108 days before it arrived: a prior study"
    )


def test_no_study_is_a_prior_where_the_settings_say_so() -> None:
    received = dated("20230103")
    never = Assemble(prior_after_days=0)
    outcome, plan = decide(case_of(received), [received], [], never, at(100))
    assert plan is not None
    assert (outcome.prior, plan.limitations) == (False, ())


# --- arrival -------------------------------------------------------------------------------------

MESSY = {
    "tilted with zones": series(HEAD(tilt_deg=18.5, gaps_mm=FOSSA)),
    "scanned twice": series(HEAD, plus(HEAD(acquisition=2, start_mm=-70.5))),
    "a copy": series(HEAD, again(12), again(20)),
    "a hole": series(HEAD, without(9)),
    "two kernels": series(HEAD(kernel="H60s"), plus(HEAD)),
}


@pytest.mark.parametrize("name", MESSY)
@given(seed=st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_order_of_arrival_changes_no_plan(name: str, seed: random.Random) -> None:
    received = MESSY[name]
    shuffled = list(received.instances)
    seed.shuffle(shuffled)
    assert alone(replace(received, instances=tuple(shuffled))) == alone(received)


@pytest.mark.slow
@given(seed=st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=20, deadline=None)
def test_each_case_of_a_study_comes_to_the_same_decision_whoever_is_asked(
    seed: random.Random,
) -> None:
    study = list(STUDY.values())
    seed.shuffle(study)
    cases: list[Case] = []
    outcomes = {}
    for number, received in enumerate(seed.sample(study, len(study)), start=1):
        outcome, _ = decide(case_of(received, number), study, cases, SETTINGS, at(100))
        outcomes[received.series_instance_uid] = outcome
        cases.append(case_of(received, number, state=outcome.state))
    assert outcomes == {
        received.series_instance_uid: ask(received, study, at(100)) for received in STUDY.values()
    }
