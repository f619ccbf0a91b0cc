"""What the node made is found and fetched beside what it received, and follows a replay."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import highdicom
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage
from requests import HTTPError

from node.arrive.query_scp import QueryScp
from node.arrive.storage_scp import Receiver
from node.cases.pipeline import STAGES
from node.identity import PatientIdentity
from node.records import StoredObject
from node.settings import Caller, Receive, Settings, Web
from tests.conftest import require_program
from tests.support.archiving import READ, ServedArchive, serving_web, tokens
from tests.support.builder import HEAD
from tests.support.peers import NODELAY, free_port
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work, working_node

SEG, SR, CAPTURE = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.7",
)


@dataclass
class Worked:
    """A node that has read one study, and serves it."""

    node: WatchedNode
    clock: Clock
    archive: ServedArchive
    study: str


@pytest.fixture
def worked(tmp_path: Path) -> Iterator[Worked]:
    clock = Clock()
    web = Web(port=free_port(), tokens=tokens(tmp_path / "secrets"))
    settings = Settings(data_dir=tmp_path / "data", web=web)
    with working_node(settings, clock, Predictor()) as node:
        receive(node, scan=HEAD)
        work(node, clock)
        (row,) = node.worklist.views.worklist(clock.now)
        with serving_web(settings, node.worklist) as url:
            archive = ServedArchive(settings, node.worklist, url)
            yield Worked(node, clock, archive, row.study_instance_uid)


def test_results_are_found_with_their_study(worked: Worked) -> None:
    client = worked.archive.client(READ)
    (found,) = client.search_for_studies(search_filters={"ModalitiesInStudy": "SEG"})
    study = Dataset.from_json(found)
    assert list(study.ModalitiesInStudy) == ["CT", "DOC", "SEG", "SR"]
    assert study.NumberOfStudyRelatedInstances == len(HEAD.build()) + 4
    reports = client.search_for_series(worked.study, search_filters={"Modality": "SR"})
    said = [Dataset.from_json(report).SeriesDescription for report in reports]
    assert len(said) == 2 and all(text.startswith("ICH SUSPECTED") for text in said)
    with worked.archive.http(READ) as http:
        params = {"includefield": "21171001"}
        (found,) = http.get("/studies", params=params).json()
    assert found["21171001"]["Value"] == ["SUSPECTED"]


def test_segmentation_and_report_are_fetched_and_read(worked: Worked) -> None:
    client = worked.archive.client(READ)
    objects = {}
    for kind in (SEG, SR, CAPTURE):
        (found,) = client.search_for_instances(worked.study, search_filters={"SOPClassUID": kind})
        uids = [found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
        objects[kind] = (client.retrieve_instance(*uids), uids)
    seg, uids = objects[SEG]
    mask = highdicom.seg.Segmentation.from_dataset(seg)
    frames = client.retrieve_instance_frames(*uids, frame_numbers=[1, seg.NumberOfFrames])
    pixels = mask.pixel_array.reshape(-1, seg.Rows * seg.Columns)
    for frame, expected in zip(frames, (pixels[0], pixels[-1]), strict=True):
        bits = [byte >> bit & 1 for byte in frame for bit in range(8)]
        assert bits[: expected.size] == expected.tolist()
    (said,) = (client.retrieve_instance_metadata(*uids),)
    assert said["00280010"]["Value"] == [seg.Rows]
    report = objects[SR][0]
    title = report.ConceptNameCodeSequence[0]
    assert Code(title.CodeValue, title.CodingSchemeDesignator, "") == Code("126000", "DCM", "")
    with worked.archive.http(READ, Accept="image/png") as http:
        path = "/studies/{}/series/{}/instances/{}/rendered".format(*objects[CAPTURE][1])
        assert http.get(path).content.startswith(b"\x89PNG")
        path = "/studies/{}/series/{}/instances/{}/rendered".format(*objects[SR][1])
        assert http.get(path).status_code == 404


def got_by_getscu(worked: Worked, out: Path) -> list[Dataset]:
    """Get the study with DCMTK's getscu."""
    require_program("getscu")
    chosen = {"host": "127.0.0.1", "port": 0, "min_free_mb": 0}
    receive = Receive(**chosen, callers=(Caller(ae_title="GETSCU", may=("get",)),))
    settings = worked.archive.settings.model_copy(update={"receive": receive})
    worklist = worked.node.worklist
    out.mkdir()
    queries = QueryScp(settings, worklist.archive)
    handles = (worklist.arrivals, worklist.announcements)
    with Receiver(settings, *handles, worked.clock, queries) as receiver:
        command = ["getscu", "-v", "-S", "-aec", "ICHNODE", "-od", str(out)]
        keys = ["-k", "0008,0052=STUDY", "-k", f"StudyInstanceUID={worked.study}"]
        address = ["127.0.0.1", str(receiver.port)]
        environment = os.environ | NODELAY
        subprocess.run([*command, *keys, *address], check=False, env=environment, timeout=120)
    return [dcmread(path) for path in out.iterdir()]


@pytest.mark.peer
def test_getscu_gets_images_and_results(worked: Worked, tmp_path: Path) -> None:
    got = got_by_getscu(worked, tmp_path / "got")
    assert {SEG, SR, CAPTURE} < {ds.SOPClassUID for ds in got}
    assert len(got) == len(HEAD.build()) + 4


@pytest.mark.peer
def test_a_result_under_an_identity_that_was_corrected_leaves_by_no_way(
    worked: Worked, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client, worklist = worked.archive.client(READ), worked.node.worklist
    before = client.retrieve_study_metadata(worked.study)
    patients = worklist.patients
    (found,) = patients.studies("P1", worked.clock.now - timedelta(days=1))
    message = StoredObject("messages/adt", "0" * 64, 1)
    patients.correct([found], [PatientIdentity("4711", "")], message, "A40", worked.clock.now)

    images = client.retrieve_study_metadata(worked.study)
    assert {one["00080016"]["Value"][0] for one in images} == {CTImageStorage}
    assert len(before) == len(images) + 4
    assert {str(ds.SOPClassUID) for ds in client.retrieve_study(worked.study)} == {CTImageStorage}
    (report,) = client.search_for_instances(worked.study, search_filters={"SOPClassUID": SR})
    uids = [report[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
    with pytest.raises(HTTPError, match="404"):
        client.retrieve_instance(*uids)
    assert "withheld" in caplog.text
    got = got_by_getscu(worked, tmp_path / "got")
    assert {ds.SOPClassUID for ds in got} == {CTImageStorage}


def test_a_replay_replaces_the_results_that_are_found(worked: Worked) -> None:
    client = worked.archive.client(READ)
    before = {one["00080018"]["Value"][0] for one in client.search_for_instances(worked.study)}
    (row,) = worked.node.worklist.views.worklist(worked.clock.now)
    made = worked.archive.settings.data_dir / row.folder / "report"
    old = dcmread(BytesIO((made / "sr.dcm").read_bytes()))
    worked.clock.wait(86400)
    worked.node.detector().uncertainty = 0.9  # another result: other UIDs
    worked.node.worklist.cases.replay(row.case_id, STAGES["triage"], worked.clock.now)
    work(worked.node, worked.clock)
    new = dcmread(made / "sr.dcm")
    assert old.SOPInstanceUID != new.SOPInstanceUID
    after = {one["00080018"]["Value"][0] for one in client.search_for_instances(worked.study)}
    assert old.SOPInstanceUID in before - after
    assert new.SOPInstanceUID in after - before
    series = {one["0020000E"]["Value"][0] for one in client.search_for_series(worked.study)}
    assert (old.SeriesInstanceUID in series) == (old.SeriesInstanceUID == new.SeriesInstanceUID)
