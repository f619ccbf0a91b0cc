"""What `ichnode doctor` says of an installation, sound and broken."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from tests.support.peers import free_port, storescp


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
    assert re.search(r"✓ ok detector ich-ensemble@\S+ on \w+.*golden output reproduced", said)
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


def test_what_cannot_be_written_or_read_is_bad(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the folder's place")
    code, said = doctor(tmp_path, '[triage]\nbundle = "/nowhere"\n')
    assert code == 1
    assert "✗ bad data folder" in said and "✗ bad database" in said and "✗ bad detector" in said
