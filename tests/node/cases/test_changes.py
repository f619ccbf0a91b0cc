"""A replay after an upgrade of the networks says what changed of the result."""

import json
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from node.cases.changes import Replay, Result, last_replay
from node.cases.explain import explain_study
from node.cases.pipeline import STAGES
from node.cli.app import app
from node.cli.console.explanation import explained
from node.cli.console.replayed import in_words, replayed
from node.errors import Refused
from node.states import Priority, Reason
from node.worklist import Event, Row
from tests.support.builder import HEAD
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work

SMALL = HEAD(gaps_mm=(10.0,) * 14)
OLD = Result("SUSPECTED", None, 0.9, 0.4, False, "fake@1")
NEW = Result("NOT_SUSPECTED", None, 0.9, 0.95, False, "fake@2")


def read(node: WatchedNode, clock: Clock, predictor: Predictor) -> Row:
    """Read a study that bleeds with the networks of version 1."""
    predictor.operating_point = 0.4
    receive(node, scan=SMALL)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    return row


def upgrade(predictor: Predictor) -> None:
    predictor.bundle, predictor.operating_point = "fake@2", 0.95


def replay(node: WatchedNode, clock: Clock, row: Row, stage: str = "triage") -> None:
    clock.wait(3600)
    node.worklist.cases.replay(row.case_id, STAGES[stage], clock.now)


def last(node: WatchedNode, row: Row) -> Replay | None:
    return last_replay(node.worklist.views.events(row.study_instance_uid), row.case_id)


def shown(*pages: object) -> str:
    """What a terminal shows, its lines joined: a table may break a cell."""
    console = Console(file=StringIO(), width=200)
    for page in pages:
        console.print(page)
    assert isinstance(console.file, StringIO)
    return " ".join(console.file.getvalue().replace("│", " ").split())


def test_an_upgrade_that_changes_the_verdict_is_told_field_by_field(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = read(node, clock, predictor)
    assert last(node, row) is None
    upgrade(predictor)
    replay(node, clock, row)
    assert last(node, row) == Replay(clock.now, OLD)
    work(node, clock)
    found = last(node, row)
    assert found is not None and (found.before, found.after) == (OLD, NEW)
    assert found.changed == ("priority", "operating_point", "bundle")
    assert found.compared is not None and found.compared.startswith("other result; priority is")


def test_the_first_replay_after_another_is_compared_with_that_other(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = read(node, clock, predictor)
    upgrade(predictor)
    for _ in range(2):
        replay(node, clock, row)
        work(node, clock)
    found = last(node, row)
    assert found is not None and (found.before, found.after, found.changed) == (NEW, NEW, ())
    assert found.compared == "same result"


def test_a_replay_of_the_report_alone_keeps_the_result(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = read(node, clock, predictor)
    upgrade(predictor)
    replay(node, clock, row, "report")
    work(node, clock)
    found = last(node, row)
    assert found is not None and (found.before, found.after, found.changed) == (OLD, OLD, ())


def test_a_series_that_is_refused_now_had_a_probability_and_has_none(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = read(node, clock, predictor)
    predictor.failures.append(Refused(Reason.NOT_A_HEAD, "no brain found"))
    replay(node, clock, row)
    work(node, clock)
    found = last(node, row)
    assert found is not None and found.after == Result("NOT_ANALYSED", Reason.NOT_A_HEAD)
    assert {"priority", "reason_code", "probability", "bundle"} <= set(found.changed)


def test_an_operating_point_that_older_versions_did_not_record_is_no_change() -> None:
    moved = {"state": "TRIAGED", "priority": "SUSPECTED", "probability": 0.9, "uncertain": False}

    def event(what: str, **detail: object) -> Event:
        return Event(Clock().now, what, "1.2", 7, detail)

    old = event("moved", **moved, bundle="fake@1")
    new = event("moved", **moved, bundle="fake@2", operating_point=0.4)
    found = last_replay([old, event("replayed"), new], 7)
    assert found is not None and found.before is not None
    assert (found.before.operating_point, found.changed) == (None, ("bundle",))
    assert "suspected from - 0.4000" in shown(replayed(found))


def test_explain_says_it_of_the_case_and_in_json(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = read(node, clock, predictor)
    upgrade(predictor)
    replay(node, clock, row)
    asked_at = clock.now
    work(node, clock)
    told = explain_study(row.study_instance_uid, node.worklist, node.settings, clock.now)
    page = shown(explained(told))
    for words in ("priority is NOT_SUSPECTED, was SUSPECTED", "bundle is fake@2, was fake@1"):
        assert words in page
    assert "suspected from is 0.9500, was 0.4000" in page
    (case,) = told.to_json()["series"][0]["cases"]
    assert case["replay"]["at"] == asked_at.isoformat()
    assert case["replay"]["before"]["bundle"] == "fake@1"
    assert case["replay"]["changed"] == ["priority", "operating_point", "bundle"]
    json.dumps(told.to_json())


def test_a_case_that_was_never_replayed_says_nothing_of_it(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = read(node, clock, predictor)
    told = explain_study(row.study_instance_uid, node.worklist, node.settings, clock.now)
    assert told.to_json()["series"][0]["cases"][0]["replay"] is None
    assert "replayed" not in shown(explained(told))


def works_while_awaited(node: WatchedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find the node, which works while the command waits."""
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(node.root))
    monkeypatch.setattr("node.clock.utc_now", lambda: clock.now)
    waiting = SimpleNamespace(wait=lambda _seconds: work(node, clock))
    here = SimpleNamespace(Event=lambda: waiting)
    monkeypatch.setattr("node.cli.commands.worklist.threading", here)


def test_the_command_prints_the_old_and_the_new_result(
    node: WatchedNode, clock: Clock, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = read(node, clock, predictor)
    upgrade(predictor)
    works_while_awaited(node, clock, monkeypatch)
    monkeypatch.setenv("COLUMNS", "160")
    clock.wait(3600)
    done = CliRunner().invoke(app, ("replay", str(row.case_id), "--from", "triage", "--wait"))
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stdout.replace("│", " ").split())
    assert "RESEARCH USE ONLY" in said
    assert "priority SUSPECTED NOT_SUSPECTED changed" in said
    assert "probability 0.9000 0.9000" in said
    assert "suspected from 0.4000 0.9500 changed" in said
    assert "bundle fake@1 fake@2 changed" in said


def test_the_command_s_json_has_both_results(
    node: WatchedNode, clock: Clock, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = read(node, clock, predictor)
    upgrade(predictor)
    works_while_awaited(node, clock, monkeypatch)
    clock.wait(3600)
    arguments = ("replay", str(row.case_id), "--from", "triage", "--wait", "--json")
    done = CliRunner().invoke(app, arguments)
    told = json.loads(done.stdout)
    assert (told["case_id"], told["stage"], told["state"]) == (row.case_id, "triage", "DELIVERED")
    assert told["replay"]["before"]["priority"] == Priority.SUSPECTED
    assert told["replay"]["after"]["priority"] == Priority.NOT_SUSPECTED
    assert told["replay"]["changed"] == ["priority", "operating_point", "bundle"]


def test_a_replay_without_an_earlier_result_says_so() -> None:
    assert "there was no result before" in in_words(Replay(Clock().now, None, NEW))
    assert "no result yet" in in_words(Replay(Clock().now, OLD))
