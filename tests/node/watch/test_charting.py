"""Charts of a simulated year: what changed is found, and what did not raises no alarm."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from math import exp
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.archive.charts import Plan, Study, standings
from node.cli import app
from node.jobs.alarming import Alarming
from node.settings import Settings, Watch
from node.states import Priority, Reason
from node.watch import draw_charts, watched
from node.watch.charting import Chart, charts
from node.watch.outcomes import Charted, values
from node.worklist import Actor, ChartDecision, Counted, Decided, Deed, NotFound, Worklist
from node.worklist.schema.database import Database
from tests.node.web.conftest import client
from tests.support.databases import new_database
from tests.support.listeners import status, web_peer
from tests.support.simulated_year import BEGIN, CALM, Machine, put, year

BLEEDS_MORE = (replace(CALM[0], changes=900, later=0.30), *CALM[1:])
ON = Watch(charts=True)
END = BEGIN + timedelta(days=366)
ANNA = Actor.at_terminal("anna")


def drawn(
    seed: int, machines: Sequence[Machine], decisions: Sequence[ChartDecision] = ()
) -> list[Chart]:
    rows = list(year(seed, machines))
    reports = {one.study_instance_uid: report for one, report in rows if report is not None}
    return charts(watched((one for one, _ in rows), reports), decisions, ON)


def test_each_outcome_is_charted_of_the_studies_that_have_it() -> None:
    rows = list(year(3, CALM, 300))
    reports = {one.study_instance_uid: report for one, report in rows if report is not None}
    studies = watched((one for one, _ in rows), reports)
    refused = sum(one.priority is Priority.NOT_ANALYSED for one, _ in rows)
    counts = {outcome: len(values(studies, outcome)) for outcome in Charted}
    assert counts[Charted.REFUSED] == 300
    assert counts[Charted.POSITIVE] == counts[Charted.PROBABILITY] == 300 - refused
    assert counts[Charted.AGREEMENT] == len(reports)
    pending = replace(rows[0][0], priority=Priority.PENDING, door_to_flag_s=None, probability=None)
    (waits,) = watched([pending], {})
    assert all(values([waits], outcome) == [] for outcome in Charted)


def test_charts_stand_as_if_a_withdrawn_study_had_never_come() -> None:
    rows = [one for one, _ in year(3, CALM, 900)]
    told = {one.study_instance_uid: report for one, report in year(3, CALM, 900) if report}
    back = {one.study_instance_uid for one in rows[300:330]}
    left = [one for one in rows if one.study_instance_uid not in back]
    withdrawn = [taken_back(one) if one.study_instance_uid in back else one for one in rows]
    assert charts(watched(withdrawn, told), (), ON) == charts(watched(left, told), (), ON)


def taken_back(one: Counted) -> Counted:
    return replace(
        one,
        priority=Priority.NOT_ANALYSED,
        reason_code=Reason.WITHDRAWN,
        door_to_flag_s=None,
        probability=None,
        bundle=None,
    )


@pytest.mark.slow
def test_a_year_without_a_change_raises_no_alarm_in_the_stated_share_of_simulations() -> None:
    """The run length of the whole family is 5,000 studies, of which a year charts 3,400."""
    seeds = range(12)
    calm = [not any(chart.standing for chart in drawn(seed, CALM)) for seed in seeds]
    assert sum(calm) >= exp(-3400 / ON.run_length) * len(seeds)


def test_a_rate_that_changes_is_found_in_about_the_stated_number_of_studies() -> None:
    found = []
    for seed in range(5):
        chart = next(one for one in drawn(seed, BLEEDS_MORE) if one.scanner == "Maker Force")
        assert chart.outcome is Charted.POSITIVE
        assert chart.standing is not None
        side, raised = chart.standing
        assert side.side == "rise" and raised.study > 0.95 * 900
        found.append((raised.study - 0.96 * 900) / side.delay)
    assert sum(found) / len(found) < 1.5, "not read ones do not count: 96 of 100 do"


def test_a_baseline_too_short_says_so() -> None:
    rows = [one for one, _ in year(1, CALM, 300)]
    found = charts(watched(rows, {}), (), ON)
    lines = {(one.scanner, one.outcome): one for one in found}
    why = lines["Maker Aquilion", Charted.REFUSED].why
    assert why.startswith("its baseline is learnt: ") and why.endswith(" of 200 studies")
    assert all(one.standing is None for one in found)


def test_the_margin_keeps_the_run_length_where_the_baseline_is_off() -> None:
    own = [Study(BEGIN + timedelta(hours=n), "A", float(n % 10 == 0)) for n in range(400)]
    plan = Plan(kinds=5, margin=1.645)
    sides, left_out = standings(own, plan)
    assert not left_out
    for side in sides:
        assert side.run_length_if_off is not None
        assert side.run_length_if_off >= plan.each * 0.99
        assert side.run_length > side.run_length_if_off
    rise, fall = sides
    assert rise.looked_for > 2 * 0.1 > 0.05 > fall.looked_for


@pytest.fixture(scope="module")
def changed_year(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The database of a year in which one scanner's positive rate rose, with its reports."""
    folder = tmp_path_factory.mktemp("year")
    url = Settings(data_dir=folder).url
    new_database(url)
    database = Database(url)
    put(database, [one for one, _ in year(2, BLEEDS_MORE)])
    database.close()
    return (folder / "ichnode.sqlite").read_bytes()


@pytest.fixture
def worklist(changed_year: bytes, tmp_path: Path) -> Iterator[Worklist]:
    (tmp_path / "ichnode.sqlite").write_bytes(changed_year)
    with Worklist(Settings(data_dir=tmp_path).url) as opened:
        yield opened


def settings(folder: Path, **more: object) -> Settings:
    return Settings.model_validate({"data_dir": folder, "watch": {"charts": True}, **more})


ALARM = "watch: positive rate of Maker Force"


def test_the_job_raises_one_alarm_which_says_scanner_outcome_and_since_when(
    worklist: Worklist, tmp_path: Path
) -> None:
    assert draw_charts(settings(tmp_path), worklist, END) == 1
    assert draw_charts(settings(tmp_path), worklist, END) == 1
    (alarm,) = worklist.alarms.standing()
    assert alarm.what == ALARM
    assert alarm.said.startswith("positive rate of Maker Force rose, it seems since 2026-")
    changed = [one for one in counted(worklist) if one.model == "Force"][900].received_at
    since = alarm.said.split("since ")[1][:10]
    assert abs((changed.date() - BEGIN.date().fromisoformat(since)).days) < 21
    assert len(worklist.charts.drawn()) == 3 * 4, "no reports: agreement has no chart"


def counted(worklist: Worklist) -> list[Counted]:
    return sorted(worklist.statistics.studies(BEGIN), key=lambda one: one.received_at)


def test_an_alarm_goes_out_once_and_so_does_its_end(
    worklist: Worklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "key")
    with web_peer(*[status(204)] * 9) as peer:
        hook = {"url": f"http://127.0.0.1:{peer.port}/alarms", "secret_variable": "HOOK"}
        to = {"name": "hook", "how": "webhook", "webhook": hook}
        chosen = settings(
            tmp_path, deliver={"destinations": [to]}, alarms={"to": ["hook"], "after_s": 1e9}
        )
        tell = Alarming(lambda: chosen, worklist, lambda: END)
        draw_charts(chosen, worklist, END)
        tell()
        tell()
        worklist.charts.decide(
            Decided.ACKNOWLEDGED, "Maker Force", "", ANNA, "more trauma since the move", END
        )
        draw_charts(chosen, worklist, END + timedelta(hours=1))
        tell()
        told = [json.loads(one.body) for one in peer.messages]
    assert [(one["event"], one["what"]) for one in told] == [
        ("alarm", ALARM),
        ("alarm_ended", ALARM),
    ]


def test_acknowledging_ends_the_alarm_until_the_chart_alarms_again(
    worklist: Worklist, tmp_path: Path
) -> None:
    draw_charts(settings(tmp_path), worklist, END)
    half_way = BEGIN + timedelta(days=270)
    done = worklist.charts.decide(Decided.ACKNOWLEDGED, "Maker Force", "", ANNA, "why", half_way)
    assert done == 1
    assert worklist.alarms.standing() == []
    assert draw_charts(settings(tmp_path), worklist, END) == 1, "it rose, and still does"
    worklist.charts.decide(Decided.ACKNOWLEDGED, "Maker Force", "positive rate", ANNA, "", END)
    assert draw_charts(settings(tmp_path), worklist, END) == 0
    entries = [one for one in worklist.audit.entries() if one.what is Deed.WATCH]
    assert {one.who for one in entries} == {"anna"}
    assert "acknowledged: positive rate of Maker Force: why" in {one.about for one in entries}


def test_renewing_learns_what_is_usual_from_then_on(worklist: Worklist, tmp_path: Path) -> None:
    draw_charts(settings(tmp_path), worklist, END)
    changed = [one for one in counted(worklist) if one.model == "Force"][900].received_at
    worklist.charts.decide(Decided.RENEWED, "Maker Force", "positive rate", ANNA, "", changed)
    assert worklist.alarms.standing() == []
    assert draw_charts(settings(tmp_path), worklist, END) == 0
    rise = next(
        line.figure["charts"][0]
        for line in worklist.charts.drawn()
        if (line.scanner, line.outcome) == ("Maker Force", "positive rate")
    )
    assert 0.2 < rise["usual"] < 0.4


def test_nothing_is_acknowledged_that_has_no_alarm(worklist: Worklist, tmp_path: Path) -> None:
    draw_charts(settings(tmp_path), worklist, END)
    with pytest.raises(NotFound, match="no chart with an alarm of refusals of scanner"):
        worklist.charts.decide(Decided.ACKNOWLEDGED, "Maker Force", "refusals", ANNA, "", END)
    with pytest.raises(NotFound, match="no chart of anything of scanner 'Nobody'"):
        worklist.charts.decide(Decided.RENEWED, "Nobody", "", ANNA, "", END)


def ichnode(folder: Path, *arguments: str) -> tuple[int, str]:
    config = folder / "ichnode.toml"
    config.write_text(f'data_dir = "{folder}"\n[watch]\ncharts = true\n')
    done = CliRunner().invoke(app, ["watch", *arguments, "-c", str(config)])
    return done.exit_code, done.output


def test_the_command_shows_charts_and_ends_alarms(worklist: Worklist, tmp_path: Path) -> None:
    draw_charts(settings(tmp_path), worklist, END)
    code, shown = ichnode(tmp_path, "--charts")
    assert code == 1 and "positive rate of Maker Force rose" in shown
    words = " ".join(shown.split())
    assert "one in 5000 studies of all scanners, or rarer, by all charts together" in words
    said = json.loads(ichnode(tmp_path, "--json")[1])
    assert (said["run_length"], said["baseline"]) == (5000, 200)
    (alarmed,) = (one for one in said["charts"] if one["alarm"])
    assert (alarmed["scanner"], alarmed["outcome"]) == ("Maker Force", "positive rate")
    assert [one["side"] for one in alarmed["charts"]] == ["rise", "fall"]
    assert ichnode(tmp_path, "--acknowledge", "Maker Force", "--by", "anna")[0] == 0
    assert ichnode(tmp_path, "--charts")[0] == 0
    assert ichnode(tmp_path, "--renew", "Nobody")[0] == 2


def test_the_admin_page_draws_each_chart_with_releases_and_alarms(
    worklist: Worklist, tmp_path: Path
) -> None:
    page = client(worklist, tmp_path)
    assert "The watch" not in page.get("/admin").text
    draw_charts(settings(tmp_path), worklist, END)
    html = page.get("/admin").text
    assert html.count('<figure class="chart') == 3 * 4
    assert html.count('class="chart alarmed"') == 1
    assert "positive rate of Maker Force rose, it seems since" in html
    assert "weights@2</title>" in html
    assert "due once in 5000 studies of all scanners" in html
