"""A case's folder: what it holds, what counts as absent, and what outlives a power cut."""

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from node.case_folder import CaseFolder, case_folder
from node.records import SeriesPlan
from tests.support.reported import findings, lesion

PLAN = SeriesPlan("1.2", "1.2.1", (), decision="the only axial series")
OBJECTS = {"sr": b"report", "capture": b"picture in DICOM"}


@pytest.fixture
def folder(tmp_path: Path) -> CaseFolder:
    folder = CaseFolder(tmp_path, case_folder(7))
    folder.make()
    return folder


def names(folder: CaseFolder) -> set[str]:
    found = folder.path.rglob("*")
    return {path.relative_to(folder.path).as_posix() for path in found if path.is_file()}


def test_every_file_has_the_name_that_earlier_versions_gave_it(folder: CaseFolder) -> None:
    folder.write_plan(PLAN)
    folder.save_findings(findings(lesion()))
    for stage in ("assemble", "triage", "report"):
        folder.note(stage, {})
    folder.replace_report({"seg": b"", **OBJECTS}, b"PNG")
    folder.write_manifest({})
    report = {"report/seg.dcm", "report/sr.dcm", "report/capture.dcm", "report/capture.png"}
    notes = {"assemble.json", "triage.json", "report.json"}
    made = {"series.json", "findings.json", "mask.npz", "manifest.json"}
    assert names(folder) == report | notes | made
    assert folder.path == folder.root / "cases/7"


def test_a_new_folder_holds_nothing(folder: CaseFolder, tmp_path: Path) -> None:
    assert folder.read_plan() is None
    assert folder.read_findings() is None
    assert folder.read_manifest() is None
    assert folder.notes() == {}
    assert not folder.picture.exists()
    folder.copy_report(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_plan_as_read_lies_beside_the_plan_until_there_is_another(folder: CaseFolder) -> None:
    assert folder.read_plan_as_read() is None
    folder.write_plan(PLAN)
    folder.write_plan_as_read(PLAN)
    assert names(folder) == {"series.json"}
    part = replace(PLAN, limitations=("in part",))
    folder.write_plan_as_read(part)
    assert names(folder) == {"series.json", "read.json"}
    assert (folder.require_plan_as_read(), folder.require_plan()) == (part, PLAN)
    folder.write_plan(replace(PLAN, decision="another"))
    assert names(folder) == {"series.json"}
    assert folder.require_plan_as_read().decision == "another"


def test_what_was_written_is_read_back(folder: CaseFolder) -> None:
    result = findings(lesion())
    folder.write_plan(PLAN)
    folder.save_findings(result)
    folder.write_manifest({"case": 7})
    assert folder.read_plan() == folder.require_plan() == PLAN
    assert folder.require_findings().sha256 == result.sha256
    held = folder.read_findings()
    assert held is not None and held.sha256 == result.sha256
    assert folder.read_manifest() == {"case": 7}


@pytest.mark.parametrize("length", [0, 30])
def test_a_plan_a_note_or_a_manifest_that_is_cut_off_counts_as_absent(
    folder: CaseFolder, length: int
) -> None:
    folder.write_plan(PLAN)
    folder.note("assemble", {"settings": {"min_slices": 8, "idle_s": 60.0}})
    folder.write_manifest({"case": 7, "priority": "SUSPECTED"})
    for name in ("series.json", "assemble.json", "manifest.json"):
        whole = (folder.path / name).read_bytes()
        (folder.path / name).write_bytes(whole[:length])
    assert folder.read_plan() is None
    assert folder.notes() == {}
    assert folder.read_manifest() is None
    with pytest.raises(ValueError):  # noqa: PT011  the JSON decoder's own words
        folder.require_plan()


def test_a_committed_plan_or_findings_that_are_gone_are_an_error(folder: CaseFolder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.require_plan()
    with pytest.raises(FileNotFoundError):
        folder.require_findings()


def test_the_note_of_a_stage_deletes_those_of_the_stages_behind_it(folder: CaseFolder) -> None:
    for stage in ("assemble", "triage", "report"):
        folder.note(stage, {"run": 1})
    folder.note("triage", {"run": 2})
    assert folder.notes() == {"assemble": {"run": 1}, "triage": {"run": 2}}
    assert json.loads((folder.path / "triage.json").read_text()) == {"run": 2}


def test_another_report_leaves_nothing_of_the_one_before(folder: CaseFolder) -> None:
    folder.replace_report(OBJECTS, b"PNG")
    assert folder.picture.read_bytes() == b"PNG"
    folder.replace_report({"sr": b"not analysed"}, None)
    assert names(folder) == {"report/sr.dcm"}
    assert (folder.root / folder.object_path("sr")).read_bytes() == b"not analysed"
    assert folder.object_path("sr") == "cases/7/report/sr.dcm"


def test_the_report_is_copied_with_its_picture(folder: CaseFolder, tmp_path: Path) -> None:
    folder.replace_report(OBJECTS, b"PNG")
    folder.copy_report(tmp_path / "out" / "1")
    copied = {path.name: path.read_bytes() for path in (tmp_path / "out" / "1").iterdir()}
    assert copied == {"sr.dcm": b"report", "capture.dcm": OBJECTS["capture"], "capture.png": b"PNG"}


def test_digests_are_of_the_findings_and_the_report_or_of_the_report_alone(
    folder: CaseFolder,
) -> None:
    folder.write_plan(PLAN)
    folder.save_findings(replace(findings(lesion()), limitations=("motion",)))
    folder.replace_report({"sr": b"report"}, None)
    found = folder.digests(with_findings=True)
    assert list(found) == ["findings.json", "mask.npz", "report/sr.dcm"]
    for name, digest in found.items():
        assert digest == sha256((folder.path / name).read_bytes()).hexdigest()
    assert list(folder.digests(with_findings=False)) == ["report/sr.dcm"]


def test_every_file_and_every_folder_up_to_the_root_is_made_durable(
    folder: CaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_plan(PLAN)
    folder.replace_report(OBJECTS, b"PNG")
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink())
    )
    folder.make_durable()
    inside = set(folder.path.rglob("*"))
    assert set(synced) == inside | {folder.path, folder.path.parent, folder.root}
    assert synced[-3:] == [folder.path, folder.path.parent, folder.root]
