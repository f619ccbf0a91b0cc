"""The worklist as a page: what it shows, to whom, and what it never does."""

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from node.errors import Retryable
from node.outcomes import NotAnalysed, Planned
from node.records import Header, StoredObject
from node.visible import visible
from node.web.wording import span
from node.worklist import Opinion, Worklist
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SEG, SR, SUSPECTED, report, study


def changes(browser: TestClient, /, **asked: Any) -> dict[str, Any]:
    """What an open page is told when it asks for changes."""
    answer = browser.post("/list", json=asked)
    assert answer.status_code == 200
    return dict(answer.json())


def rows(page: TestClient) -> list[str]:
    """The text of each row of the table, as a reader sees it."""
    parser = _Rows()
    parser.feed(page.get("/").text)
    return [" ".join(" ".join(row).split()) for row in parser.rows]


def shapes(page: TestClient) -> set[str]:
    """The signs in the table."""
    table = page.get("/").text.split("<tbody")[1]
    return set(re.findall(r"<svg.*?>(.*?)</svg>", table, re.DOTALL))


class _Rows(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.inside = self.inside or tag == "tbody"
        if tag == "tr" and self.inside:
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "tbody"

    def handle_data(self, data: str) -> None:
        if self.inside and self.rows:
            self.rows[-1].append(data)


def test_a_suspicion_is_shown_with_its_numbers(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SEG, SR), patient_id="4711", accession="A9")
    (row,) = rows(page)
    assert row.startswith("SUSPECTED 10 min received ")
    assert "4711 A9 Suspected, unverified subdural 0.90, subarachnoid 0.61 12.4 mL" in row
    assert "probability 0.93" in row
    assert "gantry tilt 18.5 degrees" in row and "door to flag 2.0 s" in row
    assert row.endswith("PACS waiting")


def test_studies_stand_in_worklist_order(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    study(worklist, 2, ASSEMBLED, SUSPECTED)
    study(worklist, 3, NotAnalysed(reason_code="CONTRAST", reason="with contrast"))
    study(worklist, 4)
    assert [re.match("[A-Z ]+(?= 10 min)", row)[0] for row in rows(page)] == [  # type: ignore[index]
        "SUSPECTED",
        "NOT ANALYSED",
        "PENDING",
        "NOT SUSPECTED",
    ]


def test_the_list_has_the_order_of_the_worklist_whatever_happens(
    worklist: Worklist, page: TestClient
) -> None:
    for number in range(1, 9):
        outcome = (ASSEMBLED, SUSPECTED if number % 3 == 0 else NEGATIVE)
        study(worklist, number, *outcome, then=NOW - timedelta(minutes=100 - number))
        page.get("/")
    worklist.feedback.give("1.7.3", "Dr. Night", Opinion(), NOW)
    listed = [int(n) for n in re.findall(r'id="study-(\d+)"', page.get("/").text)]
    assert listed == [row.case_id for row in worklist.views.worklist(NOW)]


def test_a_study_that_was_not_analysed_is_as_loud_as_a_suspicion_and_says_why(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    study(worklist, 2, NotAnalysed(reason_code="CONTRAST", reason="with contrast"))
    assert "Not analysed: read it as usual with contrast" in rows(page)[1]
    html = page.get("/").text
    assert 'class="SUSPECTED loud"' in html
    assert 'class="NOT_ANALYSED loud"' in html


def test_priorities_differ_in_words_and_shape_and_not_in_colour_alone(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    study(worklist, 2, ASSEMBLED, SUSPECTED)
    study(worklist, 3, NotAnalysed("CONTRAST", "with contrast"))
    study(worklist, 4)
    assert len(shapes(page)) == 4


def test_an_uncertain_negative_is_loud_and_says_so_in_words_and_shape(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    study(worklist, 2, ASSEMBLED, replace(NEGATIVE, uncertainty=0.214, uncertain=True))
    uncertain, certain = rows(page)
    assert uncertain.startswith("UNCERTAIN not suspected")
    assert "UNCERTAIN: the networks disagree - a person should decide soon" in uncertain
    assert "UNCERTAIN" not in certain
    html = page.get("/").text
    assert 'class="NOT_SUSPECTED uncertain loud"' in html
    assert 'class="NOT_SUSPECTED"' in html
    assert len(shapes(page)) == 2


def test_a_prior_suspicion_is_told_but_folded_and_neither_loud_nor_counted(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, replace(ASSEMBLED, prior=True), SUSPECTED)
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    (current,) = rows(page)
    assert current.startswith("NOT SUSPECTED")
    html = page.get("/").text
    assert "Show 1 prior (1 suspected or not analysed)" in html
    assert 'data-loud="0"' in html and "loud" not in html.split("<tbody")[1].split("</tbody>")[0]
    unfolded = changes(page, priors=True)
    assert unfolded["order"] == [2, 1]
    assert "prior" in unfolded["rows"]["1"] and "loud" not in unfolded["rows"]["1"]


def test_research_use_only_stands_on_the_page(page: TestClient) -> None:
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE" in page.get("/").text


def test_an_empty_worklist_reads_as_no_result(worklist: Worklist, page: TestClient) -> None:
    said = re.compile(r'<p id="empty" class="empty">.*says nothing about any patient')
    assert said.search(page.get("/").text)
    study(worklist, 1)
    assert not said.search(page.get("/").text)


def test_a_delivery_that_was_given_up_is_shown_with_the_peers_status(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SEG, SR))
    seg, sr = worklist.outbox.claim("d", 60, NOW)
    worklist.outbox.delivered(seg, "d", 0, NOW)
    worklist.outbox.failed(sr, "d", 0xA700, "out of resources", NOW + timedelta(hours=1), NOW)
    assert 'title="waiting: SR (status A700); failed attempts: 1"' in page.get("/").text
    (sr,) = worklist.outbox.claim("d", 60, NOW + timedelta(hours=1))
    worklist.outbox.failed(sr, "d", 0x0122, "SOP class not supported", None, NOW)
    assert rows(page)[0].endswith("PACS NOT SENT")
    assert 'title="NOT SENT: SR (status 0122)"' in page.get("/").text


def test_a_study_with_objects_set_aside_says_that_it_may_be_incomplete(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    stranger = Header("1.2", "1.9.2", "1.7.1", "1.8.1", "1.2.1", (), patient_id="ANOTHER")
    worklist.arrivals.add(stranger, StoredObject("2", "2" * 64, 1), caller="CT1", now=NOW)
    assert "1 received object set aside: the study may be incomplete" in rows(page)[0]
    assert "ANOTHER" not in page.get("/").text


def test_what_a_header_says_is_never_markup(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, patient_id="<script>alert(1)</script>")
    text = page.get("/").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_capture_is_found_by_case_and_only_there(page: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "cases" / "1" / "report"
    folder.mkdir(parents=True)
    (folder / "capture.png").write_bytes(b"\x89PNG picture")
    assert page.get("/cases/1/capture.png").content == b"\x89PNG picture"
    assert page.get("/cases/2/capture.png").status_code == 404


def test_only_a_study_that_was_read_has_a_key_slice(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    study(worklist, 2, ASSEMBLED)
    assert re.findall(r'<img src="([^"]+)"', page.get("/").text) == ["/cases/1/key.jpg"]


@pytest.mark.parametrize(
    "path", ["/cases/../ichnode.sqlite", "/cases/1%2F..%2F../capture.png", "/ichnode.sqlite"]
)
def test_no_path_of_the_request_reaches_the_disk(page: TestClient, path: str) -> None:
    assert page.get(path).status_code == 404


def test_json_is_the_worklists(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    assert page.get("/worklist.json").json() == [
        row.to_json() for row in worklist.views.worklist(NOW)
    ]


def test_health_counts_cases_and_names_nobody(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, patient_id="4711")
    answer = page.get("/healthz")
    assert answer.json()["cases"]["RECEIVING"] == 1
    assert "4711" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/", "/worklist.json", "/healthz", "/cases/7/capture.png", "/studies/7", "/cases/7/key.jpg"],
)
def test_no_answer_may_be_stored_guessed_framed_or_run(page: TestClient, path: str) -> None:
    headers = page.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_page_is_sent_the_rows_that_it_lacks_and_no_others(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    html = page.get("/").text
    known = dict(re.findall(r'data-number="(\d+)" data-case="\d+" data-tag="([^"]+)"', html))
    assert set(known) == {"1", "2"}
    before = changes(page, known=known)
    assert (before["order"], before["rows"]) == ([1, 2], {})
    worklist.feedback.give("1.7.2", "Dr. Night", Opinion(True), NOW)
    after = changes(page, known=known)
    assert set(after["rows"]) == {"2"} and after["version"] > before["version"]
    assert "Dr. Night" in after["rows"]["2"]


def test_a_row_of_the_page_and_a_row_that_is_sent_later_are_the_same(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    sent = changes(page)["rows"]["1"]
    assert "Suspected, unverified" in sent and sent.strip() in page.get("/").text


def test_a_filter_says_what_it_hides(worklist: Worklist, page: TestClient) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    study(worklist, 3, NotAnalysed("CONTRAST", "with contrast"))
    shown = changes(page, kinds=["NOT_SUSPECTED"])
    assert shown["order"] == [2]
    assert "The filter hides 2, of which <b>2 must be looked at</b>" in shown["summary"]


def test_search_finds_part_of_a_name_and_old_studies_by_all_of_it(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE, report(), patient_id="AB123")
    old = NOW - timedelta(days=40)
    study(worklist, 2, ASSEMBLED, NEGATIVE, report(), patient_id="CD456", then=old)
    assert changes(page)["order"] == [1]
    assert changes(page, text="b12")["order"] == [1]
    assert changes(page, text="d45")["order"] == []
    assert changes(page, text="CD456")["order"] == [2]


def test_a_time_range_keeps_what_is_not_done(worklist: Worklist, page: TestClient) -> None:
    then = NOW - timedelta(hours=30)
    study(worklist, 1, ASSEMBLED, NEGATIVE, report(), then=then)
    study(worklist, 2, ASSEMBLED, SUSPECTED, then=then)
    assert changes(page, within="8h")["order"] == [2]
    assert set(changes(page, within="3d")["order"]) == {1, 2}


def test_a_short_time_range_says_what_it_hides_of_the_day(
    worklist: Worklist, page: TestClient
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(), then=NOW - timedelta(hours=12))
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    shown = changes(page, within="8h")
    assert shown["order"] == [2] and shown["loud"] == 1
    assert "The filter hides 1, of which <b>1 must be looked at</b>" in shown["summary"]


def test_many_studies_come_in_pages(worklist: Worklist, page: TestClient) -> None:
    for number in range(1, 54):
        study(worklist, number)
    first, second = changes(page), changes(page, page=1)
    assert (len(first["order"]), len(second["order"])) == (50, 3)
    assert sorted(first["order"] + second["order"]) == list(range(1, 54))
    assert "page 2 of 2" in second["summary"]
    assert changes(page, page=99)["order"] == second["order"]


@pytest.mark.parametrize("asked", [b"{", b"[1]", b"x" * 70_000, b"[" * 60_000])
def test_what_is_no_request_is_refused(page: TestClient, asked: bytes) -> None:
    assert page.post("/list", content=asked).status_code in (400, 413)


@pytest.mark.parametrize(
    "asked", [{"page": -1}, {"page": [1]}, {"kinds": "X"}, {"within": {}}, {"known": 7, "text": 1}]
)
def test_what_a_request_says_wrongly_is_left_out(
    worklist: Worklist, page: TestClient, asked: dict[str, Any]
) -> None:
    study(worklist, 1)
    assert changes(page, **asked)["order"] == [1]


def test_only_the_nodes_own_scripts_run(page: TestClient) -> None:
    answer = page.get("/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts and not any(scripts)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", answer.text)
    found = re.findall(r"""(?:src|href)=["']([^"']+)""", answer.text)
    assert found and all(re.match("/[^/]", path) for path in found)
    assert all(page.get(path).status_code == 200 for path in found)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil", ""])
def test_another_host_name_is_refused(page: TestClient, host: str) -> None:
    answer = page.get("/worklist.json", headers={"Host": host})
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_through_the_page(page: TestClient, method: str) -> None:
    assert page.request(method, "/").status_code == 405


def test_a_database_out_of_reach_gives_no_stale_list(
    worklist: Worklist, page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise Retryable("the worklist database: disk I/O error")

    monkeypatch.setattr(worklist.listing, "changed", broken)
    monkeypatch.setattr(worklist.listing, "recent", broken)
    for answer in (page.get("/"), page.post("/list", json={})):
        assert answer.status_code == 503
        assert "cannot be read" in answer.text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (11100, "3 h 05 min")]
    + [(172_800, "2 d")],
)
def test_a_wait_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert span(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    "sent",
    [
        "P\u202e8[/z]",
        "P\x1b[2J8",
        pytest.param("P\x008", marks=pytest.mark.sqlite),  # no text of PostgreSQL holds a NUL
        "P\u20688",
    ],
)
def test_controls_in_what_a_peer_sent_do_nothing_on_the_page(
    page: TestClient, worklist: Worklist, sent: str
) -> None:
    study(worklist, 1, Planned(), SUSPECTED, patient_id=sent)
    text = page.get("/").text
    assert visible(sent) in text and not set(text) & set("\u202e\x1b\x00\u2068")
    (row,) = page.get("/worklist.json").json()
    assert row["patient_id"] == sent
