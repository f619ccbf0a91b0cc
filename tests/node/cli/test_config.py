"""`ichnode config`: what is wrong with settings before a node runs on them, and those in force."""

import json
import os
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.faults import faults
from node.settings import Settings, as_toml, load
from tests.support import ROOT

HOOK = """
[[deliver.destinations]]
name = "hook"
how = "webhook"
webhook = {{url = "https://hooks.example/T0/secret", secret_variable = "{variable}"}}
"""
PACS = """
[[deliver.destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 11113
"""


def check(folder: Path, text: str) -> tuple[int, str]:
    file = folder / "ichnode.toml"
    file.write_text(text)
    done = CliRunner().invoke(app, ["config", "check", "--config", str(file)])
    return done.exit_code, done.output


def test_good_settings_have_no_fault_and_their_file_is_named(tmp_path: Path) -> None:
    status, said = check(tmp_path, PACS)
    assert (status, said.splitlines()[0]) == (0, f"settings: {tmp_path / 'ichnode.toml'}")
    assert said.splitlines()[-1] == "no fault found"
    assert list(tmp_path.iterdir()) == [tmp_path / "ichnode.toml"], "no folder is made"


def test_settings_that_a_role_refuses_are_status_2(tmp_path: Path) -> None:
    status, said = check(tmp_path, "[receive]\nprot = 104\n")
    assert status == 2 and "receive.prot: no such setting; did you mean port?" in said


def key(folder: Path, mode: int) -> Path:
    made = folder / "key.pem"
    made.write_text("secret")
    made.chmod(mode)
    return made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HOOK.format(variable="NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE is not set"),
        (PACS * 2, "deliver.destinations: several are called pacs"),
        ('[triage]\nbundle = "/nowhere"', "triage.bundle: /nowhere is no folder"),
        (f'[triage]\nbundle = "{"a" * 300}"', "is no folder"),
        (f'{PACS}tls = {{ca = "{"a" * 300}"}}', "is no file"),
        (
            f'{PACS}tls = {{ca = "/nowhere.pem"}}',
            "destinations pacs.tls.ca: /nowhere.pem is no file",
        ),
        ('[receive.adt]\nallowed_addresses = ["10.0.0.0/8"]', "admits nobody"),
        (
            '[[web.tokens]]\nname = "viewer"\nsecret_file = "FOLDER/key.pem"',
            "web.tokens viewer.secret_file: others may use",
        ),
        (
            '[web]\ncertificate = "FOLDER/key.pem"\nkey = "FOLDER/key.pem"',
            "web.certificate: it cannot be used with its key",
        ),
        (f'{PACS}tls = {{ca = "FOLDER/key.pem"}}', "tls.ca: it holds no authority"),
    ],
)
def test_what_the_file_alone_does_not_show_is_said_with_key_and_remedy(
    text: str, says: str, tmp_path: Path
) -> None:
    key(tmp_path, 0o644)
    status, said = check(tmp_path, text.replace("FOLDER", str(tmp_path)))
    bad = [line for line in said.splitlines() if line.startswith("bad")]
    assert status == 1 and any(says in line for line in bad), said
    assert all(line.rpartition(": ")[2] for line in bad)


def test_a_secret_that_only_the_node_reads_and_a_variable_that_is_set_are_no_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", "x")
    path = key(tmp_path, 0o640)
    text = HOOK.format(variable="HOOK_KEY") + f'[[web.tokens]]\nname="v"\nsecret_file = "{path}"'
    assert check(tmp_path, text)[0] == 0


def test_an_operating_point_that_the_bundle_does_not_offer_is_a_fault(tmp_path: Path) -> None:
    settings = f'[triage]\nbundle = "{tmp_path}"\noperating_point = "quiet"'
    status, said = check(tmp_path, settings)
    assert status == 1 and f"triage.bundle: {tmp_path} is no bundle" in said
    (tmp_path / "configs").mkdir()
    reader = {"operating_point": 0.5, "grid": {}}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"reader": reader}))
    status, said = check(tmp_path, settings)
    assert status == 1
    assert f"triage.operating_point: {tmp_path} offers no 'quiet': choose of balanced" in said
    reader["operating_points"] = {"balanced": 0.5, "quiet": 0.8}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"reader": reader}))
    assert check(tmp_path, settings)[0] == 0


def test_an_operating_point_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    status, said = check(tmp_path, '[triage]\noperating_point = "loud"')
    assert status == 2 and "triage.operating_point" in said and "quiet" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_the_node_may_not_read_is_a_fault(tmp_path: Path) -> None:
    text = f'[[web.tokens]]\nname = "v"\nsecret_file = "{key(tmp_path, 0)}"'
    assert "cannot be read" in check(tmp_path, text)[1]


def test_images_in_clear_are_noted_and_no_fault(tmp_path: Path) -> None:
    status, said = check(tmp_path, PACS.replace("127.0.0.1", "10.0.0.5"))
    assert (
        status == 0
        and "note  deliver.destinations pacs.tls.ca: patients' images go to pacs in clear" in said
    )


def test_the_shipped_settings_have_no_fault() -> None:
    assert faults(load(ROOT / "config" / "ichnode.toml")) == []


def test_what_is_shown_is_the_same_settings(tmp_path: Path) -> None:
    text = f"""data_dir = "{tmp_path}"
[receive]
port = 104
allowed_callers = ["CT \\"7\\"@127.0.0.1"]
[[receive.callers]]
ae_title = "PACS"
address = "127.0.0.1"
may = ["store", "find"]
tls = {{ca = "/etc/ca.pem", verify_host = false}}
[[retention.rules]]
remove = "pixels"
after_days = 30.5
{PACS}"""
    (tmp_path / "old.toml").write_text(text)
    settings = load(tmp_path / "old.toml")
    for whole in (False, True):
        (tmp_path / "new.toml").write_text(as_toml(settings, whole=whole))
        assert load(tmp_path / "new.toml") == settings
    assert 'ae_title = "ICHNODE"  # default' in as_toml(settings, whole=True).splitlines()
    assert "idle_s" not in as_toml(settings)


def test_defaults_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICHNODE_DATABASE_URL", raising=False)
    assert set(tomllib.loads(as_toml(Settings()))) <= {"data_dir"}


def test_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICHNODE_DATABASE_URL", "postgresql://node:p@ss:word@db/ichnode?sslmode=x")
    file = tmp_path / "ichnode.toml"
    file.write_text(HOOK.format(variable="HOOK_KEY"))
    said = CliRunner().invoke(app, ["config", "show", "--config", str(file)]).output
    assert 'database_url = "postgresql://node:***@db/ichnode?sslmode=x"' in said
    assert "https://hooks.example/***" in said
    assert "word" not in said and 'secret"' not in said.replace("secret_variable", "")
