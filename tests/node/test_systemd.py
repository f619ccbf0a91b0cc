import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.support import ROOT

UNITS = ROOT / "systemd"


@pytest.mark.peer
def test_units_verify_clean(tmp_path: Path) -> None:
    require_program("systemd-analyze")
    for path in UNITS.rglob("*.*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(UNITS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text().replace("/opt/ichnode/bin/ichnode", "/bin/true"))
    names = [
        "ichnode.target",
        "ichnode.service",
        "ichnode-receive.service",
        "ichnode-work@1.service",
        "ichnode-deliver.service",
        "ichnode-web.service",
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
