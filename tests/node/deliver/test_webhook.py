"""Messages to a webhook: what they hold, how they are signed, and what becomes of them."""

import hashlib
import hmac
import json
import ssl
import subprocess
import time

import pytest

from node.deliver.channels.webhook import probe
from node.errors import BadConfiguration, Retryable
from tests.support.listeners import Request, drip_headers, stall, status, web_peer
from tests.support.peers import free_port, mute_peer
from tests.support.speaking import SUSPECTED, VARIABLE, speaking, webhook
from training.datasets.series import Identity


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(VARIABLE, "s3cret")


def sent(tmp_path, **wants) -> Request:
    with web_peer(status(200)) as hook, speaking(tmp_path, webhook(hook.port, **wants)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 1
        assert node.deliveries() == [("hook", "SENT", 1)]
    (request,) = hook.messages
    return request


def test_message_is_json_that_names_the_study_and_no_patient(tmp_path):
    request = sent(tmp_path)
    body = json.loads(request.body)
    identity = Identity.of("a")
    assert (request.method, request.path) == ("POST", "/hook")
    assert body["study_instance_uid"] == identity.study_instance_uid
    assert body["event"] == "flag" and body["priority"] == "SUSPECTED"
    assert (body["probability"], body["volume_ml"]) == (0.93, 77.4)
    assert "RESEARCH USE ONLY" in body["notice"]
    assert "patient_id" not in body and identity.patient_id not in request.body.decode()
    assert not {"patient_birth_date", "patient_name"} & set(body)


def test_patient_id_is_sent_where_the_settings_say_so(tmp_path):
    assert json.loads(sent(tmp_path, patient_id=True).body)["patient_id"] == (
        Identity.of("a").patient_id
    )


def test_signature_is_of_the_time_and_the_body(tmp_path):
    request = sent(tmp_path)
    stamp = request.headers["X-Ichnode-Timestamp"]
    signed = hmac.new(b"s3cret", f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Ichnode-Signature"] == f"sha256={signed}"


def test_server_that_fails_once_gets_the_same_message_again(tmp_path):
    with (
        web_peer(status(500), status(200)) as hook,
        speaking(tmp_path, webhook(hook.port)) as node,
    ):
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("hook", "OWED", 1)]
        node.wait(seconds=10)
        assert node.drain() == 1
        assert node.deliveries() == [("hook", "SENT", 2)]
    first, second = hook.messages
    assert first.body == second.body
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert json.loads(first.body)["message_id"] == first.headers["Idempotency-Key"]


@pytest.mark.parametrize(
    ("code", "left"),
    [
        (201, ("SENT", 1)),
        (301, ("OWED", 1)),
        (400, ("DEAD", 1)),
        (404, ("DEAD", 1)),
        (408, ("OWED", 1)),
        (425, ("OWED", 1)),
        (429, ("OWED", 1)),
        (503, ("OWED", 1)),
    ],
)
def test_status_decides_what_follows(tmp_path, code, left):
    with web_peer(status(code)) as hook, speaking(tmp_path, webhook(hook.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        assert node.deliveries() == [("hook", *left)]


def test_redirect_is_not_followed(tmp_path):
    with web_peer(status(200)) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.port}/"
        with (
            web_peer(status(307, Location=there)) as hook,
            speaking(tmp_path, webhook(hook.port)) as node,
        ):
            node.read(SUSPECTED)
            assert node.drain() == 0
    assert elsewhere.messages == []


@pytest.mark.parametrize("fault", [stall, drip_headers])
def test_server_that_does_not_come_to_an_end_is_left_and_tried_again(tmp_path, fault):
    with (
        web_peer(fault, status(200)) as hook,
        speaking(tmp_path, webhook(hook.port), timeout_s=0.5) as node,
    ):
        node.read(SUSPECTED)
        start = time.monotonic()
        assert node.drain() == 0
        assert time.monotonic() - start < 8
        node.wait(seconds=10)
        assert node.drain() == 1


def test_server_that_is_down_is_tried_again(tmp_path):
    with speaking(tmp_path, webhook(free_port())) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("hook", "OWED", 0)]


def test_message_waits_while_its_key_is_missing(tmp_path, monkeypatch, caplog):
    with web_peer(status(200)) as hook, speaking(tmp_path, webhook(hook.port)) as node:
        node.read(SUSPECTED)
        monkeypatch.delenv(VARIABLE)
        assert node.drain() == 0
        assert VARIABLE in caplog.text
        monkeypatch.setenv(VARIABLE, "s3cret")
        node.wait(hours=1)
        assert node.drain() == 1
    assert "s3cret" not in caplog.text


def test_address_is_in_no_log(tmp_path, caplog):
    to = {"url": f"http://127.0.0.1:{free_port()}/hook/token", "secret_variable": VARIABLE}
    with speaking(tmp_path, webhook(1, webhook=to)) as node:
        node.read(SUSPECTED)
        node.drain()
    assert "no connection" in caplog.text and "token" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.mark.parametrize("is_known", [False, True], ids=["unknown", "known"])
def test_certificate_is_verified(tmp_path, certificate, is_known):
    file, context = certificate
    with web_peer(status(200), context=context) as hook:
        to = {"url": f"https://localhost:{hook.port}/hook", "secret_variable": VARIABLE}
        to |= {"ca_file": str(file) if is_known else ""}
        with speaking(tmp_path, webhook(1, webhook=to)) as node:
            node.read(SUSPECTED)
            assert node.drain() == is_known
    assert len(hook.messages) == is_known


def test_probe_says_how_a_webhook_stands_and_sends_no_result(tmp_path, monkeypatch):
    with web_peer(status(405)) as hook, speaking(tmp_path, webhook(hook.port)) as node:
        (destination,) = node.settings.deliver.destinations
        assert probe(destination, node.settings) == "answers (HTTP 405); not encrypted"
        assert [request.method for request in hook.messages] == ["OPTIONS"]
        monkeypatch.delenv(VARIABLE)
        with pytest.raises(BadConfiguration, match=VARIABLE):
            probe(destination, node.settings)
        monkeypatch.setenv(VARIABLE, "s3cret")
        with mute_peer() as mute, pytest.raises(Retryable, match="no answer"):
            probe(webhook(mute.port), node.settings)
