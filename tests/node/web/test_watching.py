"""What no row shows stands above the list, on the admin page and in metrics: what never came."""

from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from node.announced import ListedStudy, Shows, Told
from node.depot import Depot
from node.dicom.read.pixels import load_volume
from node.health.metrics import NodeMetrics
from node.settings import Canary, Coverage, Pull, Settings, Source
from node.states import Priority
from node.web import Pictures, app
from node.worklist import Finding, Worklist
from tests.support.listed import NOW

EARLIER = NOW - timedelta(hours=2)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    source = Source(name="archive", ae_title="PACS", host="192.0.2.1")
    asked = Coverage(ask=("archive",))
    return Settings(data_dir=tmp_path, pull=Pull(sources=(source,)), coverage=asked)


@pytest.fixture
def browser(worklist: Worklist, settings: Settings) -> TestClient:
    pictures = Pictures(Depot(settings.data_dir), load_volume, load_volume, 64)
    application = app(worklist, settings, pictures, lambda: NOW)
    return TestClient(application, base_url="http://localhost", client=("127.0.0.1", 50000))


def miss(worklist: Worklist) -> None:
    study = ListedStudy("1.7.77", "20261120", "1015", accession_number="ACC-77", images=40)
    worklist.coverage.told("archive", [Told(study, Shows.HEAD, {"1.8.77": 40})], EARLIER)
    worklist.coverage.told("archive", [], NOW)


def test_a_study_that_never_came_stands_above_the_list(
    browser: TestClient, worklist: Worklist
) -> None:
    miss(worklist)
    page = browser.get("/").text
    assert "Performed, never seen: 1 head CT" in page and "ACC-77" in page


def test_a_source_that_was_never_asked_is_told_above_the_list(browser: TestClient) -> None:
    page = browser.get("/").text
    assert "archive was not asked yet: what never came from it is not known" in page


def test_a_source_that_does_not_answer_is_told_and_clears_nothing(
    browser: TestClient, worklist: Worklist
) -> None:
    worklist.coverage.failed("archive", "no connection", NOW)
    page = browser.get("/admin").text
    assert "what never came from it is not known: no connection" in page
    assert "Every head CT that the sources listed came" not in page


def test_a_round_that_is_late_is_told(browser: TestClient, worklist: Worklist) -> None:
    worklist.coverage.told("archive", [], EARLIER)
    assert "archive was not asked since" in browser.get("/").text


def test_the_admin_page_names_the_study_and_no_patient(
    browser: TestClient, worklist: Worklist
) -> None:
    miss(worklist)
    page = browser.get("/admin").text
    assert "performed, never seen" in page and "1.7.77" in page
    assert "ACC-77" not in page


def test_nothing_is_said_where_no_source_is_asked(worklist: Worklist, tmp_path: Path) -> None:
    pictures = Pictures(Depot(tmp_path), load_volume, load_volume, 64)
    application = app(worklist, Settings(data_dir=tmp_path), pictures, lambda: NOW)
    browser = TestClient(application, base_url="http://localhost", client=("127.0.0.1", 50000))
    assert "not asked" not in browser.get("/").text
    assert "Coverage" not in browser.get("/admin").text


def test_the_metrics_count_what_never_came_and_what_is_not_known(
    worklist: Worklist, settings: Settings
) -> None:
    miss(worklist)
    worklist.coverage.failed("archive", "no connection", NOW)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in NodeMetrics(settings, worklist, lambda: NOW).collect()
        for sample in metric.samples
    }
    assert found["ichnode_coverage_studies", "archive", "never_seen"] == 1
    assert found["ichnode_coverage_studies", "archive", "in_part"] == 0
    assert found["ichnode_coverage_unknown", "archive"] == 1
    assert found["ichnode_coverage_answered_timestamp_seconds", "archive"] == NOW.timestamp()


def canary_settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, canary=Canary(every_min=10, limit_s=60))


def test_the_canary_s_alarm_stands_above_the_list_and_on_the_admin_page(
    worklist: Worklist, tmp_path: Path
) -> None:
    worklist.alarms.note("canary", "no result of the phantom", EARLIER)
    pictures = Pictures(Depot(tmp_path), load_volume, load_volume, 64)
    application = app(worklist, canary_settings(tmp_path), pictures, lambda: NOW)
    browser = TestClient(application, base_url="http://localhost", client=("127.0.0.1", 50000))
    for page in ("/", "/admin"):
        assert "no result of the phantom (since" in browser.get(page).text


@pytest.mark.parametrize(("ago", "alarm"), [(timedelta(minutes=5), 0), (timedelta(hours=1), 1)])
def test_a_canary_that_nobody_judges_any_more_is_an_alarm_too(
    worklist: Worklist, tmp_path: Path, ago: timedelta, alarm: int
) -> None:
    worklist.canaries.send("1.7.5", "f" * 64, NOW - ago)
    found = Finding(Priority.SUSPECTED, 0.98, 21.0, "bundle@1")
    worklist.canaries.end("1.7.5", NOW - ago, found=found, door_to_flag_s=4.5)
    metrics = {
        sample.name: sample.value
        for metric in NodeMetrics(canary_settings(tmp_path), worklist, lambda: NOW).collect()
        for sample in metric.samples
    }
    assert metrics["ichnode_canary_alarm"] == alarm
    assert metrics["ichnode_canary_door_to_flag_seconds"] == 4.5
    assert metrics["ichnode_canary_sound_timestamp_seconds"] == (NOW - ago).timestamp()


def test_a_canary_that_never_came_back_is_no_good_sign(worklist: Worklist) -> None:
    limits = Canary(every_min=10)
    assert "none came back yet" in worklist.canaries.standing(limits, NOW).trouble
    assert worklist.canaries.standing(Canary(), NOW).trouble == ""
