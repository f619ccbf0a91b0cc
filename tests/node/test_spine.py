"""The whole way, on real input and real peers: storescu -> ichnode serve -> Orthanc."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from models.detector import Detector
from node.states import Priority
from node.worklist.studies.rows import Row
from tests.conftest import require_program
from tests.support.listeners import ack, mllp_peer
from tests.support.peers import Orthanc, free_port, orthanc, storescu
from tests.support.running import RunningNode, receiving, running_node
from training.datasets import physionet
from training.datasets.case import Case
from training.datasets.series import Identity, write_series

pytestmark = [pytest.mark.peer, pytest.mark.data, pytest.mark.timeout(600)]

BLEEDING_PATIENT = 75
"""A patient with hemorrhage whom the shipped networks were neither trained nor tuned on."""


def settings(pacs: Orthanc) -> str:
    """A node's settings: quick leases, old dates are no matter, that PACS as destination."""
    return sending_to(f"""
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {pacs.port}
""")


def sending_to(destination: str) -> str:
    """A node's settings, with one destination."""
    return f"""{receiving()}
[assemble]
grace_s = 0.5
prior_after_days = 0
[work]
lease_s = 3.0
[web]
port = {free_port()}
[deliver]
retry_s = 0.5
timeout_s = 5.0
[[deliver.destinations]]
{destination}
"""


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def node(
    pacs: Orthanc, networks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningNode]:
    """A node that nobody kills; it waits little for late slices."""
    quick = settings(pacs).replace("[assemble]", "[assemble]\nidle_s = 8.0")
    with running_node(tmp_path_factory.mktemp("node") / "node", quick, networks) as node:
        yield node


@pytest.fixture(scope="module")
def patient(data: Path) -> Case:
    return physionet.load(data / "physionet_ct_ich", BLEEDING_PATIENT)


def written(patient: Case, folder: Path, seed: str) -> tuple[list[Path], Identity]:
    identity = Identity.of(seed)
    return write_series(patient.volume, folder, identity), identity


def delivered(rows: list[Row]) -> bool:
    return bool(rows) and all(row.delivered_at for row in rows)


def rows_of(rows: list[Row], study: Identity | str) -> list[Row]:
    uid = study if isinstance(study, str) else study.study_instance_uid
    return [row for row in rows if row.study_instance_uid == uid]


def wait_until_delivered(
    node: RunningNode,
    study: Identity | str,
    reached: Callable[[list[Row]], bool] = lambda _: True,
) -> list[Row]:
    """Return the rows of a study once its result is delivered, and whatever else is reached."""

    def is_there(rows: list[Row]) -> bool:
        mine = rows_of(rows, study)
        return delivered(mine) and reached(mine)

    return rows_of(node.wait_for(is_there, 300), study)


def stored(pacs: Orthanc, study_uid: str) -> list[Dataset]:
    """All objects that the PACS holds for the study."""
    return [dcmread(BytesIO(pacs.file(i))) for i in pacs.instances(study_uid).values()]


def results(pacs: Orthanc, study_uid: str) -> dict[str, Dataset]:
    """What the PACS holds for the study, by SOP class; each class once."""
    objects = stored(pacs, study_uid)
    assert max(Counter(ds.SOPClassUID for ds in objects).values(), default=1) == 1
    return {ds.SOPClassUID: ds for ds in objects}


def push(files: list[Path], node: RunningNode, *options: str) -> None:
    """Send with DCMTK once the node listens; every file must be acknowledged."""
    node.wait_until_listening()
    done = storescu(files, node.settings.receive.port, *options)
    assert done.returncode == 0, done.stdout[-2000:]


def test_real_heads_come_back_from_a_real_pacs(
    data: Path, patient: Case, pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    tilted = sorted((data / "ge_head_tilt").glob("*.dcm"))
    bleeding, identity = written(patient, tmp_path / "sent", "spine")
    push(tilted, node)
    push(bleeding, node)
    tilted_uid = str(dcmread(tilted[0], stop_before_pixels=True).StudyInstanceUID)
    wait_until_delivered(node, tilted_uid)
    (row,) = wait_until_delivered(node, identity)
    rows = node.rows()
    assert (row.priority, row.patient_id) == (Priority.SUSPECTED, identity.patient_id)
    assert rows[0].priority is Priority.SUSPECTED
    found = results(pacs, identity.study_instance_uid)
    assert set(found) == {
        SegmentationStorage,
        Comprehensive3DSRStorage,
        BasicTextSRStorage,
        SecondaryCaptureImageStorage,
    }
    for ds in found.values():
        assert ds.PatientID == identity.patient_id
        assert ds.StudyInstanceUID == identity.study_instance_uid
    seg = found[SegmentationStorage]
    sources = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in bleeding}
    referenced = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced} <= sources
    assert row.key_slice_sop_instance_uid in sources
    assert_overlaps(patient, bleeding, row)

    (row,) = rows_of(rows, tilted_uid)
    assert row.priority in (Priority.SUSPECTED, Priority.NOT_SUSPECTED), row.reason
    found = results(pacs, tilted_uid)
    assert {Comprehensive3DSRStorage, SecondaryCaptureImageStorage} <= set(found)
    assert (SegmentationStorage in found) == (row.priority is Priority.SUSPECTED)

    for row in (*rows_of(rows, tilted_uid), *rows_of(rows, identity)):
        assert {line.status for line in row.deliveries} == {"SENT"}
        assert {line.last_status for line in row.deliveries} == {0}
        assert {line.sop_class for line in row.deliveries} == set(
            results(pacs, row.study_instance_uid)
        )


def assert_overlaps(patient: Case, files: list[Path], row: Row) -> None:
    """Blood is on the key slice or beside it, where the radiologists of the data set drew it."""
    index = [ds_uid(path) for path in files].index(str(row.key_slice_sop_instance_uid))
    assert patient.mask[max(index - 1, 0) : index + 2].any(), f"no blood around slice {index}"


def test_node_that_is_killed_in_each_role_loses_nothing_and_delivers_once(
    patient: Case, pacs: Orthanc, networks: Path, tmp_path: Path
) -> None:
    files, identity = written(patient, tmp_path / "sent", "killed")
    node = RunningNode(tmp_path / "node", settings(pacs), networks)
    node.start()
    try:
        acknowledged = kill_while_receiving(node, files)
        assert acknowledged <= node.received()
        node.start()
        push(files, node)  # a PACS sends again what was not acknowledged, and often what was
        kill_when_it_stands_at(node, "ASSEMBLED")  # a worker holds the case
        assert node.rows()[0].state == "ASSEMBLED"
        node.start()
        kill_when_it_stands_at(node, "REPORTED")  # while it delivers
        node.start()
        rows = node.wait_for(delivered, 300)
    finally:
        node.stop()
    assert [row.study_instance_uid for row in rows] == [identity.study_instance_uid]
    assert node.received() == {ds_uid(path) for path in files}
    assert rows[0].priority is Priority.SUSPECTED
    assert len(results(pacs, identity.study_instance_uid)) == 4
    assert Counter(line.sop_class for line in rows[0].deliveries).most_common(1)[0][1] == 1


def ds_uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def kill_while_receiving(node: RunningNode, files: list[Path]) -> set[str]:
    """Kill the node in the middle of a transfer; return what it had acknowledged."""
    acknowledged = set()
    node.wait_until_listening()
    for number, sent in enumerate(node.send(files)):
        if sent.stored:
            acknowledged.add(ds_uid(sent.path))
        if number == len(files) // 2:
            node.kill()
    assert 0 < len(acknowledged) < len(files)
    return acknowledged


def kill_when_it_stands_at(node: RunningNode, state: str) -> None:
    """Kill the node as soon as its one case has come to this state."""
    node.wait_for(lambda rows: bool(rows) and rows[0].state == state, 300)
    node.kill()


def test_same_study_sent_twice_gives_no_second_result(
    patient: Case, pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    files, identity = written(patient, tmp_path / "sent", "twice")
    push(files, node)
    before = wait_until_delivered(node, identity)
    for part in (files, files[:9], files[9:]):
        push(part, node)
    push(run_length_encoded(files, tmp_path / "rle"), node, "-xr")
    after = wait_until_delivered(node, identity)
    assert after == [replace(row, quarantined=len(files)) for row in before]
    assert {(line.status, line.attempts) for row in after for line in row.deliveries} == {
        ("SENT", 1)
    }
    assert len(results(pacs, identity.study_instance_uid)) == 4


def run_length_encoded(files: list[Path], folder: Path) -> list[Path]:
    """The same images in another transfer syntax: the same UIDs, other bytes."""
    require_program("dcmcrle")
    folder.mkdir()
    for path in files:
        subprocess.run(["dcmcrle", path, folder / path.name], check=True)
    return sorted(folder.iterdir())


def test_late_slices_bring_a_report_that_names_the_one_the_pacs_has(
    patient: Case, pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    files, identity = written(patient, tmp_path / "sent", "late")
    push(files[:-2], node)
    (first,) = wait_until_delivered(node, identity)
    push(files[-2:], node)
    wait_until_delivered(node, identity, lambda rows: rows[0].case_id != first.case_id)
    objects = stored(pacs, identity.study_instance_uid)
    reports = [ds for ds in objects if ds.SOPClassUID == Comprehensive3DSRStorage]
    second, older = sorted(reports, key=lambda ds: "PredecessorDocumentsSequence" not in ds)
    assert "PredecessorDocumentsSequence" not in older
    (named,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert named.SeriesInstanceUID == older.SeriesInstanceUID
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == older.SOPInstanceUID
    assert "2 more images of the series arrived after it" in second.to_json()


def test_reading_is_the_same_whichever_way_the_study_comes(
    patient: Case, detector: Detector, tmp_path: Path
) -> None:
    """`ichnode analyse` on a folder gives what the network's way gives."""
    from node.cli.analyse import analyse
    from node.settings import Settings

    files, identity = written(patient, tmp_path / "sent", "analyse")
    base = Settings(data_dir=tmp_path / "data")
    (study,) = analyse(tmp_path / "sent", base, lambda: detector, tmp_path / "out")
    whole_hu = np.rint(patient.volume.hu)  # as DICOM stores them
    direct = detector.detect(replace(patient.volume, hu=whole_hu))
    assert study["study_instance_uid"] == identity.study_instance_uid
    assert study["priority"] == "SUSPECTED"
    assert study["probability"] == pytest.approx(direct.probability, abs=1e-4)
    assert study["volume_ml"] == pytest.approx(direct.volume_ml, rel=1e-3)
    assert [s["sop_instance_uid"] for s in study["slices"]] == [ds_uid(path) for path in files]
    places = [s["position_mm"] for s in study["slices"]]
    assert np.allclose(np.diff(places), np.diff(patient.volume.locations_mm))
    assert np.allclose(
        [s["probability"] for s in study["slices"]],
        [s.probability for s in direct.slices],
        atol=1e-4,
    )
    assert (
        "deliveries" not in study
        and "door_to_flag_s" not in study
        and "door_to_pacs_s" not in study
    )
    assert {path.name for path in (tmp_path / "out" / "1").iterdir()} == {
        "seg.dcm",
        "sr.dcm",
        "text.dcm",
        "capture.dcm",
        "capture.png",
    }


def test_real_bleed_is_told_to_the_ris_once_though_the_node_is_killed(
    patient: Case, networks: Path, tmp_path: Path
) -> None:
    """The RIS rejects nothing, and is down when the flag comes to stand."""
    files, identity = written(patient, tmp_path / "sent", "voice")
    port = free_port()
    ris = f'name = "ris"\nhow = "hl7"\nhost = "127.0.0.1"\nport = {port}'
    node = RunningNode(tmp_path / "node", sending_to(ris), networks)
    node.start()
    try:
        push(files, node)
        node.wait_for(lambda rows: bool(rows) and bool(rows[0].deliveries), 300)
        node.kill()
        with mllp_peer(ack("AA"), port=port) as heard:
            node.start()
            node.wait_for(delivered, 300)
    finally:
        node.stop()
    (message,) = heard.messages
    assert identity.study_instance_uid in message.decode()
    assert "|SUSPECTED||" in message.decode()
