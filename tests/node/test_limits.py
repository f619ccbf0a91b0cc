"""What a process that runs codecs may take, and that it ends with its parent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.peers import wait_until

PARENT = """
import os, threading, time
from node.dicom.archive.apart import Apart
from node.settings import Decode

if __name__ == "__main__":
    apart = Apart(Decode(timeout_s=3600))
    print(apart.run(os.getpid), flush=True)
    {then}
    time.sleep(3600)
"""


@pytest.mark.parametrize(
    "then",
    ["pass", "threading.Thread(target=apart.run, args=(time.sleep, 3600), daemon=True).start()"],
    ids=["idle", "at work"],
)
def test_the_process_does_not_outlive_a_parent_that_is_killed(then: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(then=then))
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=where) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().decode().strip() / "status"
        assert runs(child)
        parent.kill()
    wait_until(lambda: not runs(child))


def runs(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in process.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_who_gives_way_goes_behind_everybody_and_so_does_what_it_starts() -> None:
    script = """
import subprocess, sys
from node.limits import give_way
give_way()
told = "import os, pathlib; print(os.nice(0), pathlib.Path('/proc/self/oom_score_adj').read_text())"
sys.exit(subprocess.run([sys.executable, "-c", told]).returncode)
"""
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = os.nice(0)
    done = subprocess.run(
        [sys.executable, "-c", script], env=where, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(min(before + 10, 19)), "1000"]
