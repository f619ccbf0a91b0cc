"""The admin page: its numbers, who may change what, and echo."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect
from starlette.testclient import TestClient

from node.committed import CommitmentAsked, Reference
from node.depot import Depot
from node.outcomes import NotAnalysed
from node.settings import Deliver, Destination, Settings
from node.states import Priority, State
from node.web import Pictures, app
from node.web.figures import Share, figures, grouped, middle_and_tail, week
from node.web.guard import HEADER
from node.web.who import Role, User
from node.worklist import Actor, Counted, DeliveryStatus, Mistake, Opinion, Worklist
from tests.support.browsing import chromium, serious_faults
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SR, SUSPECTED, report, study
from training.metrics.statistics import wilson

ADMIN = User("A. Admin", Role.ADMIN)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def browser(worklist: Worklist, tmp_path: Path, closed_port: int) -> TestClient:
    """A browser at a node with one destination, which does not answer."""
    pacs = Destination(name="PACS", ae_title="PACS", host="127.0.0.1", port=closed_port)
    settings = Settings(data_dir=tmp_path, deliver=Deliver(destinations=(pacs,)))
    pictures = Pictures(Depot(tmp_path), None, None, 64)  # type: ignore[arg-type]
    application = app(worklist, settings, pictures, lambda: NOW)
    return TestClient(application, base_url="http://localhost", client=("127.0.0.1", 50000))


@pytest.fixture
def admin(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    sign_in(ADMIN, monkeypatch)
    return browser


def sign_in(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every request come from this person."""
    for room in ("admin_page", "site"):
        monkeypatch.setattr(f"node.web.{room}.who", lambda _: user)


def send(browser: TestClient, path: str, body: object, **headers: str) -> httpx.Response:
    """Send what the page's script would."""
    token = re.search('name="token" content="([^"]+)"', browser.get("/admin").text)
    assert token
    sent = {HEADER: token[1], "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    return browser.post(path, json=body, headers=sent | headers)  # type: ignore[return-value]


def dead(worklist: Worklist, number: int = 1) -> int:
    """A suspected study whose SR was given up; return the number of the delivery."""
    study(worklist, number, ASSEMBLED, SUSPECTED, report(SR))
    (owed,) = worklist.outbox.claim("w", 60, NOW)
    worklist.outbox.failed(owed, "w", 0xA700, "out of <resources>", None, NOW)
    return owed.id


def test_reports_of_commitment_that_were_given_up_stand_on_the_page(
    worklist: Worklist, browser: TestClient
) -> None:
    assert "Reports of storage commitment" not in browser.get("/admin").text
    asked = CommitmentAsked("1.2.9", (Reference("1.2", "1.3"),))
    duty = worklist.commitments.ask(Actor("CT<7>", "192.0.2.7"), asked, "r", 60, NOW)
    worklist.commitments.failed(duty, "r", "no host and port", None, NOW)
    assert "CT&lt;7&gt; 1 no host and port" in words(browser.get("/admin").text)


def test_the_page_counts_what_happened(worklist: Worklist, browser: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, manufacturer="SIEMENS", patient_id="SECRET-ID")
    study(worklist, 2, ASSEMBLED, NEGATIVE, manufacturer="SIEMENS", accession="SECRET-ACC")
    study(worklist, 3, NotAnalysed("CONTRAST", "with contrast"))
    worklist.feedback.give("1.7.1", "Dr. Night", Opinion(True), NOW)
    worklist.feedback.give("1.7.2", "Dr. Night", Opinion(False, Mistake.MISSED), NOW)
    html = browser.get("/admin").text
    text = words(html)
    assert "Suspected, of those analysed 50.0 % 1 of 2" in text
    assert "suspected and judged 100.0 % 1 of 1; 95 % interval 20.7 to 100.0 %" in text
    assert "Missed, in a reader's words 1" in text
    assert "Not analysed, of those with a result 33.3 % 1 of 3 contrast 33.3 % 1 of 3" in text
    assert "Door to flag median 2.0 s 90 % within 2.0 s" in text
    assert "CT1, SIEMENS 2" in text and "2026-W47 3" in text
    assert "assembled 0" in text and "triaged 2 10 min" in text
    assert "SECRET" not in html and "RESEARCH USE ONLY" in html


def test_a_destination_that_does_not_answer_is_shown_with_its_next_try(
    worklist: Worklist, browser: TestClient
) -> None:
    unreachable(worklist)
    text = words(browser.get("/admin").text)
    since = NOW.astimezone().strftime("%d %b %H:%M")
    assert f"has not answered since {since} no connection to it; tried 1 times, again in 10" in text
    assert f"PACS has not answered since {since}: 1 results wait." in words(browser.get("/").text)


def test_a_pause_is_shown_to_all_and_never_as_markup(
    worklist: Worklist, browser: TestClient
) -> None:
    worklist.deliveries.pause(Actor("Ada", "terminal"), "<b>the PACS moves</b>", NOW)
    for path in ("/", "/admin"):
        html = browser.get(path).text
        assert "paused" in html.lower() and "by Ada" in html
        assert "&lt;b&gt;the PACS moves" in html and "<b>the PACS" not in html


def unreachable(worklist: Worklist) -> None:
    """A suspected study whose SR waits for a destination that does not answer."""
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SR))
    (owed,) = worklist.outbox.claim("w", 60, NOW)
    worklist.outbox.not_reached("PACS", "w", "no connection to it", (10.0, 60.0), NOW)
    assert owed.destination == "PACS"


def test_an_empty_node_has_a_page(browser: TestClient) -> None:
    text = words(browser.get("/admin").text)
    assert "none judged" in text and "No studies." in text and "Nothing is owed." in text
    assert "GB free of" in text


def test_without_an_admin_the_page_is_read_only(
    worklist: Worklist, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = dead(worklist)
    retry = {"act": "retry", "numbers": [number]}
    assert "data-act" not in browser.get("/admin").text.split("<main>")[1].split("</main>")[0]
    assert "data-act" not in browser.get("/admin/running").text
    for path, body in (("/admin/deliveries", retry), ("/admin/echo", {"destination": "PACS"})):
        answer = send(browser, path, body)
        assert (answer.status_code, "Nobody is signed in" in answer.text) == (403, True)
    for role in (Role.VIEWER, Role.RADIOLOGIST):
        sign_in(User("X", role), monkeypatch)
        assert "data-act" not in browser.get("/admin/running").text
        for path, body in (("/admin/deliveries", retry), ("/admin/echo", {"destination": "PACS"})):
            assert send(browser, path, body).status_code == 403
    (left,) = worklist.deliveries.unsent()
    assert left.status is DeliveryStatus.DEAD


@pytest.mark.parametrize(
    "headers", [{HEADER: ""}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_request_of_another_page_changes_nothing(
    worklist: Worklist, admin: TestClient, headers: dict[str, str]
) -> None:
    body = {"act": "cancel", "numbers": [dead(worklist)]}
    assert send(admin, "/admin/deliveries", body, **headers).status_code == 403
    assert len(worklist.deliveries.unsent()) == 1


def test_an_admin_tries_a_dead_delivery_again(worklist: Worklist, admin: TestClient) -> None:
    number = dead(worklist)
    html = admin.get("/admin").text
    assert f'data-act="retry" data-number="{number}"' in html
    assert "out of &lt;resources&gt; (status A700)" in html and "Retry all dead" in html
    answer = send(admin, "/admin/deliveries", {"act": "retry", "numbers": [number]})
    assert answer.json() == {"said": "1 tried again"}
    (owed,) = worklist.outbox.claim("w", 60, NOW)
    assert owed.id == number
    assert worklist.views.events("1.7.1")[-1].detail["by"] == "A. Admin"


def test_an_admin_tries_all_dead_deliveries_to_a_destination_again(
    worklist: Worklist, admin: TestClient
) -> None:
    for number in (1, 2):
        dead(worklist, number)
    answer = send(admin, "/admin/deliveries", {"act": "retry", "destination": "PACS"})
    assert answer.json() == {"said": "2 tried again"}
    assert {one.status for one in worklist.deliveries.unsent()} == {DeliveryStatus.OWED}


def test_an_admin_cancels_a_delivery(worklist: Worklist, admin: TestClient) -> None:
    number = dead(worklist)
    body = {"act": "cancel", "numbers": [number]}
    assert send(admin, "/admin/deliveries", body).json() == {"said": "1 no longer owed"}
    said = send(admin, "/admin/deliveries", body).json()["said"]
    assert said.startswith("0 no longer owed; 1 left as before")
    assert worklist.deliveries.unsent() == []
    assert worklist.cases.get(1).state is State.REPORTED


@pytest.mark.parametrize(
    "body",
    [{}, {"act": "send"}, {"act": ["retry"]}, {"act": "retry", "numbers": ["1"]}]
    + [{"act": "retry", "numbers": [True]}, {"act": "retry", "numbers": [10**30]}],
)
def test_what_cannot_be_decided_is_refused_with_words(
    worklist: Worklist, admin: TestClient, body: object
) -> None:
    dead(worklist)
    answer = send(admin, "/admin/deliveries", body)
    assert answer.status_code == 400 and answer.text
    assert worklist.deliveries.unsent()[0].status is DeliveryStatus.DEAD


def test_an_echo_says_that_a_destination_does_not_answer(admin: TestClient) -> None:
    said = send(admin, "/admin/echo", {"destination": "PACS"}).json()["said"]
    assert said.startswith("PACS: no good answer: ")
    assert send(admin, "/admin/echo", {"destination": "OTHER"}).status_code == 404


def test_an_echo_is_the_one_of_the_command_line_with_a_short_limit(
    admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def probe(destination: Destination, settings: Settings) -> str:
        asked.append((destination.name, settings.deliver.timeout_s))
        return "C-ECHO 0x0000"

    monkeypatch.setattr("node.deliver.probe", probe)
    answer = send(admin, "/admin/echo", {"destination": "PACS"})
    assert answer.json() == {"said": "PACS: C-ECHO 0x0000"}
    assert asked == [("PACS", 2.0)]


def test_jobs_are_shown_with_their_last_run_and_error(
    worklist: Worklist, browser: TestClient
) -> None:
    assert "has not run yet" in browser.get("/admin/running").text
    worklist.jobs.ran("send", "the disk is <full>", NOW - timedelta(seconds=40))
    worklist.jobs.ran("send", None, NOW - timedelta(seconds=10))
    worklist.jobs.ran("escalate", None, NOW - timedelta(minutes=9))
    html = words(browser.get("/admin/running").text).replace("&lt;", "<").replace("&gt;", ">")
    assert "send 10.0 s ago all the time the disk is <full>" in html
    assert "escalate 9 min ago: it does not run all the time none" in html


def test_a_job_that_has_a_time_is_late_when_it_is_overdue(
    worklist: Worklist, browser: TestClient
) -> None:
    worklist.jobs.ran("backup", None, NOW - timedelta(hours=9), NOW + timedelta(hours=15))
    worklist.jobs.planned("health", NOW - timedelta(hours=1))
    said = words(browser.get("/admin/running").text)
    assert "backup 9 h 00 min ago in 15 h 00 min none" in said
    assert "health not yet: it does not run now none" in said


def counted(priority: Priority, **values: object) -> Counted:
    plain = Counted("1.7", NOW, priority, None, None, None, "CT1", "")
    return replace(plain, **values)  # type: ignore[arg-type]


@given(st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    share = Share(*counts)
    if not counts[1]:
        assert share.interval is None and share.value is None
    else:
        assert share.interval == pytest.approx(wilson(*counts), abs=1e-9)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=40))
def test_the_tail_is_numpys_quantile(values: list[float]) -> None:
    import numpy as np

    assert middle_and_tail(values) == pytest.approx(tuple(np.quantile(values, [0.5, 0.9])))


def test_a_study_without_a_result_is_in_no_rate() -> None:
    found = figures("all", [counted(Priority.PENDING), counted(Priority.SUSPECTED)])
    assert (found.studies, found.suspected, found.not_analysed) == (2, Share(1, 1), Share(0, 1))
    assert found.door_s is None and found.agreed == Share(0, 0)


def test_weeks_are_iso_weeks_of_this_machines_clock() -> None:
    late = counted(Priority.SUSPECTED, received_at=NOW.replace(month=12, day=30, hour=12))
    assert [one.name for one in grouped([late, counted(Priority.PENDING)], week)] == [
        "2026-W47",
        "2026-W53",
    ]


@contextmanager
def served(browser: TestClient) -> Iterator[str]:
    """Serve the application at a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(browser.app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://localhost:{listening.getsockname()[1]}"
        finally:
            browser.app.state.streams.ended = True  # type: ignore[attr-defined]
            server.should_exit = True
            thread.join(30)


@pytest.mark.peer
def test_an_admin_retries_and_asks_in_the_browser_and_axe_finds_no_fault(
    worklist: Worklist, admin: TestClient
) -> None:
    dead(worklist)
    study(worklist, 2, NotAnalysed("CONTRAST", "with contrast"), manufacturer="SIEMENS")
    worklist.feedback.give("1.7.1", "Dr. Night", Opinion(True), NOW)
    faults: list[str] = []
    with chromium() as found, served(admin) as url:
        for theme in ("dark", "light"):
            for width in (1400, 390):
                page = found.new_page(viewport={"width": width, "height": 900})
                page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
                page.goto(f"{url}/admin")
                assert serious_faults(page) == [], (theme, width)
                body = page.evaluate("document.documentElement.scrollWidth")
                assert body <= width, "nothing scrolls sideways"
                page.close()
        page = found.new_page(viewport={"width": 1400, "height": 900})
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{url}/admin")
        page.get_by_role("button", name="Echo").click()
        expect(page.locator("#say")).to_contain_text("PACS: no good answer", timeout=10_000)
        page.get_by_role("button", name="Retry delivery").click()
        expect(page.locator("#say")).to_have_text("1 tried again")
        expect(page.locator("#running td.owed")).to_contain_text("owed")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel delivery").click()
        expect(page.locator("#running")).to_contain_text("Nothing is owed.")
        page.keyboard.press("Escape")
        expect(page).to_have_url(f"{url}/")
    assert faults == []
    assert worklist.deliveries.unsent() == []


def test_the_page_is_no_json_of_patients(worklist: Worklist, browser: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, patient_id="SECRET", description="<b>x</b>")
    for path in ("/admin", "/admin?weeks=52", "/admin?weeks=9e9", "/admin/running"):
        answer = browser.get(path)
        assert answer.status_code == 200 and "SECRET" not in json.dumps(answer.text)
