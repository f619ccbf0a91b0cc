"""`ichnode archive minutes`: how much sooner bleeds are read with the node."""

import json
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from node.cli.commands.invocation import Json, installed, one_line_errors
from node.cli.console.terminal import say, terminal

EXAMPLE = """\
radiologists = 1          # or 24 numbers, one for each hour of the day from midnight

[studies]
per_hour = 4.8            # or 24 numbers, or a CSV file with a column `time`
prevalence = 0.1

[node]
sensitivity = 0.9
specificity = 0.81
flag = "read next"        # or "interrupts": it stops the reading of another study

[reading.bleeding]
minutes = 10              # mean; or a list, or a CSV file with a column `minutes`
spread = "exponential"    # or "lognormal", with sd_minutes

[reading.other]
minutes = 10

[interruptions]           # what the radiologist must turn to at once; may be left out
per_hour = 1
minutes = 5

[simulation]              # may be left out
days = 30
replications = 40
seed = 1
"""


def minutes(
    settings: Annotated[
        Path | None,
        typer.Argument(
            metavar="SETTINGS.toml",
            exists=True,
            dir_okay=False,
            help="What the department states; --example prints one.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    example: Annotated[bool, typer.Option("--example", help="Print such a file.")] = False,
) -> None:
    """Simulate the reading room with and without the node, on the same arrivals and readings.

    The table has the minutes by which bleeds found are read sooner, and bleeds missed and studies
    without a bleed later, each with its 95 % interval, beside the closed formula where there is
    one. A wait is the time from arrival until the reading is done, less the reading itself.

    Research use only: it says what a list does, and nothing of what is done after the reading.
    For example:

        ichnode archive minutes --example > department.toml

        ichnode archive minutes department.toml
    """
    if example:
        typer.echo(EXAMPLE, nl=False)
        return
    if settings is None:
        raise typer.BadParameter("name a file of settings; --example prints one")
    with one_line_errors():
        _simulate(settings, as_json=as_json)


def _simulate(settings: Path, *, as_json: bool) -> None:
    with installed("archive"):
        from node.archive.minutes import read_stated, simulate
        from node.cli.console.minutes import minutes_table, remarks

    department, run = read_stated(settings)
    left = count(run.replications - 1, -1)
    with terminal(stderr=True).status("simulating") as status:
        outcome = simulate(
            department, run, lambda: status.update(f"simulating, {next(left)} replications left")
        )
    if as_json:
        typer.echo(json.dumps(outcome.to_json(), indent=1))
        return
    terminal().print(minutes_table(outcome))
    for remark in remarks(outcome):
        say(remark)
