"""The admin page and the report in Chromium: light and dark, wide and narrow, for everybody."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.shadow.report import shadow_report
from node.worklist import Actor, Released
from tests.support.browsing import WebRole, chromium, serious_faults
from tests.support.shadowed import Shadowed
from tests.support.working import receive, work

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@contextmanager
def served(shadowed: Shadowed) -> Iterator[str]:
    """Serve the page of the node."""
    shadow = shadowed.settings.shadow
    role = WebRole(
        shadowed.settings.data_dir.parent,
        f'[triage]\nbundle = "{shadowed.settings.triage.bundle}"\n'
        f'[shadow]\non = true\nbundle = "{shadow.bundle}"\nstudies = {shadow.studies}\n',
    )
    role.start()
    try:
        yield role.url
    finally:
        role.stop()


def test_what_is_said_of_bundles_can_be_read_by_everybody(
    shadowed: Shadowed, tmp_path: Path
) -> None:
    shadowed.begin()
    for number in (1, 2):
        receive(shadowed.node, scan=shadowed.head(number))
    work(shadowed.node, shadowed.clock)
    shadowed.read()
    told, html = shadow_report(shadowed.settings, shadowed.worklist, shadowed.clock())
    report = tmp_path / "comparison.html"
    report.write_text(html)
    found = shadowed.standing()
    assert found.live and found.other
    by, releases = Actor("Dr. Night", "terminal"), shadowed.worklist.releases
    steps = (
        (Released.PROMOTED, found.other, found.live, by, "no bleed lost in 200 studies"),
        (Released.ROLLED_BACK, found.live, found.other, by, "flags calcium at CT2"),
    )
    for step in steps:
        back = step[0] is Released.ROLLED_BACK
        releases.decide(*step, shadowed.clock(), by_settings=back, after=releases.newest())
    shots = Path(os.environ.get("ICHNODE_SHOTS", tmp_path))
    with chromium() as browser, served(shadowed) as url:
        for theme in ("dark", "light"):
            for width in (1400, 390):
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
                for name, address in (("admin", f"{url}/admin"), ("report", report.as_uri())):
                    page.emulate_media(color_scheme=theme)
                    page.goto(address)
                    assert serious_faults(page) == [], (name, theme, width)
                    body = page.evaluate("document.documentElement.scrollWidth")
                    assert body <= width, f"{name}: nothing scrolls sideways"
                    page.screenshot(path=shots / f"{name}-{theme}-{width}.png", full_page=True)
                page.close()
        page = browser.new_page()
        page.goto(report.as_uri())
        page.get_by_role("link", name=told["flips"]["flagged, now not flagged"][0]).wait_for()
        page.goto(f"{url}/admin")
        section = page.locator("section", has=page.get_by_role("heading", name="Bundle"))
        assert "fake@1" in section.inner_text() and "flags calcium at CT2" in section.inner_text()
