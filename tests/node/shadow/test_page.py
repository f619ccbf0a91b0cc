"""What the admin page, the doctor and the charts say of bundles."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from node.cases.detector import with_bundle
from node.cli.bundle_checks import check_detector, check_shadow
from node.depot import Depot
from node.errors import BadConfiguration
from node.settings import Settings
from node.watch import watched
from node.watch.charting import charts
from node.web import Pictures, app
from node.worklist import Actor, Released
from tests.support import ROOT
from tests.support.shadowed import Shadowed
from tests.support.working import receive, work


def page(shadowed: Shadowed) -> str:
    pictures = Pictures(Depot(shadowed.settings.data_dir), None, None, 64)  # type: ignore[arg-type]
    site = app(shadowed.worklist, shadowed.settings, pictures, shadowed.clock)
    browser = TestClient(site, base_url="http://localhost", client=("127.0.0.1", 50000))
    html = browser.get("/admin").text
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def doctor(shadowed: Shadowed) -> list[tuple[str, str]]:
    return [(check.verdict, check.found) for check in check_shadow(shadowed.settings)]


def test_the_admin_page_says_what_reads_what_flips_and_what_was_decided(
    shadowed: Shadowed,
) -> None:
    assert "Reads now fake@1 In shadow fake@2 Studies read 0 of 2" in page(shadowed)
    assert doctor(shadowed) == [("ok", "fake@2 has read 0 of 2")]
    shadowed.begin()
    for number in (1, 2):
        receive(shadowed.node, scan=shadowed.head(number))
    work(shadowed.node, shadowed.clock)
    shadowed.read()
    said = page(shadowed)
    assert "Studies read 2 of 2, done Both say the same 0 of 2 Flagged, now not flagged 2" in said
    assert "Research use only" in said
    assert doctor(shadowed)[0][0] == "note"
    found = shadowed.standing()
    assert found.live and found.other
    by = Actor("Dr. <b>A</b>", "terminal")
    shadowed.worklist.releases.decide(
        *(Released.PROMOTED, found.other, found.live, by, "better", shadowed.clock()), after=None
    )
    said = page(shadowed)
    assert "Reads now fake@2" in said and "promoted fake@2 better" in said
    assert "Dr. &lt;b&gt;A&lt;/b&gt;" in said
    drawn = charts(
        watched(shadowed.worklist.statistics.studies(shadowed.clock() - timedelta(days=1)), {}),
        [],
        shadowed.settings.watch,
        shadowed.worklist.releases.listed(),
    )
    marks = {what for chart in drawn for _, what in chart.marks}
    assert "promoted: fake@2" in marks


def test_the_doctor_says_which_bundle_stands_above_the_settings(
    shadowed: Shadowed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def fails(settings: Settings) -> None:
        loaded.append(settings.triage.bundle.name)
        raise BadConfiguration("damaged")

    monkeypatch.setattr("node.cli.bundle_checks.load_detector", fails)
    found = shadowed.standing()
    assert found.live and found.other
    by = Actor("Dr. A", "terminal")
    decided = (Released.PROMOTED, found.other, found.live, by, "better", shadowed.clock())
    shadowed.worklist.releases.decide(*decided, after=None)
    note, bad = check_detector(shadowed.settings)
    assert (note.verdict, bad.verdict, loaded) == ("note", "bad", ["other"])
    assert f"the settings name {tmp_path / 'live'} in vain" in note.found
    assert "promoted on 15 Jan 2026" in note.found and "by Dr. A" in note.found
    same = with_bundle(shadowed.settings, tmp_path / "other")
    assert next(iter(check_detector(same))).verdict == "ok"


def test_each_key_of_the_status_is_documented(shadowed: Shadowed) -> None:
    text = (ROOT / "docs" / "json.md").read_text()
    section = text.split("## `ichnode shadow status --json`")[1].split("\n## ")[0]
    keys = set(shadowed.standing().to_json()) - {"research_use_only"}
    assert keys and [key for key in sorted(keys) if f"`{key}`" not in section] == []
