"""What `ichnode doctor` says of an installation, sound and broken."""

import re
from datetime import UTC, datetime
from errno import EIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.cli.doctor import check_callers, check_certificates, check_database
from node.committed import CommitmentAsked, Reference
from node.settings import Caller, ClientTls, Deliver, Destination, Receive, ServerTls, Settings
from node.worklist import Actor, Worklist
from tests.support.certificates import Authority, Pair
from tests.support.databases import new_database
from tests.support.disks import small_disk
from tests.support.listeners import ack, mllp_peer, smtp_peer, status, web_peer
from tests.support.peers import free_port, storescp

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


def doctor(folder: Path, toml: str, *, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Its status and its words, without the table's lines; after another command, if one is due."""
    config = folder / "ichnode.toml"
    config.write_text(f'data_dir = "{folder / "data"}"\n{toml}')
    for command in filter(None, (before, ("doctor",))):
        words = [*command, "--config", str(config)]
        done = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    return done.exit_code, re.sub(r"[│\s]+", " ", done.stdout)


def converted(networks: Path, folder: Path) -> None:
    """Give the node its networks converted already, as after its first start."""
    (folder / "data").mkdir()
    (folder / "data" / "cache").symlink_to(networks)


@pytest.mark.sqlite
def test_a_fresh_installation_is_sound_and_told_what_is_not_set(
    networks: Path, tmp_path: Path
) -> None:
    converted(networks, tmp_path)
    toml = f"[receive]\nport = {free_port()}\n[web]\nport = {free_port()}\n"
    code, said = doctor(tmp_path, toml)
    assert code == 1 and "✗ bad database" in said and "run `ichnode db upgrade`" in said
    code, said = doctor(tmp_path, toml, before=("db", "upgrade"))
    assert code == 0, said
    assert "✓ ok database cases: none yet" in said
    assert re.search(
        r"✓ ok detector ich-ensemble@\S+ on \w+.*golden output reproduced.*from 0\.\d+ on", said
    )
    assert "! note who may send this machine only: set receive.allowed_callers" in said
    assert "! note destinations none: results stay here" in said
    assert "✗" not in said


@pytest.mark.peer
def test_peers_are_asked(networks: Path, tmp_path: Path) -> None:
    converted(networks, tmp_path)
    dead = free_port()
    with storescp(tmp_path / "scp") as pacs:
        code, said = doctor(
            tmp_path,
            f"""
[[deliver.destinations]]
name = "PACS"
ae_title = "{pacs.ae_title}"
host = "127.0.0.1"
port = {pacs.port}

[[deliver.destinations]]
name = "gone"
ae_title = "GONE"
host = "127.0.0.1"
port = {dead}

[[pull.sources]]
name = "archive"
ae_title = "GONE"
host = "127.0.0.1"
port = {dead}

[[pull.sources]]
name = "web archive"
how = "web"
url = "http://127.0.0.1:{dead}/dicom-web"
""",
        )
    assert code == 1
    assert f"✓ ok PACS ({pacs.ae_title}@127.0.0.1:{pacs.port}) C-ECHO 0x0000" in said
    for name in ("gone", "archive"):
        assert re.search(rf"✗ bad {name} \(GONE@127.0.0.1:{dead}\) \S", said), said
    assert f"✗ bad web archive (http://127.0.0.1:{dead}/dicom-web) web archive: no answer" in said


def test_certificates_are_renewed_in_time_and_callers_in_clear_are_noted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    good, ours = authority.pair("good", days=(-1, 400)), authority.pair("ours", days=(-9, -1))
    soon = authority.pair("soon", days=(-1, 20))
    tls = ServerTls(certificate=good.certificate, key=good.key)
    peer = {"name": "PACS", "ae_title": "P", "host": "192.0.2.1", "port": 104}
    of = ("certificate of receive.tls", "certificate of tls of PACS")

    def certificates(shown: Pair, own: Pair) -> list[tuple[str, str]]:
        to = ClientTls(ca=authority.ca, certificate=shown.certificate, key=shown.key)
        settings = Settings(
            receive=Receive(tls=ServerTls(certificate=own.certificate, key=own.key)),
            deliver=Deliver(destinations=(Destination(**peer, tls=to),)),
        )
        checks = list(check_certificates(settings))
        assert tuple(check.what for check in checks) == of
        return [(check.verdict, check.found.split(" on ")[0].split()[-1]) for check in checks]

    assert certificates(ours, good) == [("ok", "expires"), ("bad", "expired")]
    assert certificates(good, soon) == [("note", "expires"), ("ok", "expires")]
    gone = Settings(receive=Receive(tls=ServerTls(certificate="/x", key="/x")))
    assert [check.verdict for check in check_certificates(gone)] == ["bad", "bad"]

    caller = Caller(ae_title="CT7", address="192.0.2.7", certificate="CN=CT7")
    for receive, found in (
        (Receive(allowed_callers=("CT1",), tls=tls), ("ok", "CT1; by TLS")),
        (
            Receive(callers=(caller,), tls=tls.model_copy(update={"ca": authority.ca})),
            ("ok", "CT7@192.0.2.7 with CN=CT7 (store); by TLS"),
        ),
        (
            Receive(allowed_callers=("CT1",), insecure=True),
            ("note", "CT1; not encrypted (receive.insecure)"),
        ),
        (Receive(allowed_callers=("CT1@127.0.0.1",)), ("ok", "CT1@127.0.0.1")),
    ):
        (check,) = check_callers(Settings(receive=receive))
        assert (check.verdict, check.found) == found


@pytest.mark.sqlite
def test_what_cannot_be_written_or_read_is_bad(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the folder's place")
    code, said = doctor(tmp_path, '[triage]\nbundle = "/nowhere"\n')
    assert code == 1
    assert "✗ bad data folder" in said and "✗ bad database" in said and "✗ bad detector" in said


def test_destinations_of_messages_are_asked_and_get_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_TEST_HOOK", "s3cret")
    with mllp_peer(ack("AA")) as ris, web_peer(status(204)) as hook, smtp_peer() as server:
        toml = f"""
[triage]
bundle = "/nowhere"
[receive.adt]
port = {free_port()}
allowed_addresses = ["192.0.2.7"]
[[deliver.destinations]]
name = "ris"
how = "hl7"
host = "127.0.0.1"
port = {ris.port}
[[deliver.destinations]]
name = "hook"
how = "webhook"
[deliver.destinations.webhook]
url = "http://127.0.0.1:{hook.port}/token"
secret_variable = "ICHNODE_TEST_HOOK"
[[deliver.destinations]]
name = "keyless"
how = "webhook"
[deliver.destinations.webhook]
url = "http://127.0.0.1:{hook.port}/token"
secret_variable = "ICHNODE_TEST_UNSET"
[[deliver.destinations]]
name = "mail"
how = "mail"
host = "127.0.0.1"
port = {server.port}
[deliver.destinations.mail]
sender = "node@a.example"
recipient = "on-call@a.example"
security = "none"
[[deliver.escalations]]
after_minutes = 2.5
to = ["mail", "ris"]
"""
        _, said = doctor(tmp_path, toml)
        for name, code, words in (
            ("ris", 0, "ris takes connections (no message was sent)"),
            ("hook", 0, "hook answers (HTTP 204); not encrypted"),
            ("keyless", 2, "the environment variable ICHNODE_TEST_UNSET is not set"),
            ("mail", 0, "mail answers (SMTP 250); not encrypted"),
        ):
            command = ["echo", name, "--config", str(tmp_path / "ichnode.toml")]
            done = CliRunner().invoke(app, command)
            assert (done.exit_code, words in done.output) == (code, True), done.output
        sent = CliRunner().invoke(app, ["send", str(tmp_path), "ris", *command[2:]])
        assert sent.exit_code == 2 and "takes messages (hl7) and no DICOM files" in sent.output
    assert f"✓ ok ris (127.0.0.1:{ris.port}) takes connections" in said
    assert f"! note hook (http://127.0.0.1:{hook.port}) answers (HTTP 204); not encrypted" in said
    assert "✓ ok ADT port" in said and "✓ ok who may send ADT 192.0.2.7" in said
    assert "✗ bad keyless" in said and "ICHNODE_TEST_UNSET is not set" in said
    assert "! note mail" in said and "token" not in said
    assert "✓ ok escalation after 2.5 minutes tells mail, ris" in said
    assert (ris.messages, server.messages) == ([], [])
    assert {request.method for request in hook.messages} == {"OPTIONS"}


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_fails_is_one_bad_line(fault: str, tmp_path: Path) -> None:
    toml = f"[receive]\nport = {free_port()}\nmin_free_mb = 1\n[web]\nport = {free_port()}\n"
    with small_disk(tmp_path / "data", size_mb=64) as disk:
        doctor(tmp_path, toml, before=("db", "upgrade"))
        disk.fill() if fault == "full" else disk.forbid_writing()
        code, said = doctor(tmp_path, toml)
    words = {"full": "No space left on device", "read-only": "Read-only file system"}[fault]
    assert code == 1 and f"✗ bad data folder {tmp_path}/data: {words}" in said
    assert "the roles wait until it is over" in said and "who may send" in said


def test_a_check_that_fails_is_a_bad_line_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise OSError(EIO, "Input/output error")

    monkeypatch.setattr("node.cli.bundle_checks.load_detector", fails)
    code, said = doctor(tmp_path, "")
    assert code == 1 and "✗ bad detector [Errno 5] Input/output error" in said
    assert "who may send" in said


def test_reports_of_commitment_that_were_given_up_are_noted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    new_database(settings.url)
    asked = CommitmentAsked("1.2.9", (Reference("1.2", "1.3"),))
    with Worklist(settings.url) as worklist:
        duty = worklist.commitments.ask(Actor("CT7", "192.0.2.7"), asked, "r", 60, NOW)
        worklist.commitments.failed(duty, "r", "no host and port", None, NOW)
    notes = [one.found for one in check_database(settings) if one.verdict == "note"]
    assert len(notes) == 1 and notes[0].startswith("1 report of storage commitment to CT7 given up")
