"""The phantom that comes with ichnode, as files and as whose they are; who gets its objects."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.canary import phantom
from node.dicom.read.header import read_header
from node.settings import Alarms, Deliver, Destination, Mail, Settings
from tests.support.builder import uid
from tests.support.working import Clock, Predictor, receive, work, working_node
from training.phantoms.canary import write as draw

WHEN = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)


def test_its_files_name_no_patient_and_hold_the_head(tmp_path: Path) -> None:
    drawn = phantom.load()
    files = phantom.write(drawn, "2.25.77", WHEN, tmp_path)
    headers = [read_header(file) for file in files]
    assert len({header.sop_instance_uid for header in headers}) == len(drawn.volume.hu) == 32
    for header in headers:
        words = "ICHNODE CANARY, NO PATIENT"
        assert (header.patient_id, header.study_description) == (words, words)
        assert header.study_instance_uid == "2.25.77" and header.acquired == "20261129180000"
    for file, slice_hu in zip(files, drawn.volume.hu, strict=True):
        ds = dcmread(file)
        assert np.array_equal(ds.pixel_array + ds.RescaleIntercept, slice_hu)


@pytest.mark.slow
def test_the_file_is_the_head_that_is_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "phantom.npz")
    with np.load(tmp_path / "phantom.npz") as drawn, np.load(phantom.FILE) as shipped:
        assert set(drawn) == set(shipped)
        assert all(np.allclose(drawn[name], shipped[name], atol=1) for name in drawn)


def archive(name: str, *, canary: bool = False) -> Destination:
    return Destination(name=name, ae_title=name, host="192.0.2.1", port=104, canary=canary)


@pytest.mark.parametrize(("canary", "to"), [(False, {"PACS", "mail"}), (True, {"TEST"})])
def test_a_patients_result_and_a_canarys_never_go_the_same_way(
    tmp_path: Path, canary: bool, to: set[str]
) -> None:
    mail = Destination(
        name="mail",
        how="mail",
        host="192.0.2.1",
        port=25,
        mail=Mail(sender="a@example.org", recipient="b@example.org"),
        priorities=("SUSPECTED", "NOT_SUSPECTED", "NOT_ANALYSED"),
    )
    destinations = (archive("PACS"), archive("TEST", canary=True), mail)
    settings = Settings(data_dir=tmp_path / "data", deliver=Deliver(destinations=destinations))
    clock = Clock()
    with working_node(settings, clock, Predictor()) as node:
        if canary:
            node.worklist.canaries.send(uid("study"), "f" * 64, clock())
        receive(node)
        work(node, clock)
        answer = node.worklist.canaries.answer(uid("study"))
        assert answer is not None and {line.destination for line in answer.deliveries} == to


def test_an_alarm_goes_by_mail_or_webhook_alone() -> None:
    with pytest.raises(ValueError, match="gets no mail and no webhook"):
        Settings(deliver=Deliver(destinations=(archive("PACS"),)), alarms=Alarms(to=("PACS",)))
    with pytest.raises(ValueError, match="canary = true is for how"):
        Destination(name="ris", how="hl7", host="192.0.2.1", port=2575, canary=True)
