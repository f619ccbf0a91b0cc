"""The list and the study's page say that a result is withdrawn, by whom, when and why."""

import html
from datetime import timedelta

from starlette.testclient import TestClient

from node.worklist import Actor, Worklist
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SEG, SR, SUSPECTED, report, study

WHY = "<b>wrong</b> bundle"
SAID = f"withdrawn by anna on 2026-11-20 at 03:10 UTC: {WHY}"


def withdrawn(worklist: Worklist, number: int = 1, why: str = WHY) -> None:
    by, at = Actor("anna", "terminal"), NOW - timedelta(minutes=5)
    worklist.retractions.withdraw(f"1.7.{number}", by, why, at, None)


def row_of(page: TestClient, number: int) -> str:
    text = page.get("/").text
    return text[text.index(f'id="study-{number}"') :].split("</tr>")[0]


def test_the_list_shows_withdrawn_with_who_when_and_why(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SR, SEG))
    withdrawn(worklist)
    row = row_of(page, 1)
    assert 'class="badge WITHDRAWN"' in row and "SUSPECTED" not in row
    assert html.escape(SAID) in row and "<b>" not in row, "a reason is text and no markup"
    finding = row.split('class="finding"')[1].split("</td>")[0]
    assert "Withdrawn: read it as usual" in finding
    assert html.escape(WHY) in finding and "anna, 20 Nov" in finding
    assert "loud" in row and "<img" not in row, "it stands high, and no slice of it is shown"
    assert "probability" not in row and "door to flag" not in row


def test_it_stands_above_what_is_not_suspected(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    withdrawn(worklist)
    study(worklist, 2, ASSEMBLED, NEGATIVE, then=NOW - timedelta(minutes=30))
    text = page.get("/").text
    assert text.index('id="study-1"') < text.index('id="study-3"')


def test_the_study_s_page_says_it_over_the_result_that_is_withdrawn(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SR, SEG))
    assert "withdrawn" not in page.get("/studies/1").text.lower()
    withdrawn(worklist)
    old, new = (page.get(f"/studies/{case}").text for case in (1, 2))
    for text in (old, new):
        standing = text[text.index('id="standing"') :].split("</section>")[0]
        assert 'class="badge WITHDRAWN"' in standing and html.escape(SAID) in standing
    assert f"What is shown here of case 1 was {html.escape(SAID)}" in old
    assert "Findings, withdrawn" in old
    assert "What is shown here" not in new and "Findings" not in new


def test_an_open_page_hears_of_it(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    before = page.get("/studies/1/standing").json()
    withdrawn(worklist, why="wrong bundle")
    after = page.get("/studies/1/standing").json()
    assert before["as_of"] != after["as_of"] and after["shown"] == "NOT_ANALYSED"
    assert "WITHDRAWN" in after["standing"] and "wrong bundle" in after["standing"]


def test_the_list_as_json_names_who_withdrew_it(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    withdrawn(worklist)
    (row,) = page.get("/worklist.json").json()
    at = (NOW - timedelta(minutes=5)).isoformat()
    assert row["withdrawn"] == {"who": "anna", "why": WHY, "at": at}
    assert [line["withdrawn"] for line in row["scans"]] == [True]
