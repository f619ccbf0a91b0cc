"""`ichnode archive find`: what an archive has, by headers or index, and where it goes on."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest
from pydicom.fileset import FileSet
from requests.exceptions import JSONDecodeError, ReadTimeout
from typer.testing import CliRunner

from node.announced import ListedSeries, ListedStudy
from node.archive.finding import (
    Days,
    Gentle,
    Hours,
    Store,
    age_band,
    hours,
    joined,
    place,
    search_folder,
    search_server,
)
from node.archive.proof import Proof
from node.cli import app
from node.dicom.net.association import Status
from node.dicom.net.dicomweb import WebArchive
from node.errors import BadConfiguration, Interrupted, Retryable
from node.settings import Assemble
from tests.support.builder import HEAD, Scan, encoded, uid
from tests.support.peers import ct_series, orthanc

WORDS = Assemble()
WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
KNEE = HEAD(name="knee", description="Knie 2.0").having(BodyPartExamined="KNEE")


def write(folder: Path, *scans: Scan, name: str = "{}.dcm") -> list[Path]:
    """Write the images of scans into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [ds for scan in scans for ds in scan.build()]
    paths = [folder / name.format(f"{number:04}") for number in range(len(images))]
    for path, ds in zip(paths, images, strict=True):
        path.write_bytes(encoded(ds))
    return paths


def found_in(root: Path, proof: Path, days: Days = Days()) -> list[dict[str, Any]]:  # noqa: B008
    store = Store(Proof(proof))
    list(search_folder(root, days, WORDS, store))
    store.write_catalogue(joined(WORDS))
    store.close()
    return rows(Proof(proof).catalogue)


def rows(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return found


# --- folders -------------------------------------------------------------------------------------


def test_each_series_has_a_row_that_says_why_it_is_taken_or_not(tmp_path: Path) -> None:
    write(tmp_path / "ct" / "a", HEAD)
    write(tmp_path / "ct" / "b", KNEE)
    by_words = {row["description"]: row for row in found_in(tmp_path / "ct", tmp_path / "proof")}
    head, knee = by_words["Head 5.0 H31s"], by_words["Knie 2.0"]
    assert head["taken"] and head["why"].startswith("a plain head CT by its headers: 30 slices")
    assert (head["thickness_mm"], head["spacing_mm"], head["slices"]) == (5.0, 5.0, 30)
    assert not knee["taken"] and knee["why"].startswith("not a head: the header says")
    assert head["study"] == knee["study"] and head["series"] != knee["series"]


def test_the_catalogue_names_scanner_age_and_place_and_nobody(tmp_path: Path) -> None:
    scan = HEAD.having(
        Manufacturer="SIEMENS",
        ManufacturerModelName="go.Top",
        StationName="CTSANKTPETER",
        PatientBirthDate=None,
        PatientAge="071Y",
        PatientSex="F",
        AccessionNumber="ACC-77",
        RequestingService="Zentrale Notaufnahme",
        StudyDate="20250314",
    )
    write(tmp_path / "ct", scan)
    (row,) = found_in(tmp_path / "ct", tmp_path / "proof")
    assert (row["age_band"], row["sex"], row["place"]) == ("70-79", "F", "emergency")
    assert row["study_date"] == "2025-03-14"
    assert row["scanner"].startswith("SIEMENS go.Top ")
    catalogue = (tmp_path / "proof" / "catalogue.parquet").read_bytes()
    for secret in (b"CTSANKTPETER", b"ACC-77", b"P1", uid("study").encode()):
        assert secret not in catalogue
    (real,) = rows(Proof(tmp_path / "proof").where)
    assert real["accession_number"] == "ACC-77" and real["study"] == row["study"]
    assert len(real["paths"]) == 30


def test_words_of_technicians_and_names_of_folders_name_nobody_in_the_catalogue(
    tmp_path: Path,
) -> None:
    scan = HEAD.having(
        PatientName="Wagenknecht^Ottilie",
        PatientID="PID-4711",
        AccessionNumber="ACC-77",
        SeriesDescription="Head wagenknecht 5.0",
        ConvolutionKernel="H31s Ottilie",
        Manufacturer="SIEMENS PID-4711",
        SoftwareVersions="ACC-77 VB20",
        BodyPartExamined="KNEE WAGENKNECHT",
        StudyDescription="Knie Wagenknecht",
    )
    write(tmp_path / "Wagenknecht_Ottilie", scan)
    (row,) = found_in(tmp_path / "Wagenknecht_Ottilie", tmp_path / "proof")
    assert (row["description"], row["kernel"]) == ("Head … 5.0", "H31s …")
    assert (row["manufacturer"], row["software"]) == ("SIEMENS …", "… VB20")
    assert row["source"].startswith("folder ")
    catalogue = str(row).casefold()
    for secret in ("wagenknecht", "ottilie", "pid-4711", "acc-77"):
        assert secret not in catalogue


def test_a_second_call_reads_only_folders_whose_files_have_changed(tmp_path: Path) -> None:
    first, second = write(tmp_path / "ct" / "a", HEAD), tmp_path / "ct" / "b"
    write(second, HEAD(study="other").having(AccessionNumber="A2"))
    assert len(found_in(tmp_path / "ct", tmp_path / "proof")) == 2
    for file in first:  # as long and as old, but no DICOM: whoever reads it again finds nothing
        stat = file.stat()
        file.write_bytes(bytes(stat.st_size))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    write(second, HEAD(study="other", gaps_mm=(5.0,) * 20).having(AccessionNumber="A2"))
    slices = {row["study"]: row["slices"] for row in found_in(tmp_path / "ct", tmp_path / "proof")}
    assert sorted(slices.values()) == [30, 30]  # 21 new files and 9 old ones in the second folder


def test_a_series_whose_images_lie_in_a_folder_each_is_judged_as_one(tmp_path: Path) -> None:
    for number, ds in enumerate(HEAD.build()):
        (tmp_path / "ct" / f"{number}").mkdir(parents=True)
        (tmp_path / "ct" / f"{number}" / "image").write_bytes(encoded(ds))
    (row,) = found_in(tmp_path / "ct", tmp_path / "proof")
    assert row["taken"] and row["slices"] == 30
    (real,) = rows(Proof(tmp_path / "proof").where)
    assert len(real["paths"]) == 30


def test_a_file_that_should_be_an_image_belongs_to_the_series_beside_it(tmp_path: Path) -> None:
    files = write(tmp_path / "ct" / "a", HEAD)
    files[3].write_bytes(b"<html>not found</html>")
    write(tmp_path / "ct" / "b", HEAD(study="other").having(AccessionNumber="A2"))
    found_in(tmp_path / "ct", tmp_path / "proof")
    counted = sorted(len(row["paths"]) for row in rows(Proof(tmp_path / "proof").where))
    assert counted == [30, 30]  # 29 images and the broken file; 30 images


def test_a_medium_is_searched_and_what_its_dicomdir_misses_belongs_to_the_series_beside(
    tmp_path: Path,
) -> None:
    files = FileSet()
    for path in ct_series(tmp_path / "source"):
        files.add(path)
    files.write(tmp_path / "cd")
    files._stage["t"].cleanup()
    lost, *_ = sorted(path for path in (tmp_path / "cd").rglob("*") if path.name.startswith("IM"))
    lost.unlink()
    (row,) = found_in(tmp_path / "cd", tmp_path / "proof")
    (real,) = rows(Proof(tmp_path / "proof").where)
    assert row["slices"] == 3 and str(lost) in real["paths"] and len(real["paths"]) == 4


def test_only_studies_of_the_days_asked_for_are_found(tmp_path: Path) -> None:
    for day in ("20250301", "20250302", "20250303"):
        scan = HEAD(study=day).having(StudyDate=day, AccessionNumber=day)
        write(tmp_path / "ct" / day, scan)
    days = Days(date(2025, 3, 2), date(2025, 3, 2))
    (row,) = found_in(tmp_path / "ct", tmp_path / "proof", days)
    assert row["study_date"] == "2025-03-02"
    assert len(found_in(tmp_path / "ct", tmp_path / "proof", Days(since=date(2025, 3, 2)))) == 2


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    with pytest.raises(BadConfiguration, match="holds no file"):
        found_in(tmp_path / "ct", tmp_path / "proof")


def test_two_searches_at_once_do_not_work_on_one_proof(tmp_path: Path) -> None:
    store = Store(Proof(tmp_path))
    with pytest.raises(BadConfiguration, match="another ichnode archive find"):
        Store(Proof(tmp_path))
    store.close()
    Store(Proof(tmp_path)).close()


def test_what_was_found_is_kept_every_half_minute(tmp_path: Path) -> None:
    now = 0.0
    store = Store(Proof(tmp_path), lambda: now)
    store.add("first", [])
    assert not list((tmp_path / "secret" / "found").iterdir())
    now = 31.0
    store.add("second", [])
    store.close()  # and the process ends without another word
    again = Store(Proof(tmp_path))
    assert again.is_done("first") and again.is_done("second")
    again.close()


# --- servers -------------------------------------------------------------------------------------


class Index:
    """An archive of one head and one knee a day; it fails when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails_on = ""

    def performed(self, dates: str, limit: int) -> tuple[list[ListedStudy], bool]:
        self.asked.append(dates)
        if dates == self.fails_on:
            raise Retryable("pacs: no answer")
        study = ListedStudy(f"1.{dates}", dates, "080000", "P1", f"A{dates}")
        return [study, ListedStudy("1.2.9", dates, modalities=frozenset({"MR"}))][:limit], False

    def series(self, study: str) -> list[ListedSeries]:
        return [
            ListedSeries(f"{study}.1", "CT", "Schädel nativ", images=40),
            ListedSeries(f"{study}.2", "CT", "Topogramm", images=1),
            ListedSeries(f"{study}.3", "CT", "Knie", images=40),
            ListedSeries(f"{study}.4", "SR", "Dose"),
            ListedSeries(f"{study}.5", "CT", "", images=2),
            ListedSeries(f"{study}.6", "CT", f"Head a{study[2:]}", images=40),
        ]

    @contextmanager
    def opened(self) -> Iterator["Index"]:
        self.asked.append("association")
        yield self


def quick() -> Gentle:
    return Gentle(1e6, Hours(), sleep=lambda _: None)


def search(
    index: Index,
    proof: Path,
    days: int = 3,
    gentle: Gentle | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    store = Store(Proof(proof))
    between = (date(2025, 3, 1), date(2025, 3, days))
    try:
        for _ in search_server(
            *("pacs", index.opened, between, date(2025, 3, 3), WORDS, store),  # type: ignore[arg-type]
            gentle or quick(),
            tell,
        ):
            pass
    finally:
        store.write_catalogue(joined(WORDS))
        store.close()


def test_a_server_is_asked_by_day_and_its_series_are_judged_by_their_words(tmp_path: Path) -> None:
    index = Index()
    search(index, tmp_path, days=1)
    why = {row["description"]: row["why"] for row in rows(tmp_path / "catalogue.parquet")}
    assert why["Schädel nativ"].startswith("may be a plain head CT")
    assert why["Topogramm"] == "a localiser"
    assert why["Knie"].startswith("not a head")
    assert why["Dose"] == "no CT images (modality SR)"
    assert why[""].startswith("too few slices: 2")
    assert "Head …" in why  # its accession number stood there
    assert index.asked == ["association", "20250301"]


def test_what_a_server_lists_without_a_uid_is_told_and_left_out(tmp_path: Path) -> None:
    class Nameless(Index):
        def performed(self, dates: str, limit: int) -> tuple[list[ListedStudy], bool]:
            found, more = super().performed(dates, limit)
            return [*found, ListedStudy("", dates), ListedStudy("", dates)], more

        def series(self, study: str) -> list[ListedSeries]:
            assert study  # an empty one asks for the series of all studies
            return [*super().series(study), ListedSeries("", "CT", "Head")]

    said: list[str] = []
    search(Nameless(), tmp_path, days=1, tell=said.append)
    assert said == [
        "pacs lists 2 studies of 2025-03-01 without a UID: they are left out",
        "pacs lists 1 series of 2025-03-01 without a UID: they are left out",
    ]
    assert all(row["study"] and row["series"] for row in rows(tmp_path / "catalogue.parquet"))


def test_a_server_that_stops_answering_half_way_loses_nothing(tmp_path: Path) -> None:
    index = Index()
    index.fails_on = "20250302"
    said = "no answer; asked for the studies of 2025-03-02.*1 of 3 days are done.*nothing is lost"
    with pytest.raises(Retryable, match=f"{said}.*goes on there"):
        search(index, tmp_path)
    assert {row["study_date"] for row in rows(tmp_path / "catalogue.parquet")} == {"2025-03-01"}
    index.fails_on, index.asked = "", []
    search(index, tmp_path)
    assert "20250301" not in index.asked
    assert len({row["study"] for row in rows(tmp_path / "catalogue.parquet")}) == 3


def test_a_day_that_is_not_over_is_asked_for_again_and_its_series_stand_once(
    tmp_path: Path,
) -> None:
    index = Index()
    search(index, tmp_path)
    search(index, tmp_path)
    assert index.asked.count("20250303") == 2 and index.asked.count("20250302") == 1
    assert len(rows(tmp_path / "catalogue.parquet")) == 18


class Night:
    """A clock that passes when somebody sleeps."""

    def __init__(self, hour: int) -> None:
        self.now = datetime(2025, 3, 4, hour).astimezone()
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


def test_requests_have_their_pace() -> None:
    night = Night(22)
    gentle = Gentle(20, hours("20-6"), night, night.sleep)
    for _ in range(5):
        gentle.wait()
    assert night.slept == [3.0] * 4


def test_a_search_waits_for_its_hours_without_an_association(tmp_path: Path) -> None:
    night, index = Night(5), Index()
    night.now += timedelta(minutes=59)
    gentle = Gentle(1, hours("20-6"), night, night.sleep)
    search(index, tmp_path, days=1, gentle=gentle)
    assert index.asked == ["association", "20250301", "association"]
    assert night.now.hour == 20


def test_a_wait_for_the_hours_can_be_ended() -> None:
    night = Night(12)
    gentle = Gentle(1, hours("20-6"), night, lambda _: gentle.stop())
    with pytest.raises(Interrupted):
        gentle.wait_for_hours(lambda _: None)
    assert not gentle.may()


@pytest.mark.parametrize(
    ("text", "inside", "outside"), [("20-6", (20, 23, 5), (6, 19)), ("8-12", (8, 11), (12, 7))]
)
def test_hours_may_go_over_midnight(
    text: str, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    at = [datetime(2025, 3, 4, hour).astimezone() in hours(text) for hour in (*inside, *outside)]
    assert at == [True] * len(inside) + [False] * len(outside)


class Capped:
    """A DICOMweb server that lists two studies at most for a request; or the same two always."""

    def __init__(self, studies: int, *, pages: bool = True) -> None:
        self.listed = [{"0020000D": {"vr": "UI", "Value": [f"1.{n}"]}} for n in range(studies)]
        self.pages = pages

    def search_for_studies(self, limit: int, offset: int | None, **_: Any) -> list[dict[str, Any]]:
        first = (offset or 0) if self.pages else 0
        return self.listed[first : first + min(limit, 2)]


def test_a_server_that_lists_fewer_than_asked_for_is_asked_for_the_rest() -> None:
    for pages, limit, expected in [
        (True, 9, (5, False)),
        (True, 3, (3, True)),
        (False, 9, (2, False)),
    ]:
        archive = WebArchive(Capped(5, pages=pages), "web", lambda *_: Status.SUCCESS)
        found, cut_off = archive.performed("20250314", limit)
        assert (len({one.study_instance_uid for one in found}), cut_off) == expected


class Failing:
    """A DICOMweb server that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def search_for_studies(self, **_: Any) -> list[dict[str, Any]]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            JSONDecodeError("Expecting value", "<html>login</html>", 0),
            "is no DICOM JSON; is it the",
        ),
        (ReadTimeout(), "the server does not answer in time"),
    ],
)
def test_a_page_of_a_server_and_its_silence_are_told_apart(error: Exception, said: str) -> None:
    archive = WebArchive(Failing(error), "web", lambda *_: Status.SUCCESS)
    with pytest.raises(Retryable, match=said):
        archive.performed("20250314", 9)


@pytest.mark.peer
def test_orthanc_lists_the_same_by_dimse_and_by_dicomweb(tmp_path: Path) -> None:
    scans = (HEAD, KNEE, HEAD(study="other", name="other").having(AccessionNumber="A2"))
    dated = [scan.having(StudyDate="20250314") for scan in scans]
    files = [encoded(ds) for scan in dated for ds in scan.build()]
    options = {"Plugins": [WEB], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    with orthanc(tmp_path / "pacs", DicomAlwaysAllowFind=True, **options) as pacs:
        for file in files:
            urlopen(Request(f"{pacs.url}/instances", data=file), timeout=30).close()
        days = ("--since", "2025-03-14", "--until", "2025-03-14", "--per-minute", 6000)
        sources = (f"ORTHANC@127.0.0.1:{pacs.port}", f"{pacs.url}/dicom-web")
        for number, source in enumerate(sources):
            code, _, said = run(source, tmp_path / f"{number}", *days)
            assert code == 0, said
    one, other = (rows(tmp_path / f"{number}" / "catalogue.parquet") for number in (0, 1))
    assert sorted(row["why"] for row in one) == sorted(row["why"] for row in other)
    assert [row["taken"] for row in one].count(True) == 2 and len(one) == 3


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("years", "band"), [(None, ""), (0.2, "0-9"), (69.9, "60-69"), (90.0, "90+"), (104.0, "90+")]
)
def test_ages_are_told_in_tens_of_years(years: float | None, band: str) -> None:
    assert age_band(years) == band


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("Emergency Dept",), "emergency"),
        (("ZNA",), "emergency"),
        (("Radiology", "Neuro ICU 2"), "inpatient"),
        (("Outpatient clinic",), "outpatient"),
        (("Urgencias",), "emergency"),
        (("Radiology",), ""),
        ((), ""),
    ],
)
def test_the_place_of_an_order_is_told_by_its_words(words: tuple[str, ...], where: str) -> None:
    assert place(words) == where


# --- the command ---------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["archive", "find", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    write(tmp_path / "ct", HEAD, KNEE)
    code, said, _ = run(tmp_path / "ct", tmp_path / "proof", "--json")
    assert code == 0
    assert json.loads(said) == {"studies": 1, "studies_taken": 1, "series": 2, "series_taken": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "2025-13-01"), "--since: '2025-13-01' is no day as in 2025-12-31"),
        (("--since", "2025-02-01", "--until", "2025-01-01"), "is after --until"),
        (("--hours", "evening"), "'evening' are no hours"),
        (("--since", "2025-02-01", "--per-minute", "0"), "at least some requests"),
        ((), "--since says from which on"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, _, said = run("PACS@127.0.0.1:1", tmp_path / "proof", *arguments)
    assert code == 2 and message in said


def test_a_source_that_is_nothing_is_told_so(tmp_path: Path) -> None:
    code, _, said = run(tmp_path / "nothing", tmp_path / "proof")
    assert code == 2 and "there is no folder of that name" in said


def test_days_in_the_wrong_order_are_told_for_a_folder_too(tmp_path: Path) -> None:
    write(tmp_path / "ct", HEAD)
    days = ("--since", "2025-02-01", "--until", "2025-01-01")
    code, _, said = run(tmp_path / "ct", tmp_path / "proof", *days)
    assert code == 2 and "--since 2025-02-01 is after --until 2025-01-01" in said
    assert not (tmp_path / "proof").exists()


def test_a_folder_that_is_called_as_a_source_is_not_searched_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "pacs", HEAD)
    settings = tmp_path / "ichnode.toml"
    settings.write_text('[[pull.sources]]\nname = "pacs"\nae_title = "A"\nhost = "h"\nport = 104\n')
    monkeypatch.chdir(tmp_path)
    code, _, said = run("pacs", "proof", "--config", "ichnode.toml")
    assert code == 2 and "./pacs is the folder" in said
    assert run("./pacs", "proof", "--config", "ichnode.toml")[0] == 0


def test_a_folder_without_dicom_says_that_nothing_is_there(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no image")
    code, _, said = run(tmp_path / "texts", tmp_path / "proof")
    assert code == 1 and "no CT image was found there: look at the source and at the days" in said


def test_a_disk_that_is_full_is_one_line_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, "Error writing bytes to file")

    write(tmp_path / "ct", HEAD)
    with monkeypatch.context() as disk:
        disk.setattr("node.archive.finding.store.pq.ParquetWriter", full)
        code, _, said = run(tmp_path / "ct", tmp_path / "proof")
    assert code == 2 and "proof: No space left on device. What was written before stays" in said
    assert run(tmp_path / "ct", tmp_path / "proof")[0] == 0


def test_a_folder_without_head_ct_leaves_with_1(tmp_path: Path) -> None:
    write(tmp_path / "ct", KNEE)
    code, said, _ = run(tmp_path / "ct", tmp_path / "proof")
    assert code == 1 and "1 study with 1 series; taken: 0 studies" in said
