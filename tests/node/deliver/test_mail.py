"""Messages by e-mail."""

import ssl
import subprocess
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from aiosmtpd.smtp import AuthResult

from node.deliver.channels.mail import probe
from node.errors import BadConfiguration, Retryable
from node.outcomes import NotAnalysed
from node.states import Reason
from tests.support.listeners import smtp_peer
from tests.support.peers import free_port, mute_peer
from tests.support.speaking import NEGATIVE, SUSPECTED, VARIABLE, mail, speaking
from training.datasets.series import Identity


def parsed(received) -> EmailMessage:
    message = message_from_bytes(received[1], policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_mail_says_what_was_found_and_names_no_patient(tmp_path):
    with smtp_peer() as server, speaking(tmp_path, mail(server.port)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 1
        accession = node.row().accession_number
    ((recipients, content),) = server.messages
    message = parsed((recipients, content))
    assert recipients == ["on-call@a.example"]
    assert message["Subject"] == "ichnode: hemorrhage SUSPECTED, unverified (research only)"
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_content()
    assert "77 mL" in text and "RESEARCH USE ONLY" in text
    assert f"Accession number: {accession}" in text
    assert Identity.of("a").patient_id not in content.decode()


def test_patient_id_stands_in_the_text_where_the_settings_say_so(tmp_path):
    to = {"patient_id": True}
    with smtp_peer() as server, speaking(tmp_path, mail(server.port, **to)) as node:
        node.read(SUSPECTED)
        node.drain()
    message = parsed(server.messages[0])
    assert f"Patient ID: {Identity.of('a').patient_id}" in message.get_content()
    assert Identity.of("a").patient_id not in message["Subject"]


def test_retraction_says_so_in_its_subject(tmp_path):
    with smtp_peer() as server, speaking(tmp_path, mail(server.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        node.read(NEGATIVE)
        node.drain()
    first, second = map(parsed, server.messages)
    assert "TAKEN BACK" in second["Subject"]
    assert first["Message-ID"] != second["Message-ID"]


def test_text_from_outside_makes_no_header_and_no_line(tmp_path):
    outcome = NotAnalysed(Reason.GEOMETRY, "x\r\n.\r\nBcc: other@b.example\r\n\x1b[31m")
    to = {"priorities": ["NOT_ANALYSED"]}
    with smtp_peer() as server, speaking(tmp_path, mail(server.port, **to)) as node:
        node.read(outcome)
        assert node.drain() == 1
    ((recipients, content),) = server.messages
    assert recipients == ["on-call@a.example"]
    assert parsed((recipients, content))["Bcc"] is None
    text = parsed((recipients, content)).get_content()
    assert len([line for line in text.splitlines() if "other@b.example" in line]) == 1
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ({"rcpt": ["450 busy", "250 OK"]}, ("OWED", 1)),
        ({"rcpt": ["550 unknown"]}, ("DEAD", 1)),
        ({"data": ["451 later", "250 OK"]}, ("OWED", 1)),
        ({"data": ["554 no"]}, ("DEAD", 1)),
    ],
)
def test_answer_of_the_server_decides_what_follows(tmp_path, answers, left):
    with smtp_peer(**answers) as server, speaking(tmp_path, mail(server.port)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("mail", *left)]
        node.wait(seconds=10)
        assert node.drain() == (left[0] == "OWED")
    assert len(server.messages) == (left[0] == "OWED")


def test_mail_that_is_sent_again_has_the_same_id(tmp_path):
    with smtp_peer() as server, speaking(tmp_path, mail(server.port)) as node:
        node.read(SUSPECTED)
        batch = node.worklist.outbox.claim("dead", 10, node.now)
        assert len(batch) == 1
        node.wait(seconds=10)
        assert node.drain() == 1
        key = batch[0].parcel.dedup_key
    assert parsed(server.messages[0])["Message-ID"] == f"<{key}@ichnode.invalid>"


def test_server_that_is_mute_is_tried_again(tmp_path):
    with mute_peer() as mute, speaking(tmp_path, mail(mute.port), timeout_s=0.5) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("mail", "OWED", 0)]


def test_server_that_is_down_is_tried_again(tmp_path):
    with speaking(tmp_path, mail(free_port())) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("mail", "OWED", 0)]


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


def only_known(_server, _session, _envelope, _mechanism, login) -> AuthResult:
    good = (login.login, login.password) == (b"node", b"pass:word")
    return AuthResult(success=good, handled=False)


@pytest.mark.parametrize(
    ("verified", "login", "arrived"),
    [(False, "node:pass:word", 0), (True, "node:other", 0), (True, "node:pass:word", 1)],
    ids=["unknown certificate", "wrong password", "known"],
)
def test_login_goes_over_an_encrypted_connection_that_is_verified(
    tmp_path, certificate, monkeypatch, verified, login, arrived
):
    file, context = certificate
    options = {"tls_context": context, "require_starttls": True, "auth_required": True}
    options |= {"authenticator": only_known}
    monkeypatch.setenv(VARIABLE, login)
    how = {"security": "starttls", "login_variable": VARIABLE}
    how |= {"ca_file": str(file) if verified else ""}
    with (
        smtp_peer(**options) as server,
        speaking(tmp_path, mail(server.port, mail=how, host="localhost")) as node,
    ):
        node.read(SUSPECTED)
        assert node.drain() == arrived
        assert node.deliveries() == [("mail", "SENT" if arrived else "OWED", 1)]
    assert len(server.messages) == arrived


def test_server_without_starttls_gets_nothing(tmp_path):
    """The mail, and the password, must not leave in the clear when the settings say otherwise."""
    how = {"security": "starttls"}
    with smtp_peer() as server, speaking(tmp_path, mail(server.port, mail=how)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("mail", "OWED", 1)]
    assert server.messages == []


def test_probe_says_how_a_mail_server_stands_and_sends_no_mail(tmp_path, monkeypatch):
    with smtp_peer() as server, speaking(tmp_path, mail(server.port)) as node:
        (destination,) = node.settings.deliver.destinations
        assert probe(destination, node.settings) == "answers (SMTP 250); not encrypted"
        assert server.messages == []
        monkeypatch.delenv(VARIABLE, raising=False)
        how = {"login_variable": VARIABLE}
        with pytest.raises(BadConfiguration, match=VARIABLE):
            probe(mail(server.port, mail=how), node.settings)
        with pytest.raises(Retryable, match="no answer"):
            probe(mail(free_port()), node.settings)
