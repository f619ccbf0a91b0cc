"""`ichnode user`: accounts by the terminal."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.cli import app
from node.passwords import Comparison
from node.settings import load
from node.worklist import Role, Worklist
from tests.support.databases import new_database

PASSWORD = "correct horse battery"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ichnode.toml"
    path.write_text(f'data_dir = "{tmp_path}"\n')
    new_database(load(path).url)
    return path


def audit(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments, "--config", str(config)])


def user(config: Path, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["user", *arguments, "--config", str(config)], input=stdin)


def test_an_account_is_made_listed_changed_and_disabled(config: Path) -> None:
    assert "read-only" in user(config, "list").stdout
    added = user(config, "add", "Dr. Night", "--role", "radiologist", stdin=f"{PASSWORD}\n")
    assert (added.exit_code, added.stdout) == (0, "Dr. Night may sign in as radiologist\n")
    assert user(config, "role", "Dr. Night", "admin").exit_code == 0
    changed = user(config, "password", "dr. night", stdin="another password\n")
    assert changed.exit_code == 0
    with Worklist(load(config).url) as worklist:
        account = worklist.accounts.find("Dr. Night")
    assert account is not None and account.role is Role.ADMIN
    assert Comparison().matches(account.password_hash, "another password")
    assert user(config, "disable", "Dr. Night").exit_code == 0
    (listed,) = json.loads(user(config, "list", "--json").stdout)
    assert set(listed) == {"name", "role", "issuer", "created_at", "disabled_at"}
    assert listed["disabled_at"] and "disabled" in user(config, "list").stdout
    assert user(config, "enable", "Dr. Night").exit_code == 0
    did = [entry["about"] for entry in json.loads(audit(config, "list", "--json").stdout)]
    assert did == [
        "Dr. Night: added as radiologist",
        "Dr. Night: role admin",
        "Dr. Night: password",
        "Dr. Night: disabled",
        "Dr. Night: enabled",
    ]
    assert "Dr. Night: role admin" in audit(config, "list").stdout
    exported = [json.loads(line) for line in audit(config, "export").stdout.splitlines()]
    assert [entry["about"] for entry in exported] == did
    verified = audit(config, "verify")
    assert (verified.exit_code, verified.stdout.splitlines()[-1]) == (0, exported[-1]["digest"])
    assert audit(config, "verify", "--known", exported[0]["digest"]).exit_code == 0
    cut = audit(config, "verify", "--known", "0" * 64)
    assert cut.exit_code == 1 and "no row has the digest" in cut.output


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["add", "N"], "", "12 characters"),
        (["add", "N"], "too short\n", "12 characters"),
        (["add", "N", "--role", "god"], f"{PASSWORD}\n", "no role 'god'"),
        (["add", "a\x1b[31mb"], f"{PASSWORD}\n", "characters"),
        (["role", "N", "admin"], "", "no account 'N'"),
        (["password", "N"], f"{PASSWORD}\n", "no account 'N'"),
        (["disable", "N"], "", "no account 'N'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_made(
    config: Path, arguments: list[str], stdin: str, said: str
) -> None:
    done = user(config, *arguments, stdin=stdin)
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert json.loads(user(config, "list", "--json").stdout) == []


def test_a_password_is_never_an_argument(config: Path) -> None:
    assert user(config, "add", "N", PASSWORD).exit_code == 2
    for command in ("add", "password"):
        assert "--password" not in user(config, command, "--help").stdout
