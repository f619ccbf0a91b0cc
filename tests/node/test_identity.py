"""Whose an object is: two identities are the same only if every value is."""

import pytest

from node.identity import Identity, PatientIdentity, disagreeing, same_name
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


@pytest.mark.parametrize(
    "other",
    [
        "Müller^Jörg",
        "Müller^Jörg^^^",
        "MÜLLER^JÖRG",
        "Müller ^ Jörg",
        "Müller^Jörg=",
        "Mu\u0308ller^Jo\u0308rg",
        "M?ller^J?rg",
        "M\ufffd\ufffdller^J\ufffd\ufffdrg",
        "Müller^Jörg=ミュラー",
    ],
)
def test_spellings_of_one_name_are_the_same(other: str) -> None:
    assert same_name("Müller^Jörg", other)
    assert same_name(other, "Müller^Jörg")


@pytest.mark.parametrize(
    "other",
    ["", "^^^", "Müller^Jürgen", "Müller", "Jörg^Müller", "Miller^Jörg", "M?ller^J", "M?ler^Jörg"],
)
def test_other_names_are_not(other: str) -> None:
    assert not same_name("Müller^Jörg", other)


def test_a_name_in_one_script_is_not_that_in_another() -> None:
    assert same_name("Yamada^Tarou=山田^太郎", "YAMADA^TAROU=山田^太郎=やまだ^たろう")
    assert not same_name("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山本^太郎")
    assert not same_name("Yamada^Tarou", "=山田^太郎")
