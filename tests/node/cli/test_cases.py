"""`ichnode cases`: what waits or failed is listed, told, and tried again where it failed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cases.worker import work_once
from node.cli.app import app
from node.clock import utc_now
from node.errors import Permanent, Retryable
from node.settings import Settings
from node.states import State
from tests.support.builder import HEAD
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work, working_node


@pytest.fixture
def predictor() -> Predictor:
    return Predictor()


@pytest.fixture
def node(tmp_path: Path, predictor: Predictor):
    settings = Settings(data_dir=tmp_path / "data")
    (tmp_path / "node.toml").write_text(f'data_dir = "{settings.data_dir}"\n')
    clock = Clock()
    clock.now = utc_now()  # the commands have no other clock
    with working_node(settings, clock, predictor) as opened:
        yield opened


def cases(tmp_path: Path, *arguments: str, status: int = 0) -> str:
    command = ["cases", *arguments, "--config", str(tmp_path / "node.toml")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert result.exit_code == status, result.output
    return result.output


def failed(node: WatchedNode, predictor: Predictor, name: str = "a") -> None:
    """Receive a study whose reading fails for good."""
    predictor.failures = [Permanent("the networks are gone")]
    receive(node, scan=HEAD(name=name, study=name, patient=name))
    work(node, node.clock)  # type: ignore[arg-type]


def test_a_failed_case_is_listed_with_its_reason_and_goes_on_where_it_failed(
    tmp_path: Path, node: WatchedNode, predictor: Predictor
) -> None:
    failed(node, predictor)
    assert "the networks are gone" in " ".join(cases(tmp_path, "list").split())
    (listed,) = json.loads(cases(tmp_path, "list", "--state", "failed", "--json"))
    assert listed["case_id"] == 1 and listed["state"] == "FAILED"
    assert "case 1 goes on as ASSEMBLED" in cases(tmp_path, "retry", "--failed", "--by", "Ada")
    work(node, node.clock)  # type: ignore[arg-type]
    assert node.cases.get(1).state is State.DELIVERED
    assert cases(tmp_path, "list").strip() == "no such case"
    shown = " ".join(cases(tmp_path, "show", "1").split())
    assert "case 1: DELIVERED" in shown and "by: Ada" in shown


@pytest.mark.parametrize(
    ("failure", "attempts"), [(Retryable("busy"), 1), (MemoryError("busy"), 0)]
)
def test_a_case_that_waits_for_its_next_try_says_what_went_wrong(
    failure: Exception, attempts: int, tmp_path: Path, node: WatchedNode, predictor: Predictor
) -> None:
    predictor.failures = [failure] * 9
    receive(node)
    node.clock.wait(9)  # type: ignore[attr-defined]
    while work_once(node, "w"):
        pass
    (listed,) = json.loads(cases(tmp_path, "list", "--json"))
    assert listed["state"] == "ASSEMBLED" and listed["attempts"] == attempts
    assert "busy" in listed["said"]


def test_only_failed_cases_are_tried_again_and_each_other_one_is_named(
    tmp_path: Path, node: WatchedNode, predictor: Predictor
) -> None:
    failed(node, predictor)
    receive(node, scan=HEAD(name="b", study="b", patient="b"))
    work(node, node.clock)  # type: ignore[arg-type]
    said = cases(tmp_path, "retry", "1-3", status=1)
    assert "case 2 is DELIVERED and not FAILED" in said and "1 tried again" in said
    assert "3" in said
    assert cases(tmp_path, "retry", status=2).startswith("ichnode: name cases")


@pytest.mark.usefixtures("node")
def test_an_unknown_state_is_refused_with_those_there_are(tmp_path: Path) -> None:
    assert "receiving" in cases(tmp_path, "list", "--state", "lost", status=2)
