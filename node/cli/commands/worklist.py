"""`ichnode worklist`, `explain` and `replay`: what the node has read, why, and once more."""

import json
import threading
from typing import Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured
from node.cli.console.terminal import say, terminal
from node.errors import BadConfiguration

NAMES = "StudyInstanceUID, accession number or case number, as the worklist shows them."


def worklist(
    config: Config = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again as it changes.")] = False,
) -> None:
    """Print the worklist, the most urgent study first."""
    from rich.live import Live

    from node.cli.console.worklist import worklist_table
    from node.clock import utc_now
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        rows = worklist.views.worklist(utc_now())
        if as_json:
            typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        elif not watch:
            terminal().print(worklist_table(rows))
        else:
            with Live(worklist_table(rows), console=terminal(), screen=True) as live:
                while not threading.Event().wait(1.0):
                    live.update(worklist_table(worklist.views.worklist(utc_now())))


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
) -> None:
    """Run a case's stages again, from the one given; the running node does the work.

    A study's UID or accession number means the case that speaks for it.

    The result is compared with the one before: the log, the event table and --wait say "same
    result", or what differs.
    """
    from node.cases.explain import compared
    from node.cases.pipeline import PIPELINE, STAGES
    from node.clock import utc_now
    from node.states import State
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if stage not in STAGES:
            raise BadConfiguration(f"no stage {stage!r}: {', '.join(STAGES)}")
        number = worklist.views.find_case(case)
        worklist.cases.replay(number, STAGES[stage], utc_now())
        say(f"case {number} starts again at {stage}")
        if not wait:
            return
        while (done := worklist.cases.get(number)).state in PIPELINE:
            threading.Event().wait(0.2)
        said = done.reason or compared(worklist.views.events(done.study_instance_uid), number)
        say(f"case {number} is {done.state}: {said or 'reported for the first time'}")
        raise typer.Exit(1 if done.state is State.FAILED else 0)
