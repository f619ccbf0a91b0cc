"""Studies fetched from a real Orthanc, by C-GET, C-MOVE and DICOMweb."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage
from typer.testing import CliRunner

from node.arrive.archive import open_archive
from node.arrive.intake import Intake
from node.arrive.pull import fetch, filing, order
from node.arrive.storage_scp import Receiver
from node.cases.worker import work_once
from node.cli import app
from node.cli.doctor import check_sources
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.errors import BadConfiguration, Permanent, Retryable
from node.settings import Pull, Receive, Settings, Source, source
from node.states import Priority
from node.worklist import Worklist
from tests.support.builder import HEAD, Scan, encoded, uid
from tests.support.databases import new_database
from tests.support.peers import Orthanc, free_port, mute_peer, orthanc
from tests.support.watched import WatchedNode
from tests.support.working import Predictor

WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
STUDY, SERIES, MIXED = uid("pulled"), uid("pulled", "head"), uid("pulled", "mixed")
CT = HEAD(study="pulled").having(AccessionNumber="PULL1")
WAYS = ("get", "move", "web")

pytestmark = pytest.mark.peer


def other_kind(scan: Scan, sop_class: str, **values: object) -> list[Dataset]:
    images = scan.having(SOPClassUID=sop_class, **values).build()
    for ds in images:
        ds.SOPClassUID = sop_class
    return images


def study() -> list[Dataset]:
    """30 CT slices, 3 more with a Secondary Capture in their series, an MR series of 2."""
    short = CT(name="mixed", gaps_mm=(5.0,) * 2, start_mm=0.0)
    capture = other_kind(CT(name="mixed", gaps_mm=(), first_number=9), SecondaryCaptureImageStorage)
    mr = other_kind(CT(name="mr", gaps_mm=(5.0,)), MRImageStorage, Modality="MR")
    return [*CT.build(), *short.build(), *capture, *mr]


def upload(images: list[Dataset], pacs: Orthanc) -> None:
    for ds in images:
        urlopen(Request(f"{pacs.url}/instances", data=encoded(ds)), timeout=30).close()


@pytest.fixture(scope="module")
def node_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, node_port: int) -> Iterator[Orthanc]:
    with orthanc(
        tmp_path_factory.mktemp("pacs"),
        Plugins=[WEB],
        DicomWeb={"Enable": True, "Root": "/dicom-web/"},
        DicomAlwaysAllowFind=True,
        DicomAlwaysAllowGet=True,
        DicomAlwaysAllowMove=True,
        DicomModalities={"node": ["ICHNODE", "127.0.0.1", node_port]},
    ) as server:
        upload(study(), server)
        mr = CT(name="mr", study="no CT", gaps_mm=(5.0,))
        upload(other_kind(mr, MRImageStorage, Modality="MR", AccessionNumber="MR1"), server)
        yield server


class Puller:
    """A node whose storage SCP listens, and which asks a PACS."""

    def __init__(self, folder: Path, port: int, **receive: object) -> None:
        chosen = {"host": "127.0.0.1", "port": port, "min_free_mb": 0, **receive}
        self.settings = Settings(
            data_dir=folder / "data", receive=Receive(**chosen), pull=Pull(timeout_s=20.0)
        )
        self.settings.data_dir.mkdir()
        new_database(self.settings.url)
        self.worklist = Worklist(self.settings.url)

    def pull(self, peer: Source, study: str = STUDY, *, accession: bool = False) -> Intake:
        self.intake = Intake(
            self.settings,
            self.worklist.arrivals,
            lambda: datetime.now(UTC),
            kinds=ACCEPTED_SOP_CLASSES,
        )
        with open_archive(peer, self.settings, filing(peer, self.intake)) as archive:
            wanted = order(archive, study, peer, accession=accession)
            self.progress = list(fetch(wanted, archive, peer, self.intake, self.worklist.arrivals))
        return self.intake

    def held(self) -> dict[str, set[str]]:
        """The objects of the study, by series."""
        return {
            series.series_instance_uid: {i.header.sop_instance_uid for i in series.instances}
            for series in self.worklist.arrivals.study(STUDY)
        }


@pytest.fixture
def node(tmp_path: Path, node_port: int) -> Iterator[Puller]:
    puller = Puller(tmp_path, node_port)
    with (
        closing(puller.worklist),
        Receiver(
            puller.settings,
            puller.worklist.arrivals,
            puller.worklist.announcements,
            lambda: datetime.now(UTC),
        ),
    ):
        yield puller


def ask(pacs: Orthanc, how: str) -> Source:
    return Source(
        name="pacs",
        how=how,  # type: ignore[arg-type]
        ae_title="ORTHANC",
        host="127.0.0.1",
        port=pacs.port,
        url=f"{pacs.url}/dicom-web",
    )


WANTED = {
    SERIES: {ds.SOPInstanceUID for ds in CT.build()},
    MIXED: {ds.SOPInstanceUID for ds in CT(name="mixed", gaps_mm=(5.0,) * 2).build()},
}


@pytest.mark.parametrize("how", WAYS)
def test_ct_of_a_study_is_fetched_and_nothing_else(how: str, node: Puller, pacs: Orthanc) -> None:
    intake = node.pull(ask(pacs, how))
    assert node.held() == WANTED
    assert intake.complete and not intake.left_out
    assert intake.summary.startswith("33 new objects, 2 series, 1 study; 0 already here")
    assert node.progress[-1] == 33 and node.progress == sorted(node.progress)
    assert all(series.released_at for series in node.worklist.arrivals.study(STUDY))


def test_every_way_brings_the_same_bytes(node: Puller, pacs: Orthanc) -> None:
    sent = {ds.SOPInstanceUID: encoded(ds) for ds in CT.build()}
    for number, how in enumerate(WAYS):
        intake = node.pull(ask(pacs, how))
        assert intake.complete
        assert f"{33 if number else 0} already here; 0 quarantined" in intake.summary
    for series in node.worklist.arrivals.study(STUDY):
        for instance in series.instances:
            data = (node.settings.data_dir / instance.stored.path).read_bytes()
            assert hashlib.sha256(data).hexdigest() == instance.stored.sha256
            if series.series_instance_uid == SERIES:
                original = sent[instance.header.sop_instance_uid]
                start = 144 + int.from_bytes(original[140:144], "little")
                assert data.endswith(original[start:])


@pytest.mark.parametrize("how", WAYS)
def test_accession_number_stands_for_its_study(how: str, node: Puller, pacs: Orthanc) -> None:
    assert node.pull(ask(pacs, how), "PULL1", accession=True).complete
    assert node.held() == WANTED


@pytest.mark.parametrize("how", ["get", "web"])
def test_study_that_is_not_there_is_said_to_be_so(how: str, node: Puller, pacs: Orthanc) -> None:
    with pytest.raises(Permanent, match=r"pacs has no study 1\.2\.3\.4"):
        node.pull(ask(pacs, how), "1.2.3.4")
    with pytest.raises(Permanent, match="no study with accession number NOBODY"):
        node.pull(ask(pacs, how), "NOBODY", accession=True)


@pytest.mark.parametrize("how", ["get", "web"])
def test_study_without_ct_is_said_to_be_so(how: str, node: Puller, pacs: Orthanc) -> None:
    with pytest.raises(Permanent, match=r"no CT images at pacs \(MR\)"):
        node.pull(ask(pacs, how), "MR1", accession=True)


@pytest.mark.parametrize("accession", ["PULL*", "P?LL1", "A\\B", " "])
def test_accession_number_that_would_match_others_is_refused(
    accession: str, node: Puller, pacs: Orthanc
) -> None:
    with pytest.raises(Permanent, match="no single accession number"):
        node.pull(ask(pacs, "get"), accession, accession=True)


def test_word_for_a_study_uid_is_refused(node: Puller, pacs: Orthanc) -> None:
    with pytest.raises(Permanent, match="--accession"):
        node.pull(ask(pacs, "get"), "PULL1")


def test_several_studies_of_one_accession_number_are_named(node: Puller, pacs: Orthanc) -> None:
    for number in (1, 2):
        twin = HEAD(study=f"twin {number}", gaps_mm=()).having(AccessionNumber="TWINS")
        upload(twin.build(), pacs)
    with pytest.raises(Permanent, match="2 studies") as said:
        node.pull(ask(pacs, "get"), "TWINS", accession=True)
    assert uid("twin 1") in str(said.value) and uid("twin 2") in str(said.value)


def test_peer_that_does_not_know_us_refuses_and_we_say_so(node: Puller, tmp_path: Path) -> None:
    with orthanc(tmp_path / "closed") as closed, pytest.raises(Retryable, match="pacs: "):
        node.pull(ask(closed, "get"))


def test_peer_that_is_down_or_silent_is_a_clear_error(node: Puller) -> None:
    for how in ("get", "web"):
        away = ask(Orthanc(9, "http://127.0.0.1:9"), how)
        with pytest.raises(Retryable, match=r"pacs: no (connection to|answer from)"):
            node.pull(away)
    node.settings = node.settings.model_copy(update={"pull": Pull(timeout_s=0.5)})
    with mute_peer() as mute, pytest.raises(Retryable, match="did not answer"):
        node.pull(ask(Orthanc(mute.port, ""), "get").model_copy(update={"how": "get"}))


def test_archive_that_does_not_know_the_node_moves_nothing_and_it_is_counted(
    node: Puller, pacs: Orthanc
) -> None:
    known_as = node.settings.receive.model_copy(update={"ae_title": "STRANGER"})
    node.settings = node.settings.model_copy(update={"receive": known_as})
    intake = node.pull(ask(pacs, "move"))
    assert not intake.complete and not node.held()
    said = " ".join(left.reason for left in intake.left_out)
    assert "30 of 30 objects are not here" in said and "C-MOVE" in said


def test_node_that_is_down_during_a_move_misses_its_objects(
    tmp_path: Path, pacs: Orthanc, node_port: int
) -> None:
    puller = Puller(tmp_path, node_port)
    with closing(puller.worklist):
        intake = puller.pull(ask(pacs, "move"))
    assert not intake.complete and "30 of 30 objects" in str(intake.left_out)


@pytest.mark.parametrize("how", ["get", "web"])
def test_object_that_cannot_be_stored_is_not_acknowledged(
    how: str, tmp_path: Path, pacs: Orthanc
) -> None:
    puller = Puller(tmp_path, 0, min_free_mb=1 << 40)
    with closing(puller.worklist):
        intake = puller.pull(ask(pacs, how))
        assert not puller.held()
    assert not intake.complete
    said = " ".join(left.reason for left in intake.left_out)
    assert "MB free" in said and "30 of 30 objects are not here" in said
    if how == "get":
        assert "C-GET failed, 0x" in said


def test_study_of_another_patient_under_the_same_uid_is_kept_apart(
    node: Puller, pacs: Orthanc
) -> None:
    first = CT(patient="P2", name="before", gaps_mm=()).build()
    for ds in first:
        node.intake = Intake(node.settings, node.worklist.arrivals, lambda: datetime.now(UTC))
        node.intake.take("first", encoded(ds))
    intake = node.pull(ask(pacs, "get"))
    assert not intake.complete and "33 quarantined" in intake.summary
    assert len(node.worklist.quarantine.listed()) == 33


def test_pulled_study_is_read_like_any_other(node: Puller, pacs: Orthanc) -> None:
    node.pull(ask(pacs, "get"))
    later = datetime.now(UTC) + timedelta(hours=1)
    corridor = WatchedNode.on(node.worklist, node.settings, lambda: Predictor(), lambda: later)  # type: ignore[arg-type,return-value]
    while work_once(corridor, "worker"):
        pass
    (row,) = node.worklist.views.worklist(later)
    assert (row.study_instance_uid, row.series_instance_uid) == (STUDY, SERIES)
    assert row.priority is Priority.SUSPECTED
    report = node.settings.data_dir / row.folder / "report"
    assert dcmread(report / "sr.dcm").PatientID == "P1"


# Secrets and settings


@contextmanager
def guarded_server(header: str) -> Iterator[str]:
    """Run a DICOMweb server without studies that wants this Authorization; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == header
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("key", "value", "header"),
    [
        ("token_variable", "abc", "Bearer abc"),
        ("login_variable", "me:pass", "Basic bWU6cGFzcw=="),
    ],
)
def test_secret_comes_from_the_environment(
    key: str, value: str, header: str, node: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded_server(header) as url:
        peer = Source(name="pacs", how="web", url=url, **{key: "PACS_SECRET"})  # type: ignore[arg-type]
        with pytest.raises(BadConfiguration, match="PACS_SECRET is not set"):
            node.pull(peer)
        monkeypatch.setenv("PACS_SECRET", "wrong:secret")
        with pytest.raises(Retryable, match="401") as said:
            node.pull(peer)
        assert "wrong" not in str(said.value)
        monkeypatch.setenv("PACS_SECRET", value)
        with pytest.raises(Permanent, match="no study"):
            node.pull(peer)


def test_secret_is_never_sent_in_clear(node: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_SECRET", "abc")
    peer = Source(name="pacs", how="web", url="http://192.0.2.1/web", token_variable="PACS_SECRET")
    with pytest.raises(BadConfiguration, match="in clear"):
        node.pull(peer)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"how": "web"}, "url must be"),
        ({"how": "web", "url": "https://me:pass@pacs/web"}, "no user or password"),
        ({"how": "get", "host": "pacs"}, "needs ae_title"),
        (
            {"how": "web", "url": "https://p/", "token_variable": "A", "login_variable": "B"},
            "either",
        ),
    ],
)
def test_source_that_cannot_be_reached_is_refused(values: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Source(name="pacs", **values)  # type: ignore[arg-type]


def test_source_is_a_name_or_an_address() -> None:
    known = Source(name="archive", ae_title="PACS", host="192.0.2.1", port=104)
    settings = Settings(pull=Pull(sources=(known,)))
    assert source("archive", settings) == known
    by_address = source("PACS@[::1]:104", settings)
    assert (by_address.how, by_address.host, by_address.port) == ("get", "::1", 104)
    assert source("https://pacs/web", settings).how == "web"
    with pytest.raises(BadConfiguration, match="archive"):
        source("nobody", settings)
    with pytest.raises(BadConfiguration, match="no user or password"):
        source("https://me:pass@pacs/web", settings)


# The command


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["pull", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_command_says_what_came(
    node: Puller, pacs: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(node.settings.data_dir))
    monkeypatch.setenv("ICHNODE_RECEIVE__MIN_FREE_MB", "0")
    code, said, error = run("PULL1", "--accession", "--from", f"ORTHANC@127.0.0.1:{pacs.port}")
    assert code == 0 and said.startswith("33 new objects, 2 series, 1 study")
    assert "not fetched: series of MR" in error
    code, said, error = run("1.2.3.4", "--from", f"{pacs.url}/dicom-web")
    assert code == 2 and "has no study" in error and not said


def test_command_that_misses_something_says_so(
    node: Puller, pacs: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(node.settings.data_dir))
    monkeypatch.setenv("ICHNODE_RECEIVE__MIN_FREE_MB", str(1 << 40))
    code, said, error = run(STUDY, "--from", f"ORTHANC@127.0.0.1:{pacs.port}")
    assert code == 1 and said.startswith("0 new objects") and "MB free" in error


def test_help_shows_how() -> None:
    assert "--accession A1234567" in run("--help")[1]


@pytest.mark.parametrize("way", WAYS)
def test_doctor_asks_a_source_as_pull_would(pacs: Orthanc, way: str, tmp_path: Path) -> None:
    asked = Settings(data_dir=tmp_path, pull=Pull(sources=(ask(pacs, way),)))
    assert [(check.verdict, check.found) for check in check_sources(asked)] == [
        ("ok", "answers a query")
    ]
