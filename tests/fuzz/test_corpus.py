"""Every input that once found something does so no more, within limits of time and memory."""

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS
from tests.fuzz.replay import main
from tests.support import ROOT

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
MOST_BYTES = 1 << 20
FORKED = multiprocessing.get_context("forkserver")
"""Processes of a server that has imported the doors once, which takes longer than most corpora."""
FORKED.set_forkserver_preload(["tests.fuzz.replay"])

pytestmark = pytest.mark.slow


def replay(door: str, said: Path) -> None:
    """Replay a door's corpus in this process, and end it."""
    os.setsid()
    with said.open("wb") as out:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(out.fileno(), stream.fileno())
    os._exit(main([door, str(CORPUS / door)]))


@pytest.mark.parametrize("door", DOORS)
def test_the_corpus_crashes_hangs_and_surprises_nobody(door: str, tmp_path: Path) -> None:
    said = tmp_path / "said"
    process = FORKED.Process(target=replay, args=(door, said))
    process.start()
    process.join(240)
    assert process.pid
    with suppress(ProcessLookupError):  # what it started too
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    told = said.read_text(errors="replace")
    assert process.exitcode == 0, told[-4000:]
    assert f"{door}: 0 findings\n" in told


def test_the_corpus_is_small_and_belongs_to_doors() -> None:
    folders = [path for path in CORPUS.iterdir() if path.is_dir()]
    assert {path.name for path in folders} <= set(DOORS)
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sizes and sum(sizes) < MOST_BYTES
