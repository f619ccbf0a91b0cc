"""The acceptance report in Chromium: it loads nothing, can be read in either theme, and prints."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.archive.acceptance import EXAMPLE
from node.cli import app
from tests.support.browsing import chromium, serious_faults
from tests.support.proofs import made_up

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]


def test_the_report_loads_nothing_reads_in_either_theme_and_prints(tmp_path: Path) -> None:
    proof, _ = made_up(tmp_path / "proof", 300)
    proof.limits.write_text(EXAMPLE)
    assert CliRunner().invoke(app, ["archive", "report", str(proof.root)]).exit_code in (0, 1)
    html = (proof.root / "report.html").as_uri()
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 390, "height": 844})
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(html)
        grounds = set()
        for theme in ("light", "dark"):
            page.locator(f"#{theme}").check()
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert serious_faults(page) == []
        assert len(grounds) == 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)"
        )
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert [url for url in asked if not url.startswith("data:")] == [html]
        assert said == []
        context.close()
