"""`ichnode watch`: the node's results beside radiologists' reports, by scanner."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import Config, Json, configured
from node.cli.console.terminal import say, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.watch import Watched
    from node.worklist import Stray

MOST_STRAYS = 1000
"""Reports of no study here that are listed. Chosen."""


def watch(
    config: Config = None,
    days: Annotated[
        float, typer.Option(min=0, help="Studies that came in so many days, until now.")
    ] = 28,
    apart: Annotated[
        bool, typer.Option("--apart", help="List the reports that are of no study here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the results with radiologists' reports, by scanner: RESEARCH USE ONLY.

    First come the studies that bleed by their report and that the node did not suspect: look at
    each at its page. "not read" was not analysed or failed; "cannot tell" is the report's word.
    Reports come as HL7 ORU^R01 where watch.reports is on (docs/archive.md). For example:

        ichnode watch --days 90

        ichnode watch --apart
    """
    from node.clock import utc_now
    from node.watch import tallies, watched
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        since = utc_now() - timedelta(days=days)
        studies = watched(worklist.statistics.studies(since), worklist.reports.counting())
        strays = worklist.reports.strays(MOST_STRAYS)
        if as_json:
            found = {
                "since": since.isoformat(),
                "scanners": [each.to_json() for each in tallies(studies)],
                "disagreeing": [each.to_json() for each in _disagreeing(studies)],
                "apart": [each.to_json() for each in strays],
            }
            typer.echo(json.dumps(found, indent=1))
        elif apart:
            _say_apart(strays)
        else:
            if not settings.watch.reports:
                say("no report is taken: set watch.reports")
            _say(studies, len(strays))


def _disagreeing(studies: "Sequence[Watched]") -> "list[Watched]":
    """Return the studies of which node and report say different things, misses first."""
    from node.watch import Agreement

    return [
        one
        for kind in (Agreement.REPORT_ONLY, Agreement.NODE_ONLY)
        for one in studies
        if one.agreement is kind
    ]


def _say(studies: "Sequence[Watched]", apart: int) -> None:
    from node.cli.console.watching import disagreeing_table, tallies_table
    from node.watch import tallies

    if different := _disagreeing(studies):
        terminal().print(disagreeing_table(different))
    if not studies:
        say("no study came")
        return
    terminal().print(tallies_table(tallies(studies)))
    if apart:
        say(f"{apart} reports are of no study here: ichnode watch --apart")


def _say_apart(strays: "Sequence[Stray]") -> None:
    from node.cli.console.watching import strays_table

    if strays:
        terminal().print(strays_table(strays))
    else:
        say("every report that is kept is of a study here")
