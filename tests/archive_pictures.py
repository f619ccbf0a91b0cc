"""Makes the pictures of adjudication and of both reports for the docs, of phantoms."""

import json
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser
from typer.testing import CliRunner

from node.archive.acceptance import EXAMPLE
from node.archive.adjudication import Desk, draw, read_sample, write_sample
from node.archive.evidence import read_joined
from node.archive.proof import Proof
from node.cli import app
from node.web import serve_desk
from tests.support import ROOT
from tests.support.proofs import READ_AT, Truth, draw_heads, made_up, read_anew

DOCS = ROOT / "docs"
SIZE = {"width": 1400, "height": 900}
LIMITS = EXAMPLE.replace("bleeds = 100", "bleeds = 60").replace("= 1000", "= 500")


def archive_pictures(folder: Path, browser: Browser) -> None:
    """Write docs/adjudication.png, acceptance*.png and comparison*.png of made-up proofs."""
    proof, truths = made_up(folder / "proof", 600, patients=560)
    known = {truth.study: truth for truth in truths}
    studies = read_joined(proof).studies
    write_sample(proof.sample, draw(studies, 60, 1, datetime.now(UTC)))
    desks = [_desk(proof, who) for who in ("anna", "ben")]
    _page(proof, known, desks[0], browser)
    for desk in desks:
        _decide(desk, known, every=1 if desk is desks[0] else 3)
    proof.limits.write_text(LIMITS)
    os.utime(proof.limits, (READ_AT.timestamp() - 3600,) * 2)
    wrong = [
        truth
        for desk in desks[:1]
        for place in range(len(desk))
        for truth in [known[desk.study(place).name]]
        if truth.bleeds and not desk.study(place).outcome.flagged
    ]
    draw_heads(proof, wrong[:3])
    CliRunner().invoke(app, ["archive", "report", str(proof.root)], catch_exceptions=False)
    for name, part, size in (
        ("acceptance", "h1", SIZE),
        ("acceptance-mistakes", "h2:has-text('Missed')", {**SIZE, "height": 404}),
    ):
        _shot(proof.root / "report.html", browser, name, part, size)
    page = _compared(folder)
    for name, part, size in (
        ("comparison", "h1", SIZE),
        ("comparison-flips", "h2:has-text('Flagged, now not')", {**SIZE, "height": 404}),
    ):
        _shot(page, browser, name, part, size)


def _compared(folder: Path) -> Path:
    """Compare a made-up proof with what another bundle reads; the first flips have pictures."""
    old, truths = made_up(folder / "old", 600, prevalence=0.2, patients=550)
    new = read_anew(old, folder / "new", threshold=0.45)
    words = ["archive", "compare", str(old.root), str(new.root)]
    CliRunner().invoke(app, words, catch_exceptions=False)
    flips = json.loads((new.root / "comparison.json").read_text())["flips"]
    shown = flips["flagged, now not flagged"][:3]
    draw_heads(old, [truth for truth in truths if truth.study in shown])
    shutil.copytree(old.image("").parent, new.image("").parent)
    CliRunner().invoke(app, words, catch_exceptions=False)
    return new.root / "comparison.html"


def _desk(proof: Proof, who: str) -> Desk:
    sample = read_sample(proof.sample)
    assert sample is not None
    return Desk(proof, read_joined(proof).studies, sample, lambda: datetime.now(UTC), who=who)


def _decide(desk: Desk, known: dict[str, Truth], every: int) -> None:
    for place in range(0, len(desk), every):
        truth = known[desk.study(place).name]
        said = "bleeds" if truth.bleeds else "none"
        desk.decide(place, "cannot tell" if place % 41 == 40 else said, truth.subtypes)


def _page(proof: Proof, known: dict[str, Truth], desk: Desk, browser: Browser) -> None:
    """Show a bleed that the node flagged, with an answer that is not recorded yet."""
    place = next(
        place
        for place in range(len(desk))
        if desk.study(place).outcome.flagged and known[desk.study(place).name].bleeds
    )
    draw_heads(proof, [known[desk.study(place).name]])
    ready, urls = threading.Event(), []

    def opened(url: str) -> None:
        urls.append(url)
        ready.set()

    arguments = (proof, desk, 0, lambda: datetime.now(UTC), opened)
    threading.Thread(target=serve_desk, args=arguments, daemon=True).start()
    assert ready.wait(30)
    page = browser.new_context(viewport=SIZE).new_page()  # type: ignore[arg-type]
    page.goto(urls[0])
    for step in range(place):
        page.wait_for_selector(f"main[data-place='{step}']")
        page.keyboard.press("]")
    page.wait_for_selector(f"main[data-place='{place}']")
    page.keyboard.press("b")
    page.wait_for_timeout(1000)
    page.screenshot(path=DOCS / "adjudication.png")
    page.context.close()


def _shot(html: Path, browser: Browser, name: str, part: str, size: dict[str, int]) -> None:
    """Write docs/`name`.png: a page from a part of it on."""
    context = browser.new_context(viewport=size, color_scheme="dark")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(html.as_uri())
    page.locator(part).first.evaluate("part => part.scrollIntoView()")
    page.mouse.wheel(0, -50)  # from under the bar
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / f"{name}.png")
    context.close()
