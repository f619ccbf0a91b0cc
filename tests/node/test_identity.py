"""Whose an object is: two identities are the same only if every value is."""

import pytest

from node.identity import Identity, PatientIdentity, disagreeing
from node.records import Header

ANNA = PatientIdentity("P1", "19500102")
MINE = Identity("1.7.1", ANNA)


def header(study: str, patient_id: str, birth_date: str) -> Header:
    uids = {"sop_class_uid": "", "transfer_syntax_uid": "", "series_instance_uid": "1.7.1.1"}
    return Header(
        **uids,
        sop_instance_uid="1.7.1.1.1",
        study_instance_uid=study,
        frames=(),
        patient_id=patient_id,
        patient_birth_date=birth_date,
    )


def test_identity_is_read_from_a_header() -> None:
    said = header("1.7.1", "P1", "19500102")
    assert Identity.of(said) == MINE
    assert PatientIdentity.of(said) == ANNA


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (MINE, {}),
        (Identity("1.7.2", ANNA), {"StudyInstanceUID": ("1.7.1", "1.7.2")}),
        (Identity("1.7.1", PatientIdentity("P9", "19500102")), {"PatientID": ("P1", "P9")}),
        (Identity("1.7.1", PatientIdentity("p1", "19500102")), {"PatientID": ("P1", "p1")}),
        (Identity("1.7.1", PatientIdentity("P1", "")), {"PatientBirthDate": ("19500102", "")}),
    ],
    ids=["same", "other study", "other patient", "other case", "no birth date"],
)
def test_a_difference_names_the_keyword_and_both_values(
    other: Identity, differs: dict[str, tuple[str, str]]
) -> None:
    assert MINE.differences(other) == differs
    assert MINE.unlike([MINE, other]) == list(differs)


def test_differences_come_in_the_order_study_patient_birth_date() -> None:
    stranger = Identity("1.7.2", PatientIdentity("P9", "19990909"))
    keywords = ["StudyInstanceUID", "PatientID", "PatientBirthDate"]
    assert list(MINE.differences(stranger)) == keywords
    assert MINE.unlike({stranger}) == keywords


def test_an_object_without_any_source_is_vouched_for_by_none() -> None:
    assert MINE.unlike([]) == ["StudyInstanceUID", "PatientID", "PatientBirthDate"]


def test_disagreement_is_found_among_any_number_of_objects() -> None:
    assert disagreeing() == []
    assert disagreeing({"PatientID": b"P1"}) == []
    said = [{"PatientID": b"P1", "PatientSex": b"F"}] * 3
    assert disagreeing(*said) == []
    assert disagreeing(*said, {"PatientID": b"P1", "PatientSex": b""}) == ["PatientSex"]
