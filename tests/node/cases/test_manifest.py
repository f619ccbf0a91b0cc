"""A case's manifest, and replays that give the same result or say what differs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from node.cases.changes import last_replay
from node.cases.pipeline import STAGES
from node.settings import Destination, Settings
from node.states import Priority, Reason, State
from node.worklist import IllegalMove, Row
from tests.support.builder import HEAD
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work, working_node

SMALL = HEAD(gaps_mm=(10.0,) * 14)
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)

MANIFEST = "manifest.json"


@pytest.fixture
def node(tmp_path: Path, clock: Clock, predictor: Predictor) -> Iterator[WatchedNode]:
    settings = Settings(data_dir=tmp_path / "data", deliver={"destinations": (PACS,)})
    with working_node(settings, clock, predictor) as found:
        yield found


def case(node: WatchedNode, clock: Clock) -> Row:
    (row,) = node.worklist.views.worklist(clock.now)
    return row


def folder(node: WatchedNode, row: Row) -> Path:
    return node.root / row.folder


def contents(path: Path) -> dict[str, bytes]:
    """All files of a case but the manifest and the notes, which hold times and versions."""
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    notes = {MANIFEST, "assemble.json", "triage.json", "report.json"}
    return {name: p.read_bytes() for name, p in files.items() if name not in notes}


def replayed(node: WatchedNode, clock: Clock, row: Row, stage: str) -> str | None:
    """Replay a case an hour later and return what is said of it."""
    clock.wait(3600)
    node.worklist.cases.replay(row.case_id, STAGES[stage], clock.now)
    work(node, clock)
    replay = last_replay(node.worklist.views.events(row.study_instance_uid), row.case_id)
    return replay and replay.compared


def test_the_manifest_names_sources_settings_versions_and_all_that_was_made(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    path = folder(node, row)
    told = json.loads((path / MANIFEST).read_text())
    assert told["case"] == row.case_id
    assert told["priority"] == "SUSPECTED" and told["reason"] is None
    assert told["decision"].startswith("series 'Head 5.0 H31s' is read")
    assert len(told["sources"]) == 15
    for source in told["sources"].values():
        assert sha256((node.root / source["path"]).read_bytes()).hexdigest() == source["sha256"]
        assert source["frames"] == [1]
    assert told["stages"]["assemble"]["settings"]["min_slices"] == 3
    assert told["stages"]["triage"]["bundle"] == "fake@1"
    assert told["stages"]["triage"]["runtime"] == "torch"
    assert told["stages"]["triage"]["settings"]["subtypes"] == "auto"
    assert {"ichnode", "pydicom", "torch", "pyjpegls"} <= set(told["stages"]["triage"]["versions"])
    assert told["timings"]["flagged_at"] == row.flagged_at.isoformat()  # type: ignore[union-attr]
    assert set(told["files"]) >= {"findings.json", "mask.npz", "report/seg.dcm", "report/sr.dcm"}
    for name, digest in told["files"].items():
        assert sha256((path / name).read_bytes()).hexdigest() == digest
    assert set(told["objects"]) == {"seg.dcm", "sr.dcm", "text.dcm", "capture.dcm"}


def test_a_first_report_is_compared_with_nothing(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    assert last_replay(node.worklist.views.events(row.study_instance_uid), row.case_id) is None


@pytest.mark.parametrize("stage", STAGES)
def test_a_replay_from_any_stage_gives_the_same_bytes_and_says_so(
    node: WatchedNode, clock: Clock, stage: str
) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    before = contents(folder(node, row))
    owed = row.deliveries
    assert replayed(node, clock, row, stage) == "same result"
    assert contents(folder(node, row)) == before
    assert case(node, clock).deliveries == owed


def test_a_replayed_case_that_cannot_be_read_gives_the_same_bytes(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SMALL.having(RescaleType="US"))
    work(node, clock)
    row = case(node, clock)
    assert row.reason_code == Reason.NOT_HOUNSFIELD
    before = contents(folder(node, row))
    reports = {f"report/{kind}.dcm" for kind in ("sr", "text", "capture")}
    assert set(before) == {"series.json", *reports}
    assert replayed(node, clock, row, "assemble") == "same result"
    assert contents(folder(node, row)) == before


def test_a_series_that_was_refused_is_not_read_by_a_replay_of_its_triage(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SMALL.having(RescaleType="US"))
    work(node, clock)
    with pytest.raises(IllegalMove, match="replay it from assemble"):
        node.worklist.cases.replay(case(node, clock).case_id, STAGES["triage"], clock.now)


def test_a_changed_setting_is_named_where_it_was_used(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    assemble = node.settings.assemble.model_copy(update={"min_slices": 9})
    changed = replace(node, settings=node.settings.model_copy(update={"assemble": assemble}))
    assert replayed(changed, clock, row, "triage") == "same result"
    assert replayed(changed, clock, row, "assemble") == (
        "same result; assemble settings min_slices is 9, was 3"
    )


def test_another_reader_is_named_and_its_objects_go_under_other_uids(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    old = json.loads((folder(node, row) / MANIFEST).read_text())["objects"]
    predictor.uncertainty = 0.11
    predictor.runtime = "another"
    said = replayed(node, clock, row, "triage")
    assert said is not None and said.startswith("other result; ")
    assert "triage runtime is another, was torch" in said and "findings.json differs" in said
    new = json.loads((folder(node, row) / MANIFEST).read_text())["objects"]
    assert all(new[name] != old[name] for name in old)
    lines = case(node, clock).deliveries
    assert [line.status for line in lines] == ["CANCELLED"] * len(old) + ["OWED"] * len(old)


def test_a_setting_that_refuses_the_series_gives_another_result_and_says_which(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    assemble = node.settings.assemble.model_copy(update={"min_slices": 16})
    changed = replace(node, settings=node.settings.model_copy(update={"assemble": assemble}))
    said = replayed(changed, clock, row, "assemble")
    assert said is not None and said.startswith("other result; ")
    assert "priority is NOT_ANALYSED, was SUSPECTED" in said
    assert "findings.json is gone" in said
    assert "assemble settings min_slices is 16, was 3" in said
    assert said.endswith("triage ran before only")
    assert case(node, clock).reason_code == Reason.TOO_FEW_SLICES


def test_an_image_that_changed_on_disk_is_named_by_a_replay(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    (series,) = node.worklist.arrivals.study(row.study_instance_uid)
    image = node.root / series.instances[0].stored.path
    image.write_bytes(image.read_bytes()[:-1] + b"\x7f")
    replayed(node, clock, row, "report")
    failed = case(node, clock)
    assert failed.state is State.FAILED and f"{image.name}: changed on disk" in str(failed.reason)
    replayed(node, clock, row, "triage")
    read = case(node, clock)
    assert read.priority is Priority.SUSPECTED
    assert any("changed on disk since it was received" in said for said in read.limitations)


def test_an_image_that_was_lost_is_named_by_a_replay(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    (series,) = node.worklist.arrivals.study(row.study_instance_uid)
    image = node.root / series.instances[3].stored.path
    image.unlink()
    replayed(node, clock, row, "report")
    failed = case(node, clock)
    assert failed.state is State.FAILED
    assert f"{image.name}: is on disk no more" in str(failed.reason)
    replayed(node, clock, row, "triage")
    read = case(node, clock)
    assert (read.priority, read.state) == (Priority.SUSPECTED, State.REPORTED)
    lost = f"image {series.instances[3].header.sop_instance_uid} is on disk no more"
    assert any(lost in said for said in read.limitations)


def test_a_manifest_that_was_cut_off_counts_as_none(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SMALL)
    work(node, clock)
    row = case(node, clock)
    whole = folder(node, row) / MANIFEST
    whole.write_text(whole.read_text()[:100])
    assert replayed(node, clock, row, "report") is None
    assert json.loads(whole.read_text())["case"] == row.case_id
