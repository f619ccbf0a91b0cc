"""`ichnode archive minutes` and `ichnode archive chart`, as a person types them."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.cli.commands.minutes import EXAMPLE


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["archive", *arguments], env={"COLUMNS": "80"})
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def department(tmp_path: Path) -> Path:
    """A file of settings whose simulation takes no time."""
    path = tmp_path / "department.toml"
    path.write_text(EXAMPLE.replace("days = 30", "days = 3").replace("= 40", "= 3"))
    return path


def test_the_minutes_are_printed_as_a_table_with_what_they_stand_on(department: Path) -> None:
    code, text, error = run("minutes", str(department))
    assert (code, error) == (0, "")
    for group in ("bleeds found", "bleeds missed", "all bleeds", "without a bleed"):
        assert group in text
    assert "3 x 3 days, seed 1; the radiologists are busy 88% of their time" in text
    assert "formula: M/M/1, non-pre-emptive priority" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_minutes_are_printed_as_json(department: Path) -> None:
    code, text, _ = run("minutes", str(department), "--json")
    found = json.loads(text)
    assert code == 0
    assert set(found) == {"load", "days", "replications", "seed", "model", "groups"}
    line = found["groups"][0]
    assert line["group"] == "bleeds found"
    assert set(line["sooner"]) == {"mean", "low", "high"}
    assert line["closed_form"]["sooner"] == pytest.approx(
        line["closed_form"]["without"] - line["closed_form"]["with_node"]
    )


def test_an_example_is_printed_and_no_settings_are_told() -> None:
    assert run("minutes", "--example") == (0, EXAMPLE, "")
    code, _, error = run("minutes")
    assert code == 2 and "--example" in error


def test_what_is_wrong_with_the_settings_is_one_line(department: Path) -> None:
    department.write_text(EXAMPLE.replace("per_hour = 4.8", "per_hour = 6"))
    code, _, error = run("minutes", str(department))
    assert code == 2 and error.count("\n") == 1 and "cannot keep up: 1.08 minutes" in error


def test_without_simpy_the_extra_is_named(
    department: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "node.archive.minutes", raising=False)
    monkeypatch.setitem(sys.modules, "node.archive.minutes.queue", None)
    for name in ("simulated", "stated"):
        monkeypatch.delitem(sys.modules, f"node.archive.minutes.{name}", raising=False)
    code, _, error = run("minutes", str(department))
    assert code == 2 and "pip install 'ichnode[archive]'" in error


@pytest.fixture
def flagged(tmp_path: Path) -> Path:
    """Outcomes of a scanner whose rate rises after its baseline, and of one with few studies."""
    path = tmp_path / "flagged.csv"
    days = [f"2026-11-{1 + number // 24:02}T{number % 24:02}:00:00Z" for number in range(400)]
    rows = [
        f"{time},CT1,{int(number % (7 if number < 300 else 2) == 0)}"
        for number, time in enumerate(days)
    ]
    path.write_text("\n".join(["time,scanner,value", *rows, f"{days[0]},CT[b]2,1"]) + "\n")
    return path


def test_charts_are_printed_with_alarms_and_run_lengths(flagged: Path) -> None:
    code, text, error = run("chart", str(flagged), "--kinds", "2")
    assert (code, error) == (1, "")
    assert "CT1, rise" in text and "0.147 to 0.256" in text and "(" in text
    assert "CT[b]2 has no chart: 1 studies, of which 200 are its baseline" in text
    assert "one in 5000 studies of all scanners, or rarer, by all charts of 2 outcomes" in text
    assert max(map(len, text.splitlines()[:4])) <= 80


def test_charts_are_printed_as_json(flagged: Path) -> None:
    code, text, _ = run("chart", str(flagged), "--json")
    found = json.loads(text)
    rise, fall = found["charts"]
    assert code == 1
    assert (rise["scanner"], rise["side"], rise["kind"], fall["side"]) == (
        "CT1",
        "rise",
        "rate",
        "fall",
    )
    assert rise["alarms"][0]["since_study"] >= 295 and fall["alarms"] == []
    assert 10_000 <= rise["run_length"] < 10_500
    assert list(found["left_out"]) == ["CT[b]2"]


def test_no_alarm_is_status_0_and_a_bad_table_2(flagged: Path) -> None:
    lines = flagged.read_text().splitlines()
    flagged.write_text("\n".join(lines[:290]) + "\n")
    assert run("chart", str(flagged))[0] == 0
    flagged.write_text("time,scanner\n")
    code, _, error = run("chart", str(flagged))
    assert code == 2 and error.count("\n") == 1 and "no column 'value'" in error


def test_a_table_in_another_encoding_is_told_with_the_remedy(flagged: Path) -> None:
    flagged.write_bytes(flagged.read_bytes().decode().encode("utf-16"))
    code, _, said = run("chart", str(flagged))
    assert code == 2 and "is no UTF-8: save it as CSV in UTF-8" in said
