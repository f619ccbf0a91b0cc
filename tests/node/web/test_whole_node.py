"""A whole node before readers: pushed by storescu, read by the networks, shown in Chromium."""

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsing import chromium
from tests.support.peers import free_port, listening, storescu, wait_until
from tests.support.running import RunningNode, receiving, roles, running_node
from training.datasets.series import Identity, write_series
from training.phantoms import Phantom, demo_pair

pytestmark = [pytest.mark.peer, pytest.mark.networks, pytest.mark.timeout(400)]


@pytest.fixture
def node(networks: Path, tmp_path: Path) -> Iterator[RunningNode]:
    settings = f"""{receiving()}
[assemble]
grace_s = 0.5
prior_after_days = 0
[web]
port = {free_port()}
open_feedback_as = "Dr. Night"
[health]
port = 0
"""
    with running_node(tmp_path / "node", settings, networks) as node:
        node.wait_until_listening()
        wait_until(lambda: listening(node.settings.web.port), 60)
        yield node


@cache
def heads() -> dict[str, Phantom]:
    """The two phantoms of the demo."""
    return dict(zip(("bleeding", "normal"), demo_pair(), strict=True))


def push(node: RunningNode, folder: Path, name: str) -> str:
    """Push one of the two phantoms of the demo; return its PatientID."""
    identity = Identity.of(name)
    files = write_series(heads()[name].volume, folder / name, identity)
    done = storescu(files, node.settings.receive.port)
    assert done.returncode == 0, done.stdout[-2000:]
    return identity.patient_id


def first(page: Page) -> str:
    return page.locator("tbody tr .open").first.inner_text()


def test_from_the_scanner_to_two_readers(node: RunningNode, tmp_path: Path) -> None:
    url = f"http://localhost:{node.settings.web.port}"
    with chromium() as browser:
        reader, other = (
            browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            for _ in range(2)
        )
        for page in (reader, other):
            page.goto(url)
            expect(page.locator("#empty")).to_be_visible()

        push(node, tmp_path, "normal")
        expect(reader.locator("tbody tr")).to_have_count(1, timeout=20_000)
        bleeding = push(node, tmp_path, "bleeding")
        for page in (reader, other):  # without a reload, and on top
            expect(page.locator("tbody tr.SUSPECTED")).to_have_count(1, timeout=180_000)
            assert first(page) == bleeding
        expect(reader.locator("tbody tr")).to_have_count(2)

        reader.keyboard.press("j")
        reader.keyboard.press("Enter")
        stage, mask = reader.locator("#stage"), reader.locator("#mask")
        key = int(stage.get_attribute("data-key") or 0)
        expect(stage).to_have_attribute("data-shown", str(key), timeout=20_000)
        expect(mask).to_be_visible()
        reader.keyboard.press("o")
        expect(mask).to_be_hidden()
        reader.keyboard.press("j")
        expect(stage).to_have_attribute("data-shown", str(key + 1))

        seen = other.locator("tbody tr.SUSPECTED .seenby")
        reader.keyboard.press("a")
        expect(seen).to_contain_text("has seen it")
        reader.keyboard.press("n")
        reader.get_by_label("Reason").fill("calcification")
        reader.keyboard.press("Tab")
        reader.keyboard.press("Enter")
        expect(seen).to_contain_text("disagrees")
        reader.keyboard.press("u")
        expect(seen).not_to_contain_text("disagrees")

        killed = roles(node)["web"]
        os.kill(killed, signal.SIGKILL)  # the node starts it again, and the pages go on
        wait_until(lambda: roles(node).get("web", killed) != killed, 30)
        wait_until(lambda: listening(node.settings.web.port), 60)
        reader.keyboard.press("y")
        expect(seen).to_contain_text("agrees", timeout=60_000)
