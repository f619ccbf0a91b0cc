"""`ichnode watch`: the node's results beside radiologists' reports, and its charts, by scanner."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.commands.invocation import By, Config, Json, configured
from node.cli.console.terminal import say, terminal
from node.errors import BadConfiguration
from node.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.settings import Watch
    from node.watch import Watched
    from node.worklist import ChartLine, Stray, Worklist

MOST_STRAYS = 1000
"""Reports of no study here that are listed. Chosen."""


def watch(
    config: Config = None,
    days: Annotated[
        float, typer.Option(min=0, help="Studies that came in so many days, until now.")
    ] = 28,
    charts: Annotated[
        bool, typer.Option("--charts", help="Show the charts of each scanner.")
    ] = False,
    apart: Annotated[
        bool, typer.Option("--apart", help="List the reports that are of no study here.")
    ] = False,
    acknowledge: Annotated[
        str, typer.Option(metavar="SCANNER", help="End this scanner's alarms: you looked into it.")
    ] = "",
    renew: Annotated[
        str,
        typer.Option(metavar="SCANNER", help="Learn anew what is usual, from studies to come."),
    ] = "",
    outcome: Annotated[
        str, typer.Option(help='Of one outcome alone, such as "positive rate".')
    ] = "",
    why: Annotated[str, typer.Option(help="For the audit trail.")] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Compare the results with radiologists' reports, by scanner: RESEARCH USE ONLY.

    First come the studies that bleed by their report and that the node did not suspect: look at
    each at its page. "not read" was not analysed or failed; "cannot tell" is the report's word.
    Reports come as HL7 ORU^R01 where watch.reports is on, charts are drawn each hour where
    watch.charts is (docs/archive.md). Status 1 while an alarm of a chart stands. For example:

        ichnode watch --days 90

        ichnode watch --charts

        ichnode watch --acknowledge "SIEMENS Force CT2" --why "new protocol since May"
    """
    from node.clock import utc_now
    from node.worklist import Actor, Decided, Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        if acknowledge and renew:
            raise BadConfiguration("--acknowledge or --renew, not both")
        if scanner := acknowledge or renew:
            what = Decided.ACKNOWLEDGED if acknowledge else Decided.RENEWED
            actor, now = Actor.at_terminal(by), utc_now()
            done = worklist.charts.decide(what, scanner, outcome, actor, why, now)
            say(f"{what.lower()}: {done} charts of {scanner}")
            return
        lines = worklist.charts.drawn()
        if as_json:
            typer.echo(json.dumps(_found(worklist, settings.watch, lines, days), indent=1))
        elif apart:
            _say_apart(worklist.reports.strays(MOST_STRAYS))
        elif charts:
            _say_charts(lines, settings.watch)
        else:
            _say_alarms(lines)
            if not settings.watch.reports:
                say("no report is taken: set watch.reports")
            _say(_watched(worklist, days), len(worklist.reports.strays(MOST_STRAYS)))
        raise typer.Exit(int(any(line.said for line in lines)))


def _watched(worklist: "Worklist", days: float) -> "list[Watched]":
    from node.clock import utc_now
    from node.watch import watched

    since = utc_now() - timedelta(days=days)
    return watched(worklist.statistics.studies(since), worklist.reports.counting())


def _found(
    worklist: "Worklist", watch: "Watch", lines: "Sequence[ChartLine]", days: float
) -> dict[str, object]:
    from node.clock import utc_now
    from node.watch import tallies

    studies = _watched(worklist, days)
    drawn_at = worklist.charts.drawn_at()
    return {
        "since": (utc_now() - timedelta(days=days)).isoformat(),
        "scanners": [each.to_json() for each in tallies(studies)],
        "disagreeing": [each.to_json() for each in _disagreeing(studies)],
        "apart": [each.to_json() for each in worklist.reports.strays(MOST_STRAYS)],
        "drawn_at": drawn_at and drawn_at.isoformat(),
        "run_length": watch.run_length,
        "baseline": watch.baseline,
        "charts": [each.to_json() for each in lines],
    }


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
        say(f"{counted(apart, 'report is', 'reports are')} of no study here: ichnode watch --apart")


def _say_alarms(lines: "Sequence[ChartLine]") -> None:
    for line in lines:
        if line.said:
            say(line.said, fault=True)


def _say_charts(lines: "Sequence[ChartLine]", watch: "Watch") -> None:
    from node.cli.console.watching import charts_table

    _say_alarms(lines)
    if lines:
        terminal().print(charts_table(lines))
        say(
            f"each against its first {watch.baseline} studies; false alarms: one in "
            f"{watch.run_length:.0f} studies of all scanners, or rarer, by all charts together"
        )
    if not watch.charts:
        say("no chart is drawn: set watch.charts")
    elif not lines:
        say("no chart was drawn yet: the job charts does so each hour")


def _say_apart(strays: "Sequence[Stray]") -> None:
    from node.cli.console.watching import strays_table

    if strays:
        terminal().print(strays_table(strays))
    else:
        say("every report that is kept is of a study here")
