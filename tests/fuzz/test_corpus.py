"""Every input that once found something does so no more, within limits of time and memory."""

import os
import subprocess
import sys

import pytest

from tests.fuzz.doors import DOORS
from tests.support import ROOT

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
MOST_BYTES = 1 << 20

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("door", DOORS)
def test_the_corpus_crashes_hangs_and_surprises_nobody(door: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.replay", door, str(CORPUS / door)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.endswith(f"{door}: 0 findings\n")


def test_the_corpus_is_small_and_belongs_to_doors() -> None:
    folders = [path for path in CORPUS.iterdir() if path.is_dir()]
    assert {path.name for path in folders} <= set(DOORS)
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sizes and sum(sizes) < MOST_BYTES
