"""The archive's tables: matching is the same in SQLite and in PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.records import Header, StoredObject
from node.worklist import Archive, BadQuery, Entry, Level, Query, Unlisted, Worklist
from tests.support.databases import new_database
from tests.support.postgresql import cluster

T0 = datetime(2026, 1, 15, 8, tzinfo=UTC)
NO_STUDY = dict.fromkeys(
    (
        *("patient_name", "patient_id", "patient_birth_date", "patient_sex", "study_date"),
        *("study_time", "accession_number", "study_id", "study_description"),
        "referring_physician_name",
    ),
    "",
)
NO_SERIES = dict.fromkeys(
    (
        *("modality", "series_description", "body_part_examined", "protocol_name", "series_date"),
        *("series_time", "performed_procedure_step_start_date"),
        "performed_procedure_step_start_time",
    ),
    "",
)
NAMES = (
    "Doe^Jane",
    "DOE^JOHN^^^",
    "M\xdcLLER^A_B",
    "Wang^Xiaodong=\u738b^\u5c0f\u6771",
    "O[x]^100%",
)


def entry(number: int, name: str = "", **study: str) -> Entry:
    uids = {"study_instance_uid": f"1.7.{number}", "series_instance_uid": f"1.8.{number}"}
    named = {"study_instance_uid": uids["study_instance_uid"], "patient_name": name}
    return Entry(
        {**NO_STUDY, **named, **study},
        {**NO_SERIES, **uids, "modality": "CT", "series_number": number},
        {
            "sop_instance_uid": f"1.9.{number}",
            "series_instance_uid": uids["series_instance_uid"],
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            **dict.fromkeys(("instance_number", "rows", "columns", "bits_allocated")),
            "number_of_frames": None,
            "path": f"received/{number}",
            "sha256": f"{number:064}",
            "size": 1,
        },
    )


def filed(worklist: Worklist, number: int) -> Unlisted:
    """File an object; return it as one that the archive's tables do not know."""
    uids = (f"1.9.{number}", f"1.7.{number}", f"1.8.{number}")
    header = Header("1.2.840.10008.5.1.4.1.1.2", *uids, "1.2.840.10008.1.2.1", ())
    stored = StoredObject(f"received/{number}", f"{number:064}", 1)
    worklist.arrivals.add(header, stored, caller="CT1", now=T0)
    (found,) = worklist.archive.unlisted(10)
    return found


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)]
)
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    if request.param == "sqlite":
        yield from described(f"sqlite:///{tmp_path_factory.mktemp('db')}/ichnode.sqlite")
    else:
        with cluster() as url:
            yield from described(url)


def described(url: str) -> Iterator[Archive]:
    new_database(url)
    with Worklist(url) as worklist:
        for number, name in enumerate(NAMES, start=1):
            dates = {"study_date": f"2026010{number}", "study_time": f"0{number}3000.5"}
            worklist.archive.list_received(
                [(filed(worklist, number), entry(number, name, **dates, patient_id=f"p{number}"))]
            )
        assert worklist.archive.unlisted(10) == []
        yield worklist.archive


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"PatientName": "doe^j*"}, [2, 1]),
        ({"PatientName": "DOE^JOHN"}, [2]),
        ({"PatientName": "m\xfcller^a_b"}, [3]),
        ({"PatientName": "*^a?b"}, [3]),
        ({"PatientName": "*^a_?"}, [3]),
        ({"PatientName": "\u738b*"}, [4]),
        ({"PatientName": "wang^xiaodong"}, [4]),
        ({"PatientName": "o[x]*"}, [5]),
        ({"PatientName": "o[x*"}, [5]),
        ({"PatientName": "*100%"}, [5]),
        ({"PatientName": "d%"}, []),
        ({"PatientID": "p?"}, [5, 4, 3, 2, 1]),
        ({"PatientID": "P?"}, []),
        ({"PatientID": "'; DROP TABLE study; --"}, []),
        ({"StudyDate": "20260102-20260103"}, [3, 2]),
        ({"StudyTime": "-0130"}, [1]),
        ({"StudyTime": "0230"}, [2]),
        ({"StudyTime": "0231"}, []),
        ({"StudyTime": "0430-"}, [5, 4]),
        ({"StudyInstanceUID": "1.7.1\\1.7.5\\1.7.9"}, [5, 1]),
        ({"ModalitiesInStudy": "MR\\CT", "PatientID": "p1"}, [1]),
        ({"ModalitiesInStudy": "C*", "SOPClassesInStudy": "1.2.3"}, []),
        ({"StudyDescription": "x"}, []),
    ],
)
def test_studies_match(archive: Archive, keys: dict[str, str], numbers: list[int]) -> None:
    found = archive.find(Query(Level.STUDY, keys))
    assert [row["StudyInstanceUID"] for row in found] == [f"1.7.{number}" for number in numbers]


def test_each_level_has_its_answers(archive: Archive) -> None:
    (series,) = archive.find(Query(Level.SERIES, {"SeriesNumber": "3"}))
    assert (series["SeriesInstanceUID"], series["NumberOfSeriesRelatedInstances"]) == ("1.8.3", 1)
    (found,) = archive.find(Query(Level.IMAGE, {"SOPInstanceUID": "1.9.3"}))
    assert (found["PatientID"], found["Rows"]) == ("p3", None)
    patients = archive.find(Query(Level.PATIENT, {"PatientName": "doe*"}))
    assert [row["NumberOfPatientRelatedStudies"] for row in patients] == [1, 1]
    assert len(archive.find(Query(Level.IMAGE, limit=2, offset=1))) == 2
    (stored,) = archive.stored(["1.7.2"], ["1.8.2"], ["1.9.2"])
    assert (stored.path, stored.rows) == ("received/2", None)
    assert archive.stored(["1.7.2"], ["1.8.1"]) == []


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        (Level.STUDY, {"Modality": "CT"}),
        (Level.PATIENT, {"StudyInstanceUID": "1.7.1"}),
        (Level.STUDY, {"StudyDate": "2026*"}),
        (Level.STUDY, {"StudyTime": "25:00"}),
        (Level.SERIES, {"SeriesNumber": "three"}),
        (Level.STUDY, {"PatientName": "*a*b*c*d*e"}),
        (Level.STUDY, {"StudyInstanceUID": "\\".join(["1.2"] * 1001)}),
    ],
)
def test_what_no_attribute_can_match_is_refused(
    archive: Archive, level: Level, keys: dict[str, str]
) -> None:
    with pytest.raises(BadQuery, match=next(iter(keys))):
        archive.find(Query(level, keys))


def test_an_object_that_was_replaced_meanwhile_is_described_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ichnode.sqlite"
    new_database(url)
    with Worklist(url) as worklist:
        found = filed(worklist, 1)
        outdated = Unlisted(found.id, found.path, "0" * 63 + "9")
        worklist.archive.list_received([(outdated, entry(1, "Old"))])
        assert worklist.archive.unlisted(10) == [found]
        assert worklist.archive.find(Query(Level.STUDY)) == []
        worklist.archive.list_received([(found, None)])
        assert worklist.archive.unlisted(10) == [], "a file that is gone is not asked for again"
