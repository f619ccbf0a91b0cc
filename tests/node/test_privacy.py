"""No log line of any role holds a patient's name, ID, accession number or birth date."""

import logging
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from node.arrive.filing import file_or_set_aside
from node.arrive.spool import Spool
from node.cases.worker import work_once
from node.deliver.sending import drain
from node.dicom.net.association import PATIENT_ROOT, STUDY_ROOT, contexts_archive
from node.hl7 import END, START
from node.log import configure
from node.settings import Deliver, Settings
from tests.support.announcing import STEP, begun
from tests.support.archiving import WRITE, tokens
from tests.support.builder import HEAD, encoded
from tests.support.listeners import ack, mllp_peer, raw, smtp_peer, status, web_peer
from tests.support.peers import free_port, listening, peer, wait_until
from tests.support.planted import PATIENTS, Patient, bad_objects, forms, found_in, images
from tests.support.running import RunningNode, running_node
from tests.support.speaking import VARIABLE, hl7, mail, webhook
from tests.support.working import Clock, Predictor, receive_files, work, working_node


def test_the_search_finds_a_word_in_any_form() -> None:
    for patient in PATIENTS:
        for word in patient.words:
            assert all(word in found_in(b"x" + form + b"y") for form in forms(word))
    assert found_in(b"2026-11-29 18:00:00 INFO    delivered") == []


# --- receive and web ---------------------------------------------------------------------------


def serving(folder: Path) -> str:
    """Settings of a node that takes everything from this machine and logs all it can."""
    secrets = "\n".join(
        f'[[web.tokens]]\nname = "{t["name"]}"\nsecret_file = "{t["secret_file"]}"\n'
        f"may = {t['may']}"
        for t in tokens(folder / "secrets")
    )
    return f"""
[receive]
host = "127.0.0.1"
port = {free_port()}
min_free_mb = 64
[[receive.callers]]
ae_title = "CT1"
may = ["store", "find", "move", "get"]
[receive.adt]
host = "127.0.0.1"
port = {free_port()}
[triage]
bundle = "/nowhere"
[web]
port = {free_port()}
open_feedback_as = "Dr. Night"
[health]
port = {free_port()}
{secrets}
[log]
level = "debug"
"""


@contextmanager
def associated(node: RunningNode) -> Iterator[Any]:
    ae = AE("CT1")
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = 30
    models = (*STUDY_ROOT, *PATIENT_ROOT, ModalityPerformedProcedureStep)
    contexts = [build_context(uid) for uid in models]
    contexts.append(build_context(CTImageStorage, ExplicitVRLittleEndian))
    port = node.settings.receive.port
    assoc = ae.associate("127.0.0.1", port, contexts, ae_title="ICHNODE")
    assert assoc.is_established
    yield assoc
    assoc.release()


def store(node: RunningNode, patient: Patient) -> None:
    """Send good images, and by DICOMweb bad ones."""
    with associated(node) as assoc:
        for ds in images(patient):
            assert assoc.send_c_store(dcmread(BytesIO(encoded(ds)))).Status == 0
        other = images(patient, 2)
        other[1].PatientID = f"{patient.patient_id}-2"
        sent = [assoc.send_c_store(dcmread(BytesIO(encoded(ds)))) for ds in other]
        assert [answer.Status for answer in sent] == [0, 0xC100]
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    head = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + file for file in bad_objects(patient)) + b"\r\n--b--\r\n"
    shown = {**kind, "Authorization": f"Bearer {WRITE}"}
    url = f"http://127.0.0.1:{node.settings.web.port}/dicom-web/studies"
    for path in ("", f"/{quote(patient.name)}"):
        assert httpx.post(url + path, content=body, headers=shown, timeout=120).status_code < 500


def query(node: RunningNode, patient: Patient) -> None:
    """Ask for the patient by C-FIND, C-MOVE and C-GET, rightly and wrongly."""
    values = (patient.name, patient.patient_id, patient.birth_date)
    asked = []
    for value in values:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"):
            asked.append(("STUDY", keyword, value))
        asked += [("STUDY", "StudyInstanceUID", value), (value[:16], "PatientID", value)]
    for level, keyword, value in asked:
        with associated(node) as assoc, disable_value_validation():
            ds = Dataset()
            ds.SpecificCharacterSet = "ISO_IR 192"
            ds.QueryRetrieveLevel = level
            setattr(ds, keyword, value)
            with suppress(ValueError, RuntimeError):  # pynetdicom encodes not all, or hangs up
                for model in (STUDY_ROOT[0], PATIENT_ROOT[0]):
                    list(assoc.send_c_find(ds, model))
                list(assoc.send_c_move(ds, patient.patient_id, STUDY_ROOT[1]))
                list(assoc.send_c_get(ds, STUDY_ROOT[2]))
    with associated(node) as assoc, disable_value_validation():
        step = begun(patient.patient_id)
        step.PatientName, step.PatientID = patient.name, patient.patient_id
        step.SpecificCharacterSet = "ISO_IR 192"
        for uid in (STEP, patient.patient_id):
            assoc.send_n_create(step, ModalityPerformedProcedureStep, uid)
            step.PerformedProcedureStepStatus = patient.patient_id
            assoc.send_n_set(step, ModalityPerformedProcedureStep, uid)


def ask_pages(node: RunningNode, patient: Patient) -> None:
    """Ask the page and DICOMweb for the patient, rightly and wrongly."""
    port = node.settings.web.port
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        for word in patient.words:
            said = quote(word)
            for path in ("/", "/studies/", "/cases/", "/dicom-web/studies/", "/assets/"):
                http.get(f"{path}{said}")
                http.post(f"{path}{said}", json={"name": word})
            http.get("/", headers={"Host": f"{patient.patient_id}.example"})
            for key in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", word):
                http.get("/dicom-web/studies", params={key: word})
            http.get("/dicom-web/studies", params={"limit": word, "includefield": word})
            http.post("/login", data={"name": word, "password": word})
            http.get("/login", params={"next": word})
            http.post("/studies/1/feedback", json={"comment": word, "name": word})
    for line in (
        b"GET /%b HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"%b %b\r\n\r\n",
        b"GET / %b\r\n%b\r\n\r\n",
    ):
        for word in patient.words:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as raw_line:
                raw_line.settimeout(0.3)
                raw_line.sendall(line % (word.encode(), word.encode()))
                raw_line.recv(100)


def tell_index(node: RunningNode, patient: Patient) -> None:
    """Send ADT messages about the patient, good and broken ones."""
    about = f"{patient.patient_id}^^^H^MR||{patient.name}||{patient.birth_date}|F"
    good = (
        f"MSH|^~\\&|PI|H|N||2026||ADT^A40^ADT_A39|M1|P|2.5.1||||||UNICODE UTF-8\rPID|1||{about}\r"
    )
    texts = [
        good + f"MRG|{patient.patient_id}-0^^^H^MR\r",
        good.replace("A40", "A08"),
        good.replace("UNICODE UTF-8", patient.patient_id),
        good.replace("A40", patient.patient_id).replace("M1", patient.patient_id),
        good.replace("MSH|^~\\&", f"MSH{patient.patient_id}"),
        f"PID|{about}",
        patient.name,
    ]
    port = node.settings.receive.adt.port
    for text in texts:
        for encoding in ("utf-8", "iso2022_jp"):
            data = text.encode(encoding, "replace")
            for framed in (START + data + END, data):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as line:
                    line.settimeout(0.3 if framed is not data else 0.05)
                    line.sendall(framed)
                    line.recv(1000)


@pytest.mark.slow
def test_what_peers_send_to_a_node_is_not_in_its_log(tmp_path: Path) -> None:
    with running_node(tmp_path, serving(tmp_path)) as node:
        node.wait_until_listening()
        for port in (node.settings.web.port, node.settings.receive.adt.port):
            wait_until(lambda port=port: listening(port), 60)
        for patient in (PATIENTS[0], PATIENTS[1], PATIENTS[5]):
            store(node, patient)
            query(node, patient)
            ask_pages(node, patient)
            tell_index(node, patient)
        assert node.stop() == 0
        log = node.log.read_bytes()
    for said in (b"quarantined", b"query refused", b"ADT:", b"stored by DICOMweb", b"/nowhere"):
        assert said in log, "the log says what went wrong"
    assert found_in(log) == [], "\n".join(
        line for line in log.decode(errors="replace").splitlines() if found_in(line.encode())
    )


# --- work and deliver --------------------------------------------------------------------------


@contextmanager
def logged(*, as_json: bool) -> Iterator[StringIO]:
    """Yield what a role of the node would write to standard error while the block runs."""
    stream = StringIO()
    root, shown, hooks = logging.getLogger(), logging.getLogger("node"), threading.excepthook
    before = (root.handlers[:], root.level, shown.level, sys.excepthook)
    with warnings.catch_warnings(), redirect_stderr(stream):
        root.handlers.clear()  # else `configure` closes those of pytest
        configure("debug", as_json=as_json)
        warnings.simplefilter("always")
        try:
            yield stream
        finally:
            root.handlers[:], root.level, shown.level, sys.excepthook = before
            threading.excepthook = hooks


@contextmanager
def naming_pacs(patient: Patient) -> Iterator[int]:
    """A PACS that refuses objects and names the patient in its comment."""

    def refuse(_: evt.Event) -> Dataset:
        answer = Dataset()
        answer.Status = 0xA700
        answer.ErrorComment = f"{patient.patient_id} {patient.parts[0]}"
        return answer

    ae = AE("PEER")
    handlers = [(evt.EVT_C_STORE, refuse)]
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, contexts=contexts_archive(), evt_handlers=handlers
    )
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


@pytest.mark.parametrize(
    ("patient", "as_json"), [(PATIENTS[0], False), (PATIENTS[1], True)], ids=["text", "JSON"]
)
def test_what_is_read_and_sent_is_not_in_the_log(
    tmp_path: Path, patient: Patient, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "s3cret")
    named = f"{patient.patient_id} {patient.name}"
    error = ack("AE", error=named)
    with (
        logged(as_json=as_json) as log,
        naming_pacs(patient) as pacs,
        mllp_peer(error, raw(named.encode()), error) as ris,
        web_peer(status(400)) as hook,
        smtp_peer(rcpt=["550 no patient PIDQX77"]) as post,
    ):
        to = (peer("PEER", pacs), hl7(ris.port), webhook(hook.port), mail(post.port))
        settings = Settings(data_dir=tmp_path / "node", deliver=Deliver(destinations=to))
        clock, predictor = Clock(), Predictor()
        with working_node(settings, clock, predictor) as node:
            predictor.failures = [ValueError(f"cannot read {named}")]
            receive_files([encoded(ds) for ds in images(patient, len(HEAD.build()))], node)
            work(node, clock)
            for data in bad_objects(patient):
                spool = Spool(node.root, min_free_mb=0)
                arrivals = node.worklist.arrivals
                file_or_set_aside(data, arrivals, spool, caller="CT1", now=clock())
            clock.wait(600)
            while work_once(node, "worker"):
                pass
            for _ in range(3):
                drain(settings, node.worklist.outbox, clock, "deliver")
                clock.wait(1000)
    said = log.getvalue()
    assert "not delivered" in said and "stage failed" in said
    assert found_in(said.encode(errors="replace")) == [], "\n".join(
        line for line in said.splitlines() if found_in(line.encode(errors="replace"))
    )
