"""Pixels decoded in a process with limits: a failing decoder costs its own case only."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.cases import decoding
from node.cases.decoding import decoding_process
from node.dicom.read.pixels import Decoder, load_volume
from node.errors import Interrupted, Refused, Retryable
from node.records import SeriesPlan
from node.settings import Decode, Settings
from node.states import Priority, Reason, State
from tests.support import ROOT, decoders
from tests.support.builder import HEAD, alone, encoded, store, uid
from tests.support.peers import wait_until
from tests.support.working import Clock, Predictor, receive, work, working_node

LIMITS = Decode(timeout_s=60, memory_mb=512)


@pytest.fixture
def decode() -> Iterator[Decoder]:
    with decoding_process(LIMITS, decoders.load) as decode:
        yield decode


@pytest.fixture
def plan(tmp_path: Path) -> SeriesPlan:
    _, plan = alone(store([encoded(ds) for ds in HEAD.build()], tmp_path))
    assert plan is not None
    return plan


def doing(deed: str, plan: SeriesPlan) -> SeriesPlan:
    """The plan of a series whose decoder does that deed."""
    return replace(plan, study_instance_uid=uid(deed))


def pid_of(decode: Decoder, plan: SeriesPlan) -> int:
    """The process that decodes."""
    with pytest.raises(ProcessLookupError) as caught:
        decode(doing("name_process", plan), Path())
    return int(caught.value.args[0])


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def handed_over(pid: int | str = "self") -> int:
    """How many volumes' voxels the process holds, mapped or open."""
    links = [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    opened = [str(link.readlink()) for link in links]
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sum("memfd:volume" in line for line in (*opened, *maps))


def test_volume_is_the_one_that_is_decoded_here(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path
) -> None:
    here, there = load_volume(plan, tmp_path), decode(plan, tmp_path)
    assert np.array_equal(there.hu, here.hu) and there.hu.dtype == here.hu.dtype
    assert np.array_equal(there.positions_mm, here.positions_mm)
    assert np.array_equal(there.orientation, here.orientation)
    assert (there.spacing_mm, there.thickness_mm) == (here.spacing_mm, here.thickness_mm)
    assert there.hu.flags.writeable


def test_voxels_are_given_back_with_the_volume(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path
) -> None:
    named = set(Path("/dev/shm").iterdir())
    volumes = [decode(plan, tmp_path) for _ in range(2)]
    pid = pid_of(decode, plan)
    assert handed_over() == 2 * len(volumes) and handed_over(pid) == 0
    assert set(Path("/dev/shm").iterdir()) == named
    volumes.clear()
    assert handed_over() == 0


@pytest.mark.parametrize(
    ("deed", "named"),
    [("crash", "SIGSEGV"), ("leave", "exit status 3"), ("exhaust", r"decode\.memory_mb = 512")],
)
def test_what_a_decoder_does_to_its_process_costs_that_case_alone(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path, deed: str, named: str
) -> None:
    before = pid_of(decode, plan)
    with pytest.raises(Refused, match=named) as caught:
        decode(doing(deed, plan), tmp_path)
    assert caught.value.code is Reason.UNDECODABLE
    assert not runs(before)
    assert np.array_equal(decode(plan, tmp_path).hu, load_volume(plan, tmp_path).hu)
    assert handed_over() == 0


def test_a_process_that_is_killed_while_it_decodes_is_no_fault_of_the_case(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path
) -> None:
    pid = pid_of(decode, plan)
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(Interrupted, match="SIGKILL"):
        decode(doing("hang", plan), tmp_path)
    assert not runs(pid)
    assert len(decode(plan, tmp_path).hu) == 30


@pytest.mark.slow
def test_a_decoder_that_hangs_is_stopped_in_time(plan: SeriesPlan, tmp_path: Path) -> None:
    limits = Decode(timeout_s=5)
    with decoding_process(limits, decoders.load) as decode:
        before = pid_of(decode, plan)
        with pytest.raises(Refused, match=r"decode\.timeout_s = 5 s") as caught:
            decode(doing("hang", plan), tmp_path)
        assert caught.value.code is Reason.UNDECODABLE
        assert not runs(before)
        assert len(decode(plan, tmp_path).hu) == 30


def test_a_refusal_arrives_as_it_was_raised(decode: Decoder, plan: SeriesPlan) -> None:
    before = pid_of(decode, plan)
    with pytest.raises(Refused) as caught:
        decode(doing("refuse", plan), Path())
    assert caught.value.code is Reason.NOT_HOUNSFIELD
    assert str(caught.value) == "the values are no Hounsfield units"
    assert pid_of(decode, plan) == before


def test_a_mistake_of_ours_arrives_as_itself_with_where_it_happened(
    decode: Decoder, plan: SeriesPlan
) -> None:
    before = pid_of(decode, plan)
    with pytest.raises(ValueError, match="a mistake of ours") as caught:
        decode(doing("fail", plan), Path())
    assert "in fail" in caught.value.__notes__[0]
    assert pid_of(decode, plan) == before


def test_a_stop_that_reaches_the_whole_group_leaves_the_case_at_hand_alone(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path
) -> None:
    pid = pid_of(decode, plan)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
    assert len(decode(plan, tmp_path).hu) == 30
    assert pid_of(decode, plan) == pid


@pytest.mark.parametrize("when", ["gone", "dying", "stopped, and killed with the request unread"])
def test_a_process_that_was_killed_between_two_cases_costs_none(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path, when: str
) -> None:
    pid = pid_of(decode, plan)
    if when.startswith("stopped"):
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    else:
        os.kill(pid, signal.SIGKILL)
        if when == "gone":
            wait_until(lambda: not runs(pid))
    assert len(decode(plan, tmp_path).hu) == 30


def test_the_process_starts_with_the_first_case_and_ends_with_the_block(plan: SeriesPlan) -> None:
    with decoding_process(LIMITS, decoders.load) as decode:
        assert not multiprocessing.active_children()
        pid = pid_of(decode, plan)
        assert [child.pid for child in multiprocessing.active_children()] == [pid]
    assert not multiprocessing.active_children()
    assert not runs(pid)


def test_a_process_that_does_not_start_is_tried_again_later(
    decode: Decoder, plan: SeriesPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "START_S", 0.0)
        with pytest.raises(Retryable, match="did not start"):
            decode(plan, tmp_path)
    assert not multiprocessing.active_children()
    assert len(decode(plan, tmp_path).hu) == 30


WORKER = """
import os, sys, time
from node.cases.decoding import decoding_process
from node.records import SeriesPlan
from node.settings import Decode
from pathlib import Path
from tests.support import decoders
from tests.support.builder import uid

if __name__ == "__main__":
    with decoding_process(Decode(), decoders.load) as decode:
        try:
            decode(SeriesPlan(uid("name_process"), "", (), ""), Path())
        except ProcessLookupError as named:
            print(named, flush=True)
        decode(SeriesPlan(uid("{deed}"), "", (), ""), Path()) if "{deed}" else time.sleep(3600)
"""


@pytest.mark.parametrize("deed", ["", "hang"], ids=["idle", "at work"])
def test_the_process_does_not_outlive_a_worker_that_is_killed(deed: str, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(deed=deed))
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=where) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert runs(pid)
        worker.kill()
    wait_until(lambda: not runs(pid))


def test_the_process_imports_no_network() -> None:
    code = "import node.cli.app, node.cases.decoding, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "monai", "openvino", "scipy", "sqlalchemy", "highdicom", "pynetdicom"}
    assert not heavy & set(done.stdout.split())


def test_a_case_that_crashes_its_decoder_is_not_analysed_and_the_next_study_is_read(
    decode: Decoder, tmp_path: Path
) -> None:
    clock = Clock()
    with working_node(Settings(data_dir=tmp_path / "data"), clock, Predictor()) as opened:
        node, worklist = replace(opened, decode=decode), opened.worklist
        receive(node, scan=HEAD(study="crash"))
        receive(node, scan=HEAD)
        work(node, clock)
        crashed, read = sorted(worklist.views.worklist(clock.now), key=lambda row: row.case_id)
        reports = [node.folder(worklist.cases.get(row.case_id)).report for row in (crashed, read)]
    assert (crashed.priority, crashed.reason_code) == (Priority.NOT_ANALYSED, Reason.UNDECODABLE)
    assert "SIGSEGV" in str(crashed.reason)
    assert {path.name for path in reports[0].iterdir()} == {"sr.dcm", "text.dcm", "capture.dcm"}
    assert (read.priority, read.state) == (Priority.SUSPECTED, State.DELIVERED)
    assert (reports[1] / "capture.png").exists()
