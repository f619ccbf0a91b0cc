"""What metrics and `ichnode doctor` tell of reports and charts."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from node.cli.watch_checks import check_charts, check_reports
from node.clock import utc_now
from node.health.metrics import NodeMetrics
from node.identity import PatientIdentity
from node.reported import Answer, ReportOf, ReportStatus
from node.settings import Settings
from node.worklist import ChartLine, Worklist
from tests.support.databases import new_database
from tests.support.listed import ASSEMBLED, SUSPECTED, study
from tests.support.reported_studies import report_on

NOW = utc_now()
ADT = {"adt": {"port": 2576}}


def settings(folder: Path, **watch: object) -> Settings:
    return Settings.model_validate({"data_dir": folder, "receive": ADT, "watch": watch})


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    chosen = settings(tmp_path)
    new_database(chosen.url)
    with Worklist(chosen.url) as opened:
        yield opened


def reported(worklist: Worklist, days: float, *answers: Answer) -> None:
    """Keep a report of each answer, of a study of its own, that came so many days ago."""
    for answer in answers:
        number = len(worklist.statistics.studies(NOW - timedelta(days=365))) + 1
        at = NOW - timedelta(days=days)
        study(worklist, number, ASSEMBLED, SUSPECTED, then=at)
        report_on(worklist, number, answer, at)


def apart(worklist: Worklist, days: float) -> None:
    patient = PatientIdentity("Q", "")
    of = ReportOf(f"{days}".ljust(64, "f"), "B", patient, ReportStatus.FINAL, NOW)
    worklist.reports.keep_apart(of, "no study here", NOW - timedelta(days=days))


def metrics(worklist: Worklist, chosen: Settings) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in NodeMetrics(chosen, worklist, lambda: NOW).collect()
        for sample in metric.samples
    }


def test_metrics_count_a_weeks_reports_and_the_charts(worklist: Worklist, tmp_path: Path) -> None:
    reported(worklist, 1, Answer.BLEEDS, Answer.CANNOT_TELL, Answer.CANNOT_TELL)
    reported(worklist, 8, Answer.NONE)
    apart(worklist, 0.5)
    apart(worklist, 9)
    draw(worklist)
    found = metrics(worklist, settings(tmp_path, reports=True, charts=True))
    answers = {each: found["ichnode_reports", each] for each in ("bleeds", "none", "cannot_tell")}
    assert answers == {"bleeds": 1, "none": 0, "cannot_tell": 2}
    assert found["ichnode_reports_apart",] == 1
    last = (NOW - timedelta(days=0.5)).timestamp()
    assert found["ichnode_last_report_timestamp_seconds",] == pytest.approx(last)
    charts = {each: found["ichnode_charts", each] for each in ("alarm", "calm", "learning")}
    assert charts == {"alarm": 1, "calm": 2, "learning": 3}


def draw(worklist: Worklist, alarms: int = 1) -> None:
    """Draw a chart with an alarm, two without and three whose baseline is learnt."""
    said = ["positive rate rose"] * alarms + [""] * (6 - alarms)
    why = [""] * 3 + ["its baseline is learnt: 1 of 200 studies"] * 3
    each = zip("abcdef", said, why, strict=True)
    lines = [ChartLine(name, "refusals", one, {"why": because}) for name, one, because in each]
    worklist.charts.draw(lines, NOW)


def test_what_is_off_has_no_value(worklist: Worklist, tmp_path: Path) -> None:
    reported(worklist, 1, Answer.BLEEDS)
    draw(worklist)
    names = {name for name, *_ in metrics(worklist, settings(tmp_path))}
    assert not any("report" in name or "chart" in name for name in names)


def test_a_report_of_two_studies_is_one(worklist: Worklist) -> None:
    reported(worklist, 1, Answer.BLEEDS, Answer.NONE)
    (kept,) = worklist.reports.of_study("1.7.1")
    of = ReportOf("d" * 64, "A", PatientIdentity("P", ""), ReportStatus.FINAL, NOW)
    worklist.reports.keep(of, ["1.7.1", "1.7.2"], kept.label, NOW)
    found = worklist.reports.counts(NOW - timedelta(days=2))
    assert found.answers == {Answer.BLEEDS: 2, Answer.NONE: 1}


@pytest.mark.parametrize(
    ("days", "answers", "verdict", "said"),
    [
        (1, [], "note", "none came yet"),
        (1, [Answer.BLEEDS], "ok", "in 28 days 1 of studies here (0% cannot tell), 0 of none"),
        (4, [Answer.BLEEDS], "note", "does the interface still send?"),
        (1, [Answer.CANNOT_TELL] * 19, "ok", "19 of studies here (100% cannot tell)"),
        (1, [Answer.CANNOT_TELL] * 20, "note", "see watch.language and watch.vocabularies"),
    ],
)
def test_the_doctor_says_whether_reports_come_and_can_be_used(
    worklist: Worklist, tmp_path: Path, days: float, answers: list[Answer], verdict: str, said: str
) -> None:
    reported(worklist, days, *answers)
    (check,) = check_reports(settings(tmp_path, reports=True))
    assert (check.verdict, said in check.found) == (verdict, True), check.found


def test_the_doctor_says_that_no_report_is_of_a_study_here(
    worklist: Worklist, tmp_path: Path
) -> None:
    apart(worklist, 1)
    (check,) = check_reports(settings(tmp_path, reports=True))
    assert check.verdict == "note" and "0 of studies here, 1 of none" in check.found


def test_the_doctor_says_how_charts_stand(worklist: Worklist, tmp_path: Path) -> None:
    on = settings(tmp_path, charts=True)
    assert [one.verdict for one in (*check_reports(on), *check_charts(on))] == ["note", "note"]
    draw(worklist)
    (alarmed,) = check_charts(on)
    assert alarmed.verdict == "note"
    assert "1 with an alarm, 2 without, 3 learn what is usual" in alarmed.found
    draw(worklist, alarms=0)
    (calm,) = check_charts(on)
    assert calm.verdict == "ok" and "0 with an alarm, 3 without" in calm.found
    assert [one.found for one in check_charts(settings(tmp_path))] == [
        "none is drawn: set watch.charts"
    ]
