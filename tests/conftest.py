"""What many tests need: the real head CT beside the project, and peers from Debian."""

import os
import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def require(found: bool, what: str) -> None:
    """Skip without `what` on a developer's machine; fail in CI, where it must be there."""
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not on this machine")


def require_program(*names: str) -> None:
    """Need each of these programs on PATH (.ci/run installs them)."""
    for name in names:
        require(shutil.which(name) is not None, f"the program {name}")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real head CT, ../shared/data from the project's root."""
    require(DATA.is_dir(), f"real head CT at {DATA}")
    return DATA
