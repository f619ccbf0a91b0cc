"""Headers that lie a little: the series is read and reported whole, and says what was taken."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from node.case_folder import CaseFolder
from node.cases.report import write_report
from node.dicom.read.pixels import load_volume
from node.errors import Permanent, Refused
from node.outcomes import NotAnalysed, Planned
from node.states import Reason
from tests.support.builder import (
    HEAD,
    T0,
    Edit,
    Scan,
    alone,
    compressed,
    each,
    encoded,
    one,
    series,
    store,
)
from tests.support.working import Predictor

THICKNESS = "SliceThickness is missing or no thickness: the distance between slices was taken"
FRAME = "FrameOfReferenceUID is missing: that of the other images was taken (1 of 30 images)"
SAMPLES = "SamplesPerPixel is missing: 1 was taken, as MONOCHROME2 has it"
DATED = {"AcquisitionDate": "20260115", "AcquisitionTime": "083000"}
ROUNDED = [1, 0, 0, 0, 0.95, -0.33]


def names(*spelled: str) -> Edit:
    """Give the images these names in turn."""
    return each(PatientName=lambda i: spelled[i % len(spelled)])


def in_charset(index: int, charset: str, name: bytes) -> Edit:
    """Write the name of one image in another character set, declared or not."""

    def edit(images: list[Dataset]) -> list[Dataset]:
        images[index].SpecificCharacterSet = charset
        images[index].PatientName = name.decode("latin-1" if charset == "ISO_IR 100" else "utf-8")
        return images

    return edit


LIES: dict[str, tuple[Scan, Edit, tuple[str, ...]]] = {
    "the first slice has no frame of reference": (HEAD, one(0, FrameOfReferenceUID=None), (FRAME,)),
    "a slice in the lesion has none": (HEAD, one(16, FrameOfReferenceUID=None), (FRAME,)),
    "an empty frame of reference": (HEAD, one(3, FrameOfReferenceUID=""), (FRAME,)),
    "no slice has a frame of reference": (
        HEAD.having(FrameOfReferenceUID=None),
        one(0),
        ("FrameOfReferenceUID is missing: one of the report's own was taken",),
    ),
    "thickness empty": (HEAD.having(SliceThickness=""), one(0), (THICKNESS,)),
    "thickness missing": (HEAD.having(SliceThickness=None), one(0), (THICKNESS,)),
    "thickness zero": (HEAD.having(SliceThickness="0"), one(0), (THICKNESS,)),
    "thickness negative": (HEAD.having(SliceThickness="-5.0"), one(0), (THICKNESS,)),
    "thickness in micrometres": (HEAD.having(SliceThickness="5000"), one(0), (THICKNESS,)),
    "a thickness of nothing": (HEAD.having(SliceThickness="0.0001"), one(0), (THICKNESS,)),
    "one thickness zero": (
        HEAD,
        one(0, SliceThickness="0"),
        (f"{THICKNESS} (1 of 30 images)",),
    ),
    "carets behind one name": (HEAD, one(4, PatientName="Test^Ж^^^"), ()),
    "names in capitals": (HEAD, names("Test^Ж", "TEST^ж", "test^Ж^"), ()),
    "the name missing in the first": (HEAD, one(0, PatientName=None), ()),
    "the name in another character set": (
        HEAD.having(PatientName="Müller^Jörg"),
        in_charset(7, "ISO_IR 100", "Müller^Jörg".encode("latin-1")),
        (),
    ),
    "sex missing in the first": (HEAD, one(0, PatientSex=None), ()),
    "accession number empty in one": (HEAD, one(9, AccessionNumber=""), ()),
    "age zero, born in 1960": (
        HEAD.having(PatientAge="000Y", **DATED),
        one(0),
        (
            "PatientAge 000Y contradicts the birth date, by which the patient is 66 years old: the "
            "birth date was taken",
        ),
    ),
    "age of an infant, born in 1960": (
        HEAD.having(PatientAge="011M", **DATED),
        one(0),
        (
            "PatientAge 011M contradicts the birth date, by which the patient is 66 years old: the "
            "birth date was taken",
        ),
    ),
    "one age zero, no birth date": (
        HEAD.having(PatientAge="066Y", PatientBirthDate=None),
        one(4, PatientAge="000Y"),
        (
            "PatientAge is 000Y, and no birth date says more (1 of 30 images)",
            "PatientAge differs between images, from 0 to 66 years: the age in the middle was "
            "taken",
        ),
    ),
    "samples per pixel missing": (HEAD.having(SamplesPerPixel=None), one(0), (SAMPLES,)),
    "samples per pixel missing, white is low": (
        HEAD.having(SamplesPerPixel=None, PhotometricInterpretation="MONOCHROME1"),
        one(0),
        (SAMPLES.replace("2", "1"),),
    ),
    "samples and photometric interpretation missing": (
        HEAD.having(SamplesPerPixel=None, PhotometricInterpretation=None),
        one(0),
        ("SamplesPerPixel and PhotometricInterpretation are missing: one value a pixel was taken",),
    ),
    "bits stored missing": (HEAD.having(BitsStored=None), one(0), ()),
    "cosines of two digits": (
        HEAD(tilt_deg=19.15).having(ImageOrientationPatient=ROUNDED),
        one(0),
        ("gantry tilt 19.2 degrees",),
    ),
    "cosines of two digits in one slice": (
        HEAD(tilt_deg=19.0),
        one(9, ImageOrientationPatient=ROUNDED),
        ("gantry tilt 19.0 degrees",),
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies_costs_no_report_and_is_said(tmp_path: Path, name: str) -> None:
    scan, edit, said = LIES[name]
    objects, limitations = reported([encoded(ds) for ds in edit(scan.build())], tmp_path)
    assert set(objects) == {"seg", "sr", "text", "capture"}
    assert limitations == said
    measures = objects["seg"].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == pytest.approx(5, abs=0.01)
    plane = objects["seg"].SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    row, column = np.reshape(np.array(plane.ImageOrientationPatient, float), (2, 3))
    assert [row @ row, column @ column, row @ column] == pytest.approx([1, 1, 0], abs=1e-6)
    kept = {scan.build()[0].get("FrameOfReferenceUID"), objects["seg"].FrameOfReferenceUID}
    assert len(kept - {None}) == 1
    for ds in objects.values():
        assert (ds.PatientSex, ds.AccessionNumber) == ("O", "A1")
        assert str(ds.PatientName).casefold().rstrip("^") in ("test^ж", "müller^jörg")


def reported(files: list[bytes], root: Path) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Read and report the files as one series; return the objects by kind, and the limitations."""
    outcome, plan = alone(store(files, root))
    assert isinstance(outcome, Planned), outcome
    assert plan is not None
    findings = Predictor().state_findings(load_volume(plan, root))
    objects = write_report(plan, findings, CaseFolder(root, "cases/1"), T0)
    return {item.kind: dcmread(root / item.path) for item in objects}, plan.limitations


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (one(4, PatientName="Test^Other"), "PatientName"),
        (one(4, PatientSex="F"), "PatientSex"),
        (one(4, AccessionNumber="A2"), "AccessionNumber"),
    ],
    ids=["name", "sex", "accession number"],
)
def test_a_true_difference_is_still_refused(tmp_path: Path, edit: Edit, what: str) -> None:
    with pytest.raises(Permanent, match=f"disagree about {what}"):
        reported([encoded(ds) for ds in edit(HEAD.build())], tmp_path)


@pytest.mark.parametrize(
    ("age", "born", "said"),
    [
        ("055Y", "20250815", "5 months old: .*; PatientAge 055Y contradicts the birth date"),
        ("000Y", "", "less than a month old: .*; PatientAge is 000Y, and no birth date says more"),
        ("011M", "20250214", "11 months old: [^;]*$"),
    ],
)
def test_a_child_is_refused_and_what_makes_the_age_doubtful_is_said(
    age: str, born: str, said: str
) -> None:
    outcome, _ = alone(series(HEAD.having(PatientAge=age, PatientBirthDate=born, **DATED)))
    assert isinstance(outcome, NotAnalysed)
    assert outcome.reason_code == Reason.AGE
    assert re.search(said, outcome.reason)


# Compressed pixels whose end is lost


TRAILING = b"\xfc\xff\xfc\xffOB\0\0\x10\0\0\0"
DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
ENDS: dict[str, Callable[[bytes], bytes]] = {
    "without delimiter": lambda data: data[:-8],
    "half a delimiter": lambda data: data[:-4],
    "two bytes of a delimiter": lambda data: data[:-6],
    "padding that is cut": lambda data: data + TRAILING + bytes(7),
    "padding for a delimiter": lambda data: data[:-8] + TRAILING + bytes(16),
    "zeros for a delimiter": lambda data: data[:-8] + bytes(8),
}


TENS = HEAD(gaps_mm=(10.0,) * 14, thickness_mm=10.0)
COMPRESSED = pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])


@COMPRESSED
@pytest.mark.parametrize("end", ENDS)
def test_a_lost_end_of_the_pixel_data_costs_nothing(tmp_path: Path, syntax: str, end: str) -> None:
    files = [compressed(ds, syntax) for ds in TENS.build()]
    assert all(data.endswith(DELIMITER) for data in files)
    objects, _ = reported([ENDS[end](data) for data in files], tmp_path)
    assert set(objects) == {"seg", "sr", "text", "capture"}


@COMPRESSED
@pytest.mark.parametrize("lost", [12, 100, 1000])
def test_pixels_that_are_lost_are_named_as_the_fault(
    tmp_path: Path, syntax: str, lost: int
) -> None:
    images = TENS.build()
    files = [compressed(ds, syntax) for ds in images]
    files[3] = files[3][:-lost]
    with pytest.raises(Refused, match="the file ends inside the pixel data") as caught:
        reported(files, tmp_path)
    assert caught.value.code is Reason.UNDECODABLE
    assert images[3].SOPInstanceUID in str(caught.value)
    assert "SOPInstanceUID" not in str(caught.value)
