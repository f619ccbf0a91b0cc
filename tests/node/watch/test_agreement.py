"""Each reported study agrees, or does not, or was not read; by scanner, misses first."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.clock import utc_now
from node.outcomes import Failed, NotAnalysed, Outcome
from node.reported import Answer, ReportStatus
from node.settings import Settings
from node.states import Reason
from node.watch import Agreement, tallies, watched
from node.watch.agreement import BEGINNING, scanner_name
from node.worklist import Actor, Worklist
from tests.node.web.conftest import client
from tests.support.databases import new_database
from tests.support.listed import ASSEMBLED, NEGATIVE, SR, SUSPECTED, report, study
from tests.support.reported_studies import report_on

NOW = utc_now()
ANNA = Actor.at_terminal("anna")
UNREAD: list[Outcome] = [
    NotAnalysed(Reason.CONTRAST, "with contrast"),
    Failed(Reason.INTERNAL, "it crashed"),
]


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    settings = Settings(data_dir=tmp_path)
    new_database(settings.url)
    with Worklist(settings.url) as opened:
        yield opened


def agreements(worklist: Worklist) -> dict[str, Agreement | None]:
    found = watched(
        worklist.statistics.studies(NOW - timedelta(days=9)), worklist.reports.counting()
    )
    return {one.study.study_instance_uid: one.agreement for one in found}


def came(worklist: Worklist, number: int, *outcomes: Outcome, **more: Any) -> None:
    study(worklist, number, *outcomes, then=NOW - timedelta(hours=10 - number), **more)


def test_each_result_stands_beside_each_answer(worklist: Worklist) -> None:
    number = 0
    expected: dict[str, Agreement | None] = {}
    for outcomes, said in [
        ((ASSEMBLED, SUSPECTED), (Agreement.AGREE, Agreement.NODE_ONLY, Agreement.CANNOT_TELL)),
        ((ASSEMBLED, NEGATIVE), (Agreement.REPORT_ONLY, Agreement.AGREE, Agreement.CANNOT_TELL)),
        ((UNREAD[0],), (Agreement.NOT_READ,) * 3),
        ((UNREAD[1],), (Agreement.NOT_READ,) * 3),
        ((ASSEMBLED,), (None,) * 3),
    ]:
        for answer, agreement in zip(Answer, said, strict=True):
            number += 1
            study(worklist, number, *outcomes, then=NOW - timedelta(hours=2))
            report_on(worklist, number, answer, NOW - timedelta(hours=1))
            expected[f"1.7.{number}"] = agreement
    assert agreements(worklist) == expected


def test_a_study_without_a_final_report_is_in_no_class(worklist: Worklist) -> None:
    came(worklist, 1, ASSEMBLED, SUSPECTED)
    came(worklist, 2, ASSEMBLED, SUSPECTED)
    report_on(worklist, 2, Answer.BLEEDS, NOW, status=ReportStatus.PRELIMINARY)
    assert set(agreements(worklist).values()) == {None}


def test_a_withdrawn_study_is_in_no_class(worklist: Worklist) -> None:
    came(worklist, 1, ASSEMBLED, SUSPECTED, report(SR))
    report_on(worklist, 1, Answer.NONE, NOW - timedelta(minutes=9))
    assert agreements(worklist) == {"1.7.1": Agreement.NODE_ONLY}
    worklist.retractions.withdraw("1.7.1", ANNA, "wrong bundle", NOW, None)
    assert agreements(worklist) == {"1.7.1": None}
    (one,) = tallies(watched(worklist.statistics.studies(BEGINNING), worklist.reports.counting()))
    assert (one.studies, one.counts) == (1, {})


def test_a_correction_changes_the_class(worklist: Worklist) -> None:
    came(worklist, 1, ASSEMBLED, NEGATIVE)
    report_on(worklist, 1, Answer.NONE, NOW - timedelta(minutes=9))
    assert agreements(worklist) == {"1.7.1": Agreement.AGREE}
    report_on(worklist, 1, Answer.BLEEDS, NOW, status=ReportStatus.CORRECTED)
    assert agreements(worklist) == {"1.7.1": Agreement.REPORT_ONLY}


@pytest.fixture
def four(worklist: Worklist) -> Worklist:
    """Two scanners: one agrees and has one found by the node alone, the other missed a bleed."""
    for number, outcome, answer, maker in [
        (1, SUSPECTED, Answer.BLEEDS, "SIEMENS"),
        (2, SUSPECTED, Answer.NONE, "SIEMENS"),
        (3, NEGATIVE, Answer.BLEEDS, "GE"),
        (4, NEGATIVE, None, "GE"),
    ]:
        came(worklist, number, ASSEMBLED, outcome, manufacturer=maker)
        if answer:
            report_on(worklist, number, answer, NOW - timedelta(minutes=number))
    return worklist


def test_counts_are_by_scanner(four: Worklist) -> None:
    studies = watched(four.statistics.studies(datetime.min.replace(tzinfo=NOW.tzinfo)), {})
    assert [(one.scanner, one.studies) for one in tallies(studies)] == [("GE", 2), ("SIEMENS", 2)]
    studies = watched((one.study for one in studies), four.reports.counting())
    ge, siemens = tallies(studies)
    assert ge.counts == {Agreement.REPORT_ONLY: 1}
    assert siemens.counts == {Agreement.AGREE: 1, Agreement.NODE_ONLY: 1}


def test_a_scanners_name_is_one_line_whatever_its_headers_say() -> None:
    name = scanner_name("GE\r\nBcc: x@example.org", "\x1b[2J" + "A" * 900, "")
    assert name.isprintable() and len(name) == 200
    assert scanner_name("", "", "") == "a scanner without a name"


def ichnode(folder: Path, *arguments: str) -> str:
    config = folder / "ichnode.toml"
    config.write_text(f'data_dir = "{folder}"\n')
    done = CliRunner().invoke(app, ["watch", *arguments, "-c", str(config)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_lists_misses_first_with_their_page(four: Worklist, tmp_path: Path) -> None:
    said = json.loads(ichnode(tmp_path, "--json"))
    first, second = said["disagreeing"]
    (case,) = (row.case_id for row in four.views.history("1.7.3"))
    assert (first["agreement"], first["page"]) == ("report only", f"/studies/{case}")
    assert first["report"]["sentence"] == "Acute left subdural hematoma."
    assert (second["agreement"], second["study_instance_uid"]) == ("node only", "1.7.2")
    ge, siemens = said["scanners"]
    assert (ge["scanner"], ge["studies"], ge["report_only"], ge["agree"]) == ("GE", 2, 1, 0)
    assert (siemens["node_only"], siemens["agree"], siemens["not_read"]) == (1, 1, 0)
    shown = ichnode(tmp_path)
    assert shown.index("REPORT ONLY") < shown.index("node only")
    assert f"/studies/{case}" in shown


def test_the_command_counts_no_older_studies(four: Worklist, tmp_path: Path) -> None:
    del four
    assert json.loads(ichnode(tmp_path, "--json", "--days", "0.1"))["scanners"] == []


def test_the_page_of_a_study_shows_what_its_report_says(four: Worklist, tmp_path: Path) -> None:
    report_on(four, 3, Answer.NONE, NOW, status=ReportStatus.CORRECTED, sentence="<b>No</b> SDH.")
    (case,) = (row.case_id for row in four.views.history("1.7.3"))
    html = client(four, tmp_path).get(f"/studies/{case}").text
    assert "Acute left subdural hematoma." in html
    assert "&lt;b&gt;No&lt;/b&gt; SDH." in html, "words of a report are no markup"
    assert html.index("corrected") < html.index("Acute left subdural"), "the one that counts first"
