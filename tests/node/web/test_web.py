"""The triage page: what it shows, to whom, and what it never does."""

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from node.errors import Retryable
from node.outcomes import NotAnalysed, Outcome, Planned, Reported, Triaged
from node.records import Closing, Header, Parcel, ReportObject, StoredObject
from node.settings import Settings, Web
from node.states import Priority, State
from node.visible import visible
from node.web import serve_page
from node.web.wording import span
from node.worklist import Worklist, upgrade

NOW = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
SR, SEG = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"
KINDS = {SR: "sr", SEG: "seg"}
NEGATIVE = Triaged(Priority.NOT_SUSPECTED, probability=0.04, volume_ml=0.0)
SUSPECTED = Triaged(
    Priority.SUSPECTED,
    probability=0.93,
    volume_ml=12.44,
    subtypes={"subdural": 0.9, "subarachnoid": 0.61, "epidural": 0.1},
    limitations=("gantry tilt 18.5 degrees",),
)


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = f"sqlite:///{tmp_path}/ichnode.sqlite"
    upgrade(url)
    with Worklist(url) as opened:
        yield opened


@pytest.fixture
def page(worklist: Worklist, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the page as `ichnode serve` serves it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stop = threading.Event()
    settings = Settings(data_dir=tmp_path, web=Web(port=port))
    server = threading.Thread(target=serve_page, args=(settings, worklist.views, lambda: NOW, stop))
    server.start()
    try:
        transport = httpx.HTTPTransport(retries=8)  # until it listens
        with httpx.Client(transport=transport, base_url=f"http://localhost:{port}") as client:
            yield client
    finally:
        stop.set()
        server.join(timeout=20)
        assert not server.is_alive()


def study(worklist: Worklist, number: int, *outcomes: Outcome, patient_id: str = "P") -> None:
    """Receive one study ten minutes ago and take it through `outcomes`, a second each."""
    then = NOW - timedelta(minutes=10)
    header = Header(
        "1.2.840.10008.5.1.4.1.1.2",
        f"1.9.{number}",
        f"1.7.{number}",
        f"1.8.{number}",
        "1.2.840.10008.1.2.1",
        (),
        patient_id=patient_id,
    )
    worklist.arrivals.add(
        header, StoredObject(f"{number}", f"{number:064}", 1), caller="CT1", now=then
    )
    work = (State.RECEIVING, State.ASSEMBLED, State.TRIAGED, State.NOT_ANALYSED)
    for second, outcome in enumerate(outcomes, start=1):
        now = then + timedelta(seconds=second)
        case = worklist.cases.claim(work, "w", 60, now)
        assert case is not None
        worklist.cases.finish(case, "w", outcome, now)


def report(*sop_classes: str) -> Outcome:
    items = [
        ReportObject(KINDS.get(uid, "object"), "x.dcm", uid, f"2.25.{n}")
        for n, uid in enumerate(sop_classes)
    ]
    return Reported(tuple(("PACS", Parcel.of(item)) for item in items))


def rows(page: httpx.Client) -> list[str]:
    """The text of each row of the table, as a reader sees it."""
    parser = _Rows()
    parser.feed(page.get("/").text)
    return [" ".join(" ".join(row).split()) for row in parser.rows]


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


ASSEMBLED = Planned()


def test_a_suspicion_is_shown_with_its_numbers(worklist: Worklist, page: httpx.Client) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SEG, SR), patient_id="4711")
    (row,) = rows(page)
    assert row.startswith("SUSPECTED 4711 Suspected hemorrhage subdural 0.90, subarachnoid 0.61")
    for words in ("gantry tilt 18.5 degrees", "12.4 mL", "0.93", "10 min", "2.0 s"):
        assert words in row
    assert row.endswith("PACS waiting: SEG, SR")


def test_studies_stand_in_worklist_order(worklist: Worklist, page: httpx.Client) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    study(worklist, 2, ASSEMBLED, SUSPECTED)
    study(worklist, 3, NotAnalysed(reason_code="CONTRAST", reason="with contrast"))
    study(worklist, 4)
    assert [re.match("[A-Z ]+(?= P)", row)[0] for row in rows(page)] == [  # type: ignore[index]
        "SUSPECTED",
        "NOT ANALYSED",
        "PENDING",
        "NOT SUSPECTED",
    ]


def test_a_study_that_was_not_analysed_is_as_loud_as_a_suspicion_and_says_why(
    worklist: Worklist, page: httpx.Client
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    study(worklist, 2, NotAnalysed(reason_code="CONTRAST", reason="with contrast"))
    assert "Not analysed: read it as usual with contrast" in rows(page)[1]
    html = page.get("/").text
    assert 'class="SUSPECTED loud"' in html
    assert 'class="NOT_ANALYSED loud"' in html


def test_priorities_differ_in_words_and_shape_and_not_in_colour_alone(
    worklist: Worklist, page: httpx.Client
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    study(worklist, 2, ASSEMBLED, SUSPECTED)
    study(worklist, 3, NotAnalysed("CONTRAST", "with contrast"))
    study(worklist, 4)
    shapes = re.findall(r"<svg.*?>(.*?)</svg>", page.get("/").text, re.DOTALL)
    assert len(set(shapes)) == 4


def test_an_uncertain_negative_is_loud_and_says_so_in_words_and_shape(
    worklist: Worklist, page: httpx.Client
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    study(worklist, 2, ASSEMBLED, replace(NEGATIVE, uncertainty=0.214, uncertain=True))
    uncertain, certain = rows(page)
    assert uncertain.startswith("NOT SUSPECTED UNCERTAIN P")
    assert "UNCERTAIN: the networks disagree - a person should decide soon (0.21)" in uncertain
    assert "UNCERTAIN" not in certain
    html = page.get("/").text
    assert 'class="NOT_SUSPECTED uncertain loud"' in html
    assert 'class="NOT_SUSPECTED"' in html
    assert len(set(re.findall(r"<svg.*?>(.*?)</svg>", html, re.DOTALL))) == 2


def test_a_prior_suspicion_is_told_but_neither_loud_nor_counted(
    worklist: Worklist, page: httpx.Client
) -> None:
    study(worklist, 1, replace(ASSEMBLED, prior=True), SUSPECTED)
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    current, prior = rows(page)
    assert current.startswith("NOT SUSPECTED P")
    assert prior.startswith("SUSPECTED prior P Suspected hemorrhage")
    html = page.get("/").text
    assert 'class="SUSPECTED"' in html and "loud" not in html.split("<tbody>")[1]
    assert '<main data-suspected="0">' in html
    assert "<b>1</b> prior" in html


def test_a_suspicions_time_budget_says_how_its_series_was_closed(
    worklist: Worklist, page: httpx.Client
) -> None:
    closed = replace(ASSEMBLED, closing=Closing(NOW, "complete: all 30 images came", 58.0))
    study(worklist, 1, closed, SUSPECTED)
    said = "complete: all 30 images came, 58 s sooner than by the idle timer"
    assert said in rows(page)[0]


def test_research_use_only_stands_on_the_page(page: httpx.Client) -> None:
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE" in page.get("/").text


def test_an_empty_worklist_reads_as_no_result(page: httpx.Client) -> None:
    assert "says nothing about any patient" in rows(page)[0]


def test_a_delivery_that_was_given_up_is_shown_with_the_peers_status(
    worklist: Worklist, page: httpx.Client
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SEG, SR))
    seg, sr = worklist.outbox.claim("d", 60, NOW)
    worklist.outbox.delivered(seg, "d", 0, NOW)
    worklist.outbox.failed(sr, "d", 0xA700, "out of resources", NOW + timedelta(hours=1), NOW)
    assert rows(page)[0].endswith("PACS waiting: SR (status A700); failed attempts: 1")
    (sr,) = worklist.outbox.claim("d", 60, NOW + timedelta(hours=1))
    worklist.outbox.failed(sr, "d", 0x0122, "SOP class not supported", None, NOW)
    assert rows(page)[0].endswith("PACS NOT SENT: SR (status 0122)")


def test_a_study_with_objects_set_aside_says_that_it_may_be_incomplete(
    worklist: Worklist, page: httpx.Client
) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE)
    stranger = Header("1.2", "1.9.2", "1.7.1", "1.8.1", "1.2.1", (), patient_id="ANOTHER")
    worklist.arrivals.add(stranger, StoredObject("2", "2" * 64, 1), caller="CT1", now=NOW)
    assert "1 received object set aside: the study may be incomplete" in rows(page)[0]
    assert "ANOTHER" not in page.get("/").text


def test_what_a_header_says_is_never_markup(worklist: Worklist, page: httpx.Client) -> None:
    study(worklist, 1, patient_id="<script>alert(1)</script>")
    text = page.get("/").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_capture_is_found_by_case_and_only_there(
    worklist: Worklist, page: httpx.Client, tmp_path: Path
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    assert "<img" not in page.get("/").text
    folder = tmp_path / "cases" / "1" / "report"
    folder.mkdir(parents=True)
    (folder / "capture.png").write_bytes(b"\x89PNG picture")
    assert '<img src="/cases/1/capture.png"' in page.get("/").text
    assert page.get("/cases/1/capture.png").content == b"\x89PNG picture"
    assert page.get("/cases/2/capture.png").status_code == 404


@pytest.mark.parametrize(
    "path", ["/cases/../ichnode.sqlite", "/cases/1%2F..%2F../capture.png", "/ichnode.sqlite"]
)
def test_no_path_of_the_request_reaches_the_disk(page: httpx.Client, path: str) -> None:
    assert page.get(path).status_code == 404


def test_json_is_the_worklists(worklist: Worklist, page: httpx.Client) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    assert page.get("/worklist.json").json() == [
        row.to_json() for row in worklist.views.worklist(NOW)
    ]


def test_health_counts_cases_and_names_nobody(worklist: Worklist, page: httpx.Client) -> None:
    study(worklist, 1, patient_id="4711")
    answer = page.get("/healthz")
    assert answer.json()["cases"]["RECEIVING"] == 1
    assert "4711" not in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/rows", "/worklist.json", "/healthz", "/cases/7/capture.png"]
)
def test_no_answer_may_be_stored_guessed_framed_or_run(page: httpx.Client, path: str) -> None:
    headers = page.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_refresh_brings_the_same_rows(worklist: Worklist, page: httpx.Client) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    fragment = page.get("/rows").text
    assert fragment.strip() in page.get("/").text
    assert "Suspected hemorrhage" in fragment


def test_only_the_pages_own_script_runs(page: httpx.Client) -> None:
    first, second = page.get("/"), page.get("/")
    nonces = []
    for answer in (first, second):
        match = re.search("script-src 'nonce-([^']+)'", answer.headers["content-security-policy"])
        assert match
        assert answer.text.count(f'<script nonce="{match[1]}">') == 1
        assert answer.text.count("<script") == 1
        nonces.append(match[1])
    assert nonces[0] != nonces[1]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", first.text)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil", ""])
def test_another_host_name_is_refused(page: httpx.Client, host: str) -> None:
    answer = page.get("/worklist.json", headers={"Host": host})
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_through_the_page(page: httpx.Client, method: str) -> None:
    assert page.request(method, "/").status_code == 405


def test_a_database_out_of_reach_gives_no_stale_list(
    worklist: Worklist, page: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise Retryable("the worklist database: disk I/O error")

    monkeypatch.setattr(worklist.views, "worklist", broken)
    answer = page.get("/")
    assert answer.status_code == 503
    assert "cannot be read" in answer.text


def test_an_address_in_use_is_said_to_be(worklist: Worklist, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data_dir=tmp_path, web=Web(port=taken.getsockname()[1]))
        with pytest.raises(Retryable, match="cannot listen on 127.0.0.1"):
            serve_page(settings, worklist.views, lambda: NOW, threading.Event())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (11100, "3 h 05 min")]
    + [(172_800, "2 d")],
)
def test_a_wait_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert span(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize("sent", ["P\u202e8[/z]", "P\x1b[2J8", "P\x008", "P\u20688"])
def test_controls_in_what_a_peer_sent_do_nothing_on_the_page(
    page: httpx.Client, worklist: Worklist, sent: str
) -> None:
    study(worklist, 1, Planned(), SUSPECTED, patient_id=sent)
    text = page.get("/").text
    assert visible(sent) in text and not set(text) & set("\u202e\x1b\x00\u2068")
    (row,) = page.get("/worklist.json").json()
    assert row["patient_id"] == sent
