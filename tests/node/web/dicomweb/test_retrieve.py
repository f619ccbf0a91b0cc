"""WADO-RS, asked by dicomweb-client and by hand."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from node.dicom.archive.metadata import FOLDER
from node.errors import BadObject
from tests.support.archiving import READ, ServedArchive, serving_archive
from tests.support.peers import ct_series

ANY = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


def sent_as(folder: Path, seed: str, syntax: str) -> list[Path]:
    """Write a series in a transfer syntax."""
    files = ct_series(folder / seed, 3, seed=seed)
    for path in files:
        ds = dcmread(path)
        if syntax == ImplicitVRLittleEndian:
            ds.file_meta.TransferSyntaxUID = syntax
            ds.save_as(path, implicit_vr=True, little_endian=True)
        elif syntax == ExplicitVRBigEndian:
            ds.file_meta.TransferSyntaxUID = syntax
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            list(ds.iterall())  # else elements are written as they were read
            big = {"implicit_vr": False, "little_endian": False, "force_encoding": True}
            dcmwrite(path, ds, **big)
        elif syntax != ExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
            ds.save_as(path)
    return files


FORMS = {
    "a": ExplicitVRLittleEndian,
    "b": ImplicitVRLittleEndian,
    "c": ExplicitVRBigEndian,
    "d": RLELossless,
    "e": JPEG2000Lossless,
}


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[FileDataset]]:
    """The objects that were sent, by the seed of their series."""
    folder = tmp_path_factory.mktemp("sent")
    return {
        seed: [dcmread(path) for path in sent_as(folder, seed, syntax)]
        for seed, syntax in FORMS.items()
    }


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, sent: dict[str, list[FileDataset]]
) -> Iterator[ServedArchive]:
    with serving_archive(tmp_path_factory.mktemp("archive")) as served:
        files = [Path(str(ds.filename)) for series in sent.values() for ds in series]
        assert served.take(files).complete
        yield served


def path_of(ds: Dataset, depth: int = 3) -> str:
    parts = (
        ("studies", ds.StudyInstanceUID),
        ("series", ds.SeriesInstanceUID),
        ("instances", ds.SOPInstanceUID),
    )
    return "".join(f"/{name}/{uid}" for name, uid in parts[:depth])


def uids(ds: Dataset) -> tuple[str, str, str]:
    return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID


@pytest.mark.parametrize("seed", FORMS)
def test_objects_come_as_they_are_stored(
    archive: ServedArchive, sent: dict[str, list[FileDataset]], seed: str
) -> None:
    client = archive.client(READ)
    found = client.retrieve_series(
        *uids(sent[seed][0])[:2], media_types=(("application/dicom", "*"),)
    )
    assert [ds.SOPInstanceUID for ds in found] == [ds.SOPInstanceUID for ds in sent[seed]]
    for ds, original in zip(found, sent[seed], strict=True):
        assert ds.file_meta.TransferSyntaxUID == FORMS[seed]
        assert ds.PixelData == original.PixelData
        assert ds == original


@pytest.mark.parametrize("seed", FORMS)
def test_objects_come_uncompressed_unless_another_form_is_accepted(
    archive: ServedArchive, sent: dict[str, list[FileDataset]], seed: str
) -> None:
    original = sent[seed][1]
    with archive.http(READ, Accept="application/dicom") as http:
        found = dcmread(BytesIO(http.get(path_of(original)).content))
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.SOPInstanceUID == original.SOPInstanceUID
    assert (found.pixel_array == original.pixel_array).all()
    assert found.PatientName == original.PatientName


def test_a_study_and_a_single_file_are_retrieved(
    archive: ServedArchive, sent: dict[str, list[FileDataset]]
) -> None:
    plain = (("application/dicom", ExplicitVRLittleEndian),)
    study = sent["e"][0].StudyInstanceUID
    found = archive.client(READ).retrieve_study(study, media_types=plain)
    assert {ds.file_meta.TransferSyntaxUID for ds in found} == {ExplicitVRLittleEndian}
    assert len(archive.client(READ).retrieve_study(sent["a"][0].StudyInstanceUID)) == 3
    with archive.http(READ, Accept="application/dicom") as http:
        answer = http.get(path_of(sent["a"][0]))
    assert answer.headers["content-type"].startswith("application/dicom;")
    assert dcmread(BytesIO(answer.content)) == sent["a"][0]


@pytest.mark.parametrize("seed", FORMS)
def test_frames_come_uncompressed_and_as_stored(
    archive: ServedArchive, sent: dict[str, list[FileDataset]], seed: str
) -> None:
    original = sent[seed][0]
    (plain,) = archive.client(READ).retrieve_instance_frames(*uids(original), frame_numbers=[1])
    assert plain == original.pixel_array.astype("<u2").tobytes()
    wanted = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    with archive.http(READ) as http:
        answer = http.get(f"{path_of(original)}/frames/1", headers={"Accept": wanted})
    head, _, body = answer.content.partition(b"\r\n\r\n")
    stored = FORMS[seed] if FORMS[seed].is_compressed else ExplicitVRLittleEndian
    assert f"transfer-syntax={stored}".encode() in head
    frame = body[: body.rindex(b"\r\n--")]
    if FORMS[seed].is_compressed:
        assert len(frame) < len(plain)
        assert frame in original.PixelData
    else:
        assert frame == plain


@pytest.mark.parametrize("seed", FORMS)
def test_metadata_is_the_object_without_its_bulk_data(
    archive: ServedArchive, sent: dict[str, list[FileDataset]], seed: str
) -> None:
    client = archive.client(READ)
    series = client.retrieve_series_metadata(*uids(sent[seed][0])[:2])
    assert [one["00080018"]["Value"][0] for one in series] == [
        ds.SOPInstanceUID for ds in sent[seed]
    ]
    (one,) = (client.retrieve_instance_metadata(*uids(sent[seed][0])),)
    assert one == series[0]
    original = sent[seed][0]
    assert one["7FE00010"]["BulkDataURI"].endswith(f"{path_of(original)}/bulkdata/7FE00010")
    read = Dataset.from_json(
        {tag: v for tag, v in one.items() if tag not in ("7FE00010", "00083002")}
    )
    for element in original:
        if element.keyword != "PixelData":
            assert read[element.tag].value == element.value, element.tag
    assert one["00083002"]["Value"] == [FORMS[seed]]


def no_file_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> NoReturn:
        raise BadObject(f"{path} is opened")

    monkeypatch.setattr("node.web.dicomweb.metadata.read_attributes", fail)


def test_metadata_of_a_series_is_kept_as_its_objects_come(
    archive: ServedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_file_is_opened(monkeypatch)
    files = ct_series(tmp_path, 3, seed="growing")
    with archive.http(READ) as http:
        for there in (2, 3):
            archive.take(files[:there])
            said = http.get(f"{path_of(dcmread(files[0]), 2)}/metadata").json()
            uids = [one["00080018"]["Value"][0] for one in said]
            assert uids == [dcmread(path).SOPInstanceUID for path in files[:there]]


@pytest.mark.parametrize("left", [0, 9, -9])
def test_damaged_metadata_is_made_again_and_kept(
    archive: ServedArchive,
    sent: dict[str, list[FileDataset]],
    monkeypatch: pytest.MonkeyPatch,
    left: int,
) -> None:
    with archive.http(READ) as http:
        path = f"{path_of(sent['a'][0], 2)}/metadata"
        said = http.get(path).json()
        for file in (archive.settings.data_dir / FOLDER).iterdir():
            file.write_bytes(file.read_bytes()[:left])
        assert http.get(path).json() == said
        no_file_is_opened(monkeypatch)
        assert http.get(path).json() == said


def test_bulk_data_is_found_where_metadata_says(
    archive: ServedArchive, sent: dict[str, list[FileDataset]]
) -> None:
    original = sent["a"][0]
    with archive.http(READ) as http:
        (one,) = http.get(f"{path_of(original)}/metadata").json()
        answer = http.get(
            one["7FE00010"]["BulkDataURI"], headers={"Accept": "application/octet-stream"}
        )
        assert answer.content == original.PixelData
        assert http.get(f"{path_of(original)}/bulkdata/00091001").status_code == 404
        assert http.get(f"{path_of(original)}/bulkdata/xyz").status_code == 400


@pytest.mark.parametrize("seed", FORMS)
@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_pictures_are_windowed(
    archive: ServedArchive, sent: dict[str, list[FileDataset]], seed: str, kind: str
) -> None:
    original = sent[seed][0]
    with archive.http(READ, Accept=kind) as http:
        answer = http.get(f"{path_of(original)}/rendered?window=30,40,linear")
        other = http.get(f"{path_of(original)}/frames/1/rendered?window=1000,40")
        small = http.get(f"{path_of(original)}/frames/1/rendered?viewport=16,8")
    assert answer.headers["content-type"] == kind
    shown = np.asarray(Image.open(BytesIO(answer.content))).astype(float)
    hu = original.pixel_array * float(original.RescaleSlope) + float(original.RescaleIntercept)
    expected = np.clip((hu - 29.5) / 39 + 0.5, 0, 1) * 255
    tolerance = 1.01 if kind == "image/png" else 40
    assert np.abs(shown - expected).max() <= tolerance
    assert np.asarray(Image.open(BytesIO(other.content))).max() == 0
    assert Image.open(BytesIO(small.content)).size == (8, 8)


def test_thumbnails_and_pictures_of_what_is_above_an_image(
    archive: ServedArchive, sent: dict[str, list[FileDataset]]
) -> None:
    with archive.http(READ, Accept="image/png") as http:
        for depth in (1, 2, 3):
            answer = http.get(f"{path_of(sent['d'][0], depth)}/thumbnail")
            assert Image.open(BytesIO(answer.content)).size == (32, 32)
        answer = http.get(f"{path_of(sent['d'][0], 2)}/rendered")
        assert answer.content.count(b"\x89PNG") == 3


@pytest.mark.parametrize(
    ("path", "accept", "status", "why"),
    [
        ("", "image/gif", 406, "transfer-syntax=*"),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.3', 406, "1.2.1"),
        ("", "application/dicom;q=0", 406, "application/dicom"),
        ("/rendered", "image/gif", 406, "image/png"),
        ("/rendered?window=x", "image/png", 400, "window="),
        ("/rendered?window=nan,5", "image/png", 400, "window="),
        ("/rendered?viewport=99999,1", "image/png", 400, "viewport="),
        ("/rendered?quality=0", "image/jpeg", 400, "quality"),
        ("", "image/gif; q*=utf-8''1; type*=utf-8''a", 406, ""),
        ("/frames/2", "*/*", 404, "frames 1 to 1"),
        ("/frames/0", "*/*", 404, "frames 1 to 1"),
        ("/frames/1,x", "*/*", 400, "numbers"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    archive: ServedArchive,
    sent: dict[str, list[FileDataset]],
    path: str,
    accept: str,
    status: int,
    why: str,
) -> None:
    with archive.http(READ) as http:
        answer = http.get(f"{path_of(sent['a'][0])}{path}", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "text/plain; charset=utf-8",
    )
    assert why in answer.text


def test_unknown_objects_are_not_found(
    archive: ServedArchive, sent: dict[str, list[FileDataset]]
) -> None:
    other, mine = generate_uid(), sent["a"][0]
    with archive.http(READ) as http:
        for path in (
            f"/studies/{other}",
            f"/studies/{mine.StudyInstanceUID}/series/{other}/metadata",
            f"/studies/{sent['b'][0].StudyInstanceUID}/series/{mine.SeriesInstanceUID}",
        ):
            assert http.get(path).status_code == 404


def test_an_object_that_changed_on_disk_is_not_sent(tmp_path: Path) -> None:
    files = ct_series(tmp_path / "sent", 2)
    first = dcmread(files[0])
    with serving_archive(tmp_path / "a") as archive, archive.http(READ) as http:
        archive.take(files)
        assert http.get("/studies").json()  # it is in the index now
        (stored,) = archive.worklist.archive.stored(*([uid] for uid in uids(first)))
        place = archive.settings.data_dir / stored.path
        place.write_bytes(place.read_bytes()[:-2] + b"\xff\xff")
        assert http.get(path_of(first), headers=ANY).status_code == 500
        place.unlink()
        answer: httpx.Response = http.get(path_of(first, 2), headers=ANY)
        assert answer.status_code == 500
        assert "on disk no more" in answer.text
        assert json.loads(http.get(f"{path_of(first, 1)}/series").text)
