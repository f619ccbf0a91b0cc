"""Every input that once found something does so no more, within limits of time and memory."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS
from tests.support import ROOT

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
MOST_BYTES = 1 << 20

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("door", DOORS)
def test_the_corpus_crashes_hangs_and_surprises_nobody(door: str, tmp_path: Path) -> None:
    said = tmp_path / "said"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.fuzz.replay", door, str(CORPUS / door)]
    with said.open("wb") as out:
        replay = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = replay.wait(timeout=240)
        finally:
            with suppress(ProcessLookupError):  # what it started too
                os.killpg(replay.pid, signal.SIGKILL)
    told = said.read_text(errors="replace")
    assert code == 0, told[-4000:]
    assert f"{door}: 0 findings\n" in told


def test_the_corpus_is_small_and_belongs_to_doors() -> None:
    folders = [path for path in CORPUS.iterdir() if path.is_dir()]
    assert {path.name for path in folders} <= set(DOORS)
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sizes and sum(sizes) < MOST_BYTES
