"""`ichnode demo`, as a newcomer runs it."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.settings import load
from node.states import Priority
from node.worklist import Worklist


def demo(out: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "node.cli", "demo", "--out", str(out), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | environment,
    )


@pytest.mark.networks
def test_demo_flags_the_bleed_and_leaves_the_normal_alone(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RESEARCH USE ONLY" in done.stdout and "SUSPECTED" in done.stdout
    with Worklist(load(tmp_path / "ichnode.toml").url) as worklist:
        rows = worklist.views.worklist(datetime.now(UTC))
    assert [row.priority for row in rows] == [Priority.SUSPECTED, Priority.NOT_SUSPECTED]
    bleeding, normal = rows
    received = [dcmread(path) for path in (tmp_path / "received").glob("*.dcm")]
    classes = {
        row.study_instance_uid: {
            ds.SOPClassUID for ds in received if ds.StudyInstanceUID == row.study_instance_uid
        }
        for row in rows
    }
    report = {Comprehensive3DSRStorage, BasicTextSRStorage, SecondaryCaptureImageStorage}
    assert classes[bleeding.study_instance_uid] == {SegmentationStorage, *report}
    assert classes[normal.study_instance_uid] == report
    for row in rows:
        assert f"cases/{row.case_id}/report/capture.png" in done.stdout.replace("\n", "")


@pytest.mark.slow
def test_demo_says_when_a_folder_holds_nothing_to_send(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")
    done = demo(tmp_path / "out", "--ct", str(tmp_path / "ct"), ICHNODE_TRIAGE__BUNDLE="/nowhere")
    assert done.returncode == 2 and "took none of the 1 files" in done.stderr
    assert "notes.txt" in done.stdout
