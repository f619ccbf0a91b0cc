"""Jobs run by the clock, in one process alone, and how each went is noted."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.errors import Retryable
from node.folder_lock import Turn
from node.jobs.agenda import agenda
from node.jobs.scheduler import Job, Run, running
from node.settings import Receive, Settings
from node.worklist import Actor, JobLine, Process, Worklist
from tests.support.databases import new_database
from tests.support.peers import wait_until

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, receive=Receive(min_free_mb=0))


@pytest.fixture
def worklist(settings: Settings) -> Iterator[Worklist]:
    new_database(settings.url)
    with Worklist(settings.url) as opened:
        yield opened


@pytest.fixture
def turn(tmp_path: Path) -> Iterator[Turn]:
    mine = Turn(tmp_path, "jobs.lock")
    yield mine
    mine.leave()


def test_a_run_is_noted_with_its_error_and_its_next_time(
    worklist: Worklist, turn: Turn, caplog: pytest.LogCaptureFixture
) -> None:
    fails = [Retryable("the disk is full"), Retryable("the disk is full"), None]
    moments = iter(NOW + number * HOUR for number in range(3))

    def work() -> None:
        if error := fails.pop(0):
            raise error

    run = Run(Job("tidy", HOUR, work), worklist.jobs, turn, lambda: next(moments))
    caplog.set_level(logging.INFO)
    run()
    run()
    assert worklist.jobs.listed() == [
        JobLine("tidy", NOW + HOUR, "the disk is full", NOW + HOUR, NOW + 2 * HOUR)
    ]
    run()
    (line,) = worklist.jobs.listed()
    assert (line.ran_at, line.next_at) == (NOW + 2 * HOUR, NOW + 3 * HOUR)
    assert line.error == "the disk is full" and not line.fails
    said = [record.getMessage() for record in caplog.records]
    assert said == ["job tidy: the disk is full", "job tidy is well again"]


def test_what_another_process_runs_is_not_run_here(
    worklist: Worklist, turn: Turn, tmp_path: Path
) -> None:
    other = Turn(tmp_path, "jobs.lock")
    assert other.taken()
    ran: list[int] = []
    run = Run(Job("tidy", HOUR, lambda: ran.append(1)), worklist.jobs, turn, lambda: NOW)
    run()
    assert not ran and not worklist.jobs.listed()
    other.leave()
    run()
    assert ran == [1]


@pytest.mark.parametrize(
    ("planned", "first"),
    [
        (None, timedelta(seconds=30)),
        (-5 * HOUR, timedelta(seconds=30)),
        (HOUR / 2, HOUR / 2),
        (9 * HOUR, HOUR),
    ],
    ids=["never ran", "overdue", "due later", "the interval was longer"],
)
def test_a_restart_keeps_the_time_of_the_next_run(
    planned: timedelta | None, first: timedelta, worklist: Worklist, turn: Turn
) -> None:
    if planned is not None:
        worklist.jobs.planned("tidy", NOW + planned)
    run = Run(Job("tidy", HOUR, lambda: None), worklist.jobs, turn, lambda: NOW)
    assert run.plan(timedelta(seconds=30)) == NOW + first
    assert worklist.jobs.next_at("tidy") == NOW + first


def test_jobs_run_again_and_again_and_one_that_nobody_foresaw_to_fail_is_noted(
    worklist: Worklist, turn: Turn, caplog: pytest.LogCaptureFixture
) -> None:
    again = threading.Semaphore(0)

    def broken() -> None:
        raise ZeroDivisionError("of all things")

    jobs = [
        Job("tidy", timedelta(seconds=0.05), lambda: again.release()),
        Job("broken", timedelta(seconds=0.05), broken),
    ]
    with running(jobs, worklist.jobs, turn, lambda: datetime.now(UTC), timedelta(0)):
        for _ in range(3):
            assert again.acquire(timeout=30)
        wait_until(lambda: any(one.error for one in worklist.jobs.listed()), 30)
    named = {one.name: one.error for one in worklist.jobs.listed()}
    assert named == {"tidy": None, "broken": "ZeroDivisionError: of all things"}
    assert any("in broken" in record.getMessage() for record in caplog.records)


def test_health_names_what_does_not_run(settings: Settings, worklist: Worklist, turn: Turn) -> None:
    for role in ("receive", "work", "web"):
        worklist.processes.beat(Process(role, role, NOW, NOW, NOW))
    worklist.deliveries.pause(Actor("Ada", "terminal"), "", NOW)  # a person's will is no fault
    jobs = {
        job.name: job for job in agenda(lambda: settings, worklist, lambda: NOW, threading.Event())
    }
    Run(jobs["health"], worklist.jobs, turn, lambda: NOW)()
    (line,) = worklist.jobs.listed()
    assert line.error == "deliver: does not run" and line.fails


def test_the_watermark_warns_before_images_are_refused(
    worklist: Worklist, turn: Turn, tmp_path: Path
) -> None:
    short = Settings(data_dir=tmp_path, receive=Receive(min_free_mb=1 << 40))
    jobs = {
        job.name: job for job in agenda(lambda: short, worklist, lambda: NOW, threading.Event())
    }
    Run(jobs["watermark"], worklist.jobs, turn, lambda: NOW)()
    (line,) = worklist.jobs.listed()
    assert line.error and f"below {1 << 40} MB images are refused" in line.error


def test_the_terminal_lists_jobs(worklist: Worklist, tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(f'data_dir = "{tmp_path}"')
    told = CliRunner().invoke(app, ["jobs", "--config", str(config)])
    assert "has not run yet" in told.output
    worklist.jobs.ran("tidy", "[red]full", NOW, NOW + HOUR)
    told = CliRunner().invoke(app, ["jobs", "--config", str(config)], env={"COLUMNS": "150"})
    assert "it does not run" in told.output and "[red]full" in told.output
    as_json = CliRunner().invoke(app, ["jobs", "--config", str(config), "--json"])
    assert '"next_at": "2026-11-29T04:00:00+00:00"' in as_json.output
