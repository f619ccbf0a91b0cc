"""Signing in and out in Chromium, which sends what a browser sends."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from node.passwords import hashed
from node.worklist import Actor, Role, Worklist
from tests.support.browsing import WebRole, chromium, serious_faults
from tests.support.listed import ASSEMBLED, SUSPECTED, report, study

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]
PASSWORD = "correct horse battery"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebRole]:
    role = WebRole(tmp_path)
    role.start()
    try:
        yield role
    finally:
        role.stop()


@pytest.fixture
def worklist(web: WebRole) -> Iterator[Worklist]:
    with Worklist(web.settings.url) as opened:
        name, kept = "Dr. Night", hashed(PASSWORD, "Dr. Night")
        now = datetime.now(UTC)
        opened.accounts.add(name, Role.RADIOLOGIST, kept, Actor("root", "terminal"), now)
        list_one(opened, 1)
        yield opened


@pytest.fixture
def context() -> Iterator[BrowserContext]:
    with chromium() as browser:
        yield browser.new_context()


def list_one(worklist: Worklist, number: int) -> None:
    then = datetime.now(UTC) - timedelta(minutes=2)
    outcomes = (ASSEMBLED, SUSPECTED, report())
    study(worklist, number, *outcomes, patient_id=f"P{number}", then=then)


def sign_in(page: Page, password: str) -> None:
    page.get_by_label("Name").fill("dr. night")
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def test_a_person_signs_in_acknowledges_and_signs_out_of_every_tab(
    context: BrowserContext, web: WebRole, worklist: Worklist
) -> None:
    page = context.new_page()
    page.goto(f"{web.url}/studies/1")
    expect(page).to_have_title("Sign in - ichnode")
    assert serious_faults(page) == []
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Light")
    assert serious_faults(page) == []
    sign_in(page, "a wrong password")
    expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    page.goto(f"{web.url}/studies/1")
    sign_in(page, PASSWORD)
    expect(page).to_have_url(f"{web.url}/studies/1")
    expect(page.locator("#fresh")).to_contain_text("updated")  # its script runs
    page.keyboard.press("a")
    expect(page.locator("#say")).to_contain_text("Acknowledged")
    assert worklist.views.study("1.7.1").acknowledged_by == "Dr. Night"

    other = context.new_page()
    other.goto(web.url)
    expect(other.get_by_text("P1", exact=True)).to_be_visible()
    expect(other.locator("#fresh")).to_contain_text("updated")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{web.url}/login")
    list_one(worklist, 2)
    expect(other).to_have_title("Sign in - ichnode", timeout=20_000)
    expect(other.get_by_text("P1", exact=True)).to_have_count(0)
    page.go_back()
    expect(page).to_have_title("Sign in - ichnode")
