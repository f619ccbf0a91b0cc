"""Feedback: who may give it, from where, and that nothing of it is lost."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from node.states import Priority
from node.web.guard import COOKIE, HEADER
from node.web.who import Role, User
from node.worklist import Mistake, NothingToUndo, Opinion, Outdated, Worklist
from tests.node.web.conftest import client
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SUSPECTED, study

SAW = {"saw": "SUSPECTED"}
WRONG = {"kind": "disagree", "mistake": "FALSE_ALARM", "place": "left frontal", "reason": "vessel"}


def opened(browser: TestClient) -> dict[str, str]:
    """Open the page; return the headers that its script then sends."""
    token = re.search('name="token" content="([^"]+)"', browser.get("/").text)
    assert token
    return {HEADER: token[1], "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def say(browser: TestClient, said: dict[str, Any], **headers: str) -> httpx.Response:
    sent = opened(browser) | headers
    return browser.post("/studies/1/feedback", json=SAW | said, headers=sent)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def suspected(worklist: Worklist) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)


def test_without_a_signed_in_person_nothing_is_recorded(
    page: TestClient, worklist: Worklist
) -> None:
    answer = say(page, {"kind": "acknowledge"})
    assert (answer.status_code, answer.text) == (
        403,
        "Nobody is signed in: this page can only be read.",
    )
    assert page.post("/studies/1/undo", json={}, headers=opened(page)).status_code == 403
    assert worklist.feedback.of_study("1.7.1") == []
    assert "<button" not in page.get("/").text.split("<tbody")[1].split("</tbody>")[0]


def test_a_disagreement_keeps_person_time_place_and_reason(
    night: TestClient, worklist: Worklist
) -> None:
    assert say(night, WRONG).json() == {"said": "disagreed"}
    (said,) = worklist.feedback.of_study("1.7.1")
    opinion = Opinion(False, Mistake.FALSE_ALARM, "left frontal", "vessel")
    assert (said.who, said.at, said.shown, said.opinion) == (
        *("Dr. Night", NOW, Priority.SUSPECTED),
        opinion,
    )
    assert "Dr. Night" in night.get("/").text
    html = night.get("/studies/1").text
    assert "disagrees: false alarm, left frontal: “vessel”" in " ".join(html.split())


def test_what_is_undone_stays_as_a_row_and_what_stood_before_stands_again(
    night: TestClient, worklist: Worklist
) -> None:
    for kind in ("acknowledge", "agree"):
        assert say(night, {"kind": kind}).status_code == 200
    row = worklist.views.study("1.7.1")
    assert (row.acknowledged_by, row.agrees) == ("Dr. Night", True)
    assert night.post("/studies/1/undo", json={}, headers=opened(night)).status_code == 200
    assert worklist.views.study("1.7.1").agrees is None
    assert night.post("/studies/1/undo", json={}, headers=opened(night)).status_code == 200
    assert worklist.views.study("1.7.1").acknowledged_at is None
    said = worklist.feedback.of_study("1.7.1")
    assert [(one.undone_by, one.undone_at) for one in said] == [("Dr. Night", NOW)] * 2
    assert night.post("/studies/1/undo", json={}, headers=opened(night)).status_code == 409


def test_nobody_undoes_what_another_said(worklist: Worklist) -> None:
    worklist.feedback.give("1.7.1", "Dr. Day", Opinion(True), NOW)
    with pytest.raises(NothingToUndo):
        worklist.feedback.undo("1.7.1", "Dr. Night", NOW)
    assert worklist.views.study("1.7.1").acknowledged_by == "Dr. Day"


def test_a_result_that_changed_meanwhile_is_not_acknowledged(
    night: TestClient, worklist: Worklist
) -> None:
    answer = say(night, {"kind": "acknowledge", "saw": "NOT_SUSPECTED"})
    assert answer.status_code == 409 and "is SUSPECTED now" in answer.text
    with pytest.raises(Outdated):
        worklist.feedback.give("1.7.1", "X", Opinion(), NOW, saw=Priority.PENDING)
    assert worklist.feedback.of_study("1.7.1") == []


def test_an_acknowledged_study_that_is_undone_counts_as_open_again(worklist: Worklist) -> None:
    study(worklist, 2, ASSEMBLED, replace(NEGATIVE))
    worklist.feedback.give("1.7.1", "Dr. Night", Opinion(), NOW)
    assert not worklist.listing.listed("1.7.1").unfinished
    worklist.feedback.undo("1.7.1", "Dr. Night", NOW)
    assert worklist.listing.listed("1.7.1").unfinished
    assert worklist.views.worklist(NOW)[0].study_instance_uid == "1.7.1"


@pytest.mark.parametrize(
    "headers",
    [
        {HEADER: ""},
        {HEADER: "x" * 43},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_of_another_page_changes_nothing(
    night: TestClient, worklist: Worklist, headers: dict[str, str]
) -> None:
    assert say(night, {"kind": "acknowledge"}, **headers).status_code == 403
    assert worklist.feedback.of_study("1.7.1") == []


def test_the_token_is_in_a_cookie_that_scripts_and_other_sites_cannot_use(
    night: TestClient,
) -> None:
    answer = night.get("/")
    cookie = answer.headers["set-cookie"].lower()
    assert COOKIE in cookie and "httponly" in cookie and "samesite=strict" in cookie
    night.cookies.clear()
    sent = opened(night)
    night.cookies.clear()
    refused = night.post("/studies/1/feedback", json=SAW | {"kind": "agree"}, headers=sent)
    assert refused.status_code == 403


def test_a_viewer_may_look_and_not_acknowledge(
    night: TestClient, worklist: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.web.site.who", lambda _: User("V", Role.VIEWER))
    answer = say(night, {"kind": "acknowledge"})
    assert answer.status_code == 403 and "not acknowledge" in answer.text
    assert worklist.feedback.of_study("1.7.1") == []


def test_every_address_that_takes_a_request_to_change_asks_for_the_pages_token(
    night: TestClient,
) -> None:
    app = night.app
    assert isinstance(app, Starlette)
    takes = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or ())
    }
    changing = {path for path, method in takes if method not in ("GET", "HEAD")}
    feedback = {"/studies/{case:int}/feedback", "/studies/{case:int}/undo"}
    admin = {"/admin/echo", "/admin/deliveries"}
    assert changing == {"/list", "/login", "/logout", *feedback, *admin}
    for path in changing - {"/list"}:  # it only reads: its body says what for
        answer = night.post(path.replace("{case:int}", "1"), json=SAW | {"kind": "agree"})
        assert answer.status_code == 403


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "via"])
def test_nobody_comes_through_a_proxy_to_a_page_without_accounts(
    night: TestClient, name: str
) -> None:
    assert say(night, {"kind": "agree"}, **{name: "192.0.2.7"}).status_code == 403
    for path in ("/", "/studies/1", "/cases/1/key.jpg", "/live"):
        answer = night.get(path, headers={name: "192.0.2.7"})
        assert (answer.status_code, "web.behind_proxy" in answer.text) == (403, True)


def test_a_request_from_another_machine_is_nobody(worklist: Worklist, tmp_path: Path) -> None:
    browser = client(worklist, tmp_path, open_feedback_as="Dr. Night")
    other = TestClient(browser.app, base_url="http://localhost", client=("192.0.2.7", 4711))
    assert other.get("/").status_code == 403
    shown = opened(browser)  # what a page on this machine would send
    for path in ("feedback", "undo"):
        answer = other.post(f"/studies/1/{path}", json={"kind": "agree"}, headers=shown)
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "said",
    [{"kind": "like"}, {}, {"kind": "disagree"}, {"kind": "disagree", "mistake": "BAD"}]
    + [{"kind": "agree", "saw": "NICE"}, {"kind": ["agree"]}],
)
def test_what_cannot_be_recorded_is_refused_with_words(
    night: TestClient, worklist: Worklist, said: dict[str, Any]
) -> None:
    answer = say(night, said)
    assert answer.status_code == 400 and answer.text.startswith("Say ")
    assert worklist.feedback.of_study("1.7.1") == []


def test_an_unknown_study_is_not_found(night: TestClient) -> None:
    sent = opened(night)
    answer = night.post("/studies/99/feedback", json=SAW | {"kind": "agree"}, headers=sent)
    assert answer.status_code == 404


def test_words_of_a_person_are_never_markup(night: TestClient) -> None:
    evil = "<img src=x onerror=alert(1)>\u202e"
    assert say(night, WRONG | {"place": evil, "reason": evil}).status_code == 200
    for path in ("/", "/studies/1", "/studies/1/standing"):
        text = night.get(path).text
        assert "<img src=x" not in text and "\u202e" not in text
    assert "&lt;img src=x" in night.get("/studies/1").text
