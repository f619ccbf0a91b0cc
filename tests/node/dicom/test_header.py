"""The header of a received object, even of one that breaks the rules."""

import struct
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dicom.read.header import read_header
from node.dicom.read.sparing import TooManyElements
from node.errors import BadObject
from node.records import Frame, Header
from tests.support.builder import HEAD, Scan, encoded, uid

ONE = HEAD(gaps_mm=())


def image(scan: Scan = ONE, **raw: bytes) -> bytes:
    """Return one file; `raw` replaces values, legal or not."""
    data = encoded(scan.build()[0])
    for keyword, value in raw.items():
        tag, vr = ELEMENTS[keyword]
        data = with_element(data, tag, vr, value)
    return data


ELEMENTS = {
    "SliceThickness": (0x00180050, b"DS"),
    "InstanceNumber": (0x00200013, b"IS"),
    "AcquisitionNumber": (0x00200012, b"IS"),
    "ImagePositionPatient": (0x00200032, b"DS"),
    "PixelSpacing": (0x00280030, b"DS"),
    "PatientID": (0x00100020, b"LO"),
    "SpecificCharacterSet": (0x00080005, b"CS"),
    "SeriesDescription": (0x0008103E, b"LO"),
    "StudyInstanceUID": (0x0020000D, b"UI"),
    "FrameOfReferenceUID": (0x00200052, b"UI"),
    "SOPInstanceUID": (0x00080018, b"UI"),
    "TransferSyntaxUID": (0x00020010, b"UI"),
}


def with_element(data: bytes, tag: int, vr: bytes, value: bytes) -> bytes:
    """Replace an element of an explicit little endian file by bytes of our own."""
    name = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    at = data.index(name + vr, 132)
    (length,) = struct.unpack_from("<H", data, at + 6)
    new = name + vr + struct.pack("<H", len(value)) + value
    return data[:at] + new + data[at + 8 + length :]


def test_a_classic_image_says_all_that_the_node_asks() -> None:
    scan = ONE.having(
        ImagesInAcquisition=30,
        NumberOfSeriesRelatedInstances=31,
        ContrastBolusAgent="Iopamidol",
        ProtocolName="Routine",
        StudyDescription="CT Kopf",
    )
    header = read_header(image(scan))
    assert header == Header(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=uid("study", "head", "1"),
        study_instance_uid=uid("study"),
        series_instance_uid=uid("study", "head"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        frames=(Frame((-98.75, -110.0, -72.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),),
        patient_id="P1",
        patient_birth_date="19600101",
        accession_number="A1",
        study_description="CT Kopf",
        series_description="Head 5.0 H31s",
        protocol_name="Routine",
        body_part="HEAD",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        manufacturer="ichnode",
        convolution_kernel="H31s",
        contrast_agent="Iopamidol",
        frame_of_reference_uid=uid("study", "frame of reference"),
        rescale_type="HU",
        instance_number=1,
        acquisition_number=1,
        images_in_acquisition=30,
        series_related_instances=31,
        rows=56,
        columns=80,
        pixel_spacing_mm=(4.0, 2.5),
        slice_thickness_mm=5.0,
        has_pixel_data=True,
    )
    assert Header.from_json(header.to_json()) == header


def test_a_path_a_stream_and_bytes_give_the_same_header(tmp_path: Path) -> None:
    data = image()
    (tmp_path / "a.dcm").write_bytes(data)
    assert read_header(data) == read_header(BytesIO(data)) == read_header(tmp_path / "a.dcm")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_encoding_changes_nothing_but_the_transfer_syntax(syntax: str) -> None:
    ds = ONE.having(PixelData=None).build()[0]
    expected = read_header(encoded(ds)).to_json()
    found = read_header(encoded(ds, syntax)).to_json()
    assert found == {**expected, "transfer_syntax_uid": syntax}


def test_enhanced_ct_tells_each_frame_in_the_order_of_its_pixels() -> None:
    order = [4, 2, 0, 1, 3]
    scan = HEAD(gaps_mm=(5.0,) * 4)
    header = read_header(encoded(scan.enhanced(order)))
    heights = [frame.position_mm[2] for frame in header.frames if frame.position_mm]
    assert heights == [-52.0, -62.0, -72.0, -67.0, -57.0]
    assert {frame.orientation for frame in header.frames} == {(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}
    assert header.pixel_spacing_mm == (4.0, 2.5)
    assert header.slice_thickness_mm == 5.0
    assert header.convolution_kernel == "H31s"
    assert header.rescale_type == "HU"


def test_frames_of_different_spacing_share_none() -> None:
    ds = HEAD(gaps_mm=(5.0,)).enhanced()
    odd = Dataset()
    odd.PixelSpacing = ["4", "3"]
    ds.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = [odd]
    assert read_header(encoded(ds)).pixel_spacing_mm is None


@pytest.mark.parametrize(
    ("change", "present"),
    [({}, True), ({"PixelData": None}, False), ({"PixelData": b""}, False)],
    ids=["pixels", "none", "an empty element"],
)
def test_pixels_are_noticed_without_being_read(change: dict[str, Any], present: bool) -> None:
    assert read_header(image(ONE.having(**change))).has_pixel_data is present


def test_pixels_that_end_early_are_left_to_the_decoder() -> None:
    assert read_header(image()[:-500]).has_pixel_data


@pytest.mark.parametrize(
    ("raw", "field", "expected"),
    [
        ({"SliceThickness": b"5.0 mm"}, "slice_thickness_mm", None),
        ({"SliceThickness": b"  5.00  "}, "slice_thickness_mm", 5.0),
        ({"SliceThickness": b"nan "}, "slice_thickness_mm", None),
        ({"SliceThickness": b"5\\7 "}, "slice_thickness_mm", None),
        ({"SliceThickness": b""}, "slice_thickness_mm", None),
        ({"SliceThickness": b"0 "}, "slice_thickness_mm", None),
        ({"SliceThickness": b"-5.0"}, "slice_thickness_mm", None),
        ({"SliceThickness": b"5000"}, "slice_thickness_mm", None),
        ({"SliceThickness": b"1e-4"}, "slice_thickness_mm", None),
        ({"SliceThickness": b"0.2 "}, "slice_thickness_mm", 0.2),
        ({"FrameOfReferenceUID": b"none"}, "frame_of_reference_uid", ""),
        ({"InstanceNumber": b"12.0"}, "instance_number", 12),
        ({"InstanceNumber": b"12.5"}, "instance_number", None),
        ({"InstanceNumber": b"x7"}, "instance_number", None),
        ({"AcquisitionNumber": b" +3 "}, "acquisition_number", 3),
        ({"PixelSpacing": b"0.5\\"}, "pixel_spacing_mm", None),
        ({"PixelSpacing": b"0.5\\0.4\\"}, "pixel_spacing_mm", None),
        ({"PixelSpacing": b"5e-1\\0.4 "}, "pixel_spacing_mm", (0.5, 0.4)),
        ({"PatientID": b"P1\0\0"}, "patient_id", "P1"),
        ({"PatientID": b""}, "patient_id", ""),
    ],
)
def test_dirty_values_are_read_or_absent_but_never_guessed(
    raw: dict[str, bytes], field: str, expected: object
) -> None:
    assert getattr(read_header(image(**raw)), field) == expected


def test_a_position_that_is_no_position_is_absent() -> None:
    header = read_header(image(ImagePositionPatient=b"1.0\\2.0\\ "))
    assert header.frames[0].position_mm is None
    assert header.frames[0].orientation is not None


@pytest.mark.parametrize(
    ("charset", "coded", "text"),
    [
        (b"ISO_IR 192", "Schädel größer".encode(), "Schädel größer"),
        (b"ISO_IR 100", "Tête".encode("latin-1"), "Tête"),
        (b"ISO_IR 144", "Голова".encode("iso8859-5"), "Голова"),
        (b"GB18030 ", "头部".encode("gb18030"), "头部"),
        (b"\\ISO 2022 IR 87", b"\x1b$B" + b"\x46\x2c\x49\x74" + b"\x1b(B", "頭部"),
    ],
)
def test_text_is_read_in_its_character_set(charset: bytes, coded: bytes, text: str) -> None:
    padded = coded + b" " * (len(coded) % 2)
    header = read_header(image(SpecificCharacterSet=charset, SeriesDescription=padded))
    assert header.series_description == text


def test_the_sop_class_is_taken_from_the_file_meta_where_the_data_set_lacks_it() -> None:
    # As in the RSNA 2019 data set, whose data sets also lack dates, numbers and thickness.
    ds = ONE.build()[0]
    data = encoded(ds)
    at = data.index(struct.pack("<HH", 0x0008, 0x0016) + b"UI")
    (length,) = struct.unpack_from("<H", data, at + 6)
    header = read_header(data[:at] + data[at + 8 + length :])
    assert header.sop_class_uid == ds.SOPClassUID


def test_a_value_representation_that_does_not_exist_is_forgiven() -> None:
    data = image()
    at = data.index(struct.pack("<HH", 0x0018, 0x0050) + b"DS") + 4
    header = read_header(data[:at] + b"QQ" + data[at + 2 :])
    assert header.slice_thickness_mm == 5.0
    assert header.instance_number == 1


def test_an_empty_element_of_a_value_representation_that_does_not_exist_is_absent() -> None:
    data = image()
    at = data.index(struct.pack("<HH", 0x0018, 0x0050) + b"DS") + 4
    (length,) = struct.unpack_from("<H", data, at + 2)
    header = read_header(data[:at] + b"D\x01\0\0" + data[at + 4 + length :])
    assert header.slice_thickness_mm is None
    assert header.instance_number == 1


def test_leading_zeros_in_a_uid_are_forgiven() -> None:
    assert read_header(image(StudyInstanceUID=b"1.02.003")).study_instance_uid == "1.02.003"


def cut_at(keyword: str) -> Callable[[bytes], bytes]:
    def cut(data: bytes) -> bytes:
        tag, vr = ELEMENTS[keyword]
        return data[: data.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr, 132) + 9]

    return cut


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a DICOM file"),
        (b"%PDF-1.7 " + b"x" * 500, "not a DICOM file"),
        (image()[:100], "not a DICOM file"),
        (image()[:140], "TransferSyntaxUID"),
        (cut_at("ImagePositionPatient")(image()), "ends inside the DICOM header"),
        (cut_at("SOPInstanceUID")(image()), "ends inside the DICOM header"),
        (image(ONE.having(StudyInstanceUID=None)), "no StudyInstanceUID"),
        (image(ONE.having(SeriesInstanceUID=None)), "no SeriesInstanceUID"),
        (image(StudyInstanceUID=b"ID_1f6d1e8aeb"), "StudyInstanceUID 'ID_1f6d1e8aeb' is no UID"),
        (image(StudyInstanceUID=b"../../../etc"), "is no UID"),
        (image(StudyInstanceUID=b"1" * 66), "is no UID"),
        (image(SOPInstanceUID=b""), "no SOPInstanceUID"),
    ],
    ids=[
        "empty",
        "a PDF",
        "cut in the preamble",
        "cut in the file meta",
        "cut in a position",
        "cut in its UID",
        "no study",
        "no series",
        "a study of RSNA",
        "a path for a UID",
        "too long a UID",
        "an empty SOP instance",
    ],
)
def test_bytes_that_cannot_be_filed_are_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(BadObject, match=words):
        read_header(data)


def test_deflated_objects_are_refused_before_they_inflate() -> None:
    with pytest.raises(BadObject, match="deflated"):
        read_header(image(TransferSyntaxUID=DeflatedExplicitVRLittleEndian.encode()))


@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize("length", range(133, 1130, 38))
def test_a_header_cut_anywhere_is_refused(length: int) -> None:
    # Elements begin and end at even offsets, so an odd one lies inside an element.
    with pytest.raises(BadObject):
        read_header(image()[:length])


def test_an_unreadable_file_is_no_bad_object(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "missing.dcm")


@pytest.mark.data
def test_a_real_header_costs_less_than_two_milliseconds(data: Path) -> None:
    files = [path.read_bytes() for path in sorted((data / "ge_head_tilt").glob("*.dcm"))]
    fastest = min(timed(files) for _ in range(5))
    assert fastest < 0.002


def timed(files: list[bytes]) -> float:
    begin = time.process_time()
    for file in files:
        read_header(file)
    return (time.process_time() - begin) / len(files)


@pytest.mark.parametrize(
    ("change", "acquired", "age"),
    [
        ({"AcquisitionDate": "20260115", "AcquisitionTime": "083000.5"}, "20260115083000", None),
        ({"AcquisitionDateTime": "20260115083000.1+0100"}, "20260115083000", None),
        ({"StudyDate": "20260115", "StudyTime": ""}, "20260115", None),
        ({"PatientAge": "018M"}, "", 1.5),
        ({"PatientAge": "", "AcquisitionDate": "20260115"}, "20260115", 26.0),
        ({"PatientBirthDate": "", "AcquisitionDate": "20260115"}, "20260115", None),
        ({"AcquisitionDate": "19991231"}, "19991231", None),
        ({"PatientAge": "000Y", "AcquisitionDate": "20260115"}, "20260115", 26.0),
        ({"PatientAge": "000D", "AcquisitionDate": "20000117"}, "20000117", 2 / 365.25),
        ({"PatientAge": "027Y", "AcquisitionDate": "20260115"}, "20260115", 27.0),
        ({"PatientAge": "071Y", "AcquisitionDate": "20260115"}, "20260115", 26.0),
        ({"PatientAge": "018M", "AcquisitionDate": "20260115"}, "20260115", 26.0),
        ({"PatientAge": "071Y", "AcquisitionDate": "19991231"}, "19991231", 71.0),
        ({"PatientAge": "999Y", "AcquisitionDate": "20260115"}, "20260115", 26.0),
        (
            {
                "PatientAge": "071Y",
                "PatientBirthDate": "18000101",
                "AcquisitionDate": "20260115",
            },
            "20260115",
            71.0,
        ),
    ],
)
def test_when_it_was_acquired_and_how_old_the_patient_was(
    change: dict[str, str], acquired: str, age: float | None
) -> None:
    dates = dict.fromkeys(("AcquisitionDate", "AcquisitionTime", "SeriesDate", "StudyDate"))
    birth = {"PatientBirthDate": "20000115" if "PatientAge" in change or age else "20000101"}
    header = read_header(image(ONE.having(**dates, **birth).having(**change)))
    assert header.acquired == acquired
    if age is not None:
        assert header.patient_age_years == pytest.approx(age, abs=0.01)


OPEN = 0xFFFFFFFF
EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


def item_of(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def sequence(value: bytes, length: int | None = None, element: int = 0x1140) -> bytes:
    known = len(value) if length is None else length
    return struct.pack("<HH2sxxL", 8, element, b"SQ", known) + value


MANY = EMPTY_ITEM * 250_000


@pytest.mark.parametrize(
    "added",
    [
        sequence(MANY + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), OPEN),
        sequence(MANY),
        sequence(item_of(sequence(item_of(sequence(MANY))))),
    ],
    ids=["open", "of a length", "nested"],
)
def test_a_data_set_of_more_items_than_memory_is_refused(added: bytes) -> None:
    data = image()
    at = data.index(b"\x10\x00\x10\x00PN")
    with pytest.raises(TooManyElements):
        read_header(data[:at] + added + data[at:])


def test_a_data_set_of_more_elements_than_memory_is_refused() -> None:
    data = image()
    elements = b"".join(
        struct.pack("<HH2sH", 0x0009 + 2 * (i >> 16), i & 0xFFFF, b"LO", 0) for i in range(250_000)
    )
    at = data.index(b"\x10\x00\x10\x00PN")
    with pytest.raises(TooManyElements, match="more elements"):
        read_header(data[:at] + elements + data[at:])


def test_an_enhanced_image_of_a_thousand_frames_is_read() -> None:
    scan = Scan(rows=2, columns=2, gaps_mm=(0.2,) * 999)
    assert len(read_header(encoded(scan.enhanced())).frames) == 1000


def test_a_nul_within_a_text_is_shown_and_takes_no_part_of_an_identity() -> None:
    found = {read_header(image(PatientID=said)).patient_id for said in (b"P\x001 ", b"P1", b"P 1 ")}
    assert len(found) == 3 and not any("\0" in said for said in found)


@pytest.mark.parametrize("value", [b"1e308\\0\\0 ", b"0\\-1e11\\0 "])
def test_a_place_beyond_all_numbers_is_none(value: bytes) -> None:
    assert read_header(image(ImagePositionPatient=value)).frames[0].position_mm is None
