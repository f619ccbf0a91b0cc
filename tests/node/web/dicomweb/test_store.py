"""STOW-RS: objects are filed as by C-STORE, and the answer tells of each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import MRImageStorage, generate_uid

from node.settings import Receive
from tests.support.archiving import WRITE, ServedArchive, serving_archive
from tests.support.peers import ct_series, ct_series_of_other_patient

KIND = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[ServedArchive]:
    with serving_archive(tmp_path, receive=Receive(min_free_mb=0, max_object_mb=1)) as served:
        yield served


def parts(
    *files: bytes, end: bytes = b"\r\n--b--\r\n", kind: bytes = b"application/dicom"
) -> bytes:
    head = b"\r\n--b\r\nContent-Type: " + kind + b"\r\n\r\n"
    return b"".join(head + file for file in files) + end


def reasons(answer: dict) -> list[int]:
    return [int(item.FailureReason) for item in Dataset.from_json(answer).FailedSOPSequence]


def test_objects_are_filed_and_referred_to(archive: ServedArchive, tmp_path: Path) -> None:
    sent = [dcmread(path) for path in ct_series(tmp_path / "sent", 3)]
    answer = archive.client().store_instances(sent)
    uids = [ds.SOPInstanceUID for ds in sent]
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == uids
    assert "FailedSOPSequence" not in answer
    (series,) = archive.worklist.arrivals.study(sent[0].StudyInstanceUID)
    assert [one.header.sop_instance_uid for one in series.instances] == uids
    assert series.associations == 1, "everything has come: it is read without delay"
    again = archive.client().store_instances(sent)
    assert len(again.ReferencedSOPSequence) == 3
    found = archive.client().search_for_instances(sent[0].StudyInstanceUID)
    assert len(found) == 3


def test_what_is_set_aside_is_told(archive: ServedArchive, tmp_path: Path) -> None:
    first, second, third = ct_series(tmp_path / "sent", 3)
    changed = dcmread(first)
    changed.SeriesDescription = "other bytes"
    changed.save_as(tmp_path / "changed.dcm")
    other = dcmread(third)
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = MRImageStorage
    other.save_as(tmp_path / "mr.dcm")
    (foreign,) = ct_series_of_other_patient(tmp_path / "other", "a")
    files = [
        first.read_bytes(),
        (tmp_path / "changed.dcm").read_bytes(),
        second.read_bytes()[:-100],
        (tmp_path / "mr.dcm").read_bytes(),
        foreign.read_bytes(),
        b"no DICOM",
    ]
    with archive.http(WRITE, **{"Content-Type": KIND}) as http:
        answer = http.post("/studies", content=parts(*files))
        assert answer.status_code == 202
        assert reasons(answer.json()) == [0xC000, 0xC000, 0x0122, 0xC100, 0xC000]
        comments = [
            i.get("ErrorComment") for i in Dataset.from_json(answer.json()).FailedSOPSequence
        ]
        assert all(comments)
        assert http.post("/studies", content=parts(b"no DICOM")).status_code == 409
    assert len(archive.worklist.quarantine.listed()) == 4


def test_objects_of_another_study_than_the_resource_are_refused(
    archive: ServedArchive, tmp_path: Path
) -> None:
    (file,) = ct_series(tmp_path / "sent", 1)
    study = dcmread(file).StudyInstanceUID
    with archive.http(WRITE, **{"Content-Type": KIND}) as http:
        answer = http.post(f"/studies/{generate_uid()}", content=parts(file.read_bytes()))
        assert (answer.status_code, reasons(answer.json())) == (409, [0xA900])
        assert not archive.worklist.arrivals.study(study)
        assert http.post(f"/studies/{study}", content=parts(file.read_bytes())).status_code == 200


def test_an_object_over_the_limit_is_dropped_and_told(
    archive: ServedArchive, tmp_path: Path
) -> None:
    (file,) = ct_series(tmp_path / "sent", 1)

    def body() -> Iterator[bytes]:
        yield b"--b\r\nContent-Type: application/dicom\r\n\r\n"
        for _ in range(64):
            yield bytes(1 << 20)
        yield parts(file.read_bytes())

    with archive.http(WRITE, **{"Content-Type": KIND}) as http:
        answer = http.post("/studies", content=body())
    assert (answer.status_code, reasons(answer.json())) == (202, [0xA700])
    assert len(Dataset.from_json(answer.json()).ReferencedSOPSequence) == 1


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/dicom+json", b"[]", 415),
        ('multipart/related; type="application/dicom+json"; boundary=b', b"--b--", 415),
        ('multipart/related; type="application/dicom"', b"--b--", 400),
        ("multipart/related; boundary*=utf-8''b", b"--b--", 400),
        (KIND, b"", 400),
        (KIND, b"--b--", 400),
        (KIND, b"nonsense", 400),
        (KIND, parts(b"abc", end=b""), 400),
        (KIND, parts(b"abc", kind=b"text/html"), 415),
        (KIND, b"--b\r\n" + b"X" * 100_000, 400),
        (KIND, b"--b\r\n" + b"X: y\r\n" * 10_000 + b"\r\nabc\r\n--b--", 400),
    ],
)
def test_a_malformed_body_is_refused_with_the_reason(
    archive: ServedArchive, kind: str, body: bytes, status: int
) -> None:
    with archive.http(WRITE, **{"Content-Type": kind}) as http:
        answer = http.post("/studies", content=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text
        assert http.get("/studies").status_code == 204, "it goes on"


def test_what_came_before_a_fault_is_kept(archive: ServedArchive, tmp_path: Path) -> None:
    first, second = ct_series(tmp_path / "sent", 2)
    whole = parts(first.read_bytes(), second.read_bytes())
    with archive.http(WRITE, **{"Content-Type": KIND}) as http:
        answer = http.post("/studies", content=whole[:-200])
        assert (answer.status_code, "which are kept: 1" in answer.text) == (400, True)
        assert len(http.get("/instances").json()) == 1
    (series,) = archive.worklist.arrivals.study(dcmread(first).StudyInstanceUID)
    assert series.released_at is None, "nothing says that all has come"
