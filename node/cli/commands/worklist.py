"""`ichnode worklist`, `explain` and `replay`: what the node has read, why, and once more."""

import json
import re
import threading
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Config, Json, chosen_by_name, configured, print_list
from node.cli.console.terminal import say, terminal
from node.errors import BadConfiguration

if TYPE_CHECKING:
    from node.states import Priority
    from node.worklist import Row, Views

NAMES = "StudyInstanceUID, accession number or case number, as the worklist shows them."


def worklist(
    config: Config = None,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show what fits the screen, as it changes.")
    ] = False,
    priority: Annotated[
        list[str] | None,
        typer.Option(metavar="PRIORITY", help="Only studies of this priority; repeatable."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(metavar="TIME", help='Only studies that came since: "2h", a date, a time.'),
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Only the most urgent ones.")
    ] = None,
) -> None:
    """Print the worklist, the most urgent study first.

    For example: ichnode worklist --priority suspected --priority not_analysed --since 12h
    """
    from rich.live import Live

    from node.cli.console.worklist import EMPTY, on_one_screen, worklist_table
    from node.clock import utc_now
    from node.states import Priority
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        wanted = chosen_by_name(Priority, priority or []) or set(Priority)
        console = terminal()
        rows = partial(_rows, worklist.views, wanted, since, limit)
        if watch and not as_json:
            with Live(on_one_screen(rows(), console), console=console, screen=True) as live:
                while not threading.Event().wait(1.0):
                    live.update(on_one_screen(rows(), console))
        print_list(rows(), worklist_table, EMPTY, as_json=as_json)
        if not as_json:
            for one in worklist.deliveries.held_up():
                say(str(one))
            now = utc_now()
            for warning in worklist.coverage.standing(settings.coverage, now).warnings:
                say(f"{warning} (`ichnode coverage`)", fault=True)
            if trouble := worklist.canaries.standing(settings.canary, now).trouble:
                say(f"canary: {trouble}", fault=True)


def _rows(
    views: "Views", wanted: "Collection[Priority]", since: str, limit: int | None
) -> "list[Row]":
    """Return the rows of these priorities that came since then, the most urgent first."""
    from node.clock import utc_now

    now = utc_now()
    start = moment(since, now) if since else None
    found = [
        row
        for row in views.worklist(now)
        if row.priority in wanted and (start is None or row.first_received_at >= start)
    ]
    return found[:limit]


def moment(text: str, now: datetime) -> datetime:
    """Return the time that a person means by "30m", "2h", "3d", a date, or a date and time.

    A date or time is by the clock of this machine.

    Raises
    ------
    BadConfiguration
        If it is none of these.
    """
    if span := re.fullmatch(r"(\d{1,5})([mhd])", text.strip()):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[span[2]]
        return now - timedelta(**{unit: int(span[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        known = '"30m", "2h", "3d", "2026-11-29" or "2026-11-29 08:30"'
        raise BadConfiguration(f"{text!r} is no time: write it as {known}") from None


def explain(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help=NAMES),
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say which series of a study is read and why no other, and where the time went."""
    from node.cases.explain import explain_study
    from node.cli.console.explanation import explained
    from node.clock import utc_now
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        told = explain_study(study, worklist, settings, utc_now())
        if as_json:
            typer.echo(json.dumps(told.to_json(), indent=1))
        else:
            terminal().print(explained(told))


def replay(
    case: Annotated[str, typer.Argument(metavar="CASE", help=NAMES)],
    config: Config = None,
    stage: Annotated[
        str, typer.Option("--from", help="Start again at assemble, triage or report.")
    ] = "assemble",
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the node is done; status 1 if it failed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a case's stages again, from the one given; the running node does the work.

    A study's UID or accession number means the case that speaks for it. A case that withdraws a
    result is not run itself: a new one is, whose result replaces the withdrawal.

    The result is compared with the one before: the log, the event table and --wait say "same
    result", or what differs. After an upgrade of the networks --wait and `ichnode explain` show
    what that changed: priority, probability, the score from which a study is suspected, bundle.
    For example: ichnode replay A20261120-17 --from triage --wait
    """
    from node.cases.changes import last_replay
    from node.cases.pipeline import PIPELINE, STAGES
    from node.cli.console.replayed import replayed
    from node.clock import utc_now
    from node.states import State
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if stage not in STAGES:
            raise BadConfiguration(f"no stage {stage!r}: {', '.join(STAGES)}")
        number = worklist.views.find_case(case)
        runs = worklist.cases.replay(number, STAGES[stage], utc_now())
        anew = "" if runs == number else f" as case {runs}"
        if not as_json:
            say(f"case {number} starts again at {stage}{anew}")
        while (done := worklist.cases.get(runs)).state in PIPELINE and wait:
            threading.Event().wait(0.2)
        told = last_replay(worklist.views.events(done.study_instance_uid), runs)
        if as_json:
            found = {"case_id": runs, "stage": stage, "state": done.state, "reason": done.reason}
            typer.echo(json.dumps(found | {"replay": told and told.to_json()}, indent=1))
        elif wait:
            said = done.reason or (told and told.compared) or "reported for the first time"
            say(f"case {runs} is {done.state}: {said}")
            if told and told.before and told.after:
                terminal().print(replayed(told))
        raise typer.Exit(1 if wait and done.state is State.FAILED else 0)
