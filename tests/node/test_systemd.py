import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compose_spec import PyCompose

from tests.conftest import require_program
from tests.support import ROOT

UNITS = ROOT / "systemd"
BIN = Path(sys.executable).parent


@pytest.mark.peer
def test_units_verify_clean(tmp_path: Path) -> None:
    require_program("systemd-analyze")
    for path in UNITS.rglob("*.*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(UNITS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(
                path.read_text().replace("/opt/ichnode/current/bin/ichnode", "/bin/true")
            )
    names = [
        "ichnode.target",
        "ichnode.service",
        "ichnode-receive.service",
        "ichnode-work@1.service",
        "ichnode-deliver.service",
        "ichnode-web.service",
        "ichnode-shadow.service",
    ]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", *names],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "ichnode" not in done.stderr, done.stderr


def test_every_service_is_hardened() -> None:
    """The two drop-in folders are one, so no service is left out."""
    assert (UNITS / "ichnode.service.d").resolve() == (UNITS / "ichnode-.service.d").resolve()
    assert "NoNewPrivileges=yes" in (UNITS / "ichnode.service.d" / "hardening.conf").read_text()


def test_a_staged_installation_has_every_unit_and_belongs_to_root(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(UNITS, checkout / "systemd", symlinks=True)
    shutil.copytree(ROOT / "config", checkout / "config")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    if os.getuid() == 0:  # as a user's clone is
        for path in (checkout, *checkout.rglob("*")):
            os.lchown(path, 1234, 1234)
    stage = tmp_path / "stage"
    old = os.umask(0)
    try:
        subprocess.run([checkout / "systemd/install", "--stage", stage], check=True)
    finally:
        os.umask(old)
    files = {str(p.relative_to(stage)): p.stat() for p in stage.rglob("*") if p.is_file()}
    units = stage / "etc/systemd/system"
    assert {p.name for p in units.iterdir()} == {p.name for p in UNITS.glob("ichnode*[.]*")}
    assert (units / "ichnode-.service.d/hardening.conf").is_file()
    assert all(found.st_uid == os.getuid() for found in files.values())
    assert {oct(found.st_mode & 0o777) for path, found in files.items() if "systemd" in path} == {
        "0o644"
    }
    assert files["etc/ichnode/ichnode.toml"].st_mode & 0o777 == 0o640
    assert files["usr/local/bin/ichnode"].st_mode & 0o777 == 0o755
    assert len([path for path in files if "/bin/" in path]) == 1  # no program of a library's


def test_a_staged_installation_keeps_an_admin_s_configuration(tmp_path: Path) -> None:
    mine = tmp_path / "etc/ichnode/ichnode.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine\n")
    subprocess.run([UNITS / "install", "--stage", tmp_path], check=True)
    assert mine.read_text() == "# mine\n"


def test_scripts_and_the_container_recipe_are_linted() -> None:
    """The container is not built: no image registry is reached."""
    scripts = [UNITS / "install", UNITS / "ichnode"]
    subprocess.run([BIN / "shellcheck", *scripts], check=True)
    subprocess.run([BIN / "hadolint", UNITS / "container/Containerfile"], check=True)
    recipe = PyCompose.from_yaml((UNITS / "container/compose.yaml").read_text())
    recipe.validate()
    assert set(recipe.service_names()) == {"database", "upgrade", "ichnode", "orthanc"}
