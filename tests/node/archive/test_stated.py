"""What a department states in TOML, and how it is told what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node.archive.minutes import Law, read_stated
from node.cli.commands.minutes import EXAMPLE
from node.errors import BadConfiguration

File = Callable[[str], Path]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Write a file of settings."""

    def written(text: str) -> Path:
        path = tmp_path / "department.toml"
        path.write_text(text)
        return path

    return written


def test_the_example_is_read(file: File) -> None:
    department, run = read_stated(file(EXAMPLE))
    assert department.studies_per_hour == (4.8,) * 24
    assert department.radiologists == (1,) * 24
    assert not department.flag_interrupts
    assert department.interruption.mean_min == 5
    assert (run.days, run.replications, run.seed) == (30, 40, 1)
    assert department.load == pytest.approx((4.8 * 10 + 5) / 60)


def test_what_may_be_left_out_is_not_there(file: File) -> None:
    whole = EXAMPLE[: EXAMPLE.index("[interruptions]")]
    department, run = read_stated(file(whole))
    assert not any(department.interruptions_per_hour) and run.replications == 40


def test_the_departments_own_arrivals_and_readings_come_from_files(
    file: File, tmp_path: Path
) -> None:
    (tmp_path / "arrivals.csv").write_text(
        "time,accession\n2026-11-01T08:10:00,1\n2026-11-01T08:50:00,2\n2026-11-02T08:00:00,3\n"
        "2026-11-04T23:59:59,4\n"
    )
    (tmp_path / "minutes.csv").write_text("reader;minutes\na;4\nb;12.5\n")
    department, _ = read_stated(
        file(
            EXAMPLE.replace("per_hour = 4.8", 'per_hour = "arrivals.csv"')
            .replace("minutes = 10  ", 'minutes = "minutes.csv"')
            .replace('spread = "exponential"', "")
        )
    )
    assert department.studies_per_hour[8] == 3 / 4
    assert department.studies_per_hour[23] == 1 / 4
    assert sum(department.studies_per_hour) == 1
    assert department.bleeding.law is Law.LISTED
    assert department.bleeding.listed == (4.0, 12.5)


def test_lists_and_a_lognormal_spread_are_read(file: File) -> None:
    text = EXAMPLE.replace("radiologists = 1 ", f"radiologists = {[0] * 12 + [2] * 12} ")
    text = text.replace('spread = "exponential"', 'spread = "lognormal"\nsd_minutes = 6')
    text = text.replace("[reading.other]\nminutes = 10", "[reading.other]\nminutes = [3, 5.5]")
    department, _ = read_stated(file(text))
    assert department.radiologists == (0,) * 12 + (2,) * 12
    assert (department.bleeding.law, department.bleeding.sd_min) == (Law.LOGNORMAL, 6)
    assert department.other.listed == (3.0, 5.5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sensitivity = 0.9", "sensitivity = 1.9", "node.sensitivity: Input should be less"),
        ("sensitivity =", "sensitivty =", "node.sensitivty: no such setting; did you mean sens"),
        ("prevalence = 0.1", "", "studies.prevalence: Field required"),
        ("per_hour = 4.8", "per_hour = [1, 2]", "studies.per_hour: state a number from 0, or 24"),
        ("per_hour = 4.8", "per_hour = inf", "studies.per_hour: state a number from 0, or 24"),
        ("radiologists = 1 ", "radiologists = 1.5 ", "radiologists: state a whole number"),
        ("minutes = 10  ", "minutes = 0  ", "reading.bleeding.minutes: state a number above 0"),
        ("minutes = 10  ", "minutes = [5]  ", "reading.bleeding: spread: a list is drawn from"),
        ('"exponential"', '"lognormal"', "reading.bleeding: sd_minutes goes with spread"),
        ('"read next"', '"sometimes"', "node.flag: Input should be 'read next' or 'interrupts'"),
        ("replications = 40", "replications = 1", "simulation.replications: Input should be"),
        ("radiologists = 1 ", "radiologists = ", "Invalid value (at line 1"),
        ("per_hour = 4.8", 'per_hour = "none.csv"', "none.csv"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(
    file: File, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in EXAMPLE
    with pytest.raises(BadConfiguration) as caught:
        read_stated(file(EXAMPLE.replace(old, new)))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("when\n2026-11-01T08:10:00\n", "no column 'time' in the first line"),
        ("time\n", "no row under the first line"),
        ("time,x\n2026-11-01T08:10:00,1\n,2\n", "line 3: no time"),
        ("time\nyesterday\n", "line 2: 'yesterday' is no time as in 2026-11-30T08:15:00"),
        ("time\n2026-11-01T08:10:00\n\xff\n", "arrivals.csv"),
    ],
)
def test_a_table_that_cannot_be_read_names_its_line(
    file: File, tmp_path: Path, table: str, said: str
) -> None:
    (tmp_path / "arrivals.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(BadConfiguration) as caught:
        read_stated(file(EXAMPLE.replace("per_hour = 4.8", 'per_hour = "arrivals.csv"')))
    assert said in str(caught.value)


def test_minutes_in_a_table_are_above_0(file: File, tmp_path: Path) -> None:
    (tmp_path / "minutes.csv").write_text("minutes\n5\n0\n")
    text = EXAMPLE.replace(
        "[reading.other]\nminutes = 10", '[reading.other]\nminutes = "minutes.csv"'
    )
    with pytest.raises(BadConfiguration, match="line 3: '0' minutes: a reading takes more than 0"):
        read_stated(file(text))
