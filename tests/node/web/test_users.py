"""Signing in: who may ask for what, from every route of the application."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from node.depot import Depot
from node.dicom.read.pixels import load_volume
from node.errors import Retryable
from node.passwords import Comparison, hashed
from node.settings import Settings, Web
from node.web import Pictures, access, app, attempts
from node.web.guard import HEADER
from node.worklist import Actor, Deed, Opinion, Role, Worklist
from tests.support.listed import ASSEMBLED, NOW, SUSPECTED, study

PASSWORD = "correct horse battery"
ADMIN = Actor("root", "terminal")
EVIL = "<img src=x onerror=alert(1)>"
PATIENT, ACCESSION = "MRN-4711", "ACC-0815"
MONITOR, DESK = "192.0.2.8", "192.0.2.7"
SESSION = "ichnode_session"

OPEN = None
ROUTES: dict[tuple[str, str], Role | None] = {
    ("GET", "/"): Role.VIEWER,
    ("POST", "/list"): Role.VIEWER,
    ("GET", "/live"): Role.VIEWER,
    ("GET", "/worklist.json"): Role.VIEWER,
    ("GET", "/healthz"): Role.VIEWER,
    ("GET", "/studies/{case:int}"): Role.VIEWER,
    ("GET", "/studies/{case:int}/standing"): Role.VIEWER,
    ("POST", "/studies/{case:int}/feedback"): Role.RADIOLOGIST,
    ("POST", "/studies/{case:int}/undo"): Role.RADIOLOGIST,
    ("GET", "/cases/{case:int}/capture.png"): Role.VIEWER,
    ("GET", "/cases/{case:int}/key.jpg"): Role.VIEWER,
    ("GET", "/cases/{case:int}/slices/{number:int}.png"): Role.VIEWER,
    ("GET", "/cases/{case:int}/slices/{number:int}/mask.png"): Role.VIEWER,
    ("GET", "/cases/{case:int}/sides"): Role.VIEWER,
    ("GET", "/admin"): Role.ADMIN,
    ("GET", "/admin/running"): Role.ADMIN,
    ("POST", "/admin/echo"): Role.ADMIN,
    ("POST", "/admin/deliveries"): Role.ADMIN,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("POST", "/logout"): Role.VIEWER,
    ("GET", "/oidc/login"): OPEN,
    ("GET", "/oidc/back"): OPEN,
    ("GET", "/assets"): OPEN,
}
"""Every route and the least role that it takes. What stands below /dicom-web takes bearer tokens
and no cookie; its own tests enumerate it."""
CLOSED = [route for route, role in ROUTES.items() if role is not None]
CHANGING = [route for route in ROUTES if route[0] != "GET"]
RANKS = [Role.VIEWER, Role.RADIOLOGIST, Role.ADMIN]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a password cost little; tests/node/worklist/test_accounts.py keeps the full cost."""
    quick = partial(PasswordHasher, time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr("node.passwords.PasswordHasher", quick)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@cache
def kept() -> str:
    return hashed(PASSWORD, "nobody")


@pytest.fixture
def staff(worklist: Worklist) -> Worklist:
    """A worklist of one study, with a person of each role, who is called by it."""
    study(
        worklist,
        1,
        ASSEMBLED,
        SUSPECTED,
        patient_id=PATIENT,
        accession=ACCESSION,
        description=EVIL,
    )
    for role in Role:
        worklist.accounts.add(role, role, kept(), ADMIN, NOW)
    return worklist


@pytest.fixture
def room(staff: Worklist, tmp_path: Path, clock: Clock) -> Starlette:
    return application(staff, tmp_path, clock)


def application(worklist: Worklist, folder: Path, clock: Clock, **web: object) -> Starlette:
    settings = Settings(data_dir=folder, web=Web.model_validate(web))
    pictures = Pictures(Depot(folder), load_volume, load_volume, 64)
    made = app(worklist, settings, pictures, clock)
    made.state.worklist = worklist
    return made


def browser(room: Starlette, address: str = DESK, base: str = "http://localhost") -> TestClient:
    return TestClient(room, base_url=base, client=(address, 50000), follow_redirects=False)


def token(html: str) -> str:
    found = re.search('name="token" (?:content|value)="([^"]+)"', html)
    assert found
    return found[1]


def try_to_sign_in(
    client: TestClient,
    name: str,
    password: str = PASSWORD,
    then: str = "",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    shown = token(client.get("/login").text)
    fields = {"name": name, "password": password, "token": shown, "next": then}
    return client.post("/login", data=fields, headers=headers)  # type: ignore[return-value]


def signed_in(room: Starlette, name: str) -> TestClient:
    """A browser with a new session; the form takes longer, since it compares a password."""
    accounts, client = room.state.worklist.accounts, browser(room)
    number = accounts.find(name).number
    secret = accounts.open_session(number, DESK, NOW, timedelta(hours=12))
    client.cookies.set(SESSION, secret, domain="localhost.local")  # as the form's
    return client


def headers(client: TestClient) -> dict[str, str]:
    """What a page's script sends."""
    shown = token(client.get("/studies/1").text)
    return {HEADER: shown, "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def ask(client: TestClient, route: tuple[str, str], **options: object) -> httpx.Response:
    path = route[1].replace("{case:int}", "1").replace("{number:int}", "1")
    path = path.replace("/assets", "/assets/room.css")
    return client.request(route[0], path, **options)  # type: ignore[return-value, arg-type]


def feedback(client: TestClient, kind: str = "agree", **more: str) -> httpx.Response:
    said = {"kind": kind, "saw": "SUSPECTED", **more}
    return client.post("/studies/1/feedback", json=said, headers=headers(client))  # type: ignore[return-value]


# --- every route ----------------------------------------------------------------------------------


def enumerated(room: Starlette) -> Iterator[tuple[str, str]]:
    for route in room.routes:
        assert isinstance(route, Route | Mount)
        if route.path == "/dicom-web" or route.path.startswith("/dicom-web/"):
            continue
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"GET"}
        yield from ((method, route.path) for method in methods)


def test_every_route_is_listed_here_and_in_the_rules(room: Starlette) -> None:
    found = list(enumerated(room))
    assert len(found) == len(set(found)) and set(found) == set(ROUTES)
    assert {path: access.RULES[path].role for _, path in found} == {
        path: role for (_, path), role in ROUTES.items()
    }
    assert set(access.RULES) == {path for _, path in found}


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_without_a_sign_in_nothing_is_answered(room: Starlette, route: tuple[str, str]) -> None:
    answer = ask(browser(room), route)
    if ROUTES[route] is not OPEN:
        assert (answer.status_code, answer.text) == (401, "Sign in first.")
    elif route == ("POST", "/login"):
        assert answer.status_code == 403
    elif route[1].startswith("/oidc/"):
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    else:
        assert answer.status_code == 200 and PATIENT not in answer.text


@pytest.mark.parametrize("role", RANKS)
@pytest.mark.parametrize("route", CLOSED, ids=" ".join)
def test_a_role_is_let_through_where_it_may_and_nowhere_else(
    room: Starlette, staff: Worklist, route: tuple[str, str], role: Role
) -> None:
    if route == ("GET", "/live"):
        room.state.streams.ended = True  # it answers 503 and no stream that never ends
    client = signed_in(room, role)
    data = {"token": headers(client)[HEADER]} if route[1] == "/logout" else None
    answer = ask(client, route, headers=headers(client), data=data)
    least = ROUTES[route]
    assert least is not None
    if RANKS.index(role) < RANKS.index(least):
        assert answer.status_code == 403 and f"for the role {least}" in answer.text
    else:
        assert answer.status_code not in (401, 403)
    if role is Role.VIEWER:
        assert staff.feedback.of_study("1.7.1") == []


@pytest.mark.parametrize("route", CLOSED, ids=" ".join)
def test_a_session_that_is_forged_ended_or_replayed_is_none(
    room: Starlette, clock: Clock, route: tuple[str, str]
) -> None:
    client = signed_in(room, Role.ADMIN)
    shown, secret = headers(client), client.cookies[SESSION]

    def answered(cookie: str) -> int:
        other = browser(room)
        other.cookies.set(SESSION, cookie)
        return ask(other, route, headers=shown).status_code

    forged = ("", "x" * 43, secret[:-1], secret.swapcase(), secret + "\x7f", "' OR 1=1 --")
    assert {answered(cookie) for cookie in forged} == {401}
    assert client.post("/logout", data={"token": shown[HEADER]}).status_code == 303
    assert answered(secret) == 401
    second = signed_in(room, Role.ADMIN).cookies[SESSION]
    clock.now += timedelta(minutes=120)
    assert answered(second) == 401


@pytest.mark.parametrize("route", CHANGING, ids=" ".join)
@pytest.mark.parametrize(
    "said",
    [
        {HEADER: ""},
        {HEADER: "x" * 43},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_without_the_pages_token_nothing_is_changed(
    room: Starlette, staff: Worklist, route: tuple[str, str], said: dict[str, str]
) -> None:
    client = signed_in(room, Role.ADMIN)
    sent = headers(client) | said
    answer = ask(client, route, headers=sent, data={"token": sent[HEADER]})
    assert answer.status_code == 403
    assert staff.feedback.of_study("1.7.1") == []
    assert client.get("/").status_code == 200


def test_the_token_of_one_session_is_none_in_another(room: Starlette) -> None:
    mine, other = signed_in(room, Role.ADMIN), signed_in(room, Role.RADIOLOGIST)
    answer = ask(mine, ("POST", "/studies/{case:int}/undo"), headers=headers(other))
    assert answer.status_code == 403


def test_a_route_that_nobody_listed_is_for_admins(room: Starlette) -> None:
    def new(request: Request) -> PlainTextResponse:
        del request
        return PlainTextResponse("new")

    room.router.routes.append(Route("/new", new))
    assert browser(room).get("/new").status_code == 401
    assert [signed_in(room, role).get("/new").status_code for role in RANKS] == [403, 403, 200]


def test_what_does_not_exist_is_not_told_from_what_does(room: Starlette) -> None:
    for path in ("/nothing", "/studies/99", "/cases/99/key.jpg", "/login/"):
        assert browser(room).get(path).status_code == 401
    assert signed_in(room, Role.VIEWER).get("/nothing").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/cases/..%2f..%2fichnode.sqlite/capture.png",
        "/cases/1/..%2f..%2f..%2fichnode.sqlite",
        "/studies/1.2.840%2f..%2f..",
        "/studies/-1",
        "/assets/..%2fapp.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%5capp.py",
        "/assets/%00",
        "/assets//etc/passwd",
    ],
)
def test_no_path_leads_out(room: Starlette, path: str) -> None:
    answer = signed_in(room, Role.ADMIN).get(path)
    assert answer.status_code == 404
    assert not any(word in answer.text for word in ("SQLite", "import", "root:"))


# --- signing in -----------------------------------------------------------------------------------


def test_a_person_is_led_to_the_sign_in_and_back(room: Starlette) -> None:
    client = browser(room)
    led = client.get("/studies/1", headers={"Accept": "text/html"})
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=/studies/1")
    page = client.get(led.headers["location"]).text
    assert PATIENT not in page and 'name="next" value="/studies/1"' in page
    answer = try_to_sign_in(client, "Viewer", then="/studies/1")
    assert answer.headers["location"] == "/studies/1"
    assert client.get("/login").headers["location"] == "/"


@pytest.mark.parametrize(
    "then", ["https://evil.example", "//evil.example", "/\\evil.example", f"/{EVIL}", "/logout"]
)
def test_nobody_is_led_elsewhere(room: Starlette, then: str) -> None:
    client = browser(room)
    assert "evil" not in client.get("/login", params={"next": then}).text
    assert try_to_sign_in(client, Role.VIEWER, then=then).headers["location"] == "/"


@pytest.mark.parametrize(
    ("base", "web", "secure"),
    [
        ("http://localhost", {}, False),
        ("https://localhost", {}, True),
        ("http://localhost", {"behind_proxy": [DESK]}, True),
    ],
)
def test_cookies_are_for_this_server_and_no_script(
    staff: Worklist, tmp_path: Path, clock: Clock, base: str, web: dict[str, object], secure: bool
) -> None:
    client = browser(application(staff, tmp_path, clock, **web), base=base)
    page = client.get("/login")
    fields = {"name": "viewer", "password": PASSWORD, "token": token(page.text)}
    sent = {"Cookie": page.headers["set-cookie"].partition(";")[0]}
    answer = client.post("/login", data=fields, headers=sent)
    name = "__Host-ichnode_session" if secure else SESSION
    assert answer.headers["set-cookie"].startswith(f"{name}=")
    for cookie in (page.headers["set-cookie"], answer.headers["set-cookie"]):
        said = {part.strip().lower() for part in cookie.split(";")}
        assert {"httponly", "samesite=strict", "path=/"} <= said
        assert ("secure" in said) is secure
        assert not any(part.startswith("domain") for part in said)


def test_each_sign_in_has_a_secret_of_its_own_and_ends_the_one_before(room: Starlette) -> None:
    client = browser(room)
    client.get("/login")
    page = client.cookies["ichnode_page"]
    planted = {"Cookie": f"{SESSION}={'p' * 43}; ichnode_page={page}"}
    assert try_to_sign_in(client, Role.VIEWER, headers=planted).status_code == 303
    first, shown = client.cookies[SESSION], headers(client)[HEADER]
    assert first != "p" * 43
    fields = {"name": "admin", "password": PASSWORD, "token": shown}
    assert client.post("/login", data=fields).status_code == 303
    assert client.cookies[SESSION] != first
    old = browser(room)
    old.cookies.set(SESSION, first)
    assert old.get("/").status_code == 401


def test_a_page_that_asks_by_itself_keeps_nobody_signed_in(room: Starlette, clock: Clock) -> None:
    client = signed_in(room, Role.VIEWER)
    shown = headers(client)
    for _ in range(2):
        clock.now += timedelta(minutes=50)
        assert client.post("/list", json={}, headers=shown).status_code == 200
        assert client.get("/studies/1/standing").status_code == 200
    clock.now += timedelta(minutes=21)
    assert client.post("/list", json={}, headers=shown).status_code == 401


def test_a_person_who_works_is_signed_out_at_last(room: Starlette, clock: Clock) -> None:
    client = signed_in(room, Role.VIEWER)
    for _ in range(11):
        clock.now += timedelta(hours=1)
        assert client.get("/studies/1").status_code == 200
    clock.now += timedelta(hours=1)
    assert client.get("/studies/1").status_code == 401


def test_a_disabled_person_is_out_at_once(room: Starlette, staff: Worklist) -> None:
    client = signed_in(room, Role.ADMIN)
    staff.accounts.disable(Role.ADMIN, ADMIN, NOW)
    assert client.get("/").status_code == 401
    assert try_to_sign_in(browser(room), Role.ADMIN).status_code == 401


@pytest.mark.parametrize("name", ["viewer", "admin", "unknown", "", EVIL, "x" * 5000, "\ud83d"])
def test_a_wrong_name_is_answered_as_a_wrong_password_and_as_slowly(
    room: Starlette, staff: Worklist, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    staff.accounts.disable(Role.ADMIN, ADMIN, NOW)
    compared: list[str] = []
    matches = Comparison.matches

    def watched(self: Comparison, kept: str | None, password: str) -> bool:
        compared.append(password)
        return matches(self, kept, password)

    monkeypatch.setattr(Comparison, "matches", watched)
    name = name.encode(errors="replace").decode()
    answer = try_to_sign_in(browser(room), name, "a wrong password")
    assert answer.status_code == 401 and "Name or password is wrong." in answer.text
    assert compared == ["a wrong password"] and "<img src=x" not in answer.text
    (entry,) = (e for e in staff.audit.entries() if e.what is Deed.SIGN_IN_FAILED)
    assert entry.who == (name if name in ("viewer", "admin") else "unknown")


def test_a_password_is_guessed_at_a_few_times_only(
    room: Starlette, clock: Clock, staff: Worklist
) -> None:
    client = browser(room)
    for _ in range(attempts.PAIR):
        assert try_to_sign_in(client, "viewer", "a wrong password").status_code == 401
    refused = try_to_sign_in(client, "VIEWER ")
    assert refused.status_code == 429 and refused.headers["retry-after"] == "900"
    assert try_to_sign_in(client, "admin").status_code == 303
    assert try_to_sign_in(browser(room, MONITOR), "viewer").status_code == 303
    clock.now += attempts.WINDOW
    assert try_to_sign_in(browser(room), "viewer").status_code == 303
    failed = [e for e in staff.audit.entries() if e.what is Deed.SIGN_IN_FAILED]
    assert [(e.who, e.address) for e in failed] == [("viewer", DESK)] * attempts.PAIR


def test_an_address_and_an_account_are_counted_alone_too() -> None:
    counted = attempts.Attempts()
    tries = [counted.admit(f"n{n}", DESK, NOW) for n in range(attempts.ADDRESS + 5)]
    assert tries == [True] * attempts.ADDRESS + [False] * 5
    tries = [counted.admit("n", f"198.51.100.{n}", NOW) for n in range(attempts.ACCOUNT + 5)]
    assert tries == [True] * attempts.ACCOUNT + [False] * 5
    subnet = [counted.admit(f"m{n}", f"2001:db8::{n}", NOW) for n in range(attempts.ADDRESS + 5)]
    assert subnet.count(False) == 5


def test_counters_are_bounded_and_a_success_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "MOST", 3)
    counted = attempts.Attempts()
    for number in range(5):
        assert counted.admit("victim", "192.0.2.1", NOW)
        counted.admit("n", f"198.51.100.{number}", NOW)
    monkeypatch.undo()
    counted = attempts.Attempts()
    for _ in range(3 * attempts.ACCOUNT):
        assert counted.admit("n", DESK, NOW)
        counted.succeeded("n", DESK)


def test_signing_out_shows_on_the_page_and_leaves_no_cookie(room: Starlette) -> None:
    client = signed_in(room, Role.VIEWER)
    page = client.get("/").text
    assert "viewer</span>" in page and 'action="/logout"' in page
    answer = client.post("/logout", data={"token": token(page)})
    assert answer.headers["location"] == "/login" and SESSION not in client.cookies


def test_without_accounts_the_page_stays_open_to_this_machine(
    worklist: Worklist, tmp_path: Path, clock: Clock
) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    room = application(worklist, tmp_path, clock)
    client = browser(room, "127.0.0.1")
    page = client.get("/")
    assert page.status_code == 200 and "Sign out" not in page.text
    assert browser(room).get("/").status_code == 403
    assert client.get("/login").headers["location"] == "/"
    assert worklist.audit.entries() == []
    worklist.accounts.add("N", Role.VIEWER, kept(), ADMIN, NOW)
    assert client.get("/").status_code == 401


def test_once_there_are_accounts_nobody_gives_feedback_without_one(
    staff: Worklist, tmp_path: Path, clock: Clock
) -> None:
    room = application(staff, tmp_path, clock, open_feedback_as="Dr. Night")
    here = browser(room, "127.0.0.1")
    assert here.get("/").status_code == 401


# --- the audit trail ------------------------------------------------------------------------------


def test_each_view_is_recorded_once_for_a_study_and_session(
    room: Starlette, staff: Worklist
) -> None:
    client = signed_in(room, Role.RADIOLOGIST)
    for _ in range(2):
        for route in CLOSED:
            if route[0] == "GET" and route[1] != "/live":
                ask(client, route)
    assert feedback(client).status_code == 200
    assert client.post("/studies/1/undo", json={}, headers=headers(client)).status_code == 200
    client.get("/studies/99")
    client.post("/logout", data={"token": headers(client)[HEADER]})
    entries = [e for e in staff.audit.entries() if e.what is not Deed.ACCOUNT]
    assert {(e.who, e.address) for e in entries} == {("radiologist", DESK)}
    assert [(e.what, e.study_instance_uid) for e in entries] == [
        (Deed.SIGNED_IN, None),
        (Deed.LIST, None),
        (Deed.STUDY, "1.7.1"),
        (Deed.PICTURES, "1.7.1"),
        (Deed.KEY_SLICE, "1.7.1"),
        (Deed.FEEDBACK, "1.7.1"),
        (Deed.UNDONE, "1.7.1"),
        (Deed.SIGNED_OUT, None),
    ]
    told = json.dumps([e.to_json() for e in staff.audit.entries()])
    assert PATIENT not in told and ACCESSION not in told


def test_another_session_is_recorded_for_itself_also_after_a_restart(
    room: Starlette, staff: Worklist, tmp_path: Path, clock: Clock
) -> None:
    client = signed_in(room, Role.VIEWER)
    client.get("/studies/1")
    again = browser(application(staff, tmp_path, clock))
    again.cookies = client.cookies
    assert again.get("/studies/1").status_code == 200
    signed_in(room, Role.VIEWER).get("/studies/1")
    assert [e.what for e in staff.audit.entries("1.7.1")] == [Deed.STUDY] * 2


def test_what_cannot_be_recorded_is_not_shown(
    room: Starlette, staff: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise Retryable("disk full")

    client = signed_in(room, Role.VIEWER)
    monkeypatch.setattr(staff.audit, "record", broken)
    answer = client.get("/studies/1")
    assert answer.status_code == 503 and PATIENT not in answer.text


# --- words of people ------------------------------------------------------------------------------


def test_words_of_people_are_never_markup(room: Starlette, staff: Worklist) -> None:
    staff.accounts.add(EVIL, Role.RADIOLOGIST, kept(), ADMIN, NOW)
    client = signed_in(room, EVIL)
    wrong = {"mistake": "FALSE_ALARM", "place": EVIL, "reason": EVIL}
    assert feedback(client, "disagree", **wrong).status_code == 200
    (said,) = staff.feedback.of_study("1.7.1")
    assert (said.who, said.opinion) == (
        EVIL,
        Opinion(False, said.opinion.mistake, EVIL, EVIL),
    )
    for path in ("/", "/studies/1"):
        text = client.get(path).text
        assert "<img src=x" not in text and text.count("&lt;img src=x") >= 2
    for answer in (
        client.get("/studies/1/standing"),
        client.post("/list", json={}, headers=headers(client)),
    ):
        assert "<img src=x" not in answer.text and "&lt;img src=x" in answer.text
