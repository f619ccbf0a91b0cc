"""The page of adjudication in Chromium: a person decides by keys."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from node.archive.evidence import read_joined
from node.archive.proof import Proof
from tests.support.browsing import chromium, serious_faults
from tests.support.proofs import made_up

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    made = made_up(tmp_path / "proof", 40, prevalence=0.3)[0]
    made.image("x").parent.mkdir()
    for study in read_joined(made).studies:
        hu = np.full((9, 64, 64), 30, np.int16)
        mask = np.zeros(hu.shape, bool)
        mask[6, 20:40, 20:40] = True
        np.savez(
            made.image(study.name),
            hu=hu,
            mask=mask,
            spacing_mm=[5, 1, 1],
            probability=np.where(mask.any((1, 2)), 0.9, 0.1),
            orientation=[1, 0, 0, 0, 1, 0],
        )
    return made


@contextmanager
def adjudicating(proof: Proof, browser: Browser, *options: str) -> Iterator[Page]:
    """Run the command, and open the address that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "node.cli", "archive", "adjudicate", str(proof.root), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as command:
        assert command.stdout is not None
        url = next(line.strip() for line in command.stdout if line.startswith("http"))
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(url)
        try:
            yield page
        finally:
            context.close()
            command.send_signal(signal.SIGINT)
            assert command.wait(30) in (0, 130)
        assert faults == []


def lines(proof: Proof) -> list[dict[str, object]]:
    return [json.loads(line) for line in proof.decisions.read_text().splitlines()]


def test_a_person_scrolls_decides_by_keys_and_takes_it_back(proof: Proof, browser: Browser) -> None:
    with adjudicating(proof, browser, "--who", "anna") as page:
        stage = page.locator("#stage")
        expect(stage).to_have_attribute("data-shown", "6")  # the key slice
        expect(page.locator("#mask")).to_be_visible()
        expect(stage.locator(".side.left")).to_have_text("R")
        expect(stage.locator(".side.right")).to_have_text("L")
        page.keyboard.press("o")
        expect(page.locator("#mask")).to_have_class("mask off")
        stage.hover()
        page.mouse.wheel(0, 100)
        expect(stage).to_have_attribute("data-shown", "7")
        page.keyboard.press("k")
        page.keyboard.press("k")
        expect(stage).to_have_attribute("data-shown", "5")
        page.keyboard.press("3")
        expect(page.locator("#window")).to_have_text("bone")
        expect(page.locator("#says")).not_to_be_empty()
        page.keyboard.press("b")
        page.keyboard.press("d")
        page.locator("#note").fill("b: a <b>note</b>")
        page.locator("#stage").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text("1 of")
        expect(page.locator("main")).to_have_attribute("data-place", "1")
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text("2 of")
        page.keyboard.press("u")
        expect(page.locator("#progress")).to_contain_text("1 of")
        expect(page.locator("main")).to_have_attribute("data-place", "1")
        page.keyboard.press("[")
        expect(page.locator("#note")).to_have_value("b: a <b>note</b>")
        assert serious_faults(page) == []
    first, second, third = lines(proof)
    assert (first["answer"], first["subtypes"], first["who"]) == ("bleeds", ["subdural"], "anna")
    assert (second["answer"], third["undoes"]) == ("none", second["id"])


def test_a_second_person_says_the_name_sees_nothing_of_the_node_and_kappa_is_told(
    proof: Proof, browser: Browser
) -> None:
    with adjudicating(proof, browser, "--who", "anna", "--agreements", "3") as page:
        expect(page.locator("#progress")).to_contain_text("0 of")
        number = int(page.locator("#progress").inner_text().split()[2])
        for place in range(number):
            expect(page.locator("main")).to_have_attribute("data-place", str(place))
            page.keyboard.press("b" if place % 2 else "n")
            page.keyboard.press("Enter")
            expect(page.locator("#progress")).to_contain_text(f"{place + 1} of {number}")
        expect(page.locator("#progress")).to_contain_text("all done")
    with adjudicating(proof, browser, "--blind") as page:
        page.locator("input[name=name]").fill("ben")
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text(f"0 of {number}")
        expect(page.locator("#stage")).to_have_attribute("data-shown", "4")  # the middle
        expect(page.locator("#mask")).to_be_hidden()
        assert page.get_by_text("What the node says").count() == 0
        page.keyboard.press("c")
        page.keyboard.press("Enter")
        expect(page.locator("#kappa")).to_contain_text("anna and ben: the same in 0 of 1")
        assert serious_faults(page) == []
    assert lines(proof)[-1]["blinded"] is True
