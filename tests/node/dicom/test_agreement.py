"""Whether the instances of a series name one patient, whatever their character sets."""

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from node.dicom.read.header import open_object
from node.dicom.write.agreement import MUST_AGREE, disagreements, fullest, sent
from tests.support.builder import HEAD, change, encoded

ONE = HEAD(gaps_mm=()).build()[0]


def instance(
    charset: str | None = "ISO_IR 192", name: bytes = b"", **values: str | None
) -> Dataset:
    """Return an image as it was received, its name in these bytes."""
    ds = HEAD(gaps_mm=()).build()[0]
    change(ds, "SpecificCharacterSet", charset)
    if name:
        padded = name + b" " * (len(name) % 2)
        tag = Tag("PatientName")
        ds[tag] = RawDataElement(tag, "PN", len(padded), padded, 0, False, True)
    for keyword, value in values.items():
        change(ds, keyword, value)
    return open_object(encoded(ds), pixels=False).ds


UTF8, LATIN1 = "Müller^Jörg".encode(), "Müller^Jörg".encode("latin-1")
WARNED = pytest.mark.filterwarnings("ignore:Failed to decode byte string")


@WARNED
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ISO_IR 192", UTF8), ("ISO_IR 100", LATIN1)),
        (("ISO_IR 192", UTF8), (None, UTF8)),
        (("ISO_IR 192", UTF8), ("ISO_IR 100", UTF8)),
        (("ISO_IR 192", UTF8), ("ISO_IR 192", LATIN1)),
        (("ISO_IR 100", LATIN1), (None, LATIN1)),
        (("ISO_IR 192", UTF8), (None, b"M?ller^J?rg")),
        (("ISO_IR 192", UTF8), ("ISO_IR 192", "MÃ¼ller^JÃ¶rg".encode())),
        (("ISO_IR 144", "Петров".encode("iso8859-5")), ("ISO_IR 192", "ПЕТРОВ^".encode())),
    ],
)
def test_a_name_in_another_character_set_is_the_same(
    one: tuple[str | None, bytes], other: tuple[str | None, bytes]
) -> None:
    assert disagreements([instance(*one), instance(*other)]) == []


@WARNED
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ISO_IR 192", UTF8), ("ISO_IR 192", "Müller^Jürgen".encode())),
        (("ISO_IR 192", UTF8), ("ISO_IR 100", "Möller^Jörg".encode("latin-1"))),
        ((None, b"Doe^John"), (None, b"Doe^Jane")),
    ],
)
def test_another_name_is_not(
    one: tuple[str | None, bytes], other: tuple[str | None, bytes]
) -> None:
    assert disagreements([instance(*one), instance(*other)]) == ["PatientName"]


@pytest.mark.parametrize("keyword", MUST_AGREE)
def test_of_an_absent_value_only_patient_id_and_birth_date_are_strict(keyword: str) -> None:
    whole = instance(**{keyword: "20000101"})
    strict = keyword in ("PatientID", "PatientBirthDate")
    for absent in (None, ""):
        lacking = instance(**{keyword: absent})
        assert disagreements([whole, lacking, whole]) == [keyword] * strict
        assert disagreements([lacking, whole]) == [keyword] * strict


def test_three_names_agree_only_if_each_two_do() -> None:
    found = [instance(name=name) for name in (b"Doe^John", b"DOE^JOHN^^", b"Doe^Jon")]
    assert disagreements(found[:2]) == []
    assert disagreements(found) == ["PatientName"]


def test_what_one_instance_lacks_comes_from_another() -> None:
    first = instance(PatientSex=None, AccessionNumber="")
    second = instance(PatientSex=None)
    third = instance(AccessionNumber=None, StudyID=None)
    found = fullest([first, second, third], (*MUST_AGREE, "StudyID"))
    assert sent(found, "PatientSex").strip() == b"O"
    assert sent(found, "AccessionNumber") == b"A1"
    assert sent(found, "StudyID").strip() == b"1"


def test_text_in_a_character_set_that_the_heir_does_not_state_is_left_out() -> None:
    heir = instance("ISO_IR 100", PatientName=None)
    giver = instance("ISO_IR 192", UTF8, PatientSex=None, AccessionNumber=None, StudyID=None)
    keywords = (*MUST_AGREE, "StudyID")
    assert sent(fullest([heir, giver], keywords), "PatientName") == b""
    alike = instance("ISO_IR 100", LATIN1, PatientSex=None, AccessionNumber=None, StudyID=None)
    assert sent(fullest([heir, alike], keywords), "PatientName").strip() == LATIN1
