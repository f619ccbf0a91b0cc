"""QIDO-RS, asked by dicomweb-client and by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from tests.support.archiving import READ, ServedArchive, serving_archive
from tests.support.peers import ct_series
from training.datasets.series import Identity


def named(folder: Path, name: str, seed: str, **values: object) -> list[Path]:
    """Write a series of its own study with these attributes."""
    files = ct_series(folder / seed, 3, seed=seed)
    for path in files:
        ds = dcmread(path)
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.PatientName = name
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.save_as(path)
    return files


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedArchive]:
    folder = tmp_path_factory.mktemp("archive")
    with serving_archive(folder) as served:
        served.take(
            named(folder, "M\xfcller^Jos\xe9", "a", StudyDate="20260105", AccessionNumber="A_1")
        )
        served.take(named(folder, "MULLER^JO", "b", StudyDate="20260110", AccessionNumber="A%1"))
        served.take(named(folder, "Doe^Jane^^^", "c", StudyDate="20260115", AccessionNumber="A[1"))
        yield served


def names(found: list[dict]) -> list[str]:
    return sorted(str(Dataset.from_json(one).PatientName) for one in found)


@pytest.mark.parametrize(
    ("matched", "expected"),
    [
        ({}, ["Doe^Jane^^^", "MULLER^JO", "M\xfcller^Jos\xe9"]),
        ({"PatientName": "m\xfcller*"}, ["M\xfcller^Jos\xe9"]),
        ({"PatientName": "DOE^JANE"}, ["Doe^Jane^^^"]),
        ({"PatientName": "*j?"}, ["MULLER^JO"]),
        ({"PatientName": "doe"}, []),
        ({"PatientName": "*"}, ["Doe^Jane^^^", "MULLER^JO", "M\xfcller^Jos\xe9"]),
        ({"StudyDate": "20260105-20260110"}, ["MULLER^JO", "M\xfcller^Jos\xe9"]),
        ({"StudyDate": "20260111-"}, ["Doe^Jane^^^"]),
        ({"StudyDate": "-20260105"}, ["M\xfcller^Jos\xe9"]),
        ({"00080020": "20260110"}, ["MULLER^JO"]),
        ({"AccessionNumber": "A_1"}, ["M\xfcller^Jos\xe9"]),
        ({"AccessionNumber": "A_*"}, ["M\xfcller^Jos\xe9"]),
        ({"AccessionNumber": "A%*"}, ["MULLER^JO"]),
        ({"AccessionNumber": "?[1"}, ["Doe^Jane^^^"]),
        ({"AccessionNumber": "a_1"}, []),
        ({"AccessionNumber": "a*"}, []),
        ({"ModalitiesInStudy": "CT", "PatientName": "doe*"}, ["Doe^Jane^^^"]),
        ({"ModalitiesInStudy": "MR"}, []),
        ({"StudyInstanceUID": Identity.of("b").study_instance_uid}, ["MULLER^JO"]),
        (
            {
                "StudyInstanceUID": ",".join(
                    Identity.of(seed).study_instance_uid for seed in ("b", "c")
                )
            },
            ["Doe^Jane^^^", "MULLER^JO"],
        ),
    ],
)
def test_studies_match(archive: ServedArchive, matched: dict, expected: list[str]) -> None:
    found = archive.client(READ).search_for_studies(search_filters=matched)
    assert names(found) == sorted(expected)


def test_a_study_answers_with_what_the_standard_asks_for(archive: ServedArchive) -> None:
    (found,) = archive.client(READ).search_for_studies(search_filters={"PatientName": "doe*"})
    ds = Dataset.from_json(found)
    uid = Identity.of("c").study_instance_uid
    assert ds.StudyInstanceUID == uid
    assert (ds.StudyDate, ds.AccessionNumber, ds.PatientID) == (
        "20260115",
        "A[1",
        Identity.of("c").patient_id,
    )
    assert ds.ModalitiesInStudy == "CT"
    assert (ds.NumberOfStudyRelatedSeries, ds.NumberOfStudyRelatedInstances) == (1, 3)
    with archive.http(READ) as http:  # dicomweb-client leaves the port out of its Host header
        (found,) = http.get("/studies", params={"StudyInstanceUID": uid}).json()
    assert found["00081190"]["Value"] == [f"{archive.url}/studies/{uid}"]
    for keyword in ("StudyTime", "ReferringPhysicianName", "PatientBirthDate", "StudyID"):
        assert keyword in ds


def test_series_and_instances_answer_with_what_the_standard_asks_for(
    archive: ServedArchive,
) -> None:
    client, study = archive.client(READ), Identity.of("a").study_instance_uid
    (found,) = client.search_for_series(study)
    series = Dataset.from_json(found)
    assert (series.Modality, series.NumberOfSeriesRelatedInstances) == ("CT", 3)
    found = client.search_for_instances(study, series.SeriesInstanceUID)
    instances = [Dataset.from_json(one) for one in found]
    assert [ds.InstanceNumber for ds in instances] == [1, 2, 3]
    assert {(ds.Rows, ds.Columns, ds.BitsAllocated) for ds in instances} == {(32, 32, 16)}
    everywhere = client.search_for_instances(search_filters={"InstanceNumber": "2"})
    assert len(everywhere) == 3
    assert "PatientName" in Dataset.from_json(everywhere[0])


def test_answers_are_paged_and_say_that_there_are_more(archive: ServedArchive) -> None:
    with archive.http(READ) as http:
        first = http.get("/studies", params={"limit": 2})
        assert len(first.json()) == 2
        assert "299" in first.headers["Warning"]
        last = http.get("/studies", params={"limit": 2, "offset": 2})
        assert len(last.json()) == 1
        assert "Warning" not in last.headers
        uids = {one["0020000D"]["Value"][0] for one in first.json() + last.json()}
        assert len(uids) == 3


def test_fields_are_added_by_name_by_tag_and_all(archive: ServedArchive) -> None:
    study = Identity.of("a").study_instance_uid
    with archive.http(READ) as http:
        for field in ("ProtocolName", "00181030", "all"):
            (found,) = http.get(f"/studies/{study}/series", params={"includefield": field}).json()
            assert "00181030" in found
        (found,) = http.get(f"/studies/{study}/series").json()
        assert "00181030" not in found


def test_the_priority_is_a_private_attribute_that_is_asked_for(archive: ServedArchive) -> None:
    study = Identity.of("a").study_instance_uid
    with archive.http(READ) as http:
        params = {"StudyInstanceUID": study, "includefield": "21171001"}
        (found,) = http.get("/studies", params=params).json()
        assert found["21170010"]["Value"] == ["ICHNODE"]
        assert found["21171001"]["Value"] == ["PENDING"]
        assert "RESEARCH" in found["21171002"]["Value"][0].upper()
        assert "21171001" not in http.get("/studies", params={"limit": 1}).json()[0]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("PatientNam=x", "names no attribute"),
        ("PatientComments=x", "PatientComments is not matched"),
        ("SOPInstanceUID=1.2", "SOPInstanceUID is not matched"),
        ("StudyDate=2026-01-05", "StudyDate"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyInstanceUID=../../etc", "StudyInstanceUID"),
        ("PatientName=*a*a*a*a*a*", "more than 4"),
        ("fuzzymatching=true", "fuzzymatching is not offered"),
        ("limit=-1", "limit"),
        ("offset=x", "offset"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_with_the_reason(
    archive: ServedArchive, query: str, why: str
) -> None:
    with archive.http(READ) as http:
        answer = http.get(f"/studies?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (
        400,
        "text/plain; charset=utf-8",
    )
    assert why in answer.text


def test_nothing_found_is_no_content(archive: ServedArchive) -> None:
    with archive.http(READ) as http:
        for path in ("/studies?PatientID=nobody", f"/studies/{generate_uid()}/series"):
            answer = http.get(path)
            assert (answer.status_code, answer.content) == (204, b"")
