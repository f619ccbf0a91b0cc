"""A scanner, its software or a kernel that was not compared often enough is a limitation."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from node.records import Header
from node.reported import Answer
from node.settings import Settings
from node.watch import Proven
from node.worklist import Worklist
from tests.support.builder import HEAD
from tests.support.databases import new_database
from tests.support.listed import ASSEMBLED, NEGATIVE, study
from tests.support.reported_studies import report_on
from tests.support.working import Clock, Predictor, receive, work, working_node

SCANNER = Header("1.2", "1.2", "1.2", "1.2", "1.2", (), manufacturer="GE")
KNOWN = replace(SCANNER, software_versions="", convolution_kernel="")


def settings(folder: Path, least: int = 2) -> Settings:
    return Settings.model_validate({"data_dir": folder, "watch": {"proven": least}})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = settings(tmp_path).url
    new_database(url)
    with Worklist(url) as opened:
        yield opened


def compared(worklist: Worklist, number: int, clock: Clock, answer: Answer = Answer.NONE) -> None:
    study(worklist, number, ASSEMBLED, NEGATIVE, manufacturer="GE", then=clock.now)
    report_on(worklist, number, answer, clock.now)


def test_studies_that_were_compared_prove_their_scanner(
    worklist: Worklist, tmp_path: Path, clock: Clock
) -> None:
    compared(worklist, 1, clock)
    compared(worklist, 2, clock, Answer.CANNOT_TELL)
    study(worklist, 3, ASSEMBLED, NEGATIVE, manufacturer="GE", then=clock.now)
    proven = Proven(settings(tmp_path), worklist, clock)
    assert proven(KNOWN) == ("not yet proven on this scanner: 1 study",)
    assert proven(replace(KNOWN, station_name="CT2")) == (
        "not yet proven on this scanner: 0 studies",
    )
    compared(worklist, 4, clock, Answer.BLEEDS)
    assert proven(KNOWN) != (), "counts are good for an hour"
    clock.now += timedelta(hours=1)
    assert proven(KNOWN) == ()


def test_a_proven_scanner_with_other_software_or_kernel_says_so(
    worklist: Worklist, tmp_path: Path, clock: Clock
) -> None:
    compared(worklist, 1, clock)
    proven = Proven(settings(tmp_path, 1), worklist, clock)
    changed = replace(SCANNER, software_versions="VB20", convolution_kernel="Hr40")
    assert proven(changed) == (
        "not yet proven on this scanner's software: 0 studies",
        "not yet proven on this kernel of the scanner: 0 studies",
    )


def test_the_limitation_stands_in_the_worklist_and_in_the_plan(
    tmp_path: Path, clock: Clock
) -> None:
    with working_node(settings(tmp_path / "node"), clock, Predictor()) as node:
        proved = replace(node, unproven=Proven(node.settings, node.worklist, clock))
        receive(proved, scan=HEAD)
        work(proved, clock)
        (row,) = node.views.worklist(clock.now)
    assert "not yet proven on this scanner: 0 studies" in row.limitations
