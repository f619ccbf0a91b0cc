"""The comparison of two bundles in Chromium: it loads nothing, and can be read in either theme."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.archive.proof import Proof
from node.cli import app
from tests.support.browsing import chromium, serious_faults
from tests.support.proofs import made_up, outcome_rows, write_outcomes

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]


def test_the_comparison_loads_nothing_and_reads_in_either_theme_and_on_a_phone(
    tmp_path: Path,
) -> None:
    old, _ = made_up(tmp_path / "old", 300, prevalence=0.2)
    new = Proof(tmp_path / "new")
    run = CliRunner().invoke
    assert run(app, ["archive", "again", str(old.root), str(new.root)]).exit_code == 0
    rows = outcome_rows(old)
    for number, row in enumerate(rows):
        row["bundle_version"] = "0.5"
        if row["flagged"] and number % 3 == 0:
            row.update(result="NO_FINDING", flagged=False)
    write_outcomes(new, rows)
    assert run(app, ["archive", "compare", str(old.root), str(new.root)]).exit_code == 1
    html = (new.root / "comparison.html").as_uri()
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(html)
        grounds = set()
        for theme in ("light", "dark"):
            page.locator(f"#{theme}").check()
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert serious_faults(page) == []
        assert len(grounds) == 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert [url for url in asked if not url.startswith("data:")] == [html]
