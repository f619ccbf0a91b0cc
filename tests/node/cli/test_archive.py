"""`ichnode archive label`."""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app

TABLE = """accession,patient,report
1,A,"FINDINGS: No fracture.
IMPRESSION: Acute left subdural hematoma."
2,B,No intracranial hemorrhage.
3,C,Chest radiograph: clear.
"""


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["archive", "label", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    path.write_text(TABLE, "utf-8")
    return path


def test_a_table_of_reports_becomes_a_table_of_labels(table: Path) -> None:
    out = table.with_name("labels.csv")
    code, said, error = run(str(table), "--out", str(out))
    assert (code, error) == (0, "")
    assert "3 rows in utf-8, 3 accession numbers: 1 bleeds, 1 none, 1 cannot tell" in said
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["accession"], row["label"], row["patient"]) for row in rows] == [
        ("1", "bleeds", "A"),
        ("2", "none", "B"),
        ("3", "cannot tell", "C"),
    ]
    assert rows[0]["sentence"] == "Acute left subdural hematoma."
    assert out.stat().st_mode & 0o077 == 0, "sentences of reports are their reader's alone"


def test_rows_that_need_a_person_are_named_by_line_and_the_status_is_1(table: Path) -> None:
    with table.open("a", encoding="utf-8") as file:
        file.write(",D,No bleed.\n" * 12)
    out = table.with_name("labels.csv")
    code, said, error = run(str(table), "--out", str(out))
    assert code == 1 and "15 rows" in said and out.exists()
    assert "line 6: no accession number" in error and "and 2 more" in error


def test_no_text_of_a_table_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("acc\x1b[2J,age\x1b]0;x\x07\n1,2\n", "utf-8")
    code, said, error = run(str(path), "--out", str(tmp_path / "labels.csv"))
    assert code == 2 and error.count("\n") == 1
    assert "\x1b" not in said + error and "\x07" not in said + error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--language", "xx"], "no language 'xx': en, de, es"),
        (["--column", "accession"], "--column accession: say WHAT=NAME"),
        (["--words", "nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    table: Path, arguments: list[str], said: str
) -> None:
    out = table.with_name("labels.csv")
    code, _, error = run(str(table), "--out", str(out), *arguments)
    assert code == 2 and said in error and error.count("\n") == 1 and not out.exists()


def test_a_file_that_is_not_there_or_is_the_table_itself_is_refused(table: Path) -> None:
    code, _, error = run(str(table.with_name("none.csv")), "--out", str(table))
    assert code == 2 and "none.csv cannot be read" in error
    code, _, error = run(str(table), "--out", str(table))
    assert code == 2 and "the table of reports itself" in error
    assert table.read_text("utf-8") == TABLE
